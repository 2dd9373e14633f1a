"""Bytes in the object store: by content, streamed, never removed while somebody relies on them."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from fix_store import Store

from engine.blobs import Blobs, Spool
from engine.config import Settings
from engine.errors import FileTooLarge, StorageUnavailable
from engine.files import Files, clean_filename
from engine.models import CustomerId
from engine.store import blobs as blob_rows

pytestmark = pytest.mark.anyio

ME, YOU = CustomerId(uuid4()), CustomerId(uuid4())


class Bench:
    """A store in a folder, and files to put into it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "objects and more"
        self.blobs = Blobs(self.folder.as_uri())
        self._spool = folder / "spool"

    async def put(self, content: bytes, *, customer_id: CustomerId = ME) -> bytes:
        self._spool.write_bytes(content)
        sha256 = hashlib.sha256(content).digest()
        await self.blobs.put(
            self._spool, customer_id=customer_id, sha256=sha256, file_bytes=len(content)
        )
        return sha256

    async def read(self, sha256: bytes, *, customer_id: CustomerId = ME) -> bytes:
        stream = self.blobs.read(customer_id=customer_id, sha256=sha256)
        return b"".join([piece async for piece in stream])

    def objects(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*") if path.is_file())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.mark.parametrize("content", [b"", b"a", bytes(3_000_000)], ids=["empty", "one", "3 MB"])
async def test_what_is_put_is_read_back(bench: Bench, content: bytes) -> None:
    assert await bench.read(await bench.put(content)) == content


async def test_the_same_content_of_a_customer_is_one_object(bench: Bench) -> None:
    for _ in range(2):
        await bench.put(b"the same")
    assert len(bench.objects()) == 1
    await bench.put(b"another")
    assert len(bench.objects()) == 2


async def test_customers_share_no_object(bench: Bench) -> None:
    sha256 = await bench.put(b"the same", customer_id=ME)
    other = await bench.put(b"another", customer_id=YOU)
    with pytest.raises(FileNotFoundError):
        await bench.read(sha256, customer_id=YOU)
    await bench.put(b"the same", customer_id=YOU)
    await bench.blobs.delete(customer_id=YOU, sha256=other)
    assert len(bench.objects()) == 2
    await bench.blobs.delete(customer_id=ME, sha256=sha256)
    assert await bench.read(sha256, customer_id=YOU) == b"the same"


async def test_an_object_that_was_cut_off_is_put_again(bench: Bench) -> None:
    sha256 = await bench.put(b"a whole text")
    bench.objects()[0].write_bytes(b"a who")
    await bench.put(b"a whole text")
    assert await bench.read(sha256) == b"a whole text"


async def test_large_objects_come_in_pieces(bench: Bench) -> None:
    sha256 = await bench.put(bytes(3_000_000))
    stream = bench.blobs.read(customer_id=ME, sha256=sha256)
    sizes = [len(piece) async for piece in stream]
    assert sum(sizes) == 3_000_000
    assert max(sizes) < 1_500_000


async def test_deleting_twice_is_deleting_once(bench: Bench) -> None:
    sha256 = await bench.put(b"a text")
    await bench.put(b"another")
    for _ in range(2):
        await bench.blobs.delete(customer_id=ME, sha256=sha256)
    assert len(bench.objects()) == 1
    with pytest.raises(FileNotFoundError):
        await bench.read(sha256)


async def test_a_store_that_is_away_is_called_so(bench: Bench) -> None:
    sha256 = await bench.put(b"a text")
    await bench.blobs.ping()
    bench.folder.rename(bench.folder.with_name("elsewhere"))
    bench.folder.write_text("a file where the folder was")
    for call in (
        bench.put(b"another"),
        bench.read(sha256),
        bench.blobs.delete(customer_id=ME, sha256=sha256),
        bench.blobs.ping(),
    ):
        with pytest.raises(StorageUnavailable) as caught:
            await call
        assert str(bench.folder) not in caught.value.message


def test_a_bucket_is_named_by_its_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    assert Blobs("s3://a-bucket/a/prefix")


def test_a_spool_counts_and_hashes_what_passes(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    for piece in (b"one ", b"two ", b"three"):
        spool.write(piece)
    assert spool.close() == hashlib.sha256(b"one two three").digest()
    assert (spool.file_bytes, spool.path.read_bytes()) == (13, b"one two three")


# Upload and purge -------------------------------------------------------------------------------


def files_of(store: Store, settings: Settings) -> Files:
    return Files(
        database=store.api,
        blobs=Blobs(settings.blobs_url),
        limits=settings.limits,
        spool_dir=settings.data_dir / "spool",
    )


async def pieces(*contents: bytes) -> AsyncIterator[bytes]:
    for content in contents:
        yield content


async def test_an_upload_leaves_nothing_in_the_spool(store: Store, settings: Settings) -> None:
    customer_id = await store.customer()
    files = files_of(store, settings)
    upload = await files.receive(
        customer_id, pieces(b"a ", b"text"), filename="dir/a\tb.txt", media_type="text/plain"
    )
    assert (upload.filename, upload.name, upload.file_bytes) == ("a b.txt", "a b.txt", 6)
    assert list((settings.data_dir / "spool").iterdir()) == []


async def test_an_upload_over_the_limit_is_refused_and_leaves_nothing(
    store: Store, settings: Settings
) -> None:
    customer_id = await store.customer()
    files = files_of(store, settings)
    files._limits = type(settings.limits)(file_bytes_max=10)
    with pytest.raises(FileTooLarge, match="10 bytes"):
        await files.receive(customer_id, pieces(b"123456", b"789012"), filename="a", media_type="")
    assert list((settings.data_dir / "spool").iterdir()) == []
    assert await store.fetch("SELECT * FROM blobs") == []


async def test_an_upload_waits_for_the_purge_of_its_content_and_puts_it_again(
    store: Store, settings: Settings
) -> None:
    """The purge holds the row, has removed the bytes and then lets go: the upload must not believe
    that they are still there."""
    customer_id, content = await store.customer(), b"the content"
    files, objects = files_of(store, settings), Blobs(settings.blobs_url)
    sha256 = hashlib.sha256(content).digest()
    await files.receive(customer_id, pieces(content), filename="a", media_type="")
    await store.execute("UPDATE blobs SET touched_at = now() - interval '2 hours'")
    async with store.worker.transaction() as tx:
        unused = await blob_rows.unused(tx, age_s=3_600, limit=10)
        assert [blob.sha256 for blob in unused] == [sha256]
        again = asyncio.create_task(
            files.receive(customer_id, pieces(content), filename="a", media_type="")
        )
        await asyncio.sleep(0.3)
        assert not again.done(), "the upload did not wait"
        await objects.delete(customer_id=customer_id, sha256=sha256)
        await blob_rows.delete(tx, blob=unused[0])
    async with asyncio.timeout(5):
        await again
    stream = objects.read(customer_id=customer_id, sha256=sha256)
    assert b"".join([piece async for piece in stream]) == content


async def test_the_purge_passes_over_content_that_is_being_uploaded(
    store: Store, settings: Settings
) -> None:
    customer_id = await store.customer()
    files = files_of(store, settings)
    upload = await files.receive(customer_id, pieces(b"a"), filename="a", media_type="")
    await store.execute("UPDATE blobs SET touched_at = now() - interval '2 hours'")
    async with store.worker.transaction() as uploading:
        await blob_rows.lock(uploading, customer_id=customer_id, sha256=upload.sha256)
        assert await store.do(blob_rows.unused, age_s=3_600, limit=10) == []
    assert len(await store.do(blob_rows.unused, age_s=3_600, limit=10)) == 1


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("report.pdf", "report.pdf"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\report.pdf", "report.pdf"),
        ("a\nb\x00c.txt", "a bc.txt"),
        ("", "file"),
        ("..", ".."),
    ],
)
def test_a_filename_is_the_last_part_of_a_path_on_one_line(given: str, kept: str) -> None:
    assert clean_filename(given, limit=255) == kept
