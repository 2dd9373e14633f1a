"""The statements of a query and of the ANN tables' keeper read what they need and no more."""

from contextlib import AbstractAsyncContextManager
from functools import partial

import pytest
from fix_ann import grouped
from fix_large import Large
from fix_plans import explained as explained_by
from msgspec.structs import replace

from engine.models import SourceId
from engine.store import ann, annentries, hits, near
from engine.store.ann import AnnTable
from engine.store.database import Tx
from engine.store.hits import Asked, Found

pytestmark = pytest.mark.anyio

explained = partial(explained_by, prefix="EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, BUFFERS OFF) ")
SOURCES, PER_SOURCE = 150, 20


@pytest.fixture
async def crowded(large: Large) -> Large:
    """3,000 chunks in a table beside as many of somebody else, and ten sources not in it yet."""
    _, crowd = large.filler.rag(large.filler.customer())
    for seed in range(SOURCES):
        large.filler.source(crowd, grouped(PER_SOURCE, seed=seed))
        large.source(grouped(PER_SOURCE, seed=seed))
    await large.keep()
    for seed in range(10):
        large.source(grouped(PER_SOURCE, seed=1_000 + seed))
    large.filler.connection.execute("VACUUM ANALYZE")
    return large


def wanted(large: Large, *, number: int | None, source_ids=None) -> Asked:
    return Asked(
        customer_id=large.customer_id,
        rag_id=large.rag_id,
        profile_id=large.profile_id,
        vector=grouped(1, seed=7)[0],
        limit=20,
        count=20,
        source_ids=source_ids,
        ann_number=number,
    )


async def asked(large: Large, tx: Tx, *, number: int | None, source_ids=None) -> list[Found]:
    looked = await hits.find(tx, wanted(large, number=number, source_ids=source_ids))
    return looked.found


def asking(large: Large, *, filtered: bool = False) -> AbstractAsyncContextManager[Tx]:
    """As a question is asked."""
    return large.store.api.transaction(
        customer_id=large.customer_id, snapshot=True, settings=near.settings(filtered=filtered)
    )


async def test_the_graph_is_walked_and_beside_it_only_what_waits_is_scanned(
    crowded: Large, monkeypatch
):
    number = await crowded.number()
    for source_ids in (None, [SourceId(row["id"]) for row in await sources(crowded)]):
        async with asking(crowded, filtered=source_ids is not None) as tx:
            with explained(tx, monkeypatch) as plans:
                assert len(await asked(crowded, tx, number=number, source_ids=source_ids)) == 20
        (plan,) = plans
        assert f"Index Scan using ann_{number}_graph" in plan, plan
        assert source_ids or "indexes_without_entries" in plan, plan
        assert "Seq Scan" not in plan, plan


async def test_what_was_walked_before_is_not_walked_again(crowded: Large, monkeypatch):
    number = await crowded.number()
    async with asking(crowded) as tx:
        whole = await asked(crowded, tx, number=number)
        with explained(tx, monkeypatch) as plans:
            walked = wanted(crowded, number=number)
            walked = replace(walked, nearest=await hits.nearest(tx, walked))
            assert (await hits.find(tx, walked)).found == whole
        walk, rest = plans
        assert f"Index Scan using ann_{number}_graph" in walk, walk
        assert "indexes_without_entries" in walk, walk
        assert f"ann_{number}" not in rest, rest
        assert "Seq Scan" not in walk + rest, walk + rest


async def sources(large: Large) -> list[dict[str, object]]:
    return await large.store.fetch(
        "SELECT id FROM sources WHERE rag_id = %(id)s LIMIT 100", id=large.rag_id
    )


async def test_a_scan_reads_its_own_profile_only(crowded: Large, monkeypatch):
    _, profile_id = crowded.filler.rag(crowded.customer_id)
    source_id = SourceId(crowded.filler.source(profile_id, grouped(30)))
    crowded.profile_id = profile_id  # type: ignore[assignment]
    for source_ids in (None, [source_id]):
        async with asking(crowded, filtered=source_ids is not None) as tx:
            with explained(tx, monkeypatch) as plans:
                assert len(await asked(crowded, tx, number=None, source_ids=source_ids)) == 20
        assert "Seq Scan on chunks" not in plans[0], plans[0]
        assert "chunks_by_embedding_key" not in plans[0], plans[0]


