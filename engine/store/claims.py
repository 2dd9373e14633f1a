"""Claims and leases: who works on what, by the database's clock alone.

Fair across customers: the one with the fewest running rows first, in turn among equals; within a
customer the oldest due row. The loose scan touches one index entry a customer, not a row a source,
and it ends at the fourth customer that has nothing running: nobody could come before those. Four,
so that workers which claim at the same moment do not all stand before the same locked row.
"""

from collections.abc import Sequence
from uuid import UUID

from engine.models import CustomerId, FileId, IndexId, Noun, ProfileId, RagId, SourceId, WorkerId
from engine.store import turns
from engine.store.database import Tx


class ClaimedSource(Noun, frozen=True, kw_only=True):
    """A source to fetch and extract. `attempt` fences every write of this claim. Exactly one of
    `file_id` and `url` is set: an edited text is read in place of the source's origin."""

    id: SourceId
    customer_id: CustomerId
    rag_id: RagId
    attempt: int
    faults: int
    alone: bool
    name: str
    file_id: FileId | None
    url: str | None


class ClaimedIndex(Noun, frozen=True, kw_only=True):
    """An index to chunk, embed and store: `generation` is the document revision to make it from."""

    id: IndexId
    customer_id: CustomerId
    rag_id: RagId
    source_id: SourceId
    profile_id: ProfileId
    attempt: int
    faults: int
    alone: bool
    generation: int


async def claim_source(
    tx: Tx, *, worker_id: WorkerId, lease_s: float, after: UUID, idle: bool
) -> ClaimedSource | None:
    """Take the fairest due source. `after`: the customer served last by this worker. Rows marked
    alone are taken only by a worker that is idle. Under 3 ms with 100,000 due rows."""
    return await tx.one(
        ClaimedSource,
        """
        WITH RECURSIVE walk AS (
            SELECT %(after)s::uuid AS customer_id, NULL::timestamptz AS due_at,
                   0::bigint AS running, false AS wrapped, 0 AS free
            UNION ALL
            SELECT n.customer_id, n.due_at, n.running, n.wrapped,
                   w.free + (n.due_at <= now() AND n.running = 0)::int
            FROM walk w CROSS JOIN LATERAL (
                SELECT h.customer_id, h.due_at, h.wrapped,
                       (SELECT count(*) FROM sources l
                        WHERE l.lease_until IS NOT NULL AND l.customer_id = h.customer_id)
                       + (SELECT count(*) FROM indexes l
                          WHERE l.lease_until IS NOT NULL AND l.customer_id = h.customer_id)
                       AS running
                FROM ((SELECT customer_id, due_at, w.wrapped FROM sources
                       WHERE due_at IS NOT NULL AND deleted_at IS NULL
                         AND customer_id > w.customer_id
                       ORDER BY customer_id, due_at LIMIT 1)
                      UNION ALL
                      (SELECT customer_id, due_at, true FROM sources
                       WHERE due_at IS NOT NULL AND deleted_at IS NULL AND NOT w.wrapped
                       ORDER BY customer_id, due_at LIMIT 1)) h
                LIMIT 1) n
            WHERE w.free < 4 AND NOT (n.wrapped AND n.customer_id > %(after)s)
        ), fair AS MATERIALIZED (
            SELECT customer_id FROM walk WHERE due_at <= now()
            ORDER BY running, wrapped, customer_id
        ), picked AS (
            SELECT s.id FROM fair CROSS JOIN LATERAL (
                SELECT id FROM sources
                WHERE customer_id = fair.customer_id AND due_at <= now() AND deleted_at IS NULL
                  AND (NOT alone OR %(idle)s)
                ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED) s
            LIMIT 1
        )
        UPDATE sources s
        SET state = 'processing', due_at = NULL, attempt = attempt + 1, worker_id = %(worker_id)s,
            lease_until = now() + make_interval(secs => %(lease_s)s), stage = 'fetch',
            updated_at = clock_timestamp()
        FROM picked WHERE s.id = picked.id
        RETURNING s.id, s.customer_id, s.rag_id, s.attempt, s.faults, s.alone, s.name,
                  COALESCE(s.edit_id, s.file_id) AS file_id,
                  CASE WHEN s.edit_id IS NULL THEN s.url END AS url
        """,
        {"worker_id": worker_id, "lease_s": lease_s, "after": after, "idle": idle},
    )


