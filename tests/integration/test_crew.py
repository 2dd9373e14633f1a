"""The heartbeat of a worker process against whoever else locks the rows that it holds."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import msgspec
import pytest
from fix_store import Store

from engine.addresses import AllowList
from engine.blobs import Blobs
from engine.config import Settings
from engine.embedding import Models, Registry
from engine.jobs import Bell
from engine.models import SourceId, WorkerId
from workers.crew import Crew
from workers.extract.extractor import Extractor
from workers.fetch import Fetcher
from workers.held import Claim, Held
from workers.ingest import Conductor

pytestmark = pytest.mark.anyio


class Patient(Conductor):
    """Keeps what it has claimed until it is stopped."""

    async def conduct(self, claim: Claim, *, held: Held) -> None:
        await asyncio.Event().wait()


@pytest.fixture
async def crew(store: Store, settings: Settings) -> AsyncIterator[Crew]:
    limits = msgspec.structs.replace(settings.limits, lease_s=9.0)
    extractor = Extractor()
    models = Models(registry=Registry.from_settings(settings), settings=settings)
    bell = Bell(settings.redis_url)
    conductor = Patient(
        worker_id=WorkerId(uuid4()),
        database=store.worker,
        blobs=Blobs(settings.blobs_url),
        fetcher=Fetcher(limits=limits, allow_list=AllowList.parse(())),
        extractor=extractor,
        models=models,
        settings=settings,
    )
    made = Crew(conductor=conductor, database=store.worker, bell=bell, limits=limits, jobs=4)
    yield made
    await made.stop()
    extractor.close()
    models.close()
    await bell.close()


@pytest.mark.parametrize("turned", [False, True])
async def test_a_beat_stands_in_no_deadlock_with_whoever_locks_two_rows_in_any_order(
    crew: Crew, store: Store, turned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    customer_id = await store.customer()
    rag_id = await store.rag(customer_id)
    ids = sorted([await store.source(customer_id, rag_id) for _ in range(2)], reverse=turned)
    working = [asyncio.create_task(crew.work()) for _ in ids]
    async with asyncio.timeout(5):
        while await held(store) < len(ids):
            await asyncio.sleep(0.01)

    async with store.worker.transaction() as tx:
        first, second = ids
        await tx.run("SELECT id FROM sources WHERE id = %(id)s FOR SHARE", {"id": first})
        beating = asyncio.create_task(crew.beat())
        await asyncio.sleep(0.2)  # it has renewed what it could and waits for the first
        # Fails after a second in a deadlock.
        await tx.run("SELECT id FROM sources WHERE id = %(id)s FOR SHARE", {"id": second})

    async with asyncio.timeout(2):  # before the next beat
        while await renewed(store, ids) < len(ids):
            await asyncio.sleep(0.01)
    assert "heartbeat failed" not in caplog.messages
    for task in (beating, *working):
        task.cancel()
    await asyncio.gather(beating, *working, return_exceptions=True)


async def held(store: Store) -> int:
    rows = await store.fetch("SELECT id FROM sources WHERE lease_until IS NOT NULL")
    return len(rows)


async def renewed(store: Store, ids: list[SourceId]) -> int:
    """How many leases a beat has set: it gives less than the 60 s that a claim gives."""
    rows = await store.fetch(
        "SELECT id FROM sources WHERE id = ANY(%(ids)s)"
        " AND lease_until < now() + interval '10 seconds'",
        ids=ids,
    )
    return len(rows)
