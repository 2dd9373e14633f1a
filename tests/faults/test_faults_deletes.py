"""Deleted is gone: at random moments of the work, through both doors, while everything goes on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from fix_audit import expect_rest
from fix_deletes import Crowd, play, told
from fix_engine import api_process, new_customer, worker_process
from fix_hands import Site, open_site, quick
from msgspec.structs import replace

from engine.config import Settings

pytestmark = pytest.mark.anyio

SEED = 31
DELETIONS = 100
START_TIMEOUT_S = 90.0


@asynccontextmanager
async def crowded(settings: Settings, *, folder: Path, seed: int) -> AsyncIterator[Crowd]:
    """A crowd before a real API with two real workers."""
    limits = replace(
        quick(settings).limits,
        sweep_s=1.0,  # what is deleted lies about for a while
        text_wait_s=0.2,
        customer_requests_per_s=1e6,
        customer_requests_burst=1_000_000,
    )
    ours = replace(settings, limits=limits, workers=2)
    async with open_site(ours, folder=folder) as site:
        token = await asyncio.to_thread(new_customer, ours, "crowd")
        with (
            worker_process(ours, log=folder / "workers.log"),
            api_process(ours, log=folder / "api.log"),
        ):
            await site.until("SELECT count(*) = 2 FROM workers", timeout_s=START_TIMEOUT_S)
            crowd = Crowd(site, token=token, seed=seed)
            try:
                yield crowd
            finally:
                await crowd.close()


async def expect_gone(crowd: Crowd, *, deletions: int) -> None:
    """Nothing deleted was seen, nothing else was lost, and nothing is left over."""
    assert crowd.violations == []
    assert crowd.done.total() >= deletions
    assert crowd.hits > deletions, "hardly anything could be found at all"
    assert crowd.stages["ready"], "nothing was deleted once it answered"
    assert crowd.stages.total() > crowd.stages["ready"], "nothing was deleted while it was made"
    await until_done(crowd.site)
    # The sources of a deleted RAG are marked by the next sweep.
    rows = await crowd.site.fetch(
        "SELECT s.id, s.state FROM sources s JOIN rags r ON r.id = s.rag_id"
        " WHERE s.deleted_at IS NULL AND r.deleted_at IS NULL"
    )
    states = {str(row["id"]): row["state"] for row in rows}
    assert states == dict.fromkeys(crowd.book.alive, "ready")
    await expect_rest(crowd.site)


async def until_done(site: Site) -> None:
    await site.until(
        "SELECT count(*) = 0 FROM sources WHERE state IN ('pending', 'processing')"
        " AND deleted_at IS NULL",
        timeout_s=90,
    )


async def test_no_query_that_starts_after_a_delete_finds_anything_of_what_was_deleted(
    settings: Settings, tmp_path: Path, measured: list[str]
) -> None:
    async with crowded(settings, folder=tmp_path, seed=SEED) as crowd:
        await play(crowd, deletions=DELETIONS)
        measured.append(told(crowd))
        await expect_gone(crowd, deletions=DELETIONS)