async def claim_index(
    tx: Tx, *, worker_id: WorkerId, lease_s: float, after: UUID, idle: bool
) -> ClaimedIndex | None:
    """Take the fairest due index; as claim_source."""
    return await tx.one(
        ClaimedIndex,
        """
        WITH RECURSIVE walk AS (
            SELECT %(after)s::uuid AS customer_id, NULL::timestamptz AS due_at,
                   0::bigint AS running, false AS wrapped, 0 AS free
            UNION ALL
            SELECT n.customer_id, n.due_at, n.running, n.wrapped,
                   w.free + (n.due_at <= now() AND n.running = 0)::int
            FROM walk w CROSS JOIN LATERAL (
                SELECT h.customer_id, h.due_at, h.wrapped,
                       (SELECT count(*) FROM sources l
                        WHERE l.lease_until IS NOT NULL AND l.customer_id = h.customer_id)
                       + (SELECT count(*) FROM indexes l
                          WHERE l.lease_until IS NOT NULL AND l.customer_id = h.customer_id)
                       AS running
                FROM ((SELECT customer_id, due_at, w.wrapped FROM indexes
                       WHERE due_at IS NOT NULL
                         AND customer_id > w.customer_id
                       ORDER BY customer_id, due_at LIMIT 1)
                      UNION ALL
                      (SELECT customer_id, due_at, true FROM indexes
                       WHERE due_at IS NOT NULL AND NOT w.wrapped
                       ORDER BY customer_id, due_at LIMIT 1)) h
                LIMIT 1) n
            WHERE w.free < 4 AND NOT (n.wrapped AND n.customer_id > %(after)s)
        ), fair AS MATERIALIZED (
            SELECT customer_id FROM walk WHERE due_at <= now()
            ORDER BY running, wrapped, customer_id
        ), picked AS (
            SELECT i.id FROM fair CROSS JOIN LATERAL (
                SELECT id FROM indexes
                WHERE customer_id = fair.customer_id AND due_at <= now()
                  AND (NOT alone OR %(idle)s)
                ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED) i
            LIMIT 1
        )
        UPDATE indexes i
        SET state = 'processing', due_at = NULL, attempt = attempt + 1, worker_id = %(worker_id)s,
            lease_until = now() + make_interval(secs => %(lease_s)s), stage = 'chunk',
            updated_at = clock_timestamp()
        FROM picked WHERE i.id = picked.id
        RETURNING i.id, i.customer_id, i.rag_id, i.source_id, i.profile_id, i.attempt, i.faults,
                  i.alone, i.generation
        """,
        {"worker_id": worker_id, "lease_s": lease_s, "after": after, "idle": idle},
    )


async def claim_alone_source(
    tx: Tx, *, worker_id: WorkerId, lease_s: float
) -> ClaimedSource | None:
    """The oldest due source that wants a process to itself. Asked first by a worker that is idle:
    others hold back while such a row waits, so it must not stand behind the backlog."""
    return await tx.one(
        ClaimedSource,
        """
        UPDATE sources
        SET state = 'processing', due_at = NULL, attempt = attempt + 1, worker_id = %(worker_id)s,
            lease_until = now() + make_interval(secs => %(lease_s)s), stage = 'fetch',
            updated_at = clock_timestamp()
        WHERE id = (SELECT id FROM sources
                    WHERE alone AND due_at IS NOT NULL AND due_at <= now() AND deleted_at IS NULL
                    ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED)
        RETURNING id, customer_id, rag_id, attempt, faults, alone, name,
                  COALESCE(edit_id, file_id) AS file_id,
                  CASE WHEN edit_id IS NULL THEN url END AS url
        """,
        {"worker_id": worker_id, "lease_s": lease_s},
    )


async def claim_alone_index(tx: Tx, *, worker_id: WorkerId, lease_s: float) -> ClaimedIndex | None:
    """As claim_alone_source, for indexes."""
    return await tx.one(
        ClaimedIndex,
        """
        UPDATE indexes
        SET state = 'processing', due_at = NULL, attempt = attempt + 1, worker_id = %(worker_id)s,
            lease_until = now() + make_interval(secs => %(lease_s)s), stage = 'chunk',
            updated_at = clock_timestamp()
        WHERE id = (SELECT id FROM indexes
                    WHERE alone AND due_at IS NOT NULL AND due_at <= now()
                    ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED)
        RETURNING id, customer_id, rag_id, source_id, profile_id, attempt, faults, alone,
                  generation
        """,
        {"worker_id": worker_id, "lease_s": lease_s},
    )


