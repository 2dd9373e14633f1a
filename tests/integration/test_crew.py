"""The heartbeat of a worker process against whoever else locks the rows that it holds."""

import asyncio

import pytest
from fix_crews import CrewOf
from fix_store import Store

from engine.models import SourceId
from engine.store import workers

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("turned", [False, True])
async def test_a_beat_stands_in_no_deadlock_with_whoever_locks_two_rows_in_any_order(
    crew_of: CrewOf, store: Store, turned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    crew = crew_of(lease_s=9.0)
    customer_id = await store.customer()
    rag_id = await store.rag(customer_id)
    ids = sorted([await store.source(customer_id, rag_id) for _ in range(2)], reverse=turned)
    for _ in ids:
        crew.wake()
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
    beating.cancel()
    await asyncio.gather(beating, return_exceptions=True)


async def test_what_a_worker_works_on_is_told_as_of_now_and_not_of_its_last_beat(
    crew_of: CrewOf, store: Store
) -> None:
    crew = crew_of(lease_s=60.0)
    beating = asyncio.create_task(crew.beat())
    async with asyncio.timeout(5):
        while await running(store) != [0]:
            await asyncio.sleep(0.01)
    customer_id = await store.customer()
    rag_id = await store.rag(customer_id)
    for _ in range(3):
        await store.source(customer_id, rag_id)
    built = await store.acquire(await store.claimed_source())  # by somebody never heard of
    for _ in range(2):
        crew.wake()
    async with asyncio.timeout(5):
        while len(crew.held) < 2:
            await asyncio.sleep(0.01)
    assert await running(store) == [2]
    await store.execute(
        "UPDATE indexes SET worker_id = %(worker_id)s WHERE id = %(id)s",
        worker_id=crew.conductor.worker_id,
        id=built.id,
    )
    assert await running(store) == [3]
    await crew.stop()
    beating.cancel()
    await asyncio.gather(beating, return_exceptions=True)


async def test_what_runs_alone_does_not_wait_for_a_model_that_cannot_be_warmed(
    crew_of: CrewOf, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(**_: bool) -> None:
        raise MemoryError("no room for a model")

    crew = crew_of()
    monkeypatch.setattr(crew.conductor._models, "warm_up", broken)
    customer_id = await store.customer()
    await store.source(customer_id, await store.rag(customer_id))
    await store.execute("UPDATE sources SET alone = true")
    with pytest.raises(MemoryError):
        await crew.conductor.warm_up()
    crew.wake()
    async with asyncio.timeout(5):
        while not crew.held:
            await asyncio.sleep(0.01)


async def running(store: Store) -> list[int]:
    async with store.operator.transaction() as tx:
        return [row.running for row in await workers.everyone(tx)]


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
