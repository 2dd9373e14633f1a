"""Storage that is not mounted, a file that is missing, and what lies about in the spool."""

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fix_corpus import SHORT
from fix_hands import Site, open_site, quick

from engine.blobs import clear_spool
from engine.config import Settings
from engine.errors import StorageUnavailable
from engine.models import State

DAY_S = 86_400
HOLDER = """
import sys, time
from pathlib import Path
from engine.blobs import spool_folder
with spool_folder(Path(sys.argv[1])) as folder:
    (folder / "upload").write_bytes(b"half a text")
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture
async def site(settings: Settings, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(quick(settings), folder=tmp_path) as made:
        yield made


@pytest.mark.anyio
async def test_a_storage_that_is_not_mounted_is_waited_for_and_takes_nothing(site: Site) -> None:
    """Where it would be mounted there is an empty folder."""
    place = site.settings.data_dir / "blobs"
    rag = await site.rag(*SHORT[:2])
    place.rename(place.with_name("unmounted"))
    place.mkdir()
    hand = site.hire()
    await hand.wait_for("source failed", count=2)
    with pytest.raises(StorageUnavailable):
        await site.rag(SHORT[2])
    assert list(place.iterdir()) == []
    place.rmdir()
    place.with_name("unmounted").rename(place)
    done = await site.until_terminal(rag)
    assert [source.state for source in done.sources] == [State.READY] * 2
    assert {line["code"] for line in hand.lines("source failed")} == {"storage_unavailable"}
    assert (await site.fetch("SELECT max(faults) AS faults FROM sources")) == [{"faults": 0}]


@pytest.mark.anyio
async def test_a_file_that_is_missing_in_a_storage_that_is_there_is_gone_for_good(
    site: Site,
) -> None:
    rag = await site.rag(*SHORT[:2])
    (first, second) = sorted((site.settings.data_dir / "blobs").glob("*/*/*"))
    await asyncio.to_thread(shutil.rmtree, first.parent)
    site.hire()
    done = await site.until_terminal(rag)
    codes = {source.failure.code if source.failure else "" for source in done.sources}
    assert codes == {"file_gone", ""}
    assert second.exists()


def test_the_spool_of_a_live_process_is_kept_however_old_its_clock_makes_it_look(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        folder = Path(holder.stdout.readline().strip())
        long_ago = time.time() - 2 * DAY_S
        os.utime(folder, (long_ago, long_ago))
        clear_spool(tmp_path, age_s=DAY_S)
        assert (folder / "upload").exists()
        holder.kill()
    clear_spool(tmp_path, age_s=DAY_S)
    assert list(tmp_path.iterdir()) == [], "what a killed process has left was kept"
