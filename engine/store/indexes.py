"""What a worker writes to an index that it has claimed: progress, finish, postpone, fail.

Fenced like acquisition: the RAG shared, the source shared or written, the index by its attempt.
"""

from engine.errors import Superseded
from engine.models import Failure, Stage
from engine.store.acquisition import as_json, hold_rag
from engine.store.claims import ClaimedIndex
from engine.store.database import Tx


async def hold(tx: Tx, *, claim: ClaimedIndex) -> None:
    """Open a fenced transaction of this claim, or raise Superseded: also when its profile was
    retired, which happens with the RAG locked alone."""
    await hold_rag(tx, customer_id=claim.customer_id, rag_id=claim.rag_id)
    alive = await tx.value(
        bool,
        "SELECT true FROM sources WHERE id = %(source_id)s AND deleted_at IS NULL"
        " AND EXISTS (SELECT FROM profiles WHERE id = %(profile_id)s AND retired_at IS NULL)"
        " FOR SHARE",
        {"source_id": claim.source_id, "profile_id": claim.profile_id},
    )
    if not alive:
        raise Superseded


async def faults(tx: Tx, *, claim: ClaimedIndex) -> int:
    """What it is charged with by now; 0 when it is not ours any more."""
    return (
        await tx.value(
            int,
            "SELECT faults FROM indexes WHERE id = %(id)s AND attempt = %(attempt)s",
            {"id": claim.id, "attempt": claim.attempt},
        )
        or 0
    )


async def progress(tx: Tx, *, claim: ClaimedIndex, stage: Stage, done: int, total: int) -> None:
    """Set the stage and how far it is; the fence of every batch of chunks.

    Whoever gets further than any attempt before is acquitted: a document that kills its worker
    does so at the same place each time, and one that moves was killed by something else.
    """
    _fenced(
        await tx.run(
            """
            UPDATE indexes SET stage = %(stage)s, done = %(done)s, total = %(total)s,
                               alone = alone AND done >= %(done)s,
                               faults = CASE WHEN done >= %(done)s THEN faults ELSE 0 END,
                               updated_at = clock_timestamp()
            WHERE id = %(id)s AND attempt = %(attempt)s AND lease_until IS NOT NULL
            """,
            {
                "id": claim.id,
                "attempt": claim.attempt,
                "stage": stage,
                "done": done,
                "total": total,
            },
        )
    )


async def finish(tx: Tx, *, claim: ClaimedIndex, chunk_count: int) -> None:
    """One switch: the new generation answers, the old one is left to the sweep, the source is
    ready if this is its primary index; any other index leaves the source as it is."""
    await hold_rag(tx, customer_id=claim.customer_id, rag_id=claim.rag_id)
    await _ready_source(tx, claim=claim)
    _fenced(
        await tx.run(
            """
            UPDATE indexes
            SET state = 'ready', retired = retired OR generation_live IS NOT NULL,
                generation_live = generation, chunk_count = %(chunk_count)s, due_at = NULL,
                lease_until = NULL, worker_id = NULL, stage = NULL, faults = 0, alone = false,
                failure = NULL, done = %(chunk_count)s, total = %(chunk_count)s,
                updated_at = clock_timestamp()
            WHERE id = %(id)s AND attempt = %(attempt)s AND lease_until IS NOT NULL
              AND generation = %(generation)s
            """,
            {**_params(claim), "chunk_count": chunk_count},
        )
    )


async def _ready_source(tx: Tx, *, claim: ClaimedIndex) -> None:
    """Write the source of a primary index, hold that of any other; Superseded by a newer text, or
    when nobody wants this profile any more."""
    is_primary = await tx.run(
        """
        UPDATE sources s
        SET state = 'ready', failure = NULL, refresh_failed = false,
            updated_at = clock_timestamp()
        FROM rags r
        WHERE s.id = %(source_id)s AND r.id = s.rag_id AND r.profile_live = %(profile_id)s
          AND s.deleted_at IS NULL AND s.revision = %(generation)s
        """,
        _params(claim),
    )
    if not is_primary:
        current = await tx.value(
            bool,
            "SELECT true FROM sources WHERE id = %(source_id)s AND deleted_at IS NULL"
            " AND revision = %(generation)s"
            " AND EXISTS (SELECT FROM profiles WHERE id = %(profile_id)s AND retired_at IS NULL)"
            " FOR SHARE",
            _params(claim),
        )
        if not current:
            raise Superseded


async def postpone(tx: Tx, *, claim: ClaimedIndex, delay_s: float, failure: Failure | None) -> None:
    """Due again in `delay_s`, charged when there is a failure. The source waits as processing, or
    stays ready with a warning when an older generation still answers."""
    await hold_rag(tx, customer_id=claim.customer_id, rag_id=claim.rag_id)
    if failure is not None:
        await _tell_source(tx, claim=claim, failure=failure, final=False)
    _fenced(
        await tx.run(
            """
            UPDATE indexes
            SET state = 'pending', due_at = now() + make_interval(secs => %(delay_s)s),
                lease_until = NULL, worker_id = NULL, stage = NULL,
                faults = faults + (%(failure)s::jsonb IS NOT NULL)::int,
                failure = COALESCE(%(failure)s::jsonb, failure), updated_at = clock_timestamp()
            WHERE id = %(id)s AND attempt = %(attempt)s AND lease_until IS NOT NULL
            """,
            {**_params(claim), "delay_s": delay_s, "failure": as_json(failure)},
        )
    )


async def fail(tx: Tx, *, claim: ClaimedIndex, failure: Failure) -> None:
    """Final for this revision; an older generation goes on answering."""
    await hold_rag(tx, customer_id=claim.customer_id, rag_id=claim.rag_id)
    await _tell_source(tx, claim=claim, failure=failure, final=True)
    _fenced(
        await tx.run(
            """
            UPDATE indexes
            SET state = CASE WHEN generation_live IS NULL THEN 'error' ELSE 'ready' END,
                due_at = NULL, lease_until = NULL, worker_id = NULL, stage = NULL, alone = false,
                retired = true, used_bytes = 0, failure = %(failure)s::jsonb,
                updated_at = clock_timestamp()
            WHERE id = %(id)s AND attempt = %(attempt)s AND lease_until IS NOT NULL
            """,
            {**_params(claim), "failure": as_json(failure)},
        )
    )


async def _tell_source(tx: Tx, *, claim: ClaimedIndex, failure: Failure, final: bool) -> None:
    """A source follows its primary index only."""
    await tx.run(
        """
        UPDATE sources s
        SET failure = %(failure)s::jsonb, refresh_failed = i.generation_live IS NOT NULL,
            state = CASE WHEN i.generation_live IS NOT NULL THEN 'ready'
                         WHEN %(final)s THEN 'error' ELSE 'processing' END,
            updated_at = clock_timestamp()
        FROM indexes i JOIN rags r ON r.profile_live = i.profile_id
        WHERE i.id = %(id)s AND i.attempt = %(attempt)s AND i.lease_until IS NOT NULL
          AND s.id = i.source_id AND r.id = s.rag_id AND s.deleted_at IS NULL
        """,
        {**_params(claim), "failure": as_json(failure), "final": final},
    )


def _params(claim: ClaimedIndex) -> dict[str, object]:
    return {
        "id": claim.id,
        "attempt": claim.attempt,
        "source_id": claim.source_id,
        "profile_id": claim.profile_id,
        "generation": claim.generation,
    }


def _fenced(rows: int) -> None:
    if rows == 0:
        raise Superseded
