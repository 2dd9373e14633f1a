"""Redis restarted, flushed, away and silent: it only rings, so everything goes on without it."""

import asyncio

import pytest
from fix_corpus import SHORT
from fix_world import World
from msgspec.structs import replace

pytestmark = pytest.mark.anyio

BELL_S_MAX = 5.0
URL = "https://example.com/page"


def by_bell_alone(world: World) -> None:
    """A poll that hardly ever comes: what is done at once was brought by the bell."""
    limits = replace(world.settings.limits, poll_s=60.0, sweep_s=0.5)
    world.settings = replace(world.settings, limits=limits)


async def test_what_is_accepted_while_redis_is_away_is_all_done_before_it_is_back(
    world: World, measured: list[str]
) -> None:
    world.hire()
    world.redis.refuse()
    rags = [await world.load(text) for text in SHORT[:6]]
    await world.expect_sound(*rags)
    measured.append(f"accepted and done while Redis was away: {len(rags)} of {len(rags)}")
    world.redis.accept()


async def test_the_first_bell_after_an_outage_is_heard_within_five_seconds(
    world: World, measured: list[str]
) -> None:
    by_bell_alone(world)
    hand = world.hire()
    rags = [await world.load(SHORT[0])]
    await world.ready(more_than=0, timeout_s=30)
    world.redis.refuse()
    await hand.wait_for("bells are away, polling", count=2)
    world.redis.accept()
    rags.append(await world.load(SHORT[1]))
    took_s = await world.ready(more_than=1, timeout_s=30)
    measured.append(f"Redis back to first job done: {took_s:.1f} s")
    assert took_s < BELL_S_MAX
    await world.expect_sound(*rags)


async def test_a_worker_hears_again_although_its_old_connections_stay_silent_for_ever(
    world: World, measured: list[str]
) -> None:
    by_bell_alone(world)
    world.hire()
    rags = [await world.load(SHORT[0])]
    await world.ready(more_than=0, timeout_s=30)
    world.redis.silence()
    await asyncio.sleep(1.0)
    world.redis.abandon()
    rags.append(await world.load(SHORT[1]))
    took_s = await world.ready(more_than=1, timeout_s=30)
    measured.append(f"Redis black-holed, first job after its return: {took_s:.1f} s")
    await world.expect_sound(*rags)
