"""workers.extract.lanes: who takes long yields to who waits, except the one in the long lane."""

import asyncio

import pytest

from engine.errors import Overloaded
from workers.extract.lanes import Lanes

pytestmark = pytest.mark.anyio

PATIENCE_S = 0.05


class Work:
    """Work that ends when it is told to, and knows whether it was cancelled."""

    def __init__(self):
        self.ended = asyncio.Event()
        self.was_cancelled = False

    async def run(self):
        try:
            await self.ended.wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        return "done"


async def held(lanes, work):
    async with lanes.slot():
        return await lanes.run(work.run())


def begun(lanes, *works):
    return [asyncio.create_task(held(lanes, work)) for work in works]


async def test_the_second_long_one_yields_to_who_waits_and_is_cancelled():
    lanes = Lanes(2, patience_s=PATIENCE_S)
    first, second, third = Work(), Work(), Work()
    tasks = begun(lanes, first, second)
    await asyncio.sleep(PATIENCE_S * 4)
    third.ended.set()
    (waiting,) = begun(lanes, third)
    assert await asyncio.wait_for(waiting, timeout=3) == "done"
    with pytest.raises(Overloaded):
        await tasks[1]
    assert (first.was_cancelled, second.was_cancelled) == (False, True)
    first.ended.set()
    assert await tasks[0] == "done"


async def test_nobody_yields_while_nobody_waits():
    lanes = Lanes(2, patience_s=PATIENCE_S)
    works = [Work(), Work()]
    tasks = begun(lanes, *works)
    await asyncio.sleep(PATIENCE_S * 10)
    for work in works:
        work.ended.set()
    assert await asyncio.gather(*tasks) == ["done", "done"]


async def test_whoever_has_the_only_slot_may_finish():
    lanes = Lanes(1, patience_s=PATIENCE_S)
    long, short = Work(), Work()
    short.ended.set()
    tasks = begun(lanes, long, short)
    await asyncio.sleep(PATIENCE_S * 10)
    assert not tasks[1].done()
    long.ended.set()
    assert await asyncio.gather(*tasks) == ["done", "done"]


async def test_the_long_lane_passes_to_the_next_when_its_holder_is_cancelled():
    # Longer than the others look around: whoever has no lane would yield before the third one.
    patience_s = 0.6
    lanes = Lanes(2, patience_s=patience_s)
    first, second, third, fourth = Work(), Work(), Work(), Work()
    tasks = begun(lanes, first, second)
    await asyncio.sleep(patience_s * 2)
    tasks[0].cancel()
    await asyncio.wait({tasks[0]})
    assert first.was_cancelled
    await asyncio.sleep(patience_s)

    fourth.ended.set()
    later = begun(lanes, third, fourth)
    with pytest.raises(Overloaded):
        await asyncio.wait_for(later[0], timeout=3)
    assert await asyncio.wait_for(later[1], timeout=3) == "done"
    second.ended.set()
    assert await tasks[1] == "done"
