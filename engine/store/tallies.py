"""sources, counted: by state for the status of a RAG, and in all for its limit."""

from collections.abc import Sequence
from datetime import datetime

from engine.models import Counts, CustomerId, Noun, RagId, State
from engine.store.database import Tx


class Tally(Noun, frozen=True, kw_only=True):
    """Counts by state and the newest change of any source of a RAG."""

    rag_id: RagId
    counts: Counts
    updated_at: datetime | None


class _StateCount(Noun, frozen=True, kw_only=True):
    rag_id: RagId
    state: State
    count: int
    updated_at: datetime


async def by_state(
    tx: Tx, *, customer_id: CustomerId, rag_ids: Sequence[RagId]
) -> dict[RagId, Tally]:
    """Counts by state of each RAG that has sources."""
    rows = await tx.all(
        _StateCount,
        """
        SELECT rag_id, state, count(*) AS count, max(updated_at) AS updated_at FROM sources
        WHERE customer_id = %(customer_id)s AND rag_id = ANY(%(rag_ids)s) AND deleted_at IS NULL
        GROUP BY rag_id, state
        """,
        {"customer_id": customer_id, "rag_ids": list(rag_ids)},
    )
    found: dict[RagId, Tally] = {}
    for rag_id in {row.rag_id for row in rows}:
        mine = [row for row in rows if row.rag_id == rag_id]
        found[rag_id] = Tally(
            rag_id=rag_id,
            counts=Counts(**{row.state.value: row.count for row in mine}),
            updated_at=max(row.updated_at for row in mine),
        )
    return found


async def live_total(tx: Tx, *, customer_id: CustomerId, rag_id: RagId) -> int:
    """How many sources a RAG has."""
    return (
        await tx.value(
            int,
            "SELECT count(*) FROM sources WHERE customer_id = %(customer_id)s"
            " AND rag_id = %(rag_id)s AND deleted_at IS NULL",
            {"customer_id": customer_id, "rag_id": rag_id},
        )
        or 0
    )
