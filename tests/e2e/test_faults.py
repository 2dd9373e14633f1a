"""Deaths and deletions: real worker processes are killed, rows deleted, and nothing stays behind.

Outages of services and all other faults are in tests/faults.
"""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fix_hands import Site, long_text, open_site, quick
from fix_local import wait_until_gone
from fix_services import REPOSITORY
from fix_web import Web
from msgspec.structs import replace

from engine.config import Settings
from engine.errors import SourceNotFound
from engine.models import State, rag_status
from workers.build import BATCH_PASSAGES

pytestmark = pytest.mark.anyio

KILLED = -signal.SIGKILL


@pytest.fixture
async def site(settings: Settings, web: Web, tmp_path: Path) -> AsyncIterator[Site]:
    ours = replace(quick(settings), allow_networks=(web.host_port,))
    async with open_site(ours, folder=tmp_path) as made:
        yield made


async def test_another_worker_finishes_2000_passages_without_a_double_or_lost_one(
    site: Site,
) -> None:
    rag = await site.rag(long_text(2_000), chunk_tokens=16)
    first = site.hire(failpoint="store:3")
    assert await first.death() == KILLED
    committed = (await site.fetch("SELECT count(*) AS count FROM chunks"))[0]["count"]
    assert committed == 3 * BATCH_PASSAGES
    assert (await site.chunks(rag, rag.sources[0].id)) == [], "a half-built generation is visible"

    second = site.hire()
    rag = await site.until_terminal(rag)
    chunks = await site.expect_whole(rag, rag.sources[0].id)
    assert len(chunks) >= 2_000
    assert len({chunk.text for chunk in chunks}) == len(chunks)
    rows = await site.fetch("SELECT count(*) AS count FROM chunks")
    assert rows[0]["count"] == len(chunks)
    assert [line["resumed_at"] for line in second.lines("ready")] == [committed]
    assert second.lines("fetched") == [], "what had been committed was fetched again"
    embedded = first.embedded() + second.embedded()
    assert len(chunks) <= embedded <= len(chunks) + BATCH_PASSAGES


@pytest.mark.parametrize("place", ["claim", "fetch", "extract", "finish"])
async def test_a_death_at_any_other_place_is_made_good_by_another_worker(
    site: Site, place: str
) -> None:
    rag = await site.rag(long_text(40), chunk_tokens=16)
    first = site.hire(failpoint=place)
    assert await first.death() == KILLED
    second = site.hire()
    rag = await site.until_terminal(rag, timeout_s=20)
    chunks = await site.expect_whole(rag, rag.sources[0].id)
    rows = await site.fetch(
        "SELECT (SELECT count(*) FROM chunks) AS chunks, (SELECT count(*) FROM documents)"
        " AS documents, (SELECT max(faults) FROM sources) AS faults"
    )
    assert rows == [{"chunks": len(chunks), "documents": 1, "faults": 0}]
    if place == "finish":
        assert second.lines("ready") == []
    else:
        await second.wait_for("ready")  # written behind the commit


async def test_a_worker_that_is_told_to_stop_gives_back_what_it_holds_at_once(
    settings: Settings, tmp_path: Path
) -> None:
    """The lease is an hour, so nothing but the giving back lets the next worker in."""
    async with open_site(quick(settings, lease_s=3_600), folder=tmp_path) as site:
        rag = await site.rag(long_text(800), chunk_tokens=16)
        first = site.hire()
        await first.wait_for("embedded", count=2)
        told_at = time.monotonic()
        assert await first.stop() == 0
        assert time.monotonic() - told_at < 10.0
        rows = await site.fetch(
            "SELECT state, lease_until, due_at <= now() AS due, faults, alone FROM indexes"
        )
        expected = {"state": "pending", "lease_until": None, "due": True}
        assert rows == [{**expected, "faults": 0, "alone": False}]
        assert await site.fetch("SELECT * FROM workers") == []
        second = site.hire()
        rag = await site.until_terminal(rag, timeout_s=30)
        chunks = await site.expect_whole(rag, rag.sources[0].id)
        assert first.embedded() + second.embedded() <= len(chunks) + BATCH_PASSAGES


# The supervisor ---------------------------------------------------------------------------------


@contextmanager
def supervisor(settings: Settings, *, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "workers"],
            env={**os.environ, **settings.env()},
            cwd=REPOSITORY,
            stdout=output,
            stderr=output,
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(timeout=15)


async def worker_pids(site: Site, *, count: int, but: set[int] | None = None) -> set[int]:
    """The processes that have said they are there, without those known before."""
    deadline = time.monotonic() + 20
    while True:
        rows = await site.fetch("SELECT pid FROM workers")
        pids = {int(row["pid"]) for row in rows} - (but or set())
        if len(pids) == count:
            return pids
        assert time.monotonic() < deadline, pids
        await asyncio.sleep(0.05)


