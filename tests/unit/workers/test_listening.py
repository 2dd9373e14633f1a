"""What the end of arq's worker means for the process that runs it."""

import asyncio

import pytest

from workers.main import _close

pytestmark = pytest.mark.anyio


class Ending:
    """Ends as arq's worker does: its close passes on how its jobs ended."""

    def __init__(self, jobs: asyncio.Future[None]) -> None:
        self._jobs = jobs

    async def close(self) -> None:
        await asyncio.gather(self._jobs)


async def test_a_job_that_was_cancelled_does_not_end_the_process() -> None:
    job: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    job.cancel()
    await _close(Ending(job))  # type: ignore[arg-type]


async def test_a_worker_that_is_told_to_stop_stops() -> None:
    closing = asyncio.create_task(
        _close(Ending(asyncio.get_running_loop().create_future()))  # type: ignore[arg-type]
    )
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing


@pytest.mark.parametrize("error", [ConnectionError("gone"), OSError("gone")])
async def test_a_queue_that_is_gone_is_no_news(error: Exception) -> None:
    job: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    job.set_exception(error)
    await _close(Ending(job))  # type: ignore[arg-type]
