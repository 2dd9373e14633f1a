"""Workers of a race: they take the conductor's steps with the real statements of the store.

At every step one may be killed, inside a transaction or between two, or become a zombie: it sleeps
until its lease is over and then goes on as if nothing had happened.
"""

import asyncio
from random import Random
from uuid import UUID, uuid4

import numpy as np
from fix_race import FAULTS_MAX, LEASE_S, Race
from fix_race_world import key_of
from fix_store import FINAL, PASSING

from engine.errors import DatabaseUnavailable, Superseded
from engine.models import Failure, Passage, SourceId, Stage, WorkerId
from engine.store import Tx, acquisition, chunks, claims, documents, indexes
from engine.store.claims import ClaimedIndex, ClaimedSource

Claim = ClaimedSource | ClaimedIndex
BATCH = 3
POLL_S = 0.1


class Killed(Exception):
    """This worker is gone, with all that it held in memory."""


class Refused(Exception):
    """The document failed."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.code)
        self.failure = failure


async def work(race: Race, number: int) -> None:
    """A worker process, started anew whenever it was killed."""
    rng = race.random(f"worker {number}")
    while not race.over:
        worker = Worker(race, rng)
        try:
            await worker.run()
        except Killed:
            race.tally["workers killed"] += 1
        except DatabaseUnavailable as error:
            race.note_away("claim", error)


class Worker:
    def __init__(self, race: Race, rng: Random) -> None:
        self.race = race
        self.rng = rng
        self.id = WorkerId(uuid4())
        self.served: UUID = uuid4()

    async def run(self) -> None:
        while not self.race.over:
            try:
                await asyncio.wait_for(self.race.bells.get(), POLL_S)
            except TimeoutError:
                self.race.tally["polls"] += 1
            while (claim := await self._claim()) is not None:
                self.served = claim.customer_id
                await self._conduct(claim)

    async def _claim(self) -> Claim | None:
        lease = {"worker_id": self.id, "lease_s": LEASE_S}
        async with self.race.store.worker.transaction() as tx:
            alone = await claims.claim_alone_source(tx, **lease) or await claims.claim_alone_index(
                tx, **lease
            )
        if alone:
            return alone
        kinds = [claims.claim_index, claims.claim_source]
        self.rng.shuffle(kinds)
        for kind in kinds:
            async with self.race.store.worker.transaction() as tx:
                if claim := await kind(tx, after=self.served, idle=True, **lease):
                    return claim
        return None

    async def _conduct(self, claim: Claim) -> None:
        tally = self.race.tally
        version: int | None = None
        try:
            await self._trouble()
            if isinstance(claim, ClaimedSource):
                claim, version = await self._acquire(claim)
            await self._build(claim, version=version)
            tally["finished"] += 1
        except Superseded:
            tally["superseded"] += 1
        except Refused as refused:
            tally["documents refused"] += 1
            await self._settle(claim, failure=refused.failure)
        except DatabaseUnavailable as error:
            self.race.note_away("work", error)
            await self._settle(claim, failure=None)

    # The stages ---------------------------------------------------------------------------------

    async def _acquire(self, claim: ClaimedSource) -> tuple[ClaimedIndex, int]:
        world = self.race.world
        async with self.race.store.worker.transaction() as tx:
            await acquisition.set_stage(tx, claim=claim, stage=Stage.FETCH)
            await self._trouble(tx)
        version = world.versions[claim.id]
        await self._trouble()
        self._refuse(claim.id, version, permanent="permanent", passing="passing")
        async with self.race.store.worker.transaction() as tx:
            revision = await acquisition.acquired(
                tx, claim=claim, name=claim.name, original_bytes=1
            )
            await self._trouble(tx)
            await documents.insert(
                tx, customer_id=claim.customer_id, rag_id=claim.rag_id, source_id=claim.id,
                revision=revision, document=world.document(claim.id, version),
                original_sha256=None,
            )  # fmt: skip
            index = await acquisition.start_index(
                tx, claim=claim, revision=revision, worker_id=self.id, lease_s=LEASE_S
            )
            await self._trouble(tx)
        return index, version

    async def _build(self, claim: ClaimedIndex, *, version: int | None) -> None:
        if version is None:
            version = await self._read(claim)
        self._refuse(claim.source_id, version, permanent="", passing="passing_index")
        passages = self.race.world.passages(claim.source_id, version)
        async with self.race.store.worker.transaction() as tx:
            await indexes.hold(tx, claim=claim)
            stored = await chunks.stored(tx, claim=claim)
            if stored.count != stored.last + 1 or stored.count > len(passages):
                self.race.wrong.append(f"a generation with a gap: {stored}")
            await indexes.progress(
                tx, claim=claim, stage=Stage.EMBED, done=stored.count, total=len(passages)
            )
            await self._trouble(tx)
        self.race.tally["went on behind what was stored"] += stored.count > 0
        for start in range(stored.count, len(passages), BATCH):
            await self._trouble()
            await self._store(claim, batch=passages[start : start + BATCH], total=len(passages))
        await self._trouble()
        async with self.race.store.worker.transaction() as tx:
            await indexes.finish(tx, claim=claim, chunk_count=len(passages))
            await self._trouble(tx)

    async def _read(self, claim: ClaimedIndex) -> int:
        async with self.race.store.worker.transaction() as tx:
            await indexes.hold(tx, claim=claim)
            document = await documents.get(
                tx, customer_id=claim.customer_id, source_id=claim.source_id,
                revision=claim.generation,
            )  # fmt: skip
        if document is None:
            raise Superseded
        return int(document.title)

    async def _store(self, claim: ClaimedIndex, *, batch: list[Passage], total: int) -> None:
        async with self.race.store.worker.transaction() as tx:
            await indexes.hold(tx, claim=claim)
            await indexes.progress(
                tx, claim=claim, stage=Stage.EMBED, done=batch[-1].ordinal + 1, total=total
            )
            await self._trouble(tx)
            await chunks.insert(
                tx, claim=claim, passages=batch, keys=[key_of(passage) for passage in batch],
                vectors=np.full((len(batch), 4), 0.5, dtype=np.float32),
            )  # fmt: skip
            await self._trouble(tx)

    def _refuse(self, source_id: SourceId, version: int, *, permanent: str, passing: str) -> None:
        behaviour = self.race.world.behaviour(source_id, version)
        if behaviour == permanent:
            raise Refused(FINAL)
        if behaviour == passing:
            raise Refused(PASSING)

    async def _settle(self, claim: Claim, *, failure: Failure | None) -> None:
        """As the conductor's _settle and _record."""
        kind = acquisition if isinstance(claim, ClaimedSource) else indexes
        final = failure and (not failure.retryable or claim.faults + 1 >= FAULTS_MAX)
        while not self.race.over:
            try:
                async with self.race.store.worker.transaction() as tx:
                    if final:
                        await kind.fail(tx, claim=claim, failure=failure)
                    else:
                        await kind.postpone(tx, claim=claim, delay_s=0.02, failure=failure)
                    await self._trouble(tx)
                return
            except Superseded:
                return
            except DatabaseUnavailable as error:
                self.race.note_away("settle", error)

    # What goes wrong ------------------------------------------------------------------------------

    async def _trouble(self, tx: Tx | None = None) -> None:
        """Death, a connection that breaks, a long sleep, or nothing but a change of turns."""
        if self.race.calm:
            return
        chance = self.rng.random()
        if chance < 0.03:
            if tx is not None:
                self.race.tally["killed inside a transaction"] += 1
                await tx.connection.close()
            raise Killed
        if tx is not None and chance < 0.04:
            self.race.tally["connections closed"] += 1
            await tx.connection.close()
        elif tx is not None and chance < 0.09:
            await asyncio.sleep(self.rng.uniform(0.02, 0.1))  # a delete has to wait for it
        elif tx is None and chance < 0.07:
            self.race.tally["zombies"] += 1
            await asyncio.sleep(self.rng.uniform(1.0, 3.0) * LEASE_S)
        elif chance < 0.3:
            await asyncio.sleep(self.rng.uniform(0.0, 0.01))
