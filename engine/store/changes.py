"""A RAG's change to its next profile: begun, filled with indexes, judged, switched or given up.

The next profile is built beside the live one, by the same workers and from the stored texts. A
source **blocks** the switch while it answers under the live profile and would not, or with an older
text, under the next one. What never answered does not block. What is left of a profile that was
retired is removed in `retired`; new texts enter both profiles in `acquisition.start_index`.
"""

from collections.abc import Sequence
from typing import LiteralString

from engine.models import Blocking, Change, CustomerId, Failure, Noun, RagId, SourceId
from engine.store import rags
from engine.store.claims import ClaimedIndex
from engine.store.database import Tx


class Waiting(Noun, frozen=True, kw_only=True):
    """A change that the sweep can bring further; `filled`: by the switch, else by more indexes."""

    customer_id: CustomerId
    rag_id: RagId
    filled: bool


class _ChangeRow(Change, frozen=True, kw_only=True):
    rag_id: RagId


class _BlockingRow(Noun, frozen=True, kw_only=True):
    rag_id: RagId
    source_id: SourceId
    name: str
    failure: Failure | None


async def begin(
    tx: Tx,
    *,
    customer_id: CustomerId,
    rag_id: RagId,
    embedding_model: str,
    chunk_tokens: int,
    chunk_overlap_tokens: int,
) -> None:
    """Set a new next profile; the RAG must be locked alone and have none."""
    await tx.run(
        """
        WITH made AS (
            INSERT INTO profiles (customer_id, rag_id, embedding_model, chunk_tokens,
                                  chunk_overlap_tokens)
            VALUES (%(customer_id)s, %(rag_id)s, %(embedding_model)s, %(chunk_tokens)s,
                    %(chunk_overlap_tokens)s)
            RETURNING id
        )
        UPDATE rags SET profile_next = made.id, updated_at = clock_timestamp()
        FROM made WHERE rags.id = %(rag_id)s AND customer_id = %(customer_id)s
        """,
        {
            "customer_id": customer_id,
            "rag_id": rag_id,
            "embedding_model": embedding_model,
            "chunk_tokens": chunk_tokens,
            "chunk_overlap_tokens": chunk_overlap_tokens,
        },
    )


async def give_up(tx: Tx, *, customer_id: CustomerId, rag_id: RagId) -> None:
    """Leave the next profile to the sweep; the RAG must be locked alone. Whoever builds under it
    is stopped at its next write."""
    await tx.run(
        """
        WITH retired AS (
            UPDATE profiles p SET retired_at = now() FROM rags r
            WHERE r.id = %(rag_id)s AND r.customer_id = %(customer_id)s AND p.id = r.profile_next
        )
        UPDATE rags SET profile_next = NULL, updated_at = clock_timestamp()
        WHERE id = %(rag_id)s AND customer_id = %(customer_id)s AND profile_next IS NOT NULL
        """,
        {"customer_id": customer_id, "rag_id": rag_id},
    )


async def retry(tx: Tx, *, customer_id: CustomerId, rag_id: RagId) -> int:
    """Have what failed under the next profile tried again; the RAG must be locked alone."""
    return await tx.run(
        """
        UPDATE indexes n
        SET state = 'pending', due_at = now(), generation = s.revision, done = 0, total = 0,
            faults = 0, alone = false, failure = NULL, updated_at = clock_timestamp()
        FROM rags r, sources s
        WHERE r.id = %(rag_id)s AND r.customer_id = %(customer_id)s
          AND n.profile_id = r.profile_next AND n.generation_live IS DISTINCT FROM n.generation
          AND n.state IN ('ready', 'error') AND n.due_at IS NULL AND n.lease_until IS NULL
          AND s.id = n.source_id AND s.deleted_at IS NULL
          AND s.due_at IS NULL AND s.lease_until IS NULL
        """,
        {"customer_id": customer_id, "rag_id": rag_id},
    )


