"""What is sent away at once because there is no room for it, and what that leaves untouched."""

import asyncio
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from fix_hands import Site, open_site

from engine.blobs import Blobs
from engine.config import Limits, Settings
from engine.errors import DatabaseUnavailable, EngineError, Overloaded, StorageUnavailable
from engine.files import Files
from engine.store import Database

pytestmark = pytest.mark.anyio


async def endless(piece: bytes = b"x" * 65_536) -> AsyncIterator[bytes]:
    while True:
        yield piece
        await asyncio.sleep(0)


async def none() -> AsyncIterator[bytes]:
    return
    yield b""


def files(settings: Settings, database: Database, *, spool_dir: Path, limits: Limits) -> Files:
    blobs = Blobs(settings.blobs_url)
    return Files(database=database, blobs=blobs, limits=limits, spool_dir=spool_dir)


async def test_a_queue_for_connections_has_an_end_and_who_stands_behind_it_leaves_at_once(
    database_url: str,
) -> None:
    database = await Database(
        database_url, role="rag_api", connections=1, timeout_s=20, waiting_max=2
    ).open()
    held, done = asyncio.Event(), asyncio.Event()

    async def busy() -> None:
        async with database.transaction():
            held.set()
            await done.wait()

    async def short() -> None:
        async with database.transaction() as tx:
            await tx.run("SELECT 1")

    first = asyncio.create_task(busy())
    await held.wait()
    waiting = [asyncio.create_task(short()) for _ in range(2)]
    await asyncio.sleep(0.05)
    begun_s = time.monotonic()
    for _ in range(20):
        with pytest.raises(Overloaded):
            await short()
    assert time.monotonic() - begun_s < 0.5
    done.set()
    await asyncio.gather(first, *waiting)
    await short()
    await database.close()


async def test_a_database_that_is_away_is_not_called_busy(database_url: str) -> None:
    nowhere = database_url.replace("/tmp/", "/tmp/nowhere-")
    database = await Database(nowhere, role="rag_api", timeout_s=0.2, waiting_max=5).open()
    with pytest.raises(DatabaseUnavailable):
        async with database.transaction():
            pass
    await database.close()


@pytest.fixture
async def site(settings: Settings, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(settings, folder=tmp_path) as made:
        yield made


async def test_uploads_under_way_are_bounded_and_the_place_of_one_that_ended_is_free(site):
    limits = Limits(uploads_max=2)
    made = files(site.settings, site.api, spool_dir=site.settings.data_dir / "s", limits=limits)
    with made.receiving():
        with made.receiving(), pytest.raises(Overloaded, match="uploads"), made.receiving():
            pass
        with pytest.raises(EngineError), made.receiving():
            raise StorageUnavailable("the upload failed")
        with made.receiving():
            pass


async def test_uploads_leave_some_room_on_the_disk(site):
    free_bytes = shutil.disk_usage(site.settings.data_dir.parent).free
    limits = Limits(spool_free_bytes_min=free_bytes * 2)
    made = files(site.settings, site.api, spool_dir=site.settings.data_dir / "s", limits=limits)
    with pytest.raises(Overloaded, match="no room"), made.receiving():
        pass
    with pytest.raises(Overloaded, match="no room"):
        await made.receive(site.customer_id, none(), filename="a", media_type="")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this machine does not let tests mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


async def test_an_upload_that_fills_the_disk_is_stopped_before_it_is_full(site, small_disk):
    limits = Limits(spool_free_bytes_min=6 * 1024 * 1024)
    made = files(site.settings, site.api, spool_dir=small_disk / "s", limits=limits)
    least_free = [shutil.disk_usage(small_disk).free]

    async def watched() -> AsyncIterator[bytes]:
        async for piece in endless():
            least_free.append(shutil.disk_usage(small_disk).free)
            yield piece

    with pytest.raises(Overloaded):
        await made.receive(site.customer_id, watched(), filename="a", media_type="")
    assert min(least_free) > 1024 * 1024
    assert list((small_disk / "s").iterdir()) == []


async def test_a_disk_that_is_full_all_the_same_is_the_storages_fault(site, small_disk):
    made = files(
        site.settings, site.api, spool_dir=small_disk / "s", limits=Limits(spool_free_bytes_min=1)
    )
    others = small_disk / "other"

    async def overtaken() -> AsyncIterator[bytes]:
        """Somebody else takes the room between two looks at the disk."""
        yield b"x" * 65_536
        others.write_bytes(b"y" * (shutil.disk_usage(small_disk).free - 100_000))
        for _ in range(4):
            yield b"x" * 65_536

    with pytest.raises(StorageUnavailable, match="no room"):
        await made.receive(site.customer_id, overtaken(), filename="a", media_type="")
    assert list((small_disk / "s").iterdir()) == []
