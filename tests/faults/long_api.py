"""The long form: the API killed in mid-upload, before full disks, and beside a silent Redis."""

import asyncio
import time
from pathlib import Path

import pytest
from fix_disk import Disk
from fix_engine import Caller, api_child, api_process, new_customer
from fix_upload import HALF, half_sent, upload
from fix_world import World
from msgspec.structs import replace

from engine.config import Settings
from engine.jobs import RING_TIMEOUT_S

pytestmark = pytest.mark.anyio

URL = "https://example.com/page"


async def test_an_upload_whose_api_dies_in_the_middle_leaves_no_row_and_no_byte_in_the_storage(
    world: World, tmp_path: Path
) -> None:
    token = await asyncio.to_thread(new_customer, world.site.settings, "half")
    with (
        api_child(world.settings, log=tmp_path / "api.log") as child,
        half_sent(world.settings.base_url, token=token),
    ):
        await spooled(world.settings, bytes_min=HALF // 2)
        child.kill()
        child.wait()
    with api_child(world.settings, log=tmp_path / "again.log"):
        answer = await asyncio.to_thread(upload, world.settings, token=token)
        world.hire()
        await world.adopt(answer.json()["id"])


async def spooled(settings: Settings, *, bytes_min: int) -> None:
    deadline = time.monotonic() + 20
    folder = settings.data_dir / "spool"
    while sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < bytes_min:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def refused_while_full(world: World, disk: Disk, *, log: Path) -> None:
    """An upload to a full disk is refused for now, leaves nothing, and works once there is room."""
    disk.fill()
    with api_process(world.settings, log=log):
        token = await asyncio.to_thread(new_customer, world.site.settings, "uploader")
        refused = await asyncio.to_thread(upload, world.settings, token=token)
        assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
        assert (await world.site.fetch("SELECT count(*) AS count FROM rags"))[0]["count"] == 0
        disk.free()
        taken = (await asyncio.to_thread(upload, world.settings, token=token)).json()
        world.hire()
        await world.adopt(taken["id"])


async def test_an_upload_that_finds_the_storage_full_is_refused_for_now_and_works_later(
    world: World, disk: Disk, tmp_path: Path
) -> None:
    blobs = world.settings.data_dir / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    blobs.rmdir()
    blobs.symlink_to(disk.path)
    await refused_while_full(world, disk, log=tmp_path / "api.log")


async def test_an_upload_that_finds_the_spool_folder_full_is_refused_for_now_and_works_later(
    world: World, disk: Disk, tmp_path: Path
) -> None:
    limits = replace(world.settings.limits, spool_free_bytes_min=1)
    world.settings = replace(world.settings, limits=limits)
    spool = world.settings.data_dir / "spool"
    spool.parent.mkdir(parents=True, exist_ok=True)
    spool.symlink_to(disk.path)
    await refused_while_full(world, disk, log=tmp_path / "api.log")


async def test_a_request_waits_for_a_silent_redis_no_longer_than_its_bound(
    world: World, tmp_path: Path, measured: list[str]
) -> None:
    """The bell's own connection is warm when Redis falls silent, which is the harder case."""
    with api_process(world.settings, log=tmp_path / "api.log") as base_url:
        token = await asyncio.to_thread(new_customer, world.site.settings, "waiter")
        with Caller(base_url, token=token) as caller:
            for _ in range(2):
                caller.ok("POST", "/rags", json={"name": "warm", "source_urls": [URL]})
            world.redis.silence()
            slowest_s = max([timed(caller) for _ in range(3)])
            world.redis.speak()
    measured.append(f"slowest create while Redis is silent: {slowest_s:.2f} s")
    assert slowest_s < RING_TIMEOUT_S + 1.0


def timed(caller: Caller) -> float:
    began = time.monotonic()
    caller.ok("POST", "/rags", json={"name": "cold", "source_urls": [URL]})
    return time.monotonic() - began
