"""What the sweep does: ends expired leases and removes what nobody can see any more.

Every statement is bounded by `limit`, so that no transaction is long and no lock is held for many.
"""

import msgspec

from engine.models import CustomerId, Failure, FileId, SourceId
from engine.store import acquisition, customers, folders
from engine.store.database import Tx


async def sole(tx: Tx, *, silent_s: float = 0.0) -> bool:
    """Take the sweep's lock for this connection; False while another process has it.

    The server ends a session that is silent for `silent_s` (0: never), so that a process that was
    frozen or cut off does not keep the lock. The number is an arbitrary key that only this program
    uses.
    """
    await tx.run(
        "SELECT set_config('idle_session_timeout', %(silent_ms)s, false)",
        {"silent_ms": str(round(silent_s * 1000))},
    )
    return await tx.value(bool, "SELECT pg_try_advisory_lock(7261043002)") or False


async def alive(tx: Tx) -> None:
    """Raises DatabaseUnavailable when the connection that holds the lock is gone."""
    await tx.run("SELECT 1")


async def expire_sources(
    tx: Tx, *, limit: int, faults_max: int, killed: Failure, delay_s: float = 0.0
) -> int:
    """Sources whose worker went silent are due again, alone; a death while alone is charged, and
    the last one ends what waits for their text.

    From the first charge on each pause is twice the one before, `delay_s` the first: a burst of
    deaths that has nothing to do with the document must not hit it three times in a row.
    """
    rows = await tx.all(
        _Expired,
        """
        WITH expired AS MATERIALIZED (
            SELECT s.id, r.profile_live FROM sources s JOIN rags r ON r.id = s.rag_id
            WHERE s.lease_until < now() AND s.lease_until IS NOT NULL
            ORDER BY s.lease_until LIMIT %(limit)s
            FOR UPDATE OF s SKIP LOCKED FOR SHARE OF r SKIP LOCKED
        ), verdict AS (
            SELECT s.id, s.alone AND s.faults + 1 >= %(faults_max)s AS over,
                   EXISTS (SELECT FROM indexes i
                           WHERE i.source_id = s.id AND i.profile_id = expired.profile_live
                             AND i.generation_live IS NOT NULL) AS live
            FROM sources s JOIN expired USING (id)
        )
        UPDATE sources s
        SET lease_until = NULL, worker_id = NULL, stage = NULL, alone = NOT v.over,
            faults = faults + alone::int,
            due_at = CASE WHEN v.over THEN NULL WHEN NOT alone THEN now()
                          ELSE now() + make_interval(secs => %(delay_s)s * 2 ^ faults) END,
            state = CASE WHEN NOT v.over THEN 'pending' WHEN v.live THEN 'ready' ELSE 'error' END,
            refresh_failed = v.over AND v.live,
            failure = CASE WHEN v.over THEN %(killed)s::jsonb ELSE failure END,
            updated_at = clock_timestamp()
        FROM verdict v WHERE s.id = v.id
        RETURNING s.id, v.over
        """,
        _expiry(limit=limit, faults_max=faults_max, killed=killed, delay_s=delay_s),
    )
    await acquisition.fail_waiting(tx, source_ids=[row.id for row in rows if row.over])
    return len(rows)


