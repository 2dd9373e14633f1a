"""Who works in this process: slots for claimed rows, the heartbeat of their leases, the poll.

A bell and the poll do the same thing: `work` claims the fairest due row and works it to its end.
"""

import asyncio
import logging
import os
import socket

from engine.config import Limits
from engine.errors import Unavailable
from engine.jobs import Bell
from engine.models import IndexId, SourceId
from engine.store import Database, Tx, claims, workers
from engine.store.claims import ClaimedSource
from workers import memory
from workers.held import Claim, Held, source_of
from workers.ingest import Conductor

log = logging.getLogger(__name__)


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
        self._slots = asyncio.Semaphore(jobs)
        self._claiming = asyncio.Lock()
        self._tasks: dict[asyncio.Task[None], Held] = {}
        self._stopping = False

    async def work(self) -> bool:
        """Claim one row and work it to its end; False when there was none for us.

        Raises Unavailable while the database is away.
        """
        async with self._slots:
            async with self._claiming:
                claim = await self._claim()
                if claim is None:
                    return False
                held = Held(claim)
                task = asyncio.create_task(self._conductor.conduct(claim, held=held))
                self._tasks[task] = held
                task.add_done_callback(self._tasks.pop)
            await self._ring_again()
            await asyncio.wait([task])
        return True

    async def poll(self) -> None:
        """Look for work by the clock: the whole supply while Redis is away, a net otherwise."""
        started: set[asyncio.Task[None]] = set()
        while True:
            if len(started) < self._jobs:
                task = asyncio.create_task(self._work_on())
                started.add(task)
                task.add_done_callback(started.discard)
            await asyncio.sleep(self._limits.poll_s)

    async def _work_on(self) -> None:
        """Work until nothing is due: what one poll finds does not wait for the next one."""
        try:
            while await self.work():
                pass
        except Unavailable as error:
            log.warning("poll failed", extra={"code": error.code})

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
        await workers.beat(
            tx,
            worker_id=self._conductor.worker_id,
            host=socket.gethostname(),
            pid=os.getpid(),
            running=len(self._tasks),
        )
        await self._renew(tx)
        await self._give_back_unknown(tx)

    async def stop(self) -> None:
        """Give back what is held, so that another process takes it at once."""
        self._stopping = True
        async with self._claiming:
            tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=self._limits.lease_s / 3)
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
        """Nothing beside a row that runs alone; and run dry when one waits for that."""
        if self._stopping or any(held.claim.alone for held in self._tasks.values()):
            return None
        if self._tasks:
            async with self._database.transaction() as tx:
                if await claims.alone_waits(tx):
                    return None
        return await self._conductor.claim(idle=not self._tasks)

    async def _ring_again(self) -> None:
        """One bell a request: whoever leaves due rows behind rings for the next worker."""
        try:
            async with self._database.transaction() as tx:
                due = await claims.any_due(tx)
        except Unavailable:
            return
        if due:
            await self._bell.ring()

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
