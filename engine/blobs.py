"""Bytes of uploads and fetched originals, content-addressed within a customer; a folder or S3.

What lives here: the object store. Who may remove an object is decided by rows (engine.store.blobs):
upload and purge hold the same row while they put and delete.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from engine.errors import StorageUnavailable
from engine.models import CustomerId

READ_BYTES = 256 * 1024
WRITE_BYTES = 8 * 1024 * 1024
WRITES_MAX = 2  # pieces of one upload in memory; the library's default of 12 takes 100 MB


class Blobs:
    """An object store below one URL: file:///folder or s3://bucket/prefix.

    S3 credentials and region come from the usual AWS_* variables. Every method raises
    StorageUnavailable when the store is away.
    """

    def __init__(self, url: str) -> None:
        self._store = _opened(url)
        self._folder = _folder(url)

    async def put(
        self,
        path: Path,
        *,
        customer_id: CustomerId,
        sha256: bytes,
        file_bytes: int,
        is_first: bool = True,
    ) -> None:
        """Store the bytes of a local file, streaming, unless they are there with the right size.

        Call it with the blob's row locked. `is_first`: nothing else of this customer need be here.
        """
        key = _key(customer_id, sha256)
        if not is_first:
            await asyncio.to_thread(self._expect_mounted, customer_id)
        try:
            if await self._has(key, file_bytes=file_bytes):
                return
            await obstore.put_async(
                self._store, key, path, chunk_size=WRITE_BYTES, max_concurrency=WRITES_MAX
            )
            if self._folder:
                await asyncio.to_thread(_sync, self._folder / key)
        except (BaseError, OSError) as error:
            raise StorageUnavailable("The storage is away at the moment.") from error

    async def read(self, *, customer_id: CustomerId, sha256: bytes) -> AsyncIterator[bytes]:
        """The bytes, in pieces. Raises FileNotFoundError when they are not there, although others
        of the same customer are."""
        try:
            result = await obstore.get_async(self._store, _key(customer_id, sha256))
            async for piece in result.stream(min_chunk_size=READ_BYTES):
                yield bytes(piece)
        except FileNotFoundError:
            await asyncio.to_thread(self._expect_mounted, customer_id)
            raise
        except (BaseError, OSError) as error:
            raise StorageUnavailable("The storage is away at the moment.") from error

    async def delete(self, *, customer_id: CustomerId, sha256: bytes) -> None:
        """Remove the bytes; fine when they are gone. Call it with the blob's row locked."""
        try:
            await obstore.delete_async(self._store, _key(customer_id, sha256))
        except FileNotFoundError:
            return
        except (BaseError, OSError) as error:
            raise StorageUnavailable("The storage is away at the moment.") from error

    async def ping(self) -> None:
        """Raises StorageUnavailable unless the store answers."""
        try:
            await self._has("ping", file_bytes=0)
        except (BaseError, OSError) as error:
            raise StorageUnavailable("The storage is away at the moment.") from error

    def _expect_mounted(self, customer_id: CustomerId) -> None:
        """A folder that has nothing of a customer who stored something is not the storage: most
        often the place where it would be mounted."""
        if self._folder and not (self._folder / str(customer_id)).is_dir():
            raise StorageUnavailable("The storage is not mounted.")

    async def _has(self, key: str, *, file_bytes: int) -> bool:
        try:
            head = await obstore.head_async(self._store, key)
        except FileNotFoundError:
            return False
        return head["size"] == file_bytes


class Spool:
    """Writes a stream to a local file while counting and hashing it: nothing is held in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file_bytes = 0
        self._hash = hashlib.sha256()
        self._file = path.open("wb")

    def write(self, piece: bytes) -> None:
        self._file.write(piece)
        self._hash.update(piece)
        self.file_bytes += len(piece)

    def close(self) -> bytes:
        """Flush to the disk; returns the SHA-256."""
        self._file.close()
        return self._hash.digest()


@contextlib.contextmanager
def spool_folder(spool_dir: Path) -> Iterator[Path]:
    """A folder for bytes on their way. It is locked while it is used, so that nobody takes it for
    what a killed process has left, whatever the clocks say."""
    spool_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=spool_dir, ignore_cleanup_errors=True) as name:
        descriptor = os.open(name, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(descriptor, fcntl.LOCK_SH)
            yield Path(name)
        finally:
            os.close(descriptor)


def clear_spool(spool_dir: Path, *, age_s: float) -> None:
    """Remove what killed processes have left of half received and half read documents."""
    for left in spool_dir.glob("*"):
        with contextlib.suppress(OSError):
            if left.stat().st_mtime < time.time() - age_s and not _is_locked(left):
                shutil.rmtree(left, ignore_errors=True)


def _is_locked(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _folder(url: str) -> Path | None:
    parts = urlsplit(url)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def _sync(path: Path) -> None:
    """Have file and name on the disk before a row relies on them: a rename alone does not."""
    for each in (path, path.parent):
        descriptor = os.open(each, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _opened(url: str) -> ObjectStore:
    if folder := _folder(url):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return LocalStore(folder, automatic_cleanup=True, mkdir=True)
    return from_url(
        url,
        client_options={
            "timeout": timedelta(seconds=30),
            "connect_timeout": timedelta(seconds=5),
            # Only an endpoint that the operator names (AWS_ENDPOINT_URL) is plain HTTP.
            "allow_http": True,
        },
        retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=30)},
    )


def _key(customer_id: CustomerId, sha256: bytes) -> str:
    digest = sha256.hex()
    return f"{customer_id}/{digest[:2]}/{digest}"
