"""How a worker process ends."""

import asyncio

import pytest

from workers.main import end

pytestmark = pytest.mark.anyio


async def test_what_takes_a_cancellation_for_something_else_ends_all_the_same() -> None:
    swallowed = 0

    async def deaf() -> None:
        nonlocal swallowed
        while swallowed < 2:
            try:
                await asyncio.sleep(3_600)
            except asyncio.CancelledError:
                swallowed += 1
        await asyncio.sleep(3_600)

    async def quick() -> None:
        await asyncio.sleep(3_600)

    async def failed() -> None:
        raise ValueError

    tasks = [asyncio.create_task(coroutine()) for coroutine in (deaf, quick, failed)]
    await asyncio.sleep(0)
    async with asyncio.timeout(20):
        await end(tasks)
    assert [task.cancelled() for task in tasks] == [True, True, False]
    assert swallowed == 2
    with pytest.raises(ValueError):
        tasks[2].result()
