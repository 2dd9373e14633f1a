"""ANN tables: whatever is in them, dead, alive or not yet, an answer is full, right and of now."""

import asyncio

import numpy as np
import psycopg
import pytest
from fix_ann import Filler, Vectors, grouped, named
from fix_large import LIMITS, Large, index_ids
from fix_store import Store

from engine import retrieval
from engine.errors import DatabaseUnavailable, Superseded
from engine.models import ProfileId
from engine.store import ann, annentries, hits, near
from engine.store.hits import Asked

pytestmark = pytest.mark.anyio

PER_SOURCE = 10


async def test_a_table_is_built_above_the_limit_only_and_finds_what_a_scan_finds(large: Large):
    large.source(grouped(LIMITS.exact_chunks_max))
    assert await large.keep() == 0
    assert (large.filler.ann_tables(), await large.number()) == ([], None)
    large.source(grouped(300, seed=1))
    assert await large.keep() > 0
    assert large.filler.ann_tables() == named(await large.number())
    for question in grouped(10, seed=2):
        assert await large.ask(question) == await large.scan(question)
    assert await large.keep() == 0
    unmarked = "SELECT id FROM indexes WHERE ann_generation IS DISTINCT FROM generation_live"
    assert await large.store.fetch(unmarked) == [], "it would be scanned beside the table"


def settings(*, in_view: int, walked: int) -> dict[str, str]:
    """A graph that is given up soon."""
    few = {"hnsw.ef_search": str(in_view), "hnsw.max_scan_tuples": str(walked)}
    return {**near.SETTINGS, **few}


@pytest.mark.parametrize("others", [0, 400, 4_000])
@pytest.mark.parametrize("dead_share", [0.0, 0.5, 0.9, 0.99])
async def test_top_k_is_filled_whatever_is_dead_and_however_small_the_share(
    large: Large, monkeypatch, others: int, dead_share: float
):
    """400 chunks: all of the table, a half, a tenth; of them some dead, and nothing tidied up."""
    monkeypatch.setattr(near, "SETTINGS", settings(in_view=20, walked=60))
    if others:
        _, crowd = large.filler.rag(large.customer_id)
        large.filler.source(crowd, grouped(others, seed=9))
    sources = [large.source(grouped(PER_SOURCE, seed=seed)) for seed in range(40)]
    await large.keep()
    assert await large.number()
    for source_id in sources[: round(dead_share * len(sources))]:
        large.filler.delete(source_id)
    alive = 400 - PER_SOURCE * round(dead_share * len(sources))
    for question in grouped(5, seed=50):
        for limit in (1, 10, 50):
            found = await large.ask(question, limit=limit)
            assert len(found) == len(set(found)) == min(limit, alive)
        nearest = await large.scan(question, limit=10)
        found = await large.ask(question, limit=100)
        assert len(set(found[:10]) & set(nearest)) >= 0.9 * len(nearest)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_through_any_life_answers_are_full_alive_and_near(
    large: Large, monkeypatch, seed: int
):
    """Sources come, go and are refreshed while the table is kept only now and then."""
    monkeypatch.setattr(near, "SETTINGS", settings(in_view=40, walked=100))
    monkeypatch.setattr(retrieval, "WALKED_COST", 0)  # or so few would be scanned under a filter
    drawn = np.random.default_rng(seed)
    alive = [large.source(grouped(PER_SOURCE, seed=number)) for number in range(12)]
    tables = set()
    for turn in range(40):
        vectors = grouped(int(drawn.integers(1, 30)), seed=1_000 * seed + turn)
        match drawn.integers(6):
            case 0 if len(alive) > 3:
                large.filler.delete(alive.pop(drawn.integers(len(alive))))
            case 1:
                large.filler.refresh(alive[drawn.integers(len(alive))], vectors)
            case 2 | 3:
                await large.keep()
                tables.add(await large.number())
            case _:
                alive.append(large.source(vectors))
        allowed = [each for each in alive if drawn.random() < 0.3] or None
        question = grouped(1, seed=2_000 * seed + turn)[0]
        for source_ids in (None, allowed):
            found = await large.ask(question, limit=20, source_ids=source_ids)
            wanted = await large.scan(question, limit=20, source_ids=source_ids)
            assert len(found) == len(set(found)) == len(wanted)
            assert len(set(found) & set(wanted)) >= 0.8 * len(wanted)
    assert len(tables - {None}) > 1, "it was never built anew"