async def test_a_worker_whose_supervisor_died_before_it_could_look_ends(
    site: Site, tmp_path: Path
) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with (tmp_path / "orphan.log").open("ab") as output:
        orphan = subprocess.Popen(
            [sys.executable, "-m", "workers", "--one", f"--parent={gone.pid}"],
            env={**os.environ, **site.settings.env()},
            cwd=REPOSITORY,
            stdout=output,
            stderr=output,
        )
    try:
        assert await asyncio.to_thread(orphan.wait, timeout=20) == 0
    finally:
        orphan.kill()


async def test_a_killed_worker_is_replaced_and_a_killed_supervisor_takes_its_workers_along(
    site: Site, tmp_path: Path
) -> None:
    with supervisor(replace(site.settings, workers=2), log=tmp_path / "workers.log") as process:
        first = await worker_pids(site, count=2)
        os.kill(min(first), signal.SIGKILL)
        (new,) = await worker_pids(site, count=1, but=first)
        rag = await site.until_terminal(await site.rag("# A\n\nText."))
        await site.expect_whole(rag, rag.sources[0].id)
        process.kill()
        for pid in (max(first), new):
            await asyncio.to_thread(wait_until_gone, pid)
    rows = await site.fetch("SELECT pid FROM workers")
    assert {row["pid"] for row in rows} <= {min(first)}, "the others have taken their leave"


async def test_a_document_that_kills_every_worker_ends_in_an_error_that_says_so(
    settings: Settings, tmp_path: Path
) -> None:
    """One death in company, which is not charged, and three deaths alone."""
    async with open_site(quick(settings, lease_s=0.6), folder=tmp_path) as site:
        rag = await site.rag("# A\n\nText.")
        poisoned = replace(site.settings, failpoint="fetch")
        with supervisor(poisoned, log=tmp_path / "workers.log"):
            rag = await site.until_terminal(rag, timeout_s=50)
    source = rag.sources[0]
    assert source.failure is not None
    assert (source.state, source.failure.code) == (State.ERROR, "worker_killed")
    assert source.attempt == 1 + settings.limits.faults_max


async def test_what_a_customer_has_had_embedded_is_not_paid_for_again_and_helps_nobody_else(
    site: Site,
) -> None:
    hand = site.hire()
    text = long_text(100)
    rag = await site.until_terminal(await site.rag(text, chunk_tokens=16))
    chunks = await site.expect_whole(rag, rag.sources[0].id)
    assert hand.embedded() == len(chunks)

    await site.rags.refresh_source(site.customer_id, rag.id, rag.sources[0].id)
    await hand.wait_for("ready", count=2)
    again = await site.expect_whole(rag, rag.sources[0].id)
    assert [chunk.text for chunk in again] == [chunk.text for chunk in chunks]
    await site.until_terminal(await site.rag(text, chunk_tokens=16))
    assert hand.embedded() == len(chunks), "the same customer has paid twice"

    site.customer_id = await site.customer()
    await site.until_terminal(await site.rag(text, chunk_tokens=16))
    assert hand.embedded() == 2 * len(chunks), "a customer has got what another one paid for"


# Deletion while it runs -------------------------------------------------------------------------


async def test_a_source_deleted_while_it_is_fetched_does_not_come_back(
    site: Site, web: Web
) -> None:
    gate = threading.Event()
    url = web.add("/slow", body="<p>It came too late.</p>" * 20, gate=gate)
    rag = await site.rag(urls=(url,))
    hand = site.hire()
    while not web.hits["/slow"]:
        await asyncio.sleep(0.02)
    rag = await site.rags.delete_source(site.customer_id, rag.id, rag.sources[0].id)
    assert (rag.sources, rag_status(rag.counts)) == ((), State.PENDING)
    gate.set()
    await site.until("SELECT count(*) = 0 FROM sources")
    assert await hand.stop() == 0
    for lines in (hand.lines("ready"), hand.lines("source failed")):
        assert lines == []
    rows = await site.fetch(
        "SELECT (SELECT count(*) FROM documents) + (SELECT count(*) FROM indexes)"
        " + (SELECT count(*) FROM chunks) AS left"
    )
    assert rows == [{"left": 0}]


async def test_a_source_deleted_while_it_is_embedded_leaves_no_chunk(site: Site) -> None:
    rag = await site.rag(long_text(2_000), "# A neighbour\n\nIt stays.", chunk_tokens=16)
    hand = site.hire()
    await hand.wait_for("embedded", count=4)
    gone = rag.sources[0]
    await site.rags.delete_source(site.customer_id, rag.id, gone.id)
    with pytest.raises(SourceNotFound):
        await site.chunks(rag, gone.id)
    embedded = hand.embedded()
    rag = await site.until_terminal(rag)
    assert [source.state for source in rag.sources] == [State.READY]
    await site.until("SELECT count(*) = 1 FROM sources")
    await asyncio.sleep(1.0)
    # The batch under way ends before the fence is met, and the neighbour is one passage.
    assert hand.embedded() <= embedded + BATCH_PASSAGES + 1
    assert hand.process.poll() is None
    rows = await site.fetch("SELECT DISTINCT source_id FROM chunks")
    assert [row["source_id"] for row in rows] == [rag.sources[0].id]
