"""The long form: workers killed at random under load, and twenty deployments in a row."""

import asyncio
import os
import random
import signal
import time

import pytest
from fix_corpus import LONG, MIDDLE, SHORT
from fix_world import World, killed_at
from msgspec.structs import replace

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

SEED = 11
KILLS = 12
DEPLOYMENTS = 20
RECOVERY_S_MAX = 30.0  # beyond the lease


async def test_workers_killed_at_random_leave_what_a_calm_run_leaves(
    world: World, measured: list[str]
) -> None:
    """With the limit of faults as it is: whoever happens to be alone at a death or two moves on
    in the next attempt, and is acquitted."""
    dice = random.Random(SEED)
    with world.supervised(workers=2):
        rag = await world.load(*LONG, *MIDDLE, *SHORT)
        for _ in range(KILLS):
            await asyncio.sleep(dice.uniform(0.5, 3.0))
            os.kill(dice.choice(sorted(await world.worker_pids())), signal.SIGKILL)
        await world.site.until_terminal(rag, timeout_s=120)
        unjust = await world.site.fetch("SELECT count(*) AS count FROM charges WHERE NOT alone")
        charged = await world.site.fetch("SELECT count(*) AS count FROM charges")
        measured.append(f"{KILLS} random kills: {charged[0]['count']} deaths alone were charged")
        assert unjust == [{"count": 0}]
        await world.expect_sound(rag, charges=None)


@pytest.mark.parametrize("lease_s", [2.0, 10.0])
async def test_the_work_of_a_killed_worker_goes_on_within_a_lease_and_thirty_seconds(
    world: World, measured: list[str], lease_s: float
) -> None:
    world.settings = replace(
        world.settings, limits=replace(world.settings.limits, lease_s=lease_s, sweep_s=2.0)
    )
    heir = world.hire()
    await world.site.until("SELECT count(*) = 1 FROM workers")
    heir.signal(signal.SIGSTOP)
    rag = await world.load(LONG[0])
    await world.hire(failpoint="store").death()
    heir.signal(signal.SIGCONT)
    began = time.monotonic()
    await heir.wait_for("embedded", timeout_s=lease_s + RECOVERY_S_MAX)
    took_s = time.monotonic() - began
    measured.append(f"killed worker's work goes on after {took_s:.1f} s (lease {lease_s:g} s)")
    await world.expect_sound(rag)


@pytest.mark.parametrize(
    "place", ["claim", "fetch", "extract", "acquired", "chunk", "store:2", "finish"]
)
async def test_every_other_place(world: World, place: str) -> None:
    await killed_at(world, place)


async def test_twenty_deployments_in_a_row_cost_nothing_but_time(
    world: World, measured: list[str]
) -> None:
    dice = random.Random(SEED)
    rag = await world.load(*LONG, *MIDDLE, *SHORT)
    began = time.monotonic()
    for _ in range(DEPLOYMENTS):
        hand = world.hire()
        await world.site.until("SELECT count(*) > 0 FROM workers")
        await asyncio.sleep(dice.uniform(0.2, 1.5))
        assert await hand.stop() == 0
        rows = await world.site.fetch(
            "SELECT (SELECT count(*) FROM sources WHERE lease_until IS NOT NULL)"
            " + (SELECT count(*) FROM indexes WHERE lease_until IS NOT NULL) AS held"
        )
        assert rows == [{"held": 0}], "a stopped worker has kept something"
    world.hire()
    await world.expect_sound(rag)
    measured.append(f"{DEPLOYMENTS} deployments under load: {time.monotonic() - began:.0f} s")


async def test_a_worker_frozen_inside_a_transaction_keeps_its_locks_only_for_a_while(
    world: World, measured: list[str]
) -> None:
    rag = await world.load(LONG[0], *SHORT[:4])
    frozen = world.hire(failpoint="batch:2!stop")
    await frozen.frozen()
    began = time.monotonic()
    world.hire()
    await world.site.until_terminal(rag)
    took_s = time.monotonic() - began
    measured.append(f"frozen inside a transaction, done by another after {took_s:.1f} s")
    assert took_s < world.settings.limits.lease_s + RECOVERY_S_MAX
    frozen.signal(signal.SIGCONT)
    await frozen.told_of_its_loss()
    await world.expect_sound(rag)
