"""The conductor: claim a row, run the stages that are due, then finish, postpone or fail.

What lives here: which claim comes next, and what an error means. What does not: the stages
themselves (`acquire` to the stored text, `build` to the switch), SQL, formats, the decision when to
look for work (`crew`).
"""

import asyncio
import logging
from contextlib import AbstractContextManager
from uuid import UUID, uuid4

from engine import logs
from engine.blobs import Blobs
from engine.config import Settings
from engine.embedding import Models
from engine.errors import DatabaseUnavailable, Superseded
from engine.models import WorkerId
from engine.store import Database, Tx, acquisition, claims, indexes
from engine.store.claims import ClaimedSource
from workers.acquire import Acquirer
from workers.build import Builder
from workers.extract.extractor import Extractor
from workers.failpoint import Failpoint
from workers.fetch import Fetcher
from workers.held import Claim, Held, faults_of, source_of, told_to_stop
from workers.outcome import delay_s_after, failure_of, log_end
from workers.stages import Stages

log = logging.getLogger(__name__)

SETTLE_TRIES = 60


class Conductor:
    """Works claimed rows to their end. One for each worker process."""

    def __init__(
        self,
        *,
        worker_id: WorkerId,
        database: Database,
        blobs: Blobs,
        fetcher: Fetcher,
        extractor: Extractor,
        models: Models,
        settings: Settings,
    ) -> None:
        self.worker_id = worker_id
        self._database = database
        self._models = models
        self._limits = settings.limits
        self._failpoint = Failpoint(settings.failpoint)
        self._acquirer = Acquirer(
            worker_id=worker_id,
            database=database,
            blobs=blobs,
            fetcher=fetcher,
            extractor=extractor,
            failpoint=self._failpoint,
            settings=settings,
        )
        self._builder = Builder(
            database=database, models=models, failpoint=self._failpoint, settings=settings
        )
        self._served: UUID = uuid4()  # where the turn among customers begins
        self._index_first = False
        self._cold = False

    async def warm_up(self) -> None:
        """Open the model before somebody waits for it. Until then nothing is run alone: who is
        suspected must not pay for whatever ends a process while it starts."""
        self._cold = True
        try:
            await self._models.warm_up(cutting=True)
        finally:
            self._cold = False  # however it ended: what runs alone must not wait for ever

    async def claim(self, *, idle: bool) -> Claim | None:
        """The fairest due row of either kind; the kinds take turns at being asked first.

        An idle worker asks first for rows that want a process to themselves; one that has rows
        runs dry while such a row waits.
        """
        async with self._database.transaction() as tx:
            if not idle and await claims.alone_waits(tx):
                return None
            alone = idle and not self._cold
            claim = (await self._claim_alone(tx) if alone else None) or await self._claim_fair(
                tx, idle=alone
            )
        if claim is not None:
            self._served = claim.customer_id
            self._failpoint.hit("claim")
        return claim

    async def _claim_alone(self, tx: Tx) -> Claim | None:
        return await claims.claim_alone_source(
            tx, worker_id=self.worker_id, lease_s=self._limits.lease_s
        ) or await claims.claim_alone_index(
            tx, worker_id=self.worker_id, lease_s=self._limits.lease_s
        )

    async def _claim_fair(self, tx: Tx, *, idle: bool) -> Claim | None:
        self._index_first = not self._index_first
        kinds = (claims.claim_index, claims.claim_source)
        for claim_kind in kinds if self._index_first else reversed(kinds):
            claim = await claim_kind(
                tx,
                worker_id=self.worker_id,
                lease_s=self._limits.lease_s,
                after=self._served,
                idle=idle,
            )
            if claim is not None:
                return claim
        return None

    async def conduct(self, claim: Claim, *, held: Held) -> None:
        """Run a claim to its end. `held` is told when the claim turns into another one.

        Raises only CancelledError, after the row has been given back.
        """
        stages = Stages()
        try:
            if isinstance(claim, ClaimedSource):
                with self._bound(claim):
                    index, document = await self._acquirer.acquire(claim, stages=stages)
                self._failpoint.hit("acquired")
                held.replace(index)
                claim = index
            else:
                document = None
            with self._bound(claim):
                await self._builder.build(claim, document=document, stages=stages)
        except Superseded:
            self._leave(claim)
        except asyncio.CancelledError:
            if not held.lost:
                await asyncio.shield(self._settle(claim, error=None))
            raise
        except Exception as error:  # the conductor is the last handler of a document's errors
            with self._bound(claim):
                await self._settle(claim, error=None if told_to_stop() else error)

    def _leave(self, claim: Claim) -> None:
        log.info("superseded", extra={"source": str(source_of(claim))})

    def _bound(self, claim: Claim) -> AbstractContextManager[None]:
        return logs.bind(
            customer=str(claim.customer_id), source=str(source_of(claim)), attempt=claim.attempt
        )

    async def _settle(self, claim: Claim, *, error: BaseException | None) -> None:
        """Write down what became of the attempt, waiting for a database that is away."""
        for _ in range(SETTLE_TRIES):
            try:
                return await self._record(claim, error=error)
            except Superseded:
                return self._leave(claim)
            except DatabaseUnavailable:
                await asyncio.sleep(2.0)
        log.error("given up settling; the lease will end it")

    async def _record(self, claim: Claim, *, error: BaseException | None) -> None:
        failure = failure_of(error)
        async with self._database.transaction() as tx:
            faults = await faults_of(tx, claim=claim)
            final = failure is not None and (
                not failure.retryable or faults + 1 >= self._limits.faults_max
            )
            delay_s = (
                0.0 if error is None else delay_s_after(faults, base_s=self._limits.retry_base_s)
            )
            log_end(error, final=final, delay_s=delay_s)
            if isinstance(claim, ClaimedSource):
                if final and failure:
                    await acquisition.fail(tx, claim=claim, failure=failure)
                else:
                    await acquisition.postpone(tx, claim=claim, delay_s=delay_s, failure=failure)
            elif final and failure:
                await indexes.fail(tx, claim=claim, failure=failure)
            else:
                await indexes.postpone(tx, claim=claim, delay_s=delay_s, failure=failure)