async def any_due(tx: Tx) -> bool:
    """Whether a bell should be rung."""
    return await turns.others_wait(tx, customer_id=turns.NOBODY)


async def alone_waits(tx: Tx) -> bool:
    """Whether a due row wants a process to itself: workers then run dry to take it."""
    return bool(
        await tx.value(
            bool,
            """
            SELECT COALESCE(
                (SELECT true FROM sources
                 WHERE alone AND due_at IS NOT NULL AND due_at <= now() AND deleted_at IS NULL
                 ORDER BY due_at LIMIT 1),
                (SELECT true FROM indexes WHERE alone AND due_at IS NOT NULL AND due_at <= now()
                 ORDER BY due_at LIMIT 1),
                false)
            """,
        )
    )


async def renew_sources(
    tx: Tx, *, worker_id: WorkerId, ids: Sequence[SourceId], lease_s: float
) -> set[tuple[SourceId, int]]:
    """Move the leases; returns (id, attempt) of those still held: the others were taken away.

    A source whose text is committed waits for its index without a lease, and nobody has taken it:
    the task that turns to the index at this very moment must not be stopped.
    """
    rows = await tx.all(
        _Held,
        """
        UPDATE sources SET lease_until = CASE WHEN lease_until IS NOT NULL
                                              THEN now() + make_interval(secs => %(lease_s)s) END
        WHERE id = ANY(%(ids)s) AND deleted_at IS NULL
          AND ((worker_id = %(worker_id)s AND lease_until IS NOT NULL)
               OR (state = 'processing' AND lease_until IS NULL AND due_at IS NULL))
          AND EXISTS (SELECT FROM rags WHERE rags.id = rag_id AND rags.deleted_at IS NULL)
        RETURNING id, attempt
        """,
        {"worker_id": worker_id, "ids": list(ids), "lease_s": lease_s},
    )
    return {(SourceId(row.id), row.attempt) for row in rows}


async def renew_indexes(
    tx: Tx, *, worker_id: WorkerId, ids: Sequence[IndexId], lease_s: float
) -> set[tuple[IndexId, int]]:
    """As renew_sources, for indexes."""
    rows = await tx.all(
        _Held,
        """
        UPDATE indexes SET lease_until = now() + make_interval(secs => %(lease_s)s)
        WHERE id = ANY(%(ids)s) AND worker_id = %(worker_id)s AND lease_until IS NOT NULL
          AND EXISTS (SELECT FROM rags WHERE rags.id = rag_id AND rags.deleted_at IS NULL)
        RETURNING id, attempt
        """,
        {"worker_id": worker_id, "ids": list(ids), "lease_s": lease_s},
    )
    return {(IndexId(row.id), row.attempt) for row in rows}


async def give_back_unknown(tx: Tx, *, worker_id: WorkerId, known: Sequence[SourceId]) -> int:
    """Make due what this worker holds without knowing: a claim whose answer never arrived. The
    document is not to blame, and waiting for the lease to end would look like a death.

    `known` are the sources that the worker is busy with, by themselves or by an index.
    """
    sources = await tx.run(
        """
        UPDATE sources SET state = 'pending', due_at = now(), lease_until = NULL, worker_id = NULL,
                           stage = NULL, updated_at = clock_timestamp()
        WHERE id IN (SELECT id FROM sources
                     WHERE worker_id = %(worker_id)s AND lease_until IS NOT NULL
                       AND id <> ALL(%(known)s) FOR UPDATE SKIP LOCKED)
        """,
        {"worker_id": worker_id, "known": list(known)},
    )
    return sources + await tx.run(
        """
        UPDATE indexes SET state = 'pending', due_at = now(), lease_until = NULL, worker_id = NULL,
                           stage = NULL, updated_at = clock_timestamp()
        WHERE id IN (SELECT id FROM indexes
                     WHERE worker_id = %(worker_id)s AND lease_until IS NOT NULL
                       AND source_id <> ALL(%(known)s) FOR UPDATE SKIP LOCKED)
        """,
        {"worker_id": worker_id, "known": list(known)},
    )


class _Held(Noun, frozen=True, kw_only=True):
    id: UUID
    attempt: int
