"""workers.lanes: whose slow fetch makes room, when somebody else waits."""

import asyncio
from uuid import UUID

import pytest

from engine.errors import Overloaded
from engine.models import CustomerId
from workers.lanes import FetchLanes

pytestmark = pytest.mark.anyio

A, B, C = (CustomerId(UUID(int=number)) for number in range(3))
PATIENCE_S = 0.03
SOON_S = PATIENCE_S * 8


class Fetch:
    """A fetch of a customer that ends when it is told to."""

    def __init__(self, customer_id: CustomerId) -> None:
        self.customer_id = customer_id
        self.ended = asyncio.Event()
        self.was_cancelled = False
        self.task: asyncio.Task[str]

    async def run(self) -> str:
        try:
            await self.ended.wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        return "fetched"

    @property
    def gave_up(self) -> bool:
        return self.task.done() and isinstance(self.task.exception(), Overloaded)


class Worker:
    """Lanes of a process, and who waits elsewhere."""

    def __init__(self, places: int) -> None:
        self.waiting: set[CustomerId] = set()
        self.asked = 0
        self.lanes = FetchLanes(
            places=places, others_wait=self.others_wait, patience_s=PATIENCE_S, look_s=0.01
        )

    async def others_wait(self, customer_id: CustomerId) -> bool:
        self.asked += 1
        return bool(self.waiting - {customer_id})

    async def begun(self, *customers: CustomerId) -> list[Fetch]:
        """A fetch for each, which become slow in that order."""
        fetches = []
        for customer_id in customers:
            fetch = Fetch(customer_id)
            fetch.task = asyncio.create_task(self.lanes.run(fetch.run(), customer_id=customer_id))
            fetches.append(fetch)
            await asyncio.sleep(0.005)
        return fetches


async def ended(*fetches: Fetch) -> None:
    """What goes on is fetched in the end."""
    for fetch in fetches:
        fetch.ended.set()
    assert [await each.task for each in fetches] == ["fetched"] * len(fetches)


async def test_the_youngest_of_who_holds_all_places_makes_room_for_who_waits():
    worker = Worker(places=3)
    fetches = await worker.begun(A, A, A)
    await asyncio.sleep(SOON_S)
    assert not any(each.task.done() for each in fetches)
    worker.waiting = {B}
    await asyncio.sleep(SOON_S)
    assert [each.gave_up for each in fetches] == [False, False, True]
    assert [each.was_cancelled for each in fetches] == [False, False, True]
    await ended(*fetches[:2])


async def test_nobody_makes_room_for_its_own_customer():
    worker = Worker(places=3)
    worker.waiting = {A}
    fetches = await worker.begun(A, A, A)
    await asyncio.sleep(SOON_S)
    await ended(*fetches)


async def test_while_a_place_is_free_of_slow_ones_nobody_is_even_asked():
    worker = Worker(places=3)
    worker.waiting = {B}
    fetches = await worker.begun(A, A)
    await asyncio.sleep(SOON_S)
    assert worker.asked == 0
    await ended(*fetches)


async def test_a_fetch_within_its_patience_is_none_of_the_slow_ones():
    worker = Worker(places=2)
    worker.waiting = {B}
    worker.lanes._patience_s = 60
    fetches = await worker.begun(A, A, A)
    await asyncio.sleep(SOON_S)
    assert worker.asked == 0
    await ended(*fetches)


async def test_who_holds_most_gives_up_and_not_who_came_last():
    worker = Worker(places=4)
    worker.waiting = {C}
    fetches = await worker.begun(A, A, A, B)
    await asyncio.sleep(SOON_S)
    assert [each.gave_up for each in fetches] == [False, False, True, False]
    await ended(fetches[0], fetches[1], fetches[3])


async def test_among_equals_the_youngest_gives_up():
    worker = Worker(places=2)
    worker.waiting = {C}
    fetches = await worker.begun(A, B)
    await asyncio.sleep(SOON_S)
    assert [each.gave_up for each in fetches] == [False, True]
    await ended(fetches[0])


async def test_the_only_place_is_kept_to_the_end():
    worker = Worker(places=1)
    worker.waiting = {B}
    fetches = await worker.begun(A)
    await asyncio.sleep(SOON_S)
    await ended(*fetches)


async def test_a_fetch_that_fails_fails_as_without_lanes():
    async def failing(*, after_s: float) -> str:
        await asyncio.sleep(after_s)
        raise ConnectionError("refused")

    worker = Worker(places=1)
    for after_s in (0, SOON_S):
        with pytest.raises(ConnectionError):
            await worker.lanes.run(failing(after_s=after_s), customer_id=A)
    assert worker.lanes._slow == []


async def test_who_is_stopped_stops_its_fetch_and_leaves_no_trace():
    worker = Worker(places=3)
    fetches = await worker.begun(A, A)
    await asyncio.sleep(SOON_S)
    fetches[0].task.cancel()
    await asyncio.wait({fetches[0].task})
    assert fetches[0].was_cancelled
    assert len(worker.lanes._slow) == 1
    await ended(fetches[1])
    assert worker.lanes._slow == []
