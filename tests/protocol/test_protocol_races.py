"""The protocol on the real Postgres: many workers, and all that goes wrong, at the same time.

The decisions follow from a seed that a failure prints; RAG_ENGINE_TEST_RACE_SEED repeats one and
RAG_ENGINE_TEST_RACE_S makes the race longer.
"""

import asyncio
import os

import pytest
from fix_crew import work
from fix_race import Race
from fix_race_audit import at_work, left_over, texts, visible_now
from fix_store import Store

pytestmark = pytest.mark.anyio

RACE_S = float(os.environ.get("RAG_ENGINE_TEST_RACE_S", "5"))
SEEDS = os.environ.get("RAG_ENGINE_TEST_RACE_SEED", "1,2").split(",")
SETTLE_S = 60.0
PATIENCE_S = 30.0
WORKERS = 8
REQUESTERS = 3
# Without these the race would not have been one.
HAPPENED = (
    "_add", "_refresh", "_delete", "_delete_rag", "finished", "superseded", "documents refused",
    "workers killed", "killed inside a transaction", "zombies", "backends killed",
    "went on behind what was stored", "expire_sources", "expire_indexes",
    "delete_retired_chunks", "delete_rags", "looked for what was deleted", "looks at everything",
)  # fmt: skip


@pytest.mark.timeout(RACE_S + PATIENCE_S + SETTLE_S + 60)
@pytest.mark.parametrize("seed", SEEDS)
async def test_after_any_race_every_source_has_its_end_and_no_chunk_is_wrong(
    store: Store, seed: str
) -> None:
    race = Race(store, seed=seed)
    await race.set_up()
    async with asyncio.TaskGroup() as group:
        for number in range(WORKERS):
            group.create_task(work(race, number))
        for number in range(REQUESTERS):
            group.create_task(race.request(number))
        for each in (race.sweep(), race.sweep(), race.kill_backends(), race.watch()):
            group.create_task(each)
        await run(race)
        race.calm = True
        await settle(race)
        race.over = True
    print(f"seed {seed}: {dict(race.tally)}")
    assert race.wrong == []
    assert await at_work(store) == []
    assert await left_over(store) == {}
    assert await visible_now(store) == []
    await check_sources(race)
    assert missing(race) == []


async def run(race: Race) -> None:
    """For its time, and on a slow machine until everything has happened once."""
    started = asyncio.get_running_loop().time()
    passed_s = 0.0
    while passed_s < RACE_S or (missing(race) and passed_s < RACE_S + PATIENCE_S):
        await asyncio.sleep(0.1)
        passed_s = asyncio.get_running_loop().time() - started


def missing(race: Race) -> list[str]:
    return [name for name in HAPPENED if not race.tally[name]]


async def settle(race: Race) -> None:
    """Wait until nothing moves any more; what never ends is shown by the checks that follow."""
    deadline = asyncio.get_running_loop().time() + SETTLE_S
    while asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.2)
        if not await at_work(race.store):
            return


async def check_sources(race: Race) -> None:
    """Whatever was acknowledged and not deleted is there: with its newest text, or in error."""
    rows = await race.store.fetch("SELECT id, state, failure, refresh_failed FROM sources")
    there = {row["id"]: row for row in rows}
    answers = await texts(race.store)
    kept = race.acknowledged - race.deleting
    assert kept <= there.keys(), "an acknowledged source is lost"
    assert kept
    for source_id in kept:
        row = there[source_id]
        assert row["state"] in ("ready", "error")
        if row["state"] == "error" or row["refresh_failed"]:
            assert row["failure"], row
        else:
            assert answers[source_id] in race.world.acceptable(source_id)
