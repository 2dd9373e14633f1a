"""The sweep: ends expired leases, rings for due rows, removes what nobody can see any more.

One at a time in the whole engine, by an advisory lock in Postgres, whose clock is the only one that
counts. Every step is bounded; what is left over is done in the next round.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from engine.blobs import Blobs
from engine.config import Limits
from engine.errors import StorageUnavailable, Unavailable, WorkerKilled
from engine.jobs import Bell
from engine.models import Failure
from engine.store import Database, Tx, blobs, claims, purge, workers

log = logging.getLogger(__name__)

BATCH_ROWS = 2_000
BATCH_BLOBS = 100
SILENT_LEASES = 10  # a worker that has not been heard of for so many leases is forgotten

Step = Callable[[Tx], Awaitable[int]]

KILLED = Failure(
    code=WorkerKilled.code,
    message="The worker died each time it worked on this document alone.",
    retryable=WorkerKilled.retryable,
    remedy=WorkerKilled.remedy,
)


class Sweep:
    """Runs in every worker process; the one that holds the lock does the work."""

    def __init__(self, *, database: Database, blobs: Blobs, bell: Bell, limits: Limits) -> None:
        self._database = database
        self._blobs = blobs
        self._bell = bell
        self._limits = limits

    async def run(self) -> None:
        """For ever. Waits for a database that is away."""
        while True:
            try:
                async with self._database.dedicated() as lock:
                    await self._sweep_while_sole(lock)
            except Unavailable as error:
                log.warning("sweep interrupted", extra={"code": error.code})
            await asyncio.sleep(self._limits.sweep_s)

    async def _sweep_while_sole(self, lock: Tx) -> None:
        while not await purge.sole(lock):  # noqa: ASYNC110 - the lock lives in Postgres
            await asyncio.sleep(self._limits.sweep_s)
        # After an outage every lease looks expired: first let the heartbeats speak again.
        await asyncio.sleep(self._limits.lease_s / 2)
        while True:
            await self.once()
            await asyncio.sleep(self._limits.sweep_s)
            await purge.alive(lock)

    async def once(self) -> int:
        """One round; returns how many rows were touched."""
        touched = 0
        for step in self._steps():
            async with self._database.transaction() as tx:
                touched += await step(tx)
        touched += await self._delete_blobs()
        async with self._database.transaction() as tx:
            due = await claims.any_due(tx)
        if due:
            await self._bell.ring()
        return touched

    def _steps(self) -> tuple[Step, ...]:
        rows, faults_max = BATCH_ROWS, self._limits.faults_max
        silent_s = SILENT_LEASES * self._limits.lease_s
        return (
            lambda tx: purge.expire_indexes(tx, limit=rows, faults_max=faults_max, killed=KILLED),
            lambda tx: purge.expire_sources(tx, limit=rows, faults_max=faults_max, killed=KILLED),
            purge.close_customers,
            lambda tx: purge.delete_sources_of_deleted_rags(tx, limit=rows),
            lambda tx: purge.delete_retired_chunks(tx, limit=rows),
            lambda tx: purge.delete_retired_documents(tx, limit=rows),
            lambda tx: purge.delete_chunks_of_deleted_sources(tx, limit=rows),
            lambda tx: purge.delete_rows_of_deleted_sources(tx, limit=rows),
            lambda tx: purge.delete_rags(tx, limit=rows),
            lambda tx: purge.delete_files(tx, limit=rows),
            lambda tx: purge.delete_customers(tx, limit=rows),
            lambda tx: workers.forget_silent(tx, silent_s=silent_s),
        )

    async def _delete_blobs(self) -> int:
        """Row and bytes of each unused blob under one lock, so that no upload relies on it."""
        async with self._database.transaction() as tx:
            unused = await blobs.unused(tx, age_s=self._limits.orphan_age_s, limit=BATCH_BLOBS)
            for blob in unused:
                try:
                    await self._blobs.delete(customer_id=blob.customer_id, sha256=blob.sha256)
                except StorageUnavailable as error:
                    log.warning("blob not removed", extra={"cause": repr(error.__cause__)})
                    continue
                await blobs.delete(tx, blob=blob)
        return len(unused)