async def fill(tx: Tx, *, customer_id: CustomerId, rag_id: RagId, limit: int) -> int:
    """Make due indexes under the next profile for texts that have none, the oldest first; returns
    how many. The RAG must be locked, shared at least: then `filled` stays true, because whoever
    commits a text makes its index by itself."""
    params = {"customer_id": customer_id, "rag_id": rag_id, "limit": limit}
    made = await tx.run(
        """
        INSERT INTO indexes (customer_id, rag_id, source_id, profile_id, due_at, generation)
        SELECT s.customer_id, s.rag_id, s.id, r.profile_next, now(), s.revision
        FROM rags r JOIN sources s ON s.rag_id = r.id AND s.deleted_at IS NULL AND s.revision > 0
        WHERE r.id = %(rag_id)s AND r.customer_id = %(customer_id)s AND r.profile_next IS NOT NULL
          AND NOT EXISTS (SELECT FROM indexes n
                          WHERE n.source_id = s.id AND n.profile_id = r.profile_next)
        ORDER BY s.created_at, s.position LIMIT %(limit)s
        ON CONFLICT (source_id, profile_id) DO NOTHING
        """,
        params,
    )
    if made < limit:
        await tx.run(
            """
            UPDATE profiles p SET filled = true FROM rags r
            WHERE r.id = %(rag_id)s AND r.customer_id = %(customer_id)s AND p.id = r.profile_next
              AND NOT EXISTS (SELECT FROM sources s
                              WHERE s.rag_id = r.id AND s.deleted_at IS NULL AND s.revision > 0
                                AND NOT EXISTS (SELECT FROM indexes n WHERE n.source_id = s.id
                                                AND n.profile_id = r.profile_next))
            """,
            params,
        )
    return made


async def waiting(tx: Tx, *, open_max: int, limit: int) -> list[Waiting]:
    """Changes that the sweep can bring further: those that may switch, and those that want more
    indexes and have fewer than `open_max` that are still to be made."""
    return await tx.all(
        Waiting,
        """
        SELECT r.customer_id, r.id AS rag_id, p.filled
        FROM rags r JOIN profiles p ON p.id = r.profile_next
        WHERE r.profile_next IS NOT NULL AND r.deleted_at IS NULL
          AND CASE WHEN p.filled THEN
              NOT EXISTS (SELECT FROM indexes n
                          WHERE n.profile_id = r.profile_next
                            AND n.generation_live IS DISTINCT FROM n.generation
                            AND (SELECT l.generation_live FROM indexes l
                                 WHERE l.source_id = n.source_id AND l.profile_id = r.profile_live)
                                > COALESCE(n.generation_live, 0)
                            AND (SELECT s.deleted_at IS NULL FROM sources s
                                 WHERE s.id = n.source_id))
              ELSE (SELECT count(*) FROM (
                        SELECT FROM indexes n
                        WHERE n.profile_id = r.profile_next
                          AND n.generation_live IS DISTINCT FROM n.generation
                          AND (n.due_at IS NOT NULL OR n.lease_until IS NOT NULL)
                        LIMIT %(open_max)s) o) < %(open_max)s END
        LIMIT %(limit)s
        """,
        {"open_max": open_max, "limit": limit},
    )


async def may_switch(tx: Tx, *, claim: ClaimedIndex) -> bool:
    """Whether nothing seems to block, as seen by a worker that has built an index under the next
    profile. Asked without a lock, and answered from what is not built yet."""
    return (
        await tx.value(
            bool,
            """
            SELECT true FROM rags r JOIN profiles p ON p.id = r.profile_next AND p.filled
            WHERE r.id = %(rag_id)s AND r.customer_id = %(customer_id)s
              AND r.profile_next = %(profile_id)s AND r.deleted_at IS NULL
              AND NOT EXISTS (SELECT FROM indexes n
                              WHERE n.profile_id = r.profile_next
                                AND n.generation_live IS DISTINCT FROM n.generation
                                AND (SELECT l.generation_live FROM indexes l
                                     WHERE l.source_id = n.source_id
                                       AND l.profile_id = r.profile_live)
                                    > COALESCE(n.generation_live, 0)
                                AND (SELECT s.deleted_at IS NULL FROM sources s
                                     WHERE s.id = n.source_id))
            """,
            {
                "customer_id": claim.customer_id,
                "rag_id": claim.rag_id,
                "profile_id": claim.profile_id,
            },
        )
        or False
    )


