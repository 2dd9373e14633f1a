"""What probes and metrics ask: is everything there, how much waits, who works on what."""

from engine.blobs import Blobs
from engine.embedding import Models
from engine.jobs import Bell
from engine.models import Noun, State
from engine.store import Database, workers


class WorkerLoad(Noun, frozen=True, kw_only=True):
    """One worker process: `worker` is host:pid."""

    worker: str
    running: int
    heartbeat_age_s: float


class Metrics(Noun, frozen=True, kw_only=True):
    """Over all customers; no name or text of any of them."""

    queue_depth: int
    queue_age_s: float
    sources: dict[State, int]
    workers: tuple[WorkerLoad, ...]


class Health:
    """`database` acts as the operator: counts go across customers."""

    def __init__(self, *, database: Database, blobs: Blobs, bell: Bell, models: Models) -> None:
        self._database = database
        self._blobs = blobs
        self._bell = bell
        self._models = models

    async def ready(self) -> dict[str, str]:
        """What answers. Raises Unavailable for what requests cannot do without."""
        async with self._database.transaction() as tx:
            await workers.queue(tx)
        await self._blobs.ping()
        await self._models.open_default()
        return {"database": "ok", "storage": "ok", "model": "ok"}

    async def metrics(self) -> Metrics:
        async with self._database.transaction() as tx:
            queue = await workers.queue(tx)
            states = await workers.sources_by_state(tx)
            rows = await workers.everyone(tx)
        return Metrics(
            queue_depth=queue.depth,
            queue_age_s=queue.age_s,
            sources=dict.fromkeys(State, 0) | {row.state: row.count for row in states},
            workers=tuple(
                WorkerLoad(
                    worker=f"{row.host}:{row.pid}",
                    running=row.running,
                    heartbeat_age_s=row.heartbeat_age_s,
                )
                for row in rows
            ),
        )
