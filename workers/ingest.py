"""The conductor: claim a row, run the stages that are due, then finish, postpone or fail.

What lives here: the order of the stages and what an error means. What does not: SQL, formats,
the decision when to look for work (workers.main).
"""

import asyncio
import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from uuid import UUID, uuid4

import numpy as np
from numpy.typing import NDArray

from engine import logs
from engine.blobs import Blobs, spool_folder
from engine.config import Settings
from engine.embedding import AsyncEmbedder, Models
from engine.errors import DatabaseUnavailable, FileGone, StorageUnavailable, Superseded
from engine.models import Document, Passage, Stage, WorkerId
from engine.store import (
    Database,
    acquisition,
    blobs,
    chunks,
    claims,
    documents,
    files,
    indexes,
    ragindexes,
    rags,
)
from engine.store.claims import ClaimedIndex, ClaimedSource
from engine.store.rags import Profile
from workers.chunk import chunk
from workers.extract.extractor import Extractor
from workers.failpoint import Failpoint
from workers.fetch import Fetcher
from workers.held import Claim, Held, faults_of, source_of, told_to_stop
from workers.outcome import delay_s_after, failure_of, log_end
from workers.shapes import Fetched

log = logging.getLogger(__name__)

Vector = NDArray[np.float32]

BATCH_PASSAGES = 64  # one transaction and one renewal of progress: about a third of a second
SETTLE_TRIES = 60
TWIN_WAIT_S = 0.1


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
        self._blobs = blobs
        self._fetcher = fetcher
        self._extractor = extractor
        self._models = models
        self._limits = settings.limits
        self._spool_dir = settings.data_dir / "spool"
        self._failpoint = Failpoint(settings.failpoint)
        self._served: UUID = uuid4()  # where the turn among customers begins
        self._index_first = False
        self._cold = False

    async def warm_up(self) -> None:
        """Open the model before somebody waits for it. Until then nothing is run alone: who is
        suspected must not pay for whatever ends a process while it starts."""
        self._cold = True
        await self._models.warm_up()
        self._cold = False

    async def claim(self, *, idle: bool) -> Claim | None:
        """The fairest due row of either kind; the kinds take turns at being asked first.

        An idle worker asks first for rows that want a process to themselves.
        """
        idle = idle and not self._cold
        claim = (await self._claim_alone() if idle else None) or await self._claim_fair(idle=idle)
        if claim is not None:
            self._served = claim.customer_id
            self._failpoint.hit("claim")
        return claim

    async def _claim_alone(self) -> Claim | None:
        async with self._database.transaction() as tx:
            return await claims.claim_alone_source(
                tx, worker_id=self.worker_id, lease_s=self._limits.lease_s
            ) or await claims.claim_alone_index(
                tx, worker_id=self.worker_id, lease_s=self._limits.lease_s
            )

    async def _claim_fair(self, *, idle: bool) -> Claim | None:
        self._index_first = not self._index_first
        kinds = (claims.claim_index, claims.claim_source)
        for claim_kind in kinds if self._index_first else reversed(kinds):
            async with self._database.transaction() as tx:
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
        try:
            if isinstance(claim, ClaimedSource):
                with self._bound(claim):
                    index, document = await self._acquire(claim)
                self._failpoint.hit("acquired")
                held.replace(index)
                claim = index
            else:
                document = None
            with self._bound(claim):
                await self._build(claim, document=document)
        except Superseded:
            log.info("superseded", extra={"source": str(source_of(claim))})
        except asyncio.CancelledError:
            if not held.lost:
                await asyncio.shield(self._settle(claim, error=None))
            raise
        except Exception as error:  # the conductor is the last handler of a document's errors
            with self._bound(claim):
                await self._settle(claim, error=None if told_to_stop() else error)

    def _bound(self, claim: Claim) -> AbstractContextManager[None]:
        return logs.bind(
            customer=str(claim.customer_id), source=str(source_of(claim)), attempt=claim.attempt
        )

    # Stage 1 and 2: fetch, extract ---------------------------------------------------------------

    async def _acquire(self, claim: ClaimedSource) -> tuple[ClaimedIndex, Document]:
        with self._spool() as folder:
            async with self._database.transaction() as tx:
                await acquisition.set_stage(tx, claim=claim, stage=Stage.FETCH)
            with logs.bind(stage=Stage.FETCH):
                fetched = await self._fetch(claim, folder=folder)
                log.info("fetched", extra={"bytes": fetched.byte_count})
            self._failpoint.hit("fetch")
            async with self._database.transaction() as tx:
                await acquisition.set_stage(tx, claim=claim, stage=Stage.EXTRACT)
            with logs.bind(stage=Stage.EXTRACT):
                document = await self._extractor.extract(fetched, limits=self._limits)
                log.info("extracted", extra={"characters": len(document.text)})
            self._failpoint.hit("extract", text=document.text)
            await self._keep_original(claim, fetched)
        return await self._commit(claim, fetched=fetched, document=document), document

    @contextmanager
    def _spool(self) -> Iterator[Path]:
        with ExitStack() as stack:
            try:
                folder = stack.enter_context(spool_folder(self._spool_dir))
            except OSError as error:
                raise StorageUnavailable("The spool folder cannot be written.") from error
            yield folder

    async def _fetch(self, claim: ClaimedSource, *, folder: Path) -> Fetched:
        if claim.url is not None:
            return await self._fetcher.fetch_url(
                claim.url, folder=folder, customer_id=claim.customer_id
            )
        assert claim.file_id is not None
        async with self._database.transaction() as tx:
            file = await files.get(tx, customer_id=claim.customer_id, file_id=claim.file_id)
        if file is None:
            raise FileGone("The file was deleted.")
        stream = self._blobs.read(customer_id=claim.customer_id, sha256=file.sha256)
        try:
            fetched = await self._fetcher.fetch_blob(
                stream, folder=folder, filename=file.filename, media_type=file.media_type
            )
        except FileNotFoundError as error:
            raise FileGone("The bytes of the file are missing in the storage.") from error
        if fetched.sha256 != file.sha256:
            raise FileGone("The bytes of the file are damaged in the storage.")
        return fetched

    async def _keep_original(self, claim: ClaimedSource, fetched: Fetched) -> None:
        """Row first and committed, then bytes under its lock: a crash leaves no stray object."""
        if claim.url is None:
            return
        customer_id, sha256 = claim.customer_id, fetched.sha256
        async with self._database.transaction() as tx:
            await blobs.ensure_original(
                tx, claim=claim, sha256=sha256, file_bytes=fetched.byte_count, limits=self._limits
            )
        async with self._database.transaction() as tx:
            if not await blobs.lock(tx, customer_id=customer_id, sha256=sha256):
                raise StorageUnavailable("The original was purged while it was stored.")
            await self._blobs.put(
                fetched.path,
                customer_id=customer_id,
                sha256=sha256,
                file_bytes=fetched.byte_count,
                is_first=not await blobs.any_stored(tx, customer_id=customer_id),
            )

    async def _commit(
        self, claim: ClaimedSource, *, fetched: Fetched, document: Document
    ) -> ClaimedIndex:
        name = (document.title or claim.name) if claim.url else claim.name
        async with self._database.transaction() as tx:
            revision = await acquisition.acquired(
                tx, claim=claim, name=name[:255], original_bytes=fetched.byte_count
            )
            await documents.insert(
                tx,
                customer_id=claim.customer_id,
                rag_id=claim.rag_id,
                source_id=claim.id,
                revision=revision,
                document=document,
                original_sha256=fetched.sha256,
            )
            return await acquisition.start_index(
                tx,
                claim=claim,
                revision=revision,
                worker_id=self.worker_id,
                lease_s=self._limits.lease_s,
            )

    # Stage 3 to 5: chunk, embed, store -----------------------------------------------------------

    async def _build(self, claim: ClaimedIndex, *, document: Document | None) -> None:
        async with self._database.transaction() as tx:
            await indexes.hold(tx, claim=claim)
            profile = await rags.profile_of_index(tx, claim=claim)
            if document is None:
                document = await documents.get(
                    tx,
                    customer_id=claim.customer_id,
                    source_id=claim.source_id,
                    revision=claim.generation,
                )
        if profile is None or document is None:
            raise Superseded
        async with self._database.transaction() as tx:
            await ragindexes.admit(tx, claim=claim, text=document.text, limits=self._limits)
        model = await self._models.open(profile.embedding_model)
        with logs.bind(stage=Stage.CHUNK):
            passages = await self._chunk(document, profile=profile, model=model)
        self._failpoint.hit("chunk", text=document.text)
        first = await self._resume(claim, passages=passages)
        with logs.bind(stage=Stage.EMBED):
            for start in range(first, len(passages), BATCH_PASSAGES):
                batch = passages[start : start + BATCH_PASSAGES]
                await self._embed(claim, batch=batch, total=len(passages), model=model)
        async with self._database.transaction() as tx:
            await indexes.finish(tx, claim=claim, chunk_count=len(passages))
            self._failpoint.hit("finishing")
        self._failpoint.hit("finish")
        log.info("ready", extra={"chunks": len(passages), "resumed_at": first})

    async def _chunk(
        self, document: Document, *, profile: Profile, model: AsyncEmbedder
    ) -> Sequence[Passage]:
        return await asyncio.to_thread(
            chunk,
            document,
            spans=model.tokenizer,
            chunk_tokens=profile.chunk_tokens,
            overlap_tokens=profile.chunk_overlap_tokens,
            tokens_max=model.spec.tokens_max,
            special_tokens=model.tokenizer.special_tokens,
            chunks_max=self._limits.document_chunks_max,
        )

    async def _resume(self, claim: ClaimedIndex, *, passages: Sequence[Passage]) -> int:
        """Where to go on: behind what an earlier attempt has stored of this very generation.

        A generation that another version of the chunker began is started over.
        """
        async with self._database.transaction() as tx:
            await indexes.hold(tx, claim=claim)
            stored = await chunks.stored(tx, claim=claim)
            fits = stored.count == stored.last + 1 <= len(passages) and (
                stored.count == 0 or passages[stored.last].end == stored.end
            )
            if not fits:
                await chunks.drop_generation(tx, claim=claim)
            first = stored.count if fits else 0
            await indexes.progress(
                tx, claim=claim, stage=Stage.EMBED, done=first, total=len(passages)
            )
        return first

    async def _embed(
        self, claim: ClaimedIndex, *, batch: Sequence[Passage], total: int, model: AsyncEmbedder
    ) -> None:
        keys = [_embedding_key(model, passage.embedded) for passage in batch]
        known = await self._known(claim, keys=keys, dimensions=model.spec.dimensions)
        fresh = {
            key: passage.embedded
            for key, passage in zip(keys, batch, strict=True)
            if key not in known
        }
        if fresh:
            vectors = await model.embed(list(fresh.values()))
            known |= dict(zip(fresh, vectors, strict=True))
            log.info("embedded", extra={"passages": len(fresh)})
        async with self._database.transaction() as tx:
            await indexes.hold(tx, claim=claim)
            await indexes.progress(
                tx, claim=claim, stage=Stage.EMBED, done=batch[-1].ordinal + 1, total=total
            )
            await chunks.insert(
                tx,
                claim=claim,
                passages=batch,
                keys=keys,
                vectors=np.stack([known[key] for key in keys]),
            )
            self._failpoint.hit("batch")
        self._failpoint.hit("store")

    async def _known(
        self, claim: ClaimedIndex, *, keys: Sequence[bytes], dimensions: int
    ) -> dict[bytes, Vector]:
        """Vectors that this customer has already. Those that a twin is about to make are waited
        for: a source and its rag index often become due together, and would both pay."""
        while True:
            async with self._database.transaction() as tx:
                waits = await ragindexes.twin_at_work(tx, claim=claim)
                known = await chunks.reusable(
                    tx, customer_id=claim.customer_id, keys=keys, dimensions=dimensions
                )
            if not waits or len(known) == len(set(keys)):
                return known
            await asyncio.sleep(TWIN_WAIT_S)

    # How an attempt ends that did not finish --------------------------------------------------

    async def _settle(self, claim: Claim, *, error: BaseException | None) -> None:
        """Write down what became of the attempt, waiting for a database that is away."""
        for _ in range(SETTLE_TRIES):
            try:
                return await self._record(claim, error=error)
            except Superseded:
                return
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


def _embedding_key(model: AsyncEmbedder, embedded: str) -> bytes:
    """Identical for the same string under the same model and version, for no other."""
    identity = f"{model.spec.name}\0{model.spec.version}\0{embedded}"
    return hashlib.sha256(identity.encode()).digest()
