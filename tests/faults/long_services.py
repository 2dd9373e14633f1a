"""The long form: services away for long, cut off in every way, again and again under load."""

import asyncio
import os
import random
import signal
import time

import psycopg
import pytest
import redis
from fix_corpus import LONG, MIDDLE, SHORT
from fix_world import World
from msgspec.structs import replace

from engine.local import LocalServices

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

SEED = 23


async def test_redis_restarted_flushed_and_away_under_load(
    own_world: World, own_services: LocalServices, measured: list[str]
) -> None:
    world = own_world
    hand = world.hire()
    rags = [await world.load(*LONG)]
    for number in range(4):
        await asyncio.to_thread(own_services.restart_redis)
        rags.append(await world.load(*SHORT[2 * number : 2 * number + 2]))
        with redis.Redis.from_url(own_services.services.redis_url) as client:
            client.flushall()
    world.redis.refuse()
    rags.append(await world.load(*MIDDLE))
    await world.expect_sound(*rags)
    world.redis.accept()
    measured.append("Redis restarted, flushed and away: 100 % of the accepted sources are ready")
    assert hand.process.poll() is None


PASSAGES = 2 * 150 + 6 * 70  # of LONG and MIDDLE


async def test_postgres_killed_like_a_machine_three_times_under_load(
    own_world: World, own_services: LocalServices, measured: list[str]
) -> None:
    """A crash of the server itself, with recovery from its log."""
    world = own_world
    hand = world.hire()
    rag = await world.load(*LONG, *MIDDLE)
    took_s = []
    for round_number in range(3):
        await world.chunks(at_least=64 * (round_number + 1))
        before = await world.count("chunks")
        pid = own_services.postgres_pid
        assert pid
        os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(2.0)
        await asyncio.to_thread(own_services.start)
        began = time.monotonic()
        # A fast machine may have had all of it done by the last time.
        await world.chunks(at_least=min(before + 1, PASSAGES))
        took_s.append(time.monotonic() - began)
    measured.append(f"Postgres back to first stored batch: {max(took_s):.1f} s at worst of three")
    assert max(took_s) < 15.0
    await world.expect_sound(rag)
    assert hand.process.poll() is None


async def test_an_outage_of_postgres_of_three_leases_ends_without_a_hand(
    world: World, measured: list[str]
) -> None:
    """Longer than any lease: whoever was at work writes down its end when the rows are back."""
    limits = replace(world.settings.limits, lease_s=15.0)
    world.settings = replace(world.settings, limits=limits)
    hand = world.hire()
    rag = await world.load(LONG[0], *SHORT[:4])
    await world.chunks(at_least=64)
    world.postgres.refuse()
    await asyncio.sleep(45.0)
    before = await world.count("ready")
    world.postgres.accept()
    took_s = await world.ready(more_than=before, timeout_s=100)
    measured.append(f"Postgres away for three leases, back to first job done: {took_s:.1f} s")
    assert took_s < 15.0
    await world.expect_sound(rag)
    assert hand.process.poll() is None


async def test_connections_to_postgres_that_stay_silent_for_ever_are_given_up(
    world: World, measured: list[str]
) -> None:
    limits = replace(world.settings.limits, lease_s=30.0)
    world.settings = replace(world.settings, limits=limits)
    hand = world.hire()
    rag = await world.load(LONG[0], *SHORT[:4])
    await world.chunks(at_least=64)
    world.postgres.silence()
    await asyncio.sleep(2.0)
    world.postgres.abandon()
    began = time.monotonic()
    await world.site.until_terminal(rag, timeout_s=150)
    measured.append(f"connections silent for ever: done after {time.monotonic() - began:.0f} s")
    await world.expect_sound(rag)
    assert hand.process.poll() is None


@pytest.mark.parametrize("seed", range(SEED, SEED + 3))
async def test_a_third_of_all_commits_unanswered(
    world: World, measured: list[str], seed: int
) -> None:
    world.postgres.lose_commits(share=0.3, seed=seed)
    with world.supervised(workers=2):
        rag = await world.load(*MIDDLE[:3], *SHORT[:8])
        began = time.monotonic()
        await world.site.until_terminal(rag, timeout_s=200)
        measured.append(f"a third of commits unanswered: done in {time.monotonic() - began:.0f} s")
        world.postgres.lose_nothing()
        await world.expect_sound(rag)


async def test_backends_killed_at_random_under_load(world: World) -> None:
    dice = random.Random(SEED)
    with world.supervised(workers=2):
        await world.worker_pids()
        rag = await world.load(*LONG, *MIDDLE, *SHORT)
        with psycopg.connect(world.admin_url, autocommit=True) as admin:
            for _ in range(30):
                await asyncio.sleep(dice.uniform(0.1, 0.6))
                admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                    " AND application_name IN ('rag_worker', '') AND random() < 0.5"
                )
        await world.expect_sound(rag)


async def test_killed_backends_are_replaced_and_nobody_is_charged(world: World) -> None:
    hand = world.hire()
    rag = await world.load(LONG[0], *SHORT[:3])
    for at_least in (1, 65, 129):
        await world.chunks(at_least=at_least)
        with psycopg.connect(world.admin_url) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                " AND application_name <> 'rag_operator'"
            )
    await world.expect_sound(rag)
    assert hand.process.poll() is None


async def test_a_silence_that_ends_is_waited_for(world: World) -> None:
    hand = world.hire()
    rag = await world.load(LONG[0], *SHORT[:3])
    await world.chunks(at_least=64)
    world.postgres.silence()
    await asyncio.sleep(3 * world.settings.limits.lease_s)
    world.postgres.speak()
    await world.expect_sound(rag)
    assert hand.process.poll() is None