@pytest.mark.parametrize(("allowed", "walked"), [(1, False), (20, False), (30, True), (40, True)])
async def test_under_a_filter_the_graph_is_walked_where_that_costs_less(
    large: Large, monkeypatch, allowed: int, walked: bool
):
    """Of 400: ten of 283 are found in 14 entries, which cost as much as a scan of 283."""
    assert retrieval.scanned_max(10, 400) == 282
    sources = [large.source(grouped(PER_SOURCE, seed=seed)) for seed in range(40)]
    await large.keep()
    tables, find = [], hits.find

    async def spied(tx, asked):
        tables.append(asked.ann_number)
        return await find(tx, asked)

    monkeypatch.setattr(hits, "find", spied)
    assert len(await large.ask(grouped(1)[0], source_ids=sources[:allowed])) == 10
    assert tables == [await large.number() if walked else None]


async def test_what_was_deleted_is_not_found_and_then_taken_out_and_built_without(large: Large):
    sources = [large.source(grouped(PER_SOURCE, seed=seed)) for seed in range(40)]
    await large.keep()
    first = await large.number()
    large.filler.delete(sources[0])
    gone = index_ids(await large.scan(grouped(1)[0], limit=400, source_ids=None))
    for question in grouped(10, seed=60):
        assert index_ids(await large.ask(question, limit=50)) <= gone
    await large.keep()
    assert large.filler.count(f"ann_{first}") == 390
    assert await large.number() == first
    for source_id in sources[1:10]:
        large.filler.delete(source_id)
    await large.keep()
    assert await large.number() != first
    assert large.filler.count(f"ann_{await large.number()}") == 300
    await large.keep()
    assert large.filler.ann_tables() == named(await large.number())


async def test_a_profile_that_shrank_or_went_loses_its_table(large: Large):
    sources = [large.source(grouped(PER_SOURCE, seed=seed)) for seed in range(10)]
    await large.keep()
    assert await large.number()
    for source_id in sources[:8]:
        large.filler.delete(source_id)
    await large.keep()
    assert (large.filler.ann_tables(), await large.number()) == ([], None)
    assert len(await large.ask(grouped(1)[0], limit=50)) == 20


async def test_a_refresh_is_found_at_once_and_as_a_whole_while_the_table_is_stale(large: Large):
    source_id = large.source(grouped(80))
    await large.keep()
    generations = []
    done = asyncio.Event()

    async def ask() -> None:
        while not done.is_set():
            found = await large.ask(grouped(1, seed=7)[0], limit=20)
            assert len(found) == 20
            (generation,) = {key[1] for key in found}
            generations.append(generation)

    asking = asyncio.create_task(ask())
    for seed in range(1, 6):
        await asyncio.to_thread(large.filler.refresh, source_id, grouped(60, seed=seed))
        found = await large.ask(grouped(1, seed=7)[0], limit=20)
        assert {key[1] for key in found} == {seed + 1}
        if seed == 3:
            await large.keep()
    done.set()
    await asking
    assert generations == sorted(generations)
    assert len(set(generations)) > 1


async def test_what_is_ingested_later_is_entered_without_building_anew(large: Large):
    for seed in range(40):
        large.source(grouped(PER_SOURCE, seed=seed))
    await large.keep()
    first = await large.number()
    for seed in range(5):
        large.source(grouped(PER_SOURCE, seed=100 + seed))
    await large.keep()
    assert await large.number() == first
    assert large.filler.count(f"ann_{first}") == 450
    async with large.store.worker.transaction() as tx:
        (table,) = await ann.tables(tx)
        assert (table.entries, await annentries.waiting(tx, table=table, limit=9)) == (450, [])


async def test_an_index_that_a_worker_holds_delays_nobody_and_is_found_once(large: Large):
    for seed in range(20):
        large.source(grouped(PER_SOURCE, seed=seed))
    with psycopg.connect(large.filler.connection.info.dsn) as holder:
        holder.execute("SELECT FROM indexes LIMIT 1 FOR UPDATE")
        async with asyncio.timeout(10):
            await large.keep()
        found = await large.ask(grouped(1)[0], limit=100)
        assert len(found) == len(set(found)) == 100
        assert await large.scan(grouped(1)[0], limit=100) == found
    assert await large.keep() > 0


async def test_vectors_of_unlike_dimensions_get_no_table_and_stop_nobody_else(
    store: Store, filler: Filler, large: Large
):
    large.source(grouped(60))
    large.source(grouped(60, dimensions=8))
    other = Large(store, filler)
    other.source(grouped(60))
    await large.keep()
    assert await large.number() is None
    assert await other.number() is not None


