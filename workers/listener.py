"""Hears the bells: arq's worker, which ends whenever Redis goes, started again with a pause.

Whoever hears one wakes the crew and the bell is gone. Nothing that runs is touched when a listener
ends: rows are worked in tasks of the crew, and its poll goes on without bells.
"""

import asyncio
import contextlib
import logging
from typing import Any, cast

from arq.worker import Worker, func
from redis.exceptions import RedisError

from engine import jobs
from workers.crew import Crew

log = logging.getLogger(__name__)

BELL_TIMEOUT_S = 2  # of a worker that dies with a bell in its hand, for which nobody else waits
LOOK_EVERY_S = 0.1
RESTART_PAUSE_S = 1.0


async def listen(crew: Crew, *, redis_url: str) -> None:
    """Wake the crew at each bell, for ever. No trouble with Redis ends it."""
    while True:
        listener = Listener(crew, redis_url=redis_url)
        try:
            await listener.async_run()
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("bells are away, polling", extra={"cause": str(error)})
        finally:
            await listener.hang_up()
        await asyncio.sleep(RESTART_PAUSE_S)


class Listener(Worker):
    """Leaves the bells to others while nobody of its crew is free."""

    def __init__(self, crew: Crew, *, redis_url: str) -> None:
        super().__init__(
            functions=[func(cast(Any, _heard), name=jobs.JOB)],
            queue_name=jobs.QUEUE,
            redis_pool=jobs.client(redis_url),
            handle_signals=False,
            job_timeout=BELL_TIMEOUT_S,
            # Of a bell that ends in error as well: the same one could not be rung while it is kept.
            keep_result=0,
            poll_delay=LOOK_EVERY_S,
            job_serializer=jobs.encode,
            job_deserializer=jobs.decode,
            log_results=False,
            after_job_end=self._gone,
        )
        self._crew = crew
        self.in_progress_timeout_s = BELL_TIMEOUT_S  # arq waits ten seconds more

    async def start_jobs(self, job_ids: list[bytes]) -> None:
        """One bell a look, so that each of several workers gets one."""
        for job_id in job_ids:
            if self._crew.is_full:
                return
            before = self.tasks.get(job_id.decode())
            await super().start_jobs([job_id])
            if self.tasks.get(job_id.decode()) is not before:
                return

    async def hang_up(self) -> None:
        """Drop what is in hand, whose bells hang there until their time is over, or are gone and
        nobody was woken; and disconnect."""
        left = list(self.tasks.values())
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        if left:
            self._crew.wake()
        with contextlib.suppress(RedisError, OSError):
            await self.pool.aclose(close_connection_pool=True)

    async def _gone(self, ctx: dict[Any, Any]) -> None:
        """Rows that are written from now on are told by a bell of their own."""
        self._crew.wake()


async def _heard(_: dict[Any, Any]) -> None:
    """Over at once: all workers look at a bell for as long as somebody holds it."""
