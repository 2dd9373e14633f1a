"""Postgres restarted, its backends killed, its answers to COMMIT lost: waited for, never lost."""

import asyncio
import time
from collections.abc import Mapping
from typing import LiteralString

import psycopg
import pytest
from fix_corpus import LONG, MIDDLE, SHORT
from fix_world import World
from msgspec.structs import replace

from engine.local import LocalServices

pytestmark = pytest.mark.anyio

BACK_S_MAX = 15.0
SEED = 4
ALONE: Mapping[str, LiteralString] = {
    "sources": "UPDATE sources SET alone = true",
    "indexes": "UPDATE indexes SET alone = true, state = 'pending', due_at = now(),"
    " lease_until = NULL",
}


async def test_work_goes_on_within_fifteen_seconds_of_postgres_being_back(
    own_world: World, own_services: LocalServices, measured: list[str]
) -> None:
    world = own_world
    # The pause after a fault as it is in production: it is a part of what is measured.
    world.settings = replace(
        world.settings, limits=replace(world.settings.limits, retry_base_s=5.0, poll_s=2.0)
    )
    hand = world.hire()
    rag = await world.load(LONG[0], *SHORT[:3])
    await world.chunks(at_least=64)
    before = await world.count("ready")
    await asyncio.to_thread(own_services.restart_postgres)
    took_s = await world.ready(more_than=before, timeout_s=60)
    measured.append(f"Postgres back to first job done: {took_s:.1f} s")
    assert took_s < BACK_S_MAX
    await world.expect_sound(rag)
    assert hand.process.poll() is None


async def test_commits_whose_answer_is_lost_are_neither_lost_nor_doubled_nor_charged(
    world: World, measured: list[str]
) -> None:
    world.postgres.lose_commits(share=0.1, seed=SEED)
    world.hire()
    rag = await world.load(*MIDDLE[:2], *SHORT[:6])
    began = time.monotonic()
    await world.site.until_terminal(rag)
    measured.append(f"a tenth of all commits unanswered: done in {time.monotonic() - began:.1f} s")
    world.postgres.lose_nothing()
    await world.expect_sound(rag)


@pytest.mark.parametrize("kind", ["sources", "indexes"])
async def test_a_claim_whose_answer_is_lost_is_given_back_and_not_charged_although_it_was_alone(
    world: World, kind: str
) -> None:
    """To everybody else it looks like a death while alone; only the worker itself knows better."""
    rag = await world.load(SHORT[0])
    if kind == "indexes":
        await world.hire(failpoint="acquired").death()
    with psycopg.connect(world.admin_url) as admin:
        admin.execute(ALONE[kind])
    world.postgres.lose_next_commit(
        after=f"UPDATE {kind}\n        SET state = 'processing'".encode()
    )
    hand = world.hire()
    await hand.wait_for("claims without an answer given back")
    await world.expect_sound(rag)
