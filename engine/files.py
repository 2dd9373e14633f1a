"""Uploads: streamed to storage, listed, read, deleted."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import msgspec

from engine import quotas
from engine.blobs import Blobs, Spool, spool_folder
from engine.config import Limits
from engine.errors import (
    FileInUse,
    FileTooLarge,
    Overloaded,
    StorageFileNotFound,
    StorageUnavailable,
)
from engine.formats import HEAD_BYTES
from engine.idempotency import Keep
from engine.models import Cursor, CustomerId, File, FileId, Page, RagId, Upload
from engine.store import Database, Tx, blobs, files, rags, sources
from engine.store.paging import to_page
from engine.text import clean_line

ROOM_EVERY_BYTES = 4 * 1024 * 1024  # how often the room on the disk is looked at


class Files:
    """Verbs about uploads. `spool_dir` holds what is being received; it is emptied as it goes."""

    def __init__(
        self, *, database: Database, blobs: Blobs, limits: Limits, spool_dir: Path
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._limits = limits
        self._spool_dir = spool_dir
        # Storing holds a connection: slow storage must leave some for everybody else.
        self._keeping = asyncio.Semaphore(max(1, database.connections // 2))
        self._receiving = 0

    @contextmanager
    def receiving(self) -> Iterator[None]:
        """Around a request that carries files. Raises Overloaded before any byte of it is read."""
        if self._receiving >= self._limits.uploads_max:
            raise Overloaded("Too many uploads are under way: come back soon.")
        self._check_room(0)
        self._receiving += 1
        try:
            yield
        finally:
            self._receiving -= 1

    def _check_room(self, arrived_bytes: int) -> None:
        """A full disk stops more than uploads: some of it is left to everything else."""
        try:
            self._spool_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            free_bytes = shutil.disk_usage(self._spool_dir).free
        except OSError as error:
            raise StorageUnavailable("Uploads cannot be received at the moment.") from error
        if free_bytes - arrived_bytes < self._limits.spool_free_bytes_min:
            raise Overloaded("There is no room for uploads at the moment: come back later.")

    async def receive(
        self,
        customer_id: CustomerId,
        chunks: AsyncIterator[bytes],
        *,
        filename: str,
        media_type: str,
        name: str = "",
    ) -> Upload:
        """Stream bytes into storage. FileTooLarge as soon as the limit is passed.

        Also raises StorageQuotaExceeded, Overloaded, StorageUnavailable.
        Nothing refers to them yet: unless a file is made of the upload they go an hour later.
        """
        with self._folder() as folder:
            spool = Spool(folder / "upload")
            head = b""
            unseen_bytes = ROOM_EVERY_BYTES  # a disk that is full is seen at the first piece
            try:
                async for piece in chunks:
                    self._check_size(spool.file_bytes + len(piece), filename=filename)
                    unseen_bytes += len(piece)
                    if unseen_bytes >= ROOM_EVERY_BYTES:
                        self._check_room(len(piece))
                        unseen_bytes = 0
                    head += piece[: HEAD_BYTES - len(head)]
                    spool.write(piece)
            finally:
                sha256 = spool.close()
            async with self._keeping:
                await self._keep(customer_id, spool, sha256=sha256)
        filename = clean_filename(filename, limit=self._limits.name_characters_max)
        return Upload(
            name=clean_line(name, limit=self._limits.name_characters_max) or filename,
            filename=filename,
            media_type=clean_line(media_type, limit=255),
            file_bytes=spool.file_bytes,
            sha256=sha256,
            head=head,
        )

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        """A folder for what arrives. A disk that is full in spite of all is the storage's fault."""
        self._check_room(0)
        try:
            with spool_folder(self._spool_dir) as folder:
                yield folder
        except OSError as error:
            raise StorageUnavailable("The upload could not be received: no room.") from error

    def _check_size(self, file_bytes: int, *, filename: str) -> None:
        if file_bytes > self._limits.file_bytes_max:
            raise FileTooLarge(
                f"The file {clean_line(filename, limit=100)!r} is larger than the limit of "
                f"{self._limits.file_bytes_max} bytes. Split it, or ask the operator for more."
            )

    async def _keep(self, customer_id: CustomerId, spool: Spool, *, sha256: bytes) -> None:
        """Row first and committed, then bytes under its lock: a crash leaves no stray object."""
        async with self._database.transaction(customer_id=customer_id) as tx:
            is_new = await blobs.ensure(
                tx, customer_id=customer_id, sha256=sha256, file_bytes=spool.file_bytes
            )
            if is_new:
                await quotas.check_bytes(tx, customer_id=customer_id, limits=self._limits)
        async with self._database.transaction(customer_id=customer_id) as tx:
            if not await blobs.lock(tx, customer_id=customer_id, sha256=sha256):
                raise StorageUnavailable("The upload was interrupted: send it again.")
            await self._blobs.put(
                spool.path,
                customer_id=customer_id,
                sha256=sha256,
                file_bytes=spool.file_bytes,
                is_first=not await blobs.any_stored(tx, customer_id=customer_id),
            )

    async def create(
        self,
        customer_id: CustomerId,
        upload: Upload,
        *,
        type: str = "rag",
        keep: Keep[File] | None = None,
    ) -> File:
        """A file that stays until its own DELETE."""
        name = clean_line(upload.name, limit=self._limits.name_characters_max)
        upload = msgspec.structs.replace(upload, name=name or upload.filename)
        async with self._database.transaction(customer_id=customer_id) as tx:
            if keep:
                await keep.begin(tx)
            file = await files.insert(
                tx,
                customer_id=customer_id,
                upload=upload,
                type=clean_line(type, limit=64) or "rag",
                kept=True,
            )
            if keep:
                await keep.end(tx, file)
        return file

    async def list(
        self, customer_id: CustomerId, *, page_size: int, after: Cursor | None
    ) -> Page[File]:
        async with self._database.transaction(customer_id=customer_id) as tx:
            rows = await files.page(tx, customer_id=customer_id, limit=page_size + 1, after=after)
        return to_page(rows, page_size=page_size)

    async def get(self, customer_id: CustomerId, file_id: FileId) -> File:
        async with self._database.transaction(customer_id=customer_id) as tx:
            return await _found(tx, customer_id=customer_id, file_id=file_id)

    async def read(
        self, customer_id: CustomerId, file_id: FileId
    ) -> tuple[File, AsyncIterator[bytes]]:
        """The file and its bytes, in pieces."""
        file = await self.get(customer_id, file_id)
        pieces = self._blobs.read(customer_id=customer_id, sha256=file.sha256)
        try:
            first = await anext(pieces, b"")
        except FileNotFoundError as error:
            raise StorageUnavailable("The bytes of this file cannot be read.") from error
        return file, _with_first(first, pieces)

    async def delete(self, customer_id: CustomerId, file_id: FileId, *, force: bool) -> File:
        """Delete a file; with force the sources made of it as well, else FileInUse."""
        async with self._database.transaction(customer_id=customer_id) as tx:
            file = await _found(tx, customer_id=customer_id, file_id=file_id)
            users = await files.users(tx, customer_id=customer_id, file_id=file_id)
            if users and not force:
                raise _in_use(len(users))
            for rag_id in dict.fromkeys(rag_id for rag_id, _ in users):
                await _remove_users(tx, customer_id=customer_id, rag_id=rag_id, file_id=file_id)
            await files.lock(tx, customer_id=customer_id, file_id=file_id)
            left = await files.users(tx, customer_id=customer_id, file_id=file_id)
            if left:
                raise _in_use(len(left))
            await files.mark_deleted(tx, customer_id=customer_id, file_id=file_id)
        return file


