"""Who comes when a bell rings: as many as are free, from all workers, and nobody for nothing."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest
import redis.asyncio
from fix_crews import CrewOf, Hands
from fix_store import Store

from engine.config import Settings
from engine.jobs import BELLS, QUEUE
from workers.crew import TURN_S
from workers.listener import Listener, listen
from workers.main import end

pytestmark = pytest.mark.anyio

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


async def until_heard(settings: Settings) -> None:
    async with asyncio.timeout(5):
        while await bells(settings):
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def listening(*crews: Hands, settings: Settings) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(listen(crew, redis_url=settings.redis_url)) for crew in crews]
    try:
        yield
    finally:
        await end(tasks)


async def connections(settings: Settings) -> int:
    async with redis.asyncio.Redis.from_url(settings.redis_url) as client:
        return len(await client.client_list())


async def test_one_bell_is_enough_for_all_that_is_due_and_for_all_workers(
    store: Store, settings: Settings, crew_of: CrewOf
) -> None:
    crews = [crew_of(jobs=2, poll_s=NEVER_S) for _ in range(3)]
    await due(store, 6)
    async with listening(*crews, settings=settings):
        await crews[0].bell.ring()
        await until(lambda: all(len(crew.held) == 2 for crew in crews))


async def test_a_worker_that_has_a_row_leaves_others_their_turn(
    store: Store, settings: Settings, crew_of: CrewOf
) -> None:
    crews = [crew_of(jobs=4, poll_s=NEVER_S) for _ in range(2)]
    await due(store, 4)
    async with listening(*crews, settings=settings):
        await crews[0].bell.ring()
        await until(lambda: sum(len(crew.held) for crew in crews) == 4)
    assert all(crew.held for crew in crews)


@pytest.mark.parametrize(("jobs", "alone"), [(1, False), (4, True)])
async def test_a_worker_that_may_take_no_more_leaves_the_bells_where_they_are(
    store: Store, settings: Settings, crew_of: CrewOf, jobs: int, alone: bool
) -> None:
    """Because all of its places are taken, or because its row runs alone."""
    full, free = (crew_of(jobs=jobs, poll_s=NEVER_S) for _ in range(2))
    await due(store, 1)
    await store.execute("UPDATE sources SET alone = %(alone)s", alone=alone)
    full.wake()
    await until(lambda: len(full.held) == 1)
    await due(store, 1)
    async with listening(full, settings=settings):
        await full.bell.ring()
        await asyncio.sleep(0.5)
        assert await bells(settings) == 1
        async with listening(free, settings=settings):
            await until(lambda: len(free.held) == 1)


async def test_a_bell_that_hangs_there_needs_no_second_and_rings_anew_once_taken(
    store: Store, settings: Settings, crew_of: CrewOf
) -> None:
    crew = crew_of(jobs=2, poll_s=NEVER_S)
    assert [await crew.bell.ring(), await crew.bell.ring()] == [True, True]
    assert await bells(settings) == 1
    await crew.bell.ring(workers=BELLS)
    assert await bells(settings) == BELLS
    async with listening(crew, settings=settings):
        await until_heard(settings)
        await due(store, 1)
        await crew.bell.ring()
        await until(lambda: len(crew.held) == 1)


async def test_what_a_stopped_worker_gives_back_is_taken_at_once(
    store: Store, settings: Settings, crew_of: CrewOf
) -> None:
    stopped, heir = (crew_of(jobs=2, poll_s=NEVER_S) for _ in range(2))
    await due(store, 2)
    for _ in range(2):
        stopped.wake()
    await until(lambda: len(stopped.held) == 2)
    async with listening(heir, settings=settings):
        await until_heard(settings)
        await stopped.stop()
        await until(lambda: len(heir.held) == 2)


async def test_a_bell_of_which_only_the_name_is_left_can_be_rung_again(
    store: Store, settings: Settings, crew_of: CrewOf
) -> None:
    crew = crew_of(jobs=2, poll_s=NEVER_S)
    await crew.bell.ring()
    async with redis.asyncio.Redis.from_url(settings.redis_url) as client:
        assert await client.delete(f"arq:job:{QUEUE}:0") == 1  # as after a day unheard
    async with listening(crew, settings=settings):
        await until_heard(settings)
        await due(store, 1)
        await crew.bell.ring()
        await until(lambda: len(crew.held) == 1)


@pytest.mark.parametrize("after_s", [0.0, 0.003, 0.01, 0.15])
async def test_who_is_told_to_stop_listening_leaves_no_connection(
    settings: Settings, crew_of: CrewOf, after_s: float
) -> None:
    crew = crew_of(jobs=2, poll_s=NEVER_S)
    before = await connections(settings)
    async with listening(crew, settings=settings):
        await asyncio.sleep(after_s)
    assert await connections(settings) == before


async def refused(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("error", [ConnectionError("gone"), OSError("gone")])
async def test_whatever_a_bell_in_hand_ends_with_is_no_news_and_somebody_looks(
    settings: Settings, crew_of: CrewOf, error: Exception
) -> None:
    crew = crew_of(jobs=2, poll_s=NEVER_S)
    listener = Listener(crew, redis_url=settings.redis_url)
    in_hand = (refused(error), asyncio.sleep(NEVER_S), asyncio.sleep(0))
    listener.tasks = {str(each): asyncio.create_task(each) for each in in_hand}
    await asyncio.sleep(0.01)
    await listener.hang_up()
    assert all(task.done() for task in listener.tasks.values())
    await until(lambda: crew.conductor.looks == 1)


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
