"""Stage 1 and 2 of a source: fetch its bytes, extract their text, keep both.

Its end is one transaction that stores the document and turns the claim of the source into that of
its index. Not here: what an error means, and when there is work (`ingest`).
"""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from engine.blobs import Blobs, spool_folder
from engine.config import Settings
from engine.errors import FileGone, StorageUnavailable
from engine.models import Document, File, Stage, WorkerId
from engine.store import Database, acquisition, blobs, documents, files
from engine.store.claims import ClaimedIndex, ClaimedSource
from workers.extract.extractor import Extractor
from workers.failpoint import Failpoint
from workers.fetch import Fetcher
from workers.shapes import Fetched
from workers.stages import Stages

log = logging.getLogger(__name__)

UNTOLD_S = 0.2  # what is over sooner is not worth a transaction to tell


class Acquirer:
    """Brings text into the engine. One for each worker process."""

    def __init__(
        self,
        *,
        worker_id: WorkerId,
        database: Database,
        blobs: Blobs,
        fetcher: Fetcher,
        extractor: Extractor,
        failpoint: Failpoint,
        settings: Settings,
    ) -> None:
        self._worker_id = worker_id
        self._database = database
        self._blobs = blobs
        self._fetcher = fetcher
        self._extractor = extractor
        self._failpoint = failpoint
        self._limits = settings.limits
        self._spool_dir = settings.data_dir / "spool"

    async def acquire(
        self, claim: ClaimedSource, *, stages: Stages
    ) -> tuple[ClaimedIndex, Document]:
        """The claim of the index that is to be built, and the text that is stored by now.

        Raises SourceError, Unavailable or Superseded.
        """
        with self._spool() as folder:
            file = await self._begin(claim)
            with stages.at(Stage.FETCH):
                fetched = await self._fetch(claim, file=file, folder=folder)
                log.info("fetched", extra={"bytes": fetched.byte_count})
            self._failpoint.hit("fetch")
            with stages.at(Stage.EXTRACT):
                document = await self._extract(claim, fetched)
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

    async def _begin(self, claim: ClaimedSource) -> File | None:
        """The file that is to be read; None where it is a URL, or where the file is gone."""
        async with self._database.transaction() as tx:
            await acquisition.set_stage(tx, claim=claim, stage=Stage.FETCH)
            if claim.file_id is None:
                return None
            return await files.get(tx, customer_id=claim.customer_id, file_id=claim.file_id)

    async def _fetch(self, claim: ClaimedSource, *, file: File | None, folder: Path) -> Fetched:
        if claim.url is not None:
            return await self._fetcher.fetch_url(
                claim.url, folder=folder, customer_id=claim.customer_id
            )
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

    async def _extract(self, claim: ClaimedSource, fetched: Fetched) -> Document:
        """The stage is told where somebody may see it: most documents are read before that."""
        reading = asyncio.create_task(self._extractor.extract(fetched, limits=self._limits))
        try:
            if not (await asyncio.wait([reading], timeout=UNTOLD_S))[0]:
                async with self._database.transaction() as tx:
                    await acquisition.set_stage(tx, claim=claim, stage=Stage.EXTRACT)
            return await reading
        finally:
            reading.cancel()
            await asyncio.wait([reading])

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
                worker_id=self._worker_id,
                lease_s=self._limits.lease_s,
            )
