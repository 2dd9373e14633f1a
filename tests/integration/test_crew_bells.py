"""Who comes when a bell rings: as many as are free, from all workers, and nobody for nothing."""

import asyncio
import gc
from collections.abc import Callable

import pytest
import redis.asyncio
from fix_crews import CrewOf, Hands
from fix_store import Store

from engine.config import Settings
from engine.jobs import BELLS, QUEUE, Bell
from workers.crew import TURN_S
from workers.main import _listen

# A listener that is broken off in the middle of a command leaves its connection to the collector.
pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

NEVER_S = 3600.0


async def due(store: Store, count: int) -> None:
    """So many new sources of one customer."""
    customer_id = await store.customer()
    rag_id = await store.rag(customer_id)
    for _ in range(count):
        await store.source(customer_id, rag_id)


async def until(condition: Callable[[], bool], *, within_s: float = 5.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.01)


async def bells(settings: Settings) -> int:
    async with redis.asyncio.Redis.from_url(settings.redis_url) as client:
        return int(await client.zcard(QUEUE))


def listening(*crews: Hands, settings: Settings) -> list[asyncio.Task[None]]:
    return [asyncio.create_task(_listen(crew, settings=settings)) for crew in crews]


async def ended(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    gc.collect()


async def test_one_bell_is_enough_for_all_that_is_due_and_for_all_workers(
    store: Store, settings: Settings, crew_of: CrewOf
) -> None:
    crews = [crew_of(jobs=2, poll_s=NEVER_S) for _ in range(3)]
    await due(store, 6)
    tasks = listening(*crews, settings=settings)
    await crews[0].bell.ring()
    await until(lambda: all(len(crew.held) == 2 for crew in crews))
    await ended(tasks)


async def test_a_worker_that_has_a_row_leaves_others_their_turn(
    store: Store, settings: Settings, crew_of: CrewOf
) -> None:
    first, second = crew_of(jobs=4, poll_s=NEVER_S), crew_of(jobs=4, poll_s=NEVER_S)
    await due(store, 4)
    tasks = listening(first, second, settings=settings)
    await first.bell.ring()
    await until(lambda: len(first.held) + len(second.held) == 4)
    assert first.held
    assert second.held
    await ended(tasks)


async def test_a_full_worker_leaves_the_bells_where_they_are(
    store: Store, settings: Settings, crew_of: CrewOf
) -> None:
    full, free = crew_of(jobs=1, poll_s=NEVER_S), crew_of(jobs=1, poll_s=NEVER_S)
    await due(store, 1)
    full.wake()
    await until(lambda: len(full.held) == 1)
    tasks = listening(full, settings=settings)
    await due(store, 1)
    await full.bell.ring()
    await asyncio.sleep(0.5)
    assert await bells(settings) == 1
    tasks += listening(free, settings=settings)
    await until(lambda: len(free.held) == 1)
    await ended(tasks)


async def test_a_bell_that_hangs_there_needs_no_second_and_rings_anew_once_taken(
    store: Store, settings: Settings, crew_of: CrewOf
) -> None:
    crew = crew_of(jobs=2, poll_s=NEVER_S)
    bell = Bell(settings.redis_url)
    assert [await bell.ring(), await bell.ring()] == [True, True]
    assert await bells(settings) == 1
    await bell.ring(workers=BELLS)
    assert await bells(settings) == BELLS
    tasks = listening(crew, settings=settings)
    async with asyncio.timeout(5):
        while await bells(settings):
            await asyncio.sleep(0.01)
    await due(store, 1)
    await bell.ring()
    await until(lambda: len(crew.held) == 1)
    await ended(tasks)
    await bell.close()


async def test_who_is_woken_works_on_until_nothing_is_due(store: Store, crew_of: CrewOf) -> None:
    crew = crew_of(jobs=1, poll_s=NEVER_S)
    crew.conductor.let_go.set()
    await due(store, 3)
    crew.wake()
    await until(lambda: len(crew.held) == 3)


async def test_a_bell_that_rings_while_the_last_free_one_has_just_looked_is_heard(
    store: Store, crew_of: CrewOf
) -> None:
    crew = crew_of(jobs=1, poll_s=NEVER_S)
    crew.conductor.may_tell.clear()
    crew.wake()
    await until(lambda: crew.conductor.looks == 1)  # it found nothing
    await due(store, 1)
    assert crew.is_full
    crew.wake()
    crew.conductor.may_tell.set()
    await until(lambda: len(crew.held) == 1)


async def test_bells_become_rare_while_nobody_comes_and_end_with_the_last_due_row(
    store: Store, crew_of: CrewOf
) -> None:
    crew = crew_of(jobs=1, poll_s=0.8)
    await due(store, 2)
    crew.wake()
    await until(lambda: len(crew.held) == 1)
    await asyncio.sleep(20 * TURN_S)  # rung at 0, 1, 3, 7, 15 turns
    assert 3 <= crew.bell.rings <= 6
    crew.conductor.let_go.set()
    await until(lambda: len(crew.held) == 2)
    await asyncio.sleep(1.0)
    rings = crew.bell.rings
    await asyncio.sleep(1.0)
    assert crew.bell.rings == rings


async def test_a_worker_looks_again_by_itself_where_nobody_rings(
    store: Store, crew_of: CrewOf
) -> None:
    crew = crew_of(jobs=4, poll_s=NEVER_S)
    await due(store, 4)
    crew.wake()
    await until(lambda: len(crew.held) == 4, within_s=8 * TURN_S + 2)