# Of what a session keeps prepared to answer questions.
KEPT = "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%fused%'"
MADE_ANEW = """
    SELECT sum(custom_plans)::int FROM pg_prepared_statements WHERE statement LIKE '%fused%'
"""
KEPT_USED = """
    SELECT sum(generic_plans)::int FROM pg_prepared_statements WHERE statement LIKE '%fused%'
"""
# In this transaction.
WALKS = """
    SELECT sum(idx_scan - seq_scan)::int FROM pg_stat_xact_user_tables
    WHERE relname LIKE 'ann_%_vectors'
"""
CHUNKS_READ = """
    SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'chunks'
"""


async def test_one_plan_is_kept_for_whatever_is_asked(crowded: Large):
    number, whole = await crowded.number(), crowded.profile_id
    _, small = crowded.filler.rag(crowded.customer_id)
    crowded.filler.source(small, grouped(30))
    async with asking(crowded) as tx:
        for profile_id, asked_number in 8 * [(whole, number), (small, None)]:
            crowded.profile_id = profile_id  # type: ignore[assignment]
            assert len(await asked(crowded, tx, number=asked_number)) == 20
        assert (await tx.value(int, KEPT), await tx.value(int, MADE_ANEW)) == (2, 0)
        assert (await tx.value(int, KEPT_USED) or 0) > 8
        assert await tx.value(int, WALKS) == 8
        # Ten sources wait, and each of 3,000 passages would be read eight times.
        read = await tx.value(int, CHUNKS_READ)
        assert read is not None
        assert read < 8 * (10 * PER_SOURCE + 30 + 4 * 20)


async def test_under_a_filter_a_plan_is_made_for_its_sources(crowded: Large):
    source_ids = [SourceId(row["id"]) for row in await sources(crowded)]
    async with asking(crowded, filtered=True) as tx:
        number = await crowded.number()
        for _ in range(8):
            assert len(await asked(crowded, tx, number=number, source_ids=source_ids)) == 20
        assert await tx.value(int, KEPT) == 0
        assert await tx.value(str, "SELECT current_setting('plan_cache_mode')") == "auto"


async def test_a_kept_plan_reads_of_a_small_rag_no_more_than_it_has(large: Large):
    """And not all that there is, as the planner would have it for many large sources."""
    for seed in range(20):
        large.source(grouped(100, seed=seed))
    _, large.profile_id = large.filler.rag(large.customer_id)  # type: ignore[assignment]
    large.source(grouped(30))
    large.filler.connection.execute("ANALYZE")
    async with asking(large) as tx:
        await tx.run("SET LOCAL random_page_cost TO 1000")  # which makes the same of few
        assert len(await asked(large, tx, number=None)) == 20
        assert await tx.value(int, CHUNKS_READ) == 30 + 20


async def test_what_stands_beside_is_read_by_its_keys(crowded: Large, monkeypatch):
    keys = await crowded.ask(grouped(1)[0], limit=10)
    given = {"customer_id": crowded.customer_id, "keys": keys}
    async with asking(crowded) as tx:
        with explained(tx, monkeypatch) as plans:
            assert await hits.beside(tx, **given)
    (plan,) = plans
    assert "chunks_pkey" in plan, plan
    assert "Seq Scan on chunks" not in plan, plan


async def test_the_keeper_steps_from_generation_to_generation(crowded: Large, monkeypatch):
    async with crowded.store.worker.transaction() as tx:
        number = await crowded.number()
        (table,) = [each for each in await ann.tables(tx) if each.number == number]
        await plans_of_the_keeper(tx, table=table, monkeypatch=monkeypatch)


async def plans_of_the_keeper(tx: Tx, *, table: AnnTable, monkeypatch) -> None:
    await tx.run("SET LOCAL enable_seqscan TO off")  # which so few indexes would be worth
    with explained(tx, monkeypatch) as plans:
        assert await annentries.delete_dead(tx, table=table, limit=1_000) == 0
        assert len(await annentries.waiting(tx, table=table, limit=100)) == 10
        assert await annentries.waiting_chunks(tx, table=table) == 10 * PER_SOURCE
    walk, waiting, waiting_chunks = plans
    # Two generations are no more than two steps on, however many entries they have.
    assert f"ann_{table.number}_by_key" in walk, walk
    assert "Seq Scan on ann" not in walk, walk
    for plan in (waiting, waiting_chunks):
        assert "indexes_without_entries" in plan, plan