async def expire_indexes(
    tx: Tx, *, limit: int, faults_max: int, killed: Failure, delay_s: float = 0.0
) -> int:
    """As expire_sources. A source whose primary index is charged out goes with it."""
    # RAG, source and index are locked together and nothing is waited for: a worker that finishes
    # takes them in the same order, a heartbeat cannot come between the two verdicts, and no switch
    # makes another index the primary one meanwhile.
    return await tx.run(
        """
        WITH expired AS MATERIALIZED (
            SELECT i.id, r.profile_live = i.profile_id AS is_primary
            FROM sources s JOIN indexes i ON i.source_id = s.id JOIN rags r ON r.id = i.rag_id
            WHERE i.lease_until < now() AND i.lease_until IS NOT NULL
            ORDER BY i.lease_until LIMIT %(limit)s
            FOR UPDATE OF s, i SKIP LOCKED FOR SHARE OF r SKIP LOCKED
        ), verdict AS MATERIALIZED (
            SELECT i.id, i.source_id, i.generation_live IS NOT NULL AS live,
                   i.alone AND i.faults + 1 >= %(faults_max)s AS over, expired.is_primary
            FROM indexes i JOIN expired USING (id)
        ), told AS (
            UPDATE sources s
            SET state = CASE WHEN v.live THEN 'ready' ELSE 'error' END, refresh_failed = v.live,
                failure = %(killed)s::jsonb, updated_at = clock_timestamp()
            FROM verdict v
            WHERE s.id = v.source_id AND v.over AND v.is_primary AND s.deleted_at IS NULL
        )
        UPDATE indexes i
        SET lease_until = NULL, worker_id = NULL, stage = NULL, alone = NOT v.over,
            faults = faults + alone::int,
            due_at = CASE WHEN v.over THEN NULL WHEN NOT alone THEN now()
                          ELSE now() + make_interval(secs => %(delay_s)s * 2 ^ faults) END,
            state = CASE WHEN NOT v.over THEN 'pending' WHEN v.live THEN 'ready' ELSE 'error' END,
            retired = retired OR v.over, used_bytes = CASE WHEN v.over THEN 0 ELSE used_bytes END,
            failure = CASE WHEN v.over THEN %(killed)s::jsonb ELSE failure END,
            updated_at = clock_timestamp()
        FROM verdict v WHERE i.id = v.id
        """,
        _expiry(limit=limit, faults_max=faults_max, killed=killed, delay_s=delay_s),
    )


async def delete_sources_of_deleted_rags(tx: Tx, *, limit: int) -> int:
    return await tx.run(
        """
        WITH gone AS (
            UPDATE sources s SET deleted_at = now(), due_at = NULL, lease_until = NULL,
                                 attempt = attempt + 1
            WHERE id IN (SELECT s.id FROM rags r JOIN sources s ON s.rag_id = r.id
                         WHERE r.deleted_at IS NOT NULL AND s.deleted_at IS NULL LIMIT %(limit)s)
            RETURNING id
        ), fenced AS (
            UPDATE indexes i SET due_at = NULL, lease_until = NULL, attempt = attempt + 1
            FROM gone WHERE i.source_id = gone.id
        )
        SELECT id FROM gone
        """,
        {"limit": limit},
    )


async def delete_retired_chunks(tx: Tx, *, limit: int) -> int:
    """Chunks of generations that neither answer nor are being made."""
    return await tx.run(
        """
        DELETE FROM chunks WHERE (index_id, generation, ordinal) IN (
            SELECT c.index_id, c.generation, c.ordinal
            FROM indexes i JOIN chunks c ON c.index_id = i.id
            WHERE i.retired AND c.generation IS DISTINCT FROM i.generation_live
              AND NOT (c.generation = i.generation AND i.state IN ('pending', 'processing'))
            LIMIT %(limit)s)
        """,
        {"limit": limit},
    )


async def delete_retired_documents(tx: Tx, *, limit: int) -> int:
    """Revisions that no index is made from; then the mark goes."""
    deleted = await tx.run(
        """
        DELETE FROM documents WHERE (source_id, revision) IN (
            SELECT d.source_id, d.revision
            FROM indexes i JOIN sources s ON s.id = i.source_id
            JOIN documents d ON d.source_id = i.source_id
            WHERE i.retired AND d.revision < s.revision
              AND NOT EXISTS (SELECT FROM indexes o WHERE o.source_id = d.source_id
                              AND d.revision IN (o.generation, o.generation_live))
            LIMIT %(limit)s)
        """,
        {"limit": limit},
    )
    await tx.run(
        """
        UPDATE indexes SET retired = false WHERE id IN (
            SELECT i.id FROM indexes i
            WHERE i.retired AND i.state IN ('ready', 'error')
              AND NOT EXISTS (SELECT FROM chunks c WHERE c.index_id = i.id
                              AND c.generation IS DISTINCT FROM i.generation_live)
              AND NOT EXISTS (SELECT FROM documents d JOIN sources s ON s.id = d.source_id
                              WHERE d.source_id = i.source_id AND d.revision < s.revision
                                AND NOT EXISTS (SELECT FROM indexes o
                                                WHERE o.source_id = d.source_id AND
                                                d.revision IN (o.generation, o.generation_live)))
            LIMIT %(limit)s FOR UPDATE OF i SKIP LOCKED)
        """,
        {"limit": limit},
    )
    return deleted


