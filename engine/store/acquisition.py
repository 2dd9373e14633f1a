"""What a worker writes to a source that it has claimed. Every write is fenced.

`hold` opens each transaction: the RAG shared, so that a delete waits or is seen; then the claimed
row by its attempt. Zero rows anywhere mean Superseded. Lock order: rag, source, index.
"""

from collections.abc import Sequence

import msgspec

from engine.errors import Superseded
from engine.models import (
    CustomerId,
    Failure,
    IndexId,
    ProfileId,
    RagId,
    SourceId,
    Stage,
    WorkerId,
)
from engine.store import rags
from engine.store.claims import ClaimedIndex, ClaimedSource
from engine.store.database import Tx


async def hold_rag(tx: Tx, *, customer_id: CustomerId, rag_id: RagId) -> None:
    """Share-lock the live RAG, or raise Superseded."""
    if not await rags.lock(tx, customer_id=customer_id, rag_id=rag_id, strength="share"):
        raise Superseded


async def set_stage(tx: Tx, *, claim: ClaimedSource, stage: Stage) -> None:
    await hold_rag(tx, customer_id=claim.customer_id, rag_id=claim.rag_id)
    _fenced(
        await tx.run(
            """
            UPDATE sources SET stage = %(stage)s, updated_at = clock_timestamp()
            WHERE id = %(id)s AND attempt = %(attempt)s AND lease_until IS NOT NULL
              AND deleted_at IS NULL
            """,
            {"id": claim.id, "attempt": claim.attempt, "stage": stage},
        )
    )


async def acquired(tx: Tx, *, claim: ClaimedSource, name: str, original_bytes: int) -> int:
    """The text is there: give the source row back and return the number of the new revision.

    The source goes on as `processing`, now on behalf of its primary index. `name` counts unless a
    person has given one; `original_bytes` is the size of what the text was read from.
    """
    await hold_rag(tx, customer_id=claim.customer_id, rag_id=claim.rag_id)
    revision = await tx.value(
        int,
        """
        UPDATE sources SET revision = revision + 1, stage = NULL,
                           name = CASE WHEN name_given THEN name ELSE %(name)s END,
                           original_bytes = %(original_bytes)s,
                           lease_until = NULL, worker_id = NULL, faults = 0, alone = false,
                           failure = NULL, refresh_failed = false, updated_at = clock_timestamp()
        WHERE id = %(id)s AND attempt = %(attempt)s AND lease_until IS NOT NULL
          AND deleted_at IS NULL
        RETURNING revision
        """,
        {
            "id": claim.id,
            "attempt": claim.attempt,
            "name": name,
            "original_bytes": original_bytes,
        },
    )
    if revision is None:
        raise Superseded
    return revision


async def start_index(
    tx: Tx, *, claim: ClaimedSource, revision: int, worker_id: WorkerId, lease_s: float
) -> ClaimedIndex:
    """Claim the primary index for the new revision in the same transaction; others become due."""
    await _wake_others(tx, claim=claim, revision=revision)
    row = await tx.one(
        _Started,
        """
        INSERT INTO indexes (customer_id, rag_id, source_id, profile_id, state, attempt, worker_id,
                             lease_until, stage, generation, alone)
        SELECT r.customer_id, r.id, %(source_id)s, r.profile_live, 'processing', 1, %(worker_id)s,
               now() + make_interval(secs => %(lease_s)s), 'chunk', %(revision)s, %(alone)s
        FROM rags r WHERE r.id = %(rag_id)s
        ON CONFLICT (source_id, profile_id) DO UPDATE
        SET state = 'processing', attempt = indexes.attempt + 1, worker_id = EXCLUDED.worker_id,
            lease_until = EXCLUDED.lease_until, due_at = NULL, stage = 'chunk',
            generation = EXCLUDED.generation, retired = true, done = 0, total = 0, faults = 0,
            alone = EXCLUDED.alone, failure = NULL, updated_at = clock_timestamp()
        RETURNING id, profile_id, attempt
        """,
        {
            "source_id": claim.id,
            "rag_id": claim.rag_id,
            "worker_id": worker_id,
            "lease_s": lease_s,
            "revision": revision,
            "alone": claim.alone,
        },
    )
    assert row
    return ClaimedIndex(
        id=row.id,
        customer_id=claim.customer_id,
        rag_id=claim.rag_id,
        source_id=claim.id,
        profile_id=row.profile_id,
        attempt=row.attempt,
        faults=0,
        alone=claim.alone,
        generation=revision,
    )


async def _wake_others(tx: Tx, *, claim: ClaimedSource, revision: int) -> None:
    """Make due what is made under other profiles than the live one: what public names stand for,
    as far as it was asked for, and the next profile of the RAG, for every text."""
    params = {
        "customer_id": claim.customer_id,
        "rag_id": claim.rag_id,
        "source_id": claim.id,
        "revision": revision,
    }
    await tx.run(
        """
        UPDATE indexes i SET state = 'pending', due_at = now(), lease_until = NULL,
                             worker_id = NULL, attempt = attempt + 1, generation = %(revision)s,
                             retired = true, done = 0, total = 0, faults = 0, alone = false,
                             failure = NULL
        FROM profiles p
        WHERE i.source_id = %(source_id)s AND p.id = i.profile_id AND p.retired_at IS NULL
          AND i.profile_id <> (SELECT profile_live FROM rags WHERE id = %(rag_id)s)
        """,
        params,
    )
    # The sweep may be adding the same row at this moment, for the text before this one.
    await tx.run(
        """
        INSERT INTO indexes (customer_id, rag_id, source_id, profile_id, due_at, generation)
        SELECT r.customer_id, r.id, %(source_id)s, r.profile_next, now(), %(revision)s
        FROM rags r
        WHERE r.id = %(rag_id)s AND r.customer_id = %(customer_id)s AND r.profile_next IS NOT NULL
        ON CONFLICT (source_id, profile_id) DO UPDATE
        SET state = 'pending', due_at = EXCLUDED.due_at, lease_until = NULL, worker_id = NULL,
            attempt = indexes.attempt + 1, generation = EXCLUDED.generation
        WHERE indexes.generation <> EXCLUDED.generation
        """,
        params,
    )