async def switch(tx: Tx, *, customer_id: CustomerId, rag_id: RagId) -> bool:
    """The one switch: the next profile answers from the commit on, the old one is left to the
    sweep. False when something blocks, or when there is nothing to switch to.

    Judged under the lock that every write of a worker holds shared: nothing moves meanwhile.
    """
    if not await rags.lock(tx, customer_id=customer_id, rag_id=rag_id, strength="update"):
        return False
    params: dict[str, object] = {"customer_id": customer_id, "rag_id": rag_id}
    if not await tx.value(bool, _FREE, params):
        return False
    await _tell_sources(tx, params)
    return bool(
        await tx.run(
            """
            WITH retired AS (
                UPDATE profiles p SET retired_at = now() FROM rags r
                WHERE r.id = %(rag_id)s AND r.customer_id = %(customer_id)s
                  AND p.id = r.profile_live
            )
            UPDATE rags SET profile_live = profile_next, profile_next = NULL,
                            updated_at = clock_timestamp()
            WHERE id = %(rag_id)s AND customer_id = %(customer_id)s AND profile_next IS NOT NULL
            """,
            params,
        )
    )


# Each text has its index once it is filled, and is made of the newest text: what is not as far as
# the live one is among those that are not built. Scalar subqueries, because joins were planned from
# the other end, over all that is built.
_FREE: LiteralString = """
SELECT p.filled AND NOT EXISTS (
           SELECT FROM indexes n
           WHERE n.profile_id = r.profile_next
             AND n.generation_live IS DISTINCT FROM n.generation
             AND (SELECT l.generation_live FROM indexes l
                  WHERE l.source_id = n.source_id AND l.profile_id = r.profile_live)
                 > COALESCE(n.generation_live, 0)
             AND (SELECT s.deleted_at IS NULL FROM sources s WHERE s.id = n.source_id))
FROM rags r JOIN profiles p ON p.id = r.profile_next
WHERE r.id = %(rag_id)s AND r.customer_id = %(customer_id)s
"""


async def _tell_sources(tx: Tx, params: dict[str, object]) -> None:
    """Before the switch: sources follow their index under the next profile from now on.

    One whose text is being read follows that. One whose new index is still to be made is told when
    it is; until then its state stays, so that no switch makes a RAG less ready. What the old index
    failed with goes with it, and what reading the source failed with stays.
    """
    await tx.run(
        """
        WITH told AS (
            SELECT s.id, CASE WHEN n.generation_live IS NULL THEN 'error' ELSE 'ready' END AS state,
                   CASE WHEN l.failure IS NULL THEN COALESCE(s.failure, n.failure)
                        ELSE n.failure END AS failure, n.generation_live
            FROM rags r
            JOIN sources s ON s.rag_id = r.id AND s.deleted_at IS NULL
            JOIN indexes n ON n.source_id = s.id AND n.profile_id = r.profile_next
                          AND n.state IN ('ready', 'error')
            LEFT JOIN indexes l ON l.source_id = s.id AND l.profile_id = r.profile_live
            WHERE r.id = %(rag_id)s AND r.customer_id = %(customer_id)s
              AND s.due_at IS NULL AND s.lease_until IS NULL AND s.state <> 'pending'
              AND (s.state <> 'ready' OR s.refresh_failed OR s.id IN (
                       SELECT u.source_id FROM indexes u
                       WHERE u.profile_id = (SELECT profile_next FROM rags WHERE id = %(rag_id)s)
                         AND u.generation_live IS DISTINCT FROM u.generation))
        )
        UPDATE sources s
        SET state = t.state, failure = t.failure,
            refresh_failed = t.failure IS NOT NULL AND t.generation_live IS NOT NULL,
            updated_at = clock_timestamp()
        FROM told t
        WHERE s.id = t.id
          AND (s.state, s.failure, s.refresh_failed) IS DISTINCT FROM
              (t.state, t.failure, t.failure IS NOT NULL AND t.generation_live IS NOT NULL)
        """,
        params,
    )