async def delete_chunks_of_deleted_sources(tx: Tx, *, limit: int) -> int:
    return await tx.run(
        """
        DELETE FROM chunks WHERE (index_id, generation, ordinal) IN (
            SELECT c.index_id, c.generation, c.ordinal
            FROM sources s JOIN indexes i ON i.source_id = s.id JOIN chunks c ON c.index_id = i.id
            WHERE s.deleted_at IS NOT NULL LIMIT %(limit)s)
        """,
        {"limit": limit},
    )


async def delete_rows_of_deleted_sources(tx: Tx, *, limit: int) -> int:
    """Sources that have no chunk left, with their indexes and documents: in one statement, so that
    all three see the same sources."""
    return await tx.run(
        """
        WITH gone AS MATERIALIZED (
            SELECT s.id FROM sources s
            WHERE s.deleted_at IS NOT NULL
              AND NOT EXISTS (SELECT FROM indexes i JOIN chunks c ON c.index_id = i.id
                              WHERE i.source_id = s.id)
            ORDER BY s.deleted_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
        ), gone_indexes AS (
            DELETE FROM indexes USING gone WHERE source_id = gone.id
        ), gone_documents AS (
            DELETE FROM documents USING gone WHERE source_id = gone.id
        )
        DELETE FROM sources s USING gone WHERE s.id = gone.id
        """,
        {"limit": limit},
    )


async def delete_rags(tx: Tx, *, limit: int) -> int:
    """Deleted RAGs that have no source and no segment left, with their profiles."""
    return await tx.run(
        """
        WITH gone AS MATERIALIZED (
            SELECT r.id FROM rags r WHERE r.deleted_at IS NOT NULL
              AND NOT EXISTS (SELECT FROM sources s WHERE s.rag_id = r.id)
              AND NOT EXISTS (SELECT FROM profiles p JOIN segments g ON g.profile_id = p.id
                              WHERE p.rag_id = r.id)
              AND NOT EXISTS (SELECT FROM profiles p JOIN dead_members d ON d.profile_id = p.id
                              WHERE p.rag_id = r.id)
            ORDER BY r.deleted_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
        ), gone_profiles AS (
            DELETE FROM profiles USING gone WHERE rag_id = gone.id
        )
        DELETE FROM rags r USING gone WHERE r.id = gone.id
        """,
        {"limit": limit},
    )


async def delete_files(tx: Tx, *, limit: int) -> int:
    """Files that nobody keeps and no source row points to, as its origin or as its edited text.

    They are locked first and looked at again by a second statement: what was committed between
    the first one's snapshot and its lock is seen by the second only.
    """
    rows = await tx.all(
        dict[str, FileId],
        """
        SELECT f.id FROM files f WHERE NOT f.kept
          AND NOT EXISTS (SELECT FROM sources s WHERE s.file_id = f.id)
          AND NOT EXISTS (SELECT FROM sources s WHERE s.edit_id = f.id)
        LIMIT %(limit)s FOR UPDATE SKIP LOCKED
        """,
        {"limit": limit},
    )
    return await tx.run(
        """
        DELETE FROM files f WHERE f.id = ANY(%(ids)s)
          AND NOT EXISTS (SELECT FROM sources s WHERE s.file_id = f.id)
          AND NOT EXISTS (SELECT FROM sources s WHERE s.edit_id = f.id)
        """,
        {"ids": [row["id"] for row in rows]},
    )


