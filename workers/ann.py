"""The loop that keeps ANN tables: built for profiles that have grown large, filled up behind what
is ingested, tidied behind what is deleted, built anew when much of one is dead, and dropped.

One at a time in the whole engine, by an advisory lock of its own: the sweep does not wait for a
graph of millions. Nobody else does either: a query scans what is not in a table. Every step may be
killed; the next one finds in the rows what is left to do.
"""

import asyncio
import logging
import time

from engine.config import Limits
from engine.errors import Superseded, Unavailable
from engine.models import ProfileId
from engine.store import Database, Tx, ann, annentries, purge
from engine.store.ann import AnnTable, MixedDimensions, Size
from engine.store.annentries import Waiting
from workers.failpoint import Failpoint

log = logging.getLogger(__name__)

ENTER_CHUNKS = 1_000  # entered in one transaction: two to five seconds on one core
WAITING_MAX = 500  # generations looked at in one step
DELETE_ENTRIES = 5_000
MARK_INDEXES = 5_000
# A graph is built anew when so much of it is dead, because searches still walk it; or when so much
# waits beside it, because building costs a fifth of entering, entry by entry.
DEAD_SHARE_MAX = 0.2
WAITING_SHARE_MAX = 0.25
# While a profile grows, more may wait: built anew at each quarter more, a graph would take nearly
# half as long as the model. So many chunks are scanned in 11 ms, beside an old graph or with none.
GROWING_MAX = 10_000
GROWING_SHARE_MAX = 0.5
PAUSE_S = 300.0  # before a profile is looked at again of which no graph can be made
SHRUNK_SHARE = 0.5  # of the size from which a table is worth it: below, it is dropped


class AnnKeeper:
    """Runs in every worker process; the one that holds the lock does the work."""

    def __init__(self, *, database: Database, limits: Limits, failpoint: Failpoint) -> None:
        self._database = database
        self._limits = limits
        self._failpoint = failpoint
        self._pausing: dict[ProfileId, float] = {}

    async def run(self) -> None:
        """For ever. Waits for a database that is away."""
        while True:
            try:
                async with self._database.owned() as owner:
                    await self._keep_while_sole(owner)
            except Unavailable as error:
                log.warning("ann tables not kept", extra={"code": error.code})
            await asyncio.sleep(self._limits.ann_s)

    async def _keep_while_sole(self, owner: Tx) -> None:
        silent_s = self._limits.lease_s / 2 + 10 * self._limits.ann_s
        while not await ann.sole(owner, silent_s=silent_s):  # noqa: ASYNC110 - it lives in Postgres
            await asyncio.sleep(self._limits.ann_s)
        while True:
            await self.once(owner)
            await asyncio.sleep(self._limits.ann_s)
            await purge.alive(owner)

    async def once(self, owner: Tx) -> int:
        """Until nothing is left to do; returns how many steps did something. `owner` may make
        tables."""
        await ann.drop_unknown(owner)
        steps = 0
        while await self._step(owner):
            steps += 1
            await purge.alive(owner)
        return steps

    async def _step(self, owner: Tx) -> bool:
        """Something done for one profile; False when nothing is left to do."""
        async with self._database.transaction() as tx:
            tables = {table.profile_id: table for table in await ann.tables(tx)}
            least = round(self._limits.exact_chunks_max * SHRUNK_SHARE) + 1
            sizes = await ann.sizes(tx, chunks_min=least)
        large = {size.profile_id for size in sizes}
        for table in tables.values():
            if table.profile_id not in large and await ann.drop(owner, table=table):
                log.info("ann table dropped", extra={"profile": str(table.profile_id)})
                return True
        for size in sizes:
            if await self._keep(owner, size=size, table=tables.get(size.profile_id)):
                return True
        return False

    async def _keep(self, owner: Tx, *, size: Size, table: AnnTable | None) -> bool:
        """Build a table where one is due, else move one batch; True when that did something."""
        if self._pausing.get(size.profile_id, 0.0) > asyncio.get_running_loop().time():
            return False
        try:
            with ann.existing_table():
                if table is not None and await self._mark(table):
                    return True
                if await self._is_due(size, table=table):
                    return await self._build(owner, size=size)
                return table is not None and not size.growing and await self._catch_up(table)
        except Superseded:
            return False  # frozen for so long that another one keeps the tables
        except MixedDimensions:
            # Which model is meant shows only when its sources are refreshed; queries say so.
            log.warning("vectors of unlike dimensions", extra={"profile": str(size.profile_id)})
            self._pause(size.profile_id)
            return table is not None and await ann.drop(owner, table=table)

    def _pause(self, profile_id: ProfileId) -> None:
        self._pausing[profile_id] = asyncio.get_running_loop().time() + PAUSE_S

    async def _is_due(self, size: Size, *, table: AnnTable | None) -> bool:
        """Whether a profile needs a table, or another one."""
        if table is None:
            most = self._limits.exact_chunks_max
            return size.chunk_count > (max(most, GROWING_MAX) if size.growing else most)
        if table.dead_entries > DEAD_SHARE_MAX * table.entries:
            return True
        async with self._database.transaction() as tx:
            waiting = await annentries.waiting_chunks(tx, table=table)
        if size.growing:
            return waiting > max(GROWING_MAX, GROWING_SHARE_MAX * table.entries)
        return waiting > WAITING_SHARE_MAX * table.entries

    async def _build(self, owner: Tx, *, size: Size) -> bool:
        async with self._database.transaction() as tx:
            dimensions = await ann.dimensions(
                tx, customer_id=size.customer_id, profile_id=size.profile_id
            )
        if dimensions is None or dimensions > ann.DIMENSIONS_MAX:
            self._pause(size.profile_id)
            return False
        began = time.monotonic()
        entries = await ann.build(
            owner,
            size=size,
            dimensions=dimensions,
            memory_bytes=self._limits.ann_memory_bytes,
            processes=self._limits.ann_processes,
            passed=lambda step: self._failpoint.hit(f"ann_{step}"),
        )
        taken_s = round(time.monotonic() - began, 3)
        profile = str(size.profile_id)
        log.info(
            "ann table built", extra={"profile": profile, "entries": entries, "built_s": taken_s}
        )
        return True

    async def _mark(self, table: AnnTable) -> bool:
        async with self._database.transaction() as tx:
            return await annentries.mark(tx, table=table, limit=MARK_INDEXES) > 0

    async def _catch_up(self, table: AnnTable) -> bool:
        """One batch out and one in."""
        async with self._database.transaction() as tx:
            deleted = await annentries.delete_dead(tx, table=table, limit=DELETE_ENTRIES)
        self._failpoint.hit("ann_deleted")
        async with self._database.transaction() as tx:
            waiting = await annentries.waiting(tx, table=table, limit=WAITING_MAX)
        if not waiting:
            return deleted > 0
        async with self._database.transaction() as tx:
            entered = await annentries.enter(tx, table=table, waiting=_batch(waiting))
            self._failpoint.hit("ann_entering")
        self._failpoint.hit("ann_entered")
        return entered > 0 or deleted > 0


def _batch(waiting: list[Waiting]) -> list[Waiting]:
    """As many as have ENTER_CHUNKS together, and one in any case."""
    chunks, batch = 0, []
    for each in waiting:
        batch.append(each)
        chunks += each.chunk_count
        if chunks >= ENTER_CHUNKS:
            break
    return batch
