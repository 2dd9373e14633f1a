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
from engine.store import (
    Database,
    Tx,
    blobs,
    changes,
    claims,
    idempotency,
    merging,
    purge,
    rags,
    retired,
    workers,
)
from engine.store.blobs import Blob
from engine.store.changes import Waiting
from workers.failpoint import NOWHERE, Failpoint

log = logging.getLogger(__name__)

BATCH_ROWS = 2_000
BATCH_BLOBS = 100
BATCH_CHANGES = 100
DELETE_TIMEOUT_S = 5.0
TIDY_S = 30.0  # unused files and blobs are found by looking at all of them: not in every round
REPLACED_S = 90.0  # longer than any query reads a segment that was replaced meanwhile
FORGOTTEN_S = 24 * 3600.0
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

    def __init__(
        self,
        *,
        database: Database,
        blobs: Blobs,
        bell: Bell,
        limits: Limits,
        failpoint: Failpoint = NOWHERE,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._bell = bell
        self._limits = limits
        self._failpoint = failpoint

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
        silent_s = self._limits.lease_s / 2 + 2 * self._limits.sweep_s
        while not await purge.sole(lock, silent_s=silent_s):  # noqa: ASYNC110 - it lives in Postgres
            await asyncio.sleep(self._limits.sweep_s)
        # After an outage every lease looks expired: first let the heartbeats speak again.
        await asyncio.sleep(self._limits.lease_s / 2)
        tidied = 0.0
        while True:
            tidy = asyncio.get_running_loop().time() - tidied > TIDY_S
            await self.once(tidy=tidy)
            tidied = asyncio.get_running_loop().time() if tidy else tidied
            await asyncio.sleep(self._limits.sweep_s)
            await purge.alive(lock)

    async def once(self, *, tidy: bool = True) -> int:
        """One round; returns how many rows were touched. `tidy`: also what takes longer to find."""
        touched = await self._walk(self._steps()) + await self._advance_changes()
        if tidy or touched:
            touched += await self._walk(self._tidy_steps()) + await self._delete_blobs()
        async with self._database.transaction() as tx:
            due = await claims.any_due(tx)
        if due:
            await self._bell.ring()
        return touched

    async def _walk(self, steps: tuple[Step, ...]) -> int:
        touched = 0
        for step in steps:
            async with self._database.transaction() as tx:
                touched += await step(tx)
        return touched

    def _steps(self) -> tuple[Step, ...]:
        rows, faults_max = BATCH_ROWS, self._limits.faults_max
        silent_s, delay_s = SILENT_LEASES * self._limits.lease_s, self._limits.retry_base_s
        return (
            lambda tx: purge.expire_indexes(
                tx, limit=rows, faults_max=faults_max, killed=KILLED, delay_s=delay_s
            ),
            lambda tx: purge.expire_sources(
                tx, limit=rows, faults_max=faults_max, killed=KILLED, delay_s=delay_s
            ),
            purge.close_customers,
            lambda tx: purge.delete_sources_of_deleted_rags(tx, limit=rows),
            lambda tx: purge.delete_retired_chunks(tx, limit=rows),
            lambda tx: purge.delete_retired_documents(tx, limit=rows),
            lambda tx: purge.delete_chunks_of_deleted_sources(tx, limit=rows),
            lambda tx: purge.delete_rows_of_deleted_sources(tx, limit=rows),
            lambda tx: merging.retire_unwanted(tx, limit=rows),
            lambda tx: merging.remove_replaced(tx, age_s=REPLACED_S, limit=rows),
            lambda tx: purge.delete_rags(tx, limit=rows),
            lambda tx: retired.delete_chunks(tx, limit=rows),
            lambda tx: retired.delete_indexes(tx, limit=rows),
            lambda tx: retired.delete_profiles(tx, limit=rows),
            lambda tx: workers.forget_silent(tx, silent_s=silent_s),
        )

    def _tidy_steps(self) -> tuple[Step, ...]:
        rows, keep_s = BATCH_ROWS, self._limits.idempotency_keep_s
        return (
            lambda tx: idempotency.forget(tx, keep_s=keep_s, limit=rows),
            lambda tx: purge.delete_files(tx, limit=rows),
            lambda tx: purge.delete_customers(tx, limit=rows),
            lambda tx: merging.forget_dead(tx, age_s=FORGOTTEN_S, limit=rows),
        )

    async def _advance_changes(self) -> int:
        """Bring RAGs closer to their next profile, each in a transaction of its own: its switch
        waits for whoever writes below it."""
        async with self._database.transaction() as tx:
            waiting = await changes.waiting(tx, open_max=BATCH_ROWS, limit=BATCH_CHANGES)
        touched = 0
        for change in waiting:
            async with self._database.transaction() as tx:
                advanced = await _advance(tx, change)
                switched = change.filled and advanced
                if switched:
                    self._failpoint.hit("switching")
            if switched:
                self._failpoint.hit("switched")
            touched += advanced
        return touched

    async def _delete_blobs(self) -> int:
        """Row and bytes of each unused blob under one lock, so that no upload relies on it.

        One a transaction, and none more for now when the storage is slow: leases must not wait.
        """
        for deleted in range(BATCH_BLOBS):
            async with self._database.transaction() as tx:
                unused = await blobs.unused(tx, age_s=self._limits.orphan_age_s, limit=1)
                if not unused or not await self._delete_bytes(unused[0]):
                    return deleted
                await blobs.delete(tx, blob=unused[0])
        return BATCH_BLOBS

    async def _delete_bytes(self, blob: Blob) -> bool:
        try:
            async with asyncio.timeout(DELETE_TIMEOUT_S):
                await self._blobs.delete(customer_id=blob.customer_id, sha256=blob.sha256)
        except (StorageUnavailable, TimeoutError) as error:
            log.warning("blob not removed", extra={"cause": repr(error.__cause__)})
            return False
        return True


async def _advance(tx: Tx, change: Waiting) -> int:
    customer_id, rag_id = change.customer_id, change.rag_id
    if change.filled:
        return await changes.switch(tx, customer_id=customer_id, rag_id=rag_id)
    if not await rags.lock(tx, customer_id=customer_id, rag_id=rag_id, strength="share"):
        return 0
    return await changes.fill(tx, customer_id=customer_id, rag_id=rag_id, limit=BATCH_ROWS)