class _Expired(msgspec.Struct, frozen=True, kw_only=True):
    id: SourceId
    over: bool


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What is left of a customer, table by table; all zero once it is purged."""

    customers: int
    rags: int
    profiles: int
    sources: int
    indexes: int
    chunks: int
    ann_tables: int
    segments: int
    segment_members: int
    dead_members: int
    postings: int
    documents: int
    files: int
    folders: int
    accesskeys: int
    blobs: int
    idempotency_keys: int


async def count(tx: Tx, *, customer_id: CustomerId) -> Receipt:
    receipt = await tx.one(
        Receipt,
        """
        SELECT (SELECT count(*) FROM customers WHERE id = %(id)s) AS customers,
               (SELECT count(*) FROM rags WHERE customer_id = %(id)s) AS rags,
               (SELECT count(*) FROM profiles WHERE customer_id = %(id)s) AS profiles,
               (SELECT count(*) FROM sources WHERE customer_id = %(id)s) AS sources,
               (SELECT count(*) FROM indexes WHERE customer_id = %(id)s) AS indexes,
               (SELECT count(*) FROM chunks WHERE customer_id = %(id)s) AS chunks,
               (SELECT count(*) FROM ann_tables WHERE customer_id = %(id)s) AS ann_tables,
               (SELECT count(*) FROM segments WHERE customer_id = %(id)s) AS segments,
               (SELECT count(*) FROM segment_members WHERE customer_id = %(id)s)
               AS segment_members,
               (SELECT count(*) FROM dead_members WHERE customer_id = %(id)s) AS dead_members,
               (SELECT count(*) FROM postings WHERE customer_id = %(id)s) AS postings,
               (SELECT count(*) FROM documents WHERE customer_id = %(id)s) AS documents,
               (SELECT count(*) FROM files WHERE customer_id = %(id)s) AS files,
               (SELECT count(*) FROM folders WHERE customer_id = %(id)s) AS folders,
               (SELECT count(*) FROM accesskeys WHERE customer_id = %(id)s) AS accesskeys,
               (SELECT count(*) FROM blobs WHERE customer_id = %(id)s) AS blobs,
               (SELECT count(*) FROM idempotency_keys WHERE customer_id = %(id)s)
               AS idempotency_keys
        """,
        {"id": customer_id},
    )
    assert receipt
    return receipt


async def delete_folders(tx: Tx, *, limit: int) -> int:
    """Of closed customers that have no source left, the deepest folders first.

    So whatever goes takes all below it along, and no other row has to be changed. The locks keep
    a request that is still under way from putting a folder into one that goes.
    """
    rows = await tx.all(
        dict[str, CustomerId],
        """
        SELECT c.id FROM customers c WHERE c.deleted_at IS NOT NULL
          AND EXISTS (SELECT FROM folders WHERE customer_id = c.id)
          AND NOT EXISTS (SELECT FROM sources WHERE customer_id = c.id)
        ORDER BY c.id LIMIT %(limit)s
        """,
        {"limit": limit},
    )
    for row in rows:
        await folders.lock(tx, customer_id=row["id"])
    return await tx.run(
        """
        WITH RECURSIVE down (id, level) AS (
            SELECT id, 1 FROM folders WHERE customer_id = ANY(%(ids)s) AND parent_id IS NULL
            UNION ALL
            SELECT f.id, down.level + 1 FROM down JOIN folders f ON f.parent_id = down.id
        )
        DELETE FROM folders WHERE id IN (SELECT id FROM down ORDER BY level DESC LIMIT %(limit)s)
        """,
        {"ids": [row["id"] for row in rows], "limit": limit},
    )


async def delete_customers(tx: Tx, *, limit: int) -> int:
    """Closed customers of which no row is left, after their folders."""
    deleted = await delete_folders(tx, limit=limit)
    closed = await tx.all(
        dict[str, CustomerId],
        "SELECT id FROM customers WHERE deleted_at IS NOT NULL LIMIT %(limit)s",
        {"limit": limit},
    )
    return deleted + await customers.delete_empty(tx, customer_ids=[row["id"] for row in closed])


async def close_customers(tx: Tx) -> int:
    """What closed customers hold is deleted for every reader; other statements remove the rows.

    Run by the sweep again and again: a request that was under way may have added something.
    """
    keys = await tx.run(
        "DELETE FROM accesskeys WHERE customer_id IN"
        " (SELECT id FROM customers WHERE deleted_at IS NOT NULL)"
    )
    keys += await tx.run(
        "DELETE FROM idempotency_keys WHERE customer_id IN"
        " (SELECT id FROM customers WHERE deleted_at IS NOT NULL)"
    )
    rags = await tx.run(
        "UPDATE rags SET deleted_at = now() WHERE deleted_at IS NULL AND customer_id IN"
        " (SELECT id FROM customers WHERE deleted_at IS NOT NULL)"
    )
    files = await tx.run(
        "UPDATE files SET kept = false, deleted_at = now() WHERE deleted_at IS NULL"
        " AND customer_id IN (SELECT id FROM customers WHERE deleted_at IS NOT NULL)"
    )
    return keys + rags + files


def _expiry(*, limit: int, faults_max: int, killed: Failure, delay_s: float) -> dict[str, object]:
    return {
        "limit": limit,
        "faults_max": faults_max,
        "killed": msgspec.json.encode(killed).decode(),
        "delay_s": delay_s,
    }