async def _found(tx: Tx, *, customer_id: CustomerId, file_id: FileId) -> File:
    file = await files.get(tx, customer_id=customer_id, file_id=file_id)
    if file is None:
        raise StorageFileNotFound("There is no such file.")
    return file


async def _remove_users(tx: Tx, *, customer_id: CustomerId, rag_id: RagId, file_id: FileId) -> None:
    """The sources of one RAG that are made of the file. Looked for with the RAG locked: one that
    was given another file meanwhile is no longer concerned."""
    if await rags.lock(tx, customer_id=customer_id, rag_id=rag_id, strength="update"):
        users = await files.users(tx, customer_id=customer_id, file_id=file_id)
        source_ids = [source_id for user_rag_id, source_id in users if user_rag_id == rag_id]
        await sources.mark_deleted(
            tx, customer_id=customer_id, rag_id=rag_id, source_ids=source_ids
        )


async def _with_first(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


def _in_use(count: int) -> FileInUse:
    return FileInUse(
        f"{count} source{'s' if count > 1 else ''} use this file: remove them first, or delete "
        "with force=true."
    )


def clean_filename(filename: str, *, limit: int) -> str:
    """The last part of a client's path, on one line, never empty."""
    last = PurePosixPath(filename.replace("\\", "/")).name
    return clean_line(last, limit=limit) or "file"
