"""workers: one row a process, moved by its heartbeat. Health and metrics read it."""

from datetime import datetime

from engine.models import Noun, State, WorkerId
from engine.store.database import Tx


class WorkerRow(Noun, frozen=True, kw_only=True):
    id: WorkerId
    host: str
    pid: int
    running: int
    started_at: datetime
    heartbeat_age_s: float


class StateCount(Noun, frozen=True, kw_only=True):
    state: State
    count: int


class Queue(Noun, frozen=True, kw_only=True):
    """Due rows of both kinds, and how long the oldest has been waiting."""

    depth: int
    age_s: float


async def beat(tx: Tx, *, worker_id: WorkerId, host: str, pid: int) -> None:
    await tx.run(
        """
        INSERT INTO workers (id, host, pid) VALUES (%(id)s, %(host)s, %(pid)s)
        ON CONFLICT (id) DO UPDATE SET heartbeat_at = now()
        """,
        {"id": worker_id, "host": host, "pid": pid},
    )


async def leave(tx: Tx, *, worker_id: WorkerId) -> None:
    await tx.run("DELETE FROM workers WHERE id = %(id)s", {"id": worker_id})


async def forget_silent(tx: Tx, *, silent_s: float) -> int:
    """Rows of processes that went without a word."""
    return await tx.run(
        "DELETE FROM workers WHERE heartbeat_at < now() - make_interval(secs => %(silent_s)s)",
        {"silent_s": silent_s},
    )


async def everyone(tx: Tx) -> list[WorkerRow]:
    """What each holds is counted in the rows that it holds: at this moment."""
    return await tx.all(
        WorkerRow,
        """
        SELECT w.id, w.host, w.pid, w.started_at, COALESCE(held.rows, 0) AS running,
               extract(epoch FROM now() - w.heartbeat_at)::float8 AS heartbeat_age_s
        FROM workers w
        LEFT JOIN (SELECT worker_id, count(*) AS rows
                   FROM (SELECT worker_id FROM sources WHERE lease_until IS NOT NULL
                         UNION ALL
                         SELECT worker_id FROM indexes WHERE lease_until IS NOT NULL) each
                   GROUP BY worker_id) held ON held.worker_id = w.id
        ORDER BY w.started_at, w.id
        """,
    )


async def sources_by_state(tx: Tx) -> list[StateCount]:
    return await tx.all(
        StateCount,
        "SELECT state, count(*) AS count FROM sources WHERE deleted_at IS NULL GROUP BY state",
    )


async def queue(tx: Tx) -> Queue:
    queue = await tx.one(
        Queue,
        """
        SELECT count(*) AS depth,
               COALESCE(extract(epoch FROM now() - min(due_at)), 0)::float8 AS age_s
        FROM (SELECT due_at FROM sources
              WHERE due_at IS NOT NULL AND deleted_at IS NULL AND due_at <= now()
              UNION ALL
              SELECT due_at FROM indexes WHERE due_at IS NOT NULL AND due_at <= now()) due
        """,
    )
    assert queue
    return queue
