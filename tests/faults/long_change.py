"""The long form: the model of a RAG is changed again and again while its workers are killed."""

import asyncio
import os
import random
import signal
import time
from pathlib import Path

import pytest
from fix_engine import api_process, new_customer
from fix_hands import quick
from fix_models import Served, served
from fix_moving import expect_told, moved, used, with_two_models
from fix_world import World
from msgspec.structs import replace

from engine.config import Settings

__all__ = ["served"]  # fixtures

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]

CHANGES = 25
SEED = 12
PAUSE_S = (1.0, 4.0)  # between two kills, where a worker starts as fast as it should
START_S = 2.5


async def test_no_answer_is_empty_or_mixed_while_workers_that_build_the_next_one_are_killed(
    world: World, settings: Settings, served: Served, tmp_path: Path, measured: list[str]
) -> None:
    limits = replace(quick(settings).limits, faults_max=50)  # deaths by hand are nobody's fault
    world.settings = with_two_models(
        replace(world.settings, limits=limits), served=served, folder=tmp_path
    )
    token = await asyncio.to_thread(new_customer, world.settings, "first")
    dice = random.Random(SEED)
    kills = 0
    with (
        api_process(world.settings, log=tmp_path / "api.log") as base_url,
        world.supervised(workers=2),
    ):
        began = time.monotonic()
        # Where workers start slowly they work slowly: killed as often, they would end nothing.
        await world.worker_pids(timeout_s=90)
        slowness = max(1.0, (time.monotonic() - began) / START_S)
        async with moved(base_url, token=token, seed=SEED) as moving:
            await moving.begin()
            async with used(moving):
                changing = asyncio.create_task(moving.move(changes=CHANGES))
                while not changing.done():
                    pause_s = slowness * dice.uniform(*PAUSE_S)
                    await asyncio.wait([changing], timeout=pause_s)
                    os.kill(dice.choice(sorted(await world.worker_pids())), signal.SIGKILL)
                    kills += 1
                await changing
        await world.site.until(
            "SELECT (SELECT count(*) FROM profiles) = (SELECT count(*) FROM rags)"
            " AND NOT EXISTS (SELECT FROM indexes i JOIN rags r ON r.id = i.rag_id"
            "                 WHERE i.profile_id <> r.profile_live)",
            timeout_s=60,
        )
    measured.append(
        f"model changes with {kills} workers killed in {time.monotonic() - began:.0f} s:"
        f" {moving.told()}"
    )
    expect_told(moving)