async def of_rags(
    tx: Tx, *, customer_id: CustomerId, rag_ids: Sequence[RagId], named_max: int
) -> dict[RagId, Change]:
    """The change of each of these RAGs that has one; of what blocks it for good the first
    `named_max` are named. Without any RAG nothing is asked."""
    if not rag_ids:
        return {}
    rows = await tx.all(
        _ChangeRow,
        """
        SELECT r.id AS rag_id, p.embedding_model, p.chunk_tokens, p.chunk_overlap_tokens,
               p.created_at, c.total, c.done, u.failed,
               CASE WHEN c.done + u.failed + u.late = c.total THEN u.due_at END AS due_at
        FROM rags r JOIN profiles p ON p.id = r.profile_next
        CROSS JOIN LATERAL (
            SELECT count(b.live) AS total, count(*) FILTER (WHERE b.next >= b.live) AS done
            FROM (SELECT max(CASE i.profile_id WHEN r.profile_live THEN i.generation_live END)
                             AS live,
                         max(CASE i.profile_id WHEN r.profile_next THEN i.generation_live END)
                             AS next
                  FROM indexes i
                  WHERE i.profile_id IN (r.profile_live, r.profile_next)
                    AND i.customer_id = %(customer_id)s
                    AND i.source_id NOT IN (SELECT id FROM sources
                                            WHERE rag_id = ANY(%(rag_ids)s)
                                              AND deleted_at IS NOT NULL)
                  GROUP BY i.source_id) b) c
        CROSS JOIN LATERAL (
            SELECT count(*) FILTER (WHERE n.state IN ('ready', 'error')
                                      AND s.due_at IS NULL AND s.lease_until IS NULL) AS failed,
                   count(*) FILTER (WHERE n.due_at > now()) AS late,
                   min(n.due_at) FILTER (WHERE n.due_at > now()) AS due_at
            FROM indexes n JOIN sources s ON s.id = n.source_id AND s.deleted_at IS NULL
            WHERE n.profile_id = r.profile_next
              AND n.generation_live IS DISTINCT FROM n.generation
              AND (SELECT l.generation_live FROM indexes l
                   WHERE l.source_id = n.source_id AND l.profile_id = r.profile_live)
                  > COALESCE(n.generation_live, 0)) u
        WHERE r.id = ANY(%(rag_ids)s) AND r.customer_id = %(customer_id)s
          AND r.profile_next IS NOT NULL
        """,
        {"customer_id": customer_id, "rag_ids": list(rag_ids)},
    )
    failed = [row.rag_id for row in rows if row.failed]
    named = await _blocking(tx, customer_id=customer_id, rag_ids=failed, limit=named_max)
    return {row.rag_id: _change(row, blocking=named.get(row.rag_id, ())) for row in rows}


def _change(row: _ChangeRow, *, blocking: Sequence[Blocking]) -> Change:
    fields = {name: getattr(row, name) for name in Change.__struct_fields__}
    return Change(**{**fields, "blocking": tuple(blocking)})


async def _blocking(
    tx: Tx, *, customer_id: CustomerId, rag_ids: Sequence[RagId], limit: int
) -> dict[RagId, list[Blocking]]:
    """The sources of each RAG that answer now and have failed under its next profile."""
    if not rag_ids:
        return {}
    rows = await tx.all(
        _BlockingRow,
        """
        SELECT r.id AS rag_id, b.source_id, b.name, b.failure
        FROM rags r CROSS JOIN LATERAL (
            SELECT s.id AS source_id, s.name, n.failure, s.created_at, s.position
            FROM indexes n
            JOIN sources s ON s.id = n.source_id AND s.deleted_at IS NULL
            JOIN indexes l ON l.source_id = s.id AND l.profile_id = r.profile_live
            WHERE n.profile_id = r.profile_next AND n.customer_id = %(customer_id)s
              AND n.generation_live IS DISTINCT FROM n.generation
              AND n.state IN ('ready', 'error') AND s.due_at IS NULL AND s.lease_until IS NULL
              AND l.generation_live > COALESCE(n.generation_live, 0)
            ORDER BY s.created_at, s.position LIMIT %(limit)s) b
        WHERE r.id = ANY(%(rag_ids)s) AND r.customer_id = %(customer_id)s
        ORDER BY b.created_at, b.position
        """,
        {"customer_id": customer_id, "rag_ids": list(rag_ids), "limit": limit},
    )
    found: dict[RagId, list[Blocking]] = {}
    for row in rows:
        blocking = Blocking(source_id=row.source_id, name=row.name, failure=row.failure)
        found.setdefault(row.rag_id, []).append(blocking)
    return found
