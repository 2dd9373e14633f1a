"""Workers that are killed, frozen and told to stop, one after another."""

import asyncio
import signal
import time

import pytest
from fix_corpus import LONG, SHORT
from fix_world import World, killed_at
from msgspec.structs import replace

pytestmark = pytest.mark.anyio


async def test_a_worker_killed_at_any_place_leaves_what_a_calm_run_leaves(world: World) -> None:
    """The places that the whole journey's tests leave out: inside transactions, mostly."""
    await killed_at(world, "batch:2", "finishing")


async def test_a_worker_frozen_between_two_batches_loses_its_work_and_does_no_harm_later(
    world: World, measured: list[str]
) -> None:
    world.settings = replace(world.settings, worker_jobs=1)
    rag = await world.load(LONG[0], *SHORT[:4])
    frozen = world.hire(failpoint="store:2!stop")
    await frozen.frozen()
    began = time.monotonic()
    world.hire()
    await world.site.until_terminal(rag)
    measured.append(f"a frozen worker's work was done after {time.monotonic() - began:.1f} s")
    await asyncio.sleep(3 * world.settings.limits.lease_s - (time.monotonic() - began))
    frozen.signal(signal.SIGCONT)
    await frozen.told_of_its_loss()
    await world.expect_sound(rag)
    assert frozen.process.poll() is None
