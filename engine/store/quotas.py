"""What a customer holds, counted against its quotas, and the lock under which that is done.

Rows are counted anew each time: a counter beside them would be one more thing that can be wrong.
"""

from engine.models import CustomerId, Noun
from engine.store.database import Tx


class Held(Noun, frozen=True, kw_only=True):
    """`queued`: those of the sources that wait to be read, or to be tried again."""

    sources: int
    queued: int


async def lock(tx: Tx, *, customer_id: CustomerId) -> None:
    """Have one transaction at a time count and add for this customer.

    The last of all locks, taken behind what was added: whoever has it waits for nobody.
    """
    await tx.run(
        "SELECT pg_advisory_xact_lock(hashtextextended('quotas of ' || %(customer_id)s, 0))",
        {"customer_id": str(customer_id)},
    )


async def sources(tx: Tx, *, customer_id: CustomerId) -> Held:
    """Live sources of live RAGs; what this transaction added is counted."""
    held = await tx.one(
        Held,
        """
        SELECT (SELECT count(*) FROM sources s
                WHERE s.customer_id = %(customer_id)s AND s.deleted_at IS NULL
                  AND EXISTS (SELECT FROM rags r
                              WHERE r.id = s.rag_id AND r.deleted_at IS NULL)) AS sources,
               (SELECT count(*) FROM sources s
                WHERE s.customer_id = %(customer_id)s AND s.due_at IS NOT NULL
                  AND s.deleted_at IS NULL
                  AND EXISTS (SELECT FROM rags r
                              WHERE r.id = s.rag_id AND r.deleted_at IS NULL)) AS queued
        """,
        {"customer_id": customer_id},
    )
    assert held
    return held


async def stored_bytes(tx: Tx, *, customer_id: CustomerId) -> int:
    """Of all contents that are kept for a customer, each once, until their bytes are removed."""
    return (
        await tx.value(
            int,
            "SELECT COALESCE(sum(file_bytes), 0)::bigint FROM blobs"
            " WHERE customer_id = %(customer_id)s",
            {"customer_id": customer_id},
        )
        or 0
    )
