"""Profiles that were retired, live ones and such as never were: stopped at their next write, and
removed by the sweep in bounded steps. Nobody reads them: a query that did asks once more.
"""

from engine.store.claims import ClaimedIndex
from engine.store.database import Tx


async def park(tx: Tx, *, claim: ClaimedIndex) -> bool:
    """Take a claimed index that nobody wants out of the queue, where the sweep has not come to it
    yet; False for any other."""
    return bool(
        await tx.run(
            """
            UPDATE indexes i SET state = 'error', due_at = NULL, lease_until = NULL,
                                 worker_id = NULL, stage = NULL, alone = false
            FROM profiles p
            WHERE i.id = %(id)s AND i.customer_id = %(customer_id)s AND i.attempt = %(attempt)s
              AND p.id = i.profile_id AND p.retired_at IS NOT NULL
            """,
            {"id": claim.id, "customer_id": claim.customer_id, "attempt": claim.attempt},
        )
    )


async def delete_chunks(tx: Tx, *, limit: int) -> int:
    """Of retired profiles. No worker adds to them: see indexes.hold."""
    return await tx.run(
        """
        DELETE FROM chunks WHERE (index_id, generation, ordinal) IN (
            SELECT c.index_id, c.generation, c.ordinal
            FROM profiles p JOIN indexes i ON i.profile_id = p.id JOIN chunks c ON c.index_id = i.id
            WHERE p.retired_at IS NOT NULL LIMIT %(limit)s)
        """,
        {"limit": limit},
    )


async def delete_indexes(tx: Tx, *, limit: int) -> int:
    """Of retired profiles, once they have no chunk left, with the revisions that nothing else is
    made from."""
    return await tx.run(
        """
        WITH gone AS MATERIALIZED (
            SELECT i.id, i.source_id FROM profiles p JOIN indexes i ON i.profile_id = p.id
            WHERE p.retired_at IS NOT NULL
              AND NOT EXISTS (SELECT FROM chunks c WHERE c.index_id = i.id)
            LIMIT %(limit)s FOR UPDATE OF i SKIP LOCKED
        ), gone_documents AS (
            DELETE FROM documents d USING gone, sources s
            WHERE d.source_id = gone.source_id AND s.id = gone.source_id
              AND d.revision < s.revision
              AND NOT EXISTS (SELECT FROM indexes o WHERE o.source_id = d.source_id
                              AND d.revision IN (o.generation, o.generation_live)
                              AND NOT EXISTS (SELECT FROM gone g WHERE g.id = o.id))
        )
        DELETE FROM indexes i USING gone WHERE i.id = gone.id
        """,
        {"limit": limit},
    )


async def delete_profiles(tx: Tx, *, limit: int) -> int:
    """Retired profiles that no index and no segment is left of."""
    return await tx.run(
        """
        DELETE FROM profiles WHERE id IN (
            SELECT p.id FROM profiles p
            WHERE p.retired_at IS NOT NULL
              AND NOT EXISTS (SELECT FROM indexes i WHERE i.profile_id = p.id)
              AND NOT EXISTS (SELECT FROM segments s WHERE s.profile_id = p.id)
            ORDER BY p.retired_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
        """,
        {"limit": limit},
    )
