"""Who works in this process: so many rows at a time, the heartbeat of their leases, the poll.

A bell and the poll do the same thing: they wake one more to work on until nothing is due.
"""

import asyncio
import logging
import os
import socket
from typing import cast

from engine.config import Limits
from engine.errors import Unavailable
from engine.jobs import BELLS, Bell
from engine.models import IndexId, SourceId
from engine.store import Database, Tx, claims, workers
from engine.store.claims import ClaimedSource
from workers import memory
from workers.held import Claim, Held, source_of
from workers.ingest import Conductor

log = logging.getLogger(__name__)

TURN_S = 0.1  # that others have to come before a worker that has a row takes one more


class Crew:
    """At most `jobs` rows at work at a time, each in a task of its own."""

    def __init__(
        self, *, conductor: Conductor, database: Database, bell: Bell, limits: Limits, jobs: int
    ) -> None:
        self._conductor = conductor
        self._database = database
        self._bell = bell
        self._limits = limits
        self._jobs = jobs
        self._claiming = asyncio.Lock()
        self._tasks: dict[asyncio.Task[None], Held] = {}
        self._awake: set[asyncio.Task[None]] = set()
        self._calling: asyncio.Task[None] | None = None
        self._claimed = 0
        self._missed = False
        self._stopping = False

    @property
    def is_full(self) -> bool:
        """Whether nobody is free for one row more: then bells are for others."""
        return len(self._awake) >= self._jobs or self._may_not_claim()

    def wake(self) -> None:
        """Something may be due: whoever is free looks, and works on until nothing is due."""
        if len(self._awake) >= self._jobs:
            self._missed = True  # one of them may have looked just before
            return
        task = asyncio.create_task(self._work_on())
        self._awake.add(task)

    async def poll(self) -> None:
        """Look for work by the clock: the whole supply while Redis is away, a net otherwise."""
        while True:
            self.wake()
            await asyncio.sleep(self._limits.poll_s)

    async def _work_on(self) -> None:
        try:
            while await self._work() or self._has_missed():
                pass
        except Unavailable as error:
            log.warning("looking for work failed", extra={"code": error.code})
        finally:
            # At once: whoever rings a moment later must not take this one for busy.
            self._awake.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    async def _work(self) -> bool:
        """Claim one row and work it to its end; False when there was none for us."""
        async with self._claiming:
            claim = await self._claim()
            if claim is None:
                return False
            self._claimed += 1
            held = Held(claim)
            task = asyncio.create_task(self._conductor.conduct(claim, held=held))
            self._tasks[task] = held
            task.add_done_callback(self._tasks.pop)
        if self._calling is None or self._calling.done():
            self._calling = asyncio.create_task(self._call())
        await asyncio.wait([task])
        return True

    def _has_missed(self) -> bool:
        missed, self._missed = self._missed, False
        return missed

    async def beat(self) -> None:
        """Renew the leases on a connection of its own; stop what was taken away."""
        while True:
            try:
                async with self._database.dedicated() as tx:
                    while True:
                        # A path that went silent must not keep us from connecting anew in time.
                        async with asyncio.timeout(self._limits.lease_s / 3):
                            await self._beat_once(tx)
                        await asyncio.to_thread(memory.give_back)
                        await asyncio.sleep(self._limits.lease_s / 3)
            except (Unavailable, TimeoutError) as error:
                log.warning("heartbeat failed", extra={"cause": repr(error)})
                await asyncio.sleep(1.0)

    async def _beat_once(self, tx: Tx) -> None:
        if not self._stopping:  # who has left is not to come back
            await workers.beat(
                tx,
                worker_id=self._conductor.worker_id,
                host=socket.gethostname(),
                pid=os.getpid(),
            )
        await self._renew(tx)
        await self._give_back_unknown(tx)

    async def stop(self) -> None:
        """Give back what is held, so that another process takes it at once."""
        self._stopping = True
        if self._calling is not None:
            self._calling.cancel()
            await asyncio.wait([self._calling])
        async with self._claiming:
            tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=self._limits.lease_s / 3)
            await self._bell.ring(workers=BELLS)
        try:
            async with self._database.transaction() as tx:
                await workers.leave(tx, worker_id=self._conductor.worker_id)
        except Unavailable:
            log.warning("left without a word: the database is away")

    async def _give_back_unknown(self, tx: Tx) -> None:
        """While no claim is under way: whatever we hold in the rows is then among our tasks."""
        if self._claiming.locked():
            return
        async with self._claiming:
            known = [source_of(held.claim) for held in self._tasks.values()]
            rows = await claims.give_back_unknown(
                tx, worker_id=self._conductor.worker_id, known=known
            )
        if rows:
            log.warning("claims without an answer given back", extra={"rows": rows})

    async def _claim(self) -> Claim | None:
        if self._may_not_claim():
            return None
        return await self._conductor.claim(idle=not self._tasks)

    def _may_not_claim(self) -> bool:
        """While it stops, and beside a row that runs alone."""
        return self._stopping or any(held.claim.alone for held in self._tasks.values())

    async def _call(self) -> None:
        """A request rings once: whoever leaves due rows behind rings for other workers, and then
        looks again itself. Ever more rarely while nobody comes for them: who is busy looks by
        itself once it is done."""
        pause_s = TURN_S
        while not self._stopping:
            claimed = self._claimed
            if not await self._any_due():
                if claimed == self._claimed:
                    return
                continue  # claimed meanwhile: others may have come with it
            await self._bell.ring(workers=BELLS)
            await asyncio.sleep(pause_s)
            taken = self._claimed > claimed and not self.is_full
            pause_s = TURN_S if taken else min(2 * pause_s, self._limits.poll_s)
            self.wake()

    async def _any_due(self) -> bool:
        try:
            async with self._database.transaction() as tx:
                return await claims.any_due(tx)
        except Unavailable:
            return False

    async def _renew(self, tx: Tx) -> None:
        worker_id, lease_s = self._conductor.worker_id, self._limits.lease_s
        asked = {task: held.claim for task, held in self._tasks.items()}
        source_ids = [SourceId(c.id) for c in asked.values() if isinstance(c, ClaimedSource)]
        index_ids = [IndexId(c.id) for c in asked.values() if not isinstance(c, ClaimedSource)]
        kept: set[tuple[object, int]] = set()
        # A row a statement: whoever locks several rows in an order of his own would stand in a
        # deadlock with a beat that keeps one of them while it waits for another.
        for source_id in source_ids:
            kept |= await claims.renew_sources(
                tx, worker_id=worker_id, ids=[source_id], lease_s=lease_s
            )
        for index_id in index_ids:
            kept |= await claims.renew_indexes(
                tx, worker_id=worker_id, ids=[index_id], lease_s=lease_s
            )
        for task, claim in asked.items():
            held = self._tasks.get(task)
            # A source that turned into its index meanwhile is renewed in the next beat.
            if held and held.claim is claim and (claim.id, claim.attempt) not in kept:
                log.info("claim lost", extra={"row": str(claim.id), "attempt": claim.attempt})
                held.lost = True
                task.cancel()