async def postpone(
    tx: Tx, *, claim: ClaimedSource, delay_s: float, failure: Failure | None
) -> None:
    """Due again in `delay_s`. With a failure it is charged; a source that still answers stays
    ready and says so. What is suspected of killing workers stays so: it was not acquitted."""
    await hold_rag(tx, customer_id=claim.customer_id, rag_id=claim.rag_id)
    _fenced(
        await tx.run(
            """
            UPDATE sources s
            SET due_at = now() + make_interval(secs => %(delay_s)s), lease_until = NULL,
                worker_id = NULL, stage = NULL, updated_at = clock_timestamp(),
                faults = faults + (%(failure)s::jsonb IS NOT NULL)::int,
                failure = COALESCE(%(failure)s::jsonb, failure),
                refresh_failed = %(failure)s::jsonb IS NOT NULL AND live.live,
                state = CASE WHEN %(failure)s::jsonb IS NOT NULL AND live.live
                             THEN 'ready' ELSE 'pending' END
            FROM (SELECT EXISTS (SELECT FROM indexes i JOIN rags r ON r.profile_live = i.profile_id
                                 WHERE i.source_id = %(id)s AND r.id = %(rag_id)s
                                   AND i.generation_live IS NOT NULL) AS live) live
            WHERE s.id = %(id)s AND s.attempt = %(attempt)s AND s.lease_until IS NOT NULL
              AND s.deleted_at IS NULL
            """,
            {
                "id": claim.id,
                "rag_id": claim.rag_id,
                "attempt": claim.attempt,
                "delay_s": delay_s,
                "failure": as_json(failure),
            },
        )
    )


async def fail(tx: Tx, *, claim: ClaimedSource, failure: Failure) -> None:
    """Final. A source that still answers stays ready, with the warning refresh_failed."""
    await hold_rag(tx, customer_id=claim.customer_id, rag_id=claim.rag_id)
    _fenced(
        await tx.run(
            """
            UPDATE sources s
            SET due_at = NULL, lease_until = NULL, worker_id = NULL, stage = NULL,
                failure = %(failure)s::jsonb, alone = false, refresh_failed = live.live,
                state = CASE WHEN live.live THEN 'ready' ELSE 'error' END,
                updated_at = clock_timestamp()
            FROM (SELECT EXISTS (SELECT FROM indexes i JOIN rags r ON r.profile_live = i.profile_id
                                 WHERE i.source_id = %(id)s AND r.id = %(rag_id)s
                                   AND i.generation_live IS NOT NULL) AS live) live
            WHERE s.id = %(id)s AND s.attempt = %(attempt)s AND s.lease_until IS NOT NULL
              AND s.deleted_at IS NULL
            """,
            {
                "id": claim.id,
                "rag_id": claim.rag_id,
                "attempt": claim.attempt,
                "failure": as_json(failure),
            },
        )
    )
    await fail_waiting(tx, source_ids=[claim.id])


async def fail_waiting(tx: Tx, *, source_ids: Sequence[SourceId]) -> None:
    """No text will come for the indexes that wait for one of these sources.

    The sources must have been written already: with them locked, no index can be added that sees
    them as they were. Under the next profile of the RAG the text that is there already will do:
    the source answers with it, and blocks the switch until that profile does too.
    """
    await tx.run(
        """
        UPDATE indexes n SET state = 'pending', due_at = now(), generation = s.revision,
                             updated_at = clock_timestamp()
        FROM sources s JOIN rags r ON r.id = s.rag_id
        WHERE s.id = ANY(%(source_ids)s) AND s.revision > 0
          AND n.source_id = s.id AND n.profile_id = r.profile_next
          AND n.generation_live IS DISTINCT FROM s.revision AND n.failure IS NULL
          AND n.due_at IS NULL AND n.lease_until IS NULL
        """,
        {"source_ids": list(source_ids)},
    )
    await tx.run(
        """
        UPDATE indexes SET state = 'error', retired = true, used_bytes = 0,
                           updated_at = clock_timestamp()
        WHERE source_id = ANY(%(source_ids)s) AND state = 'pending' AND due_at IS NULL
          AND generation_live IS NULL
        """,
        {"source_ids": list(source_ids)},
    )


def as_json(failure: Failure | None) -> str | None:
    """For a jsonb parameter."""
    return None if failure is None else msgspec.json.encode(failure).decode()


def _fenced(rows: int) -> None:
    if rows == 0:
        raise Superseded


class _Started(msgspec.Struct, frozen=True, kw_only=True):
    id: IndexId
    profile_id: ProfileId
    attempt: int