async def test_vectors_too_long_for_a_graph_are_scanned(large: Large, monkeypatch):
    monkeypatch.setattr(ann, "DIMENSIONS_MAX", 15)
    large.source(grouped(100))
    await large.keep()
    assert await large.number() is None
    assert len(await large.ask(grouped(1)[0], limit=50)) == 50


async def test_several_dimensions_live_side_by_side(store: Store, filler: Filler):
    ranges = {}
    for dimensions in (8, 16, 1_024):
        large = Large(store, filler)
        large.source(grouped(100, dimensions=dimensions))
        ranges[dimensions] = large
    await large.keep()
    for dimensions, each in ranges.items():
        question = grouped(1, dimensions=dimensions, seed=1)[0]
        assert await each.number()
        assert await each.ask(question) == await each.scan(question)


async def test_another_customer_sees_no_entry_of_a_table(large: Large, store: Store):
    large.source(grouped(100))
    await large.keep()
    number = await large.number()
    stranger = await store.customer("stranger")
    for customer_id, seen in ((large.customer_id, 100), (stranger, 0)):
        async with store.api.transaction(customer_id=customer_id) as tx:
            rows = await tx.connection.execute(f"SELECT count(*) FROM ann_{number}")  # type: ignore
            assert (await rows.fetchone())["count"] == seen


async def test_who_asks_a_table_that_was_just_dropped_is_told_to_ask_again(large: Large):
    large.source(grouped(100))
    await large.keep()
    async with large.store.api.transaction(customer_id=large.customer_id) as tx:
        asked = Asked(
            customer_id=large.customer_id,
            rag_id=large.rag_id,
            profile_id=ProfileId(large.profile_id),
            ann_number=999_999,
            vector=grouped(1)[0],
            limit=5,
            count=5,
        )
        with pytest.raises(Superseded):
            await hits.find(tx, asked)


@pytest.mark.parametrize("asked", [("ann_{}", "ann_{}_vectors"), ("ann_{}_vectors",)])
async def test_a_table_that_is_being_asked_is_dropped_later(large: Large, asked: tuple[str, ...]):
    source_id = large.source(grouped(100))
    await large.keep()
    number = await large.number()
    held = [table.format(number) for table in asked]
    with psycopg.connect(large.filler.connection.info.dsn) as asking:
        for table in held:
            asking.execute(f"SELECT FROM {table}".encode())
        large.filler.delete(source_id)
        await large.keep()
        assert large.filler.ann_tables() == held
    await large.keep()
    assert large.filler.ann_tables() == []


STEPS = ("created", "filled", "indexed", "announced")


@pytest.mark.parametrize("step", STEPS)
async def test_a_build_that_dies_at_any_step_leaves_nothing_and_keeps_nothing(
    large: Large, step: str
):
    large.source(grouped(100))
    size = ann.Size(profile_id=large.profile_id, customer_id=large.customer_id, chunk_count=100)

    def passed(name: str) -> None:
        if name == step:
            large.filler.connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = 'ann'"
            )

    async def built() -> None:
        async with large.store.worker.owned() as owner:
            await owner.run("SET application_name TO 'ann'")
            assert await ann.sole(owner)
            await ann.build(
                owner, size=size, dimensions=16, memory_bytes=2**26, processes=1, passed=passed
            )

    with pytest.raises(DatabaseUnavailable):
        await built()
    assert large.filler.ann_tables() == []
    assert len(await large.ask(grouped(1)[0], limit=50)) == 50
    async with large.store.worker.owned() as owner:
        assert await ann.sole(owner)
        await large.keeper.once(owner)
    assert await large.number()


async def test_only_one_keeps_at_a_time(store: Store):
    async with store.worker.owned() as one, store.worker.owned() as other:
        assert await ann.sole(one)
        assert not await ann.sole(other)


async def test_what_is_alike_stands_together_in_a_table(large: Large):
    """A walk through the graph then reads from fewer places."""
    vectors = grouped(2_000)
    large.source(vectors)
    await large.keep()
    number = await large.number()
    rows = large.filler.connection.execute(
        f"SELECT ordinal FROM ann_{number} JOIN ann_{number}_vectors v ON v.id = vector_id"
        " ORDER BY v.ctid".encode()
    ).fetchall()
    stored = vectors[[ordinal for (ordinal,) in rows]]
    assert sorted(rows) == [(ordinal,) for ordinal in range(2_000)]
    assert likeness(stored) > likeness(vectors) + 0.2


def likeness(vectors: Vectors) -> float:
    """The mean cosine of each with the next one."""
    return float((vectors[1:] * vectors[:-1]).sum(axis=1).mean())
