"""What changes profiles, merges words and removes both reads by indexes, however much others have.

Data-modifying statements are planned first and then run, so that each function goes on as it would.
"""

from typing import Any

import pytest
from fix_ann import grouped
from fix_changes import Move, failed, move
from fix_large import Large
from fix_plans import explained, template_database, whole_tables
from fix_store import FINAL
from fix_words import wordy

from engine.models import SourceId
from engine.store import ann, annentries, changes, merging, rags, retired
from engine.store.claims import ClaimedIndex
from engine.store.merging import Crowd

__all__ = ["move", "template_database"]  # fixtures

pytestmark = pytest.mark.anyio


@pytest.fixture
async def changing(move: Move) -> Move:
    """A RAG of 12 sources on its way to other chunks, of which one is built and one has failed."""
    for _ in range(12):
        await move.ready()
    await move.put(chunk_tokens=100)
    await move.build(await move.store.claimed_index())
    await failed(move, await move.store.claimed_index(), failure=FINAL)
    return move


class Plans:
    """Those of a function, each run in the way that requests or workers run it."""

    def __init__(self, move: Move, monkeypatch: pytest.MonkeyPatch) -> None:
        self._move = move
        self._monkeypatch = monkeypatch

    async def expect_indexes(self, verb: Any, *, as_api: bool = False, **given: Any) -> list[str]:
        database = self._move.store.api if as_api else self._move.store.worker
        whose = {"customer_id": self._move.customer_id} if as_api else {}
        async with database.transaction(**whose) as tx:
            with explained(tx, self._monkeypatch) as plans:
                await verb(tx, **given)
        assert plans
        for plan in plans:
            assert not whole_tables(plan), f"{verb.__name__}\n{plan}"
        return plans


async def test_a_change_of_the_profile_reads_its_own_rag_only(
    changing: Move, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = Plans(changing, monkeypatch)
    mine: dict[str, Any] = {"customer_id": changing.customer_id, "rag_id": changing.rag_id}
    named: dict[str, Any] = {"customer_id": changing.customer_id, "rag_ids": [changing.rag_id]}
    await plans.expect_indexes(changes.of_rags, as_api=True, named_max=20, **named)
    await plans.expect_indexes(changes.retry, as_api=True, **mine)
    await plans.expect_indexes(changes.fill, as_api=True, limit=200, **mine)
    await plans.expect_indexes(changes.fill, limit=2_000, **mine)
    await plans.expect_indexes(changes.waiting, open_max=2_000, limit=100)
    claim = await changing.store.claimed_index()
    await plans.expect_indexes(changes.may_switch, claim=claim)
    await changing.build(claim)
    await changing.build_due()
    assert (await changing.rag()).change is None
    await changing.put(chunk_tokens=150)
    await changing.store.execute("UPDATE indexes SET generation_live = generation")
    await plans.expect_indexes(changes.switch, as_api=True, **mine)
    assert (await changing.rag()).chunk_tokens == 150


async def test_what_blocks_is_found_among_what_is_not_built(
    changing: Move, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = Plans(changing, monkeypatch)
    given: dict[str, Any] = {"customer_id": changing.customer_id, "rag_ids": [changing.rag_id]}
    await plans.expect_indexes(changes._blocking, as_api=True, limit=20, **given)
    mine: dict[str, Any] = {"customer_id": changing.customer_id, "rag_id": changing.rag_id}
    await plans.expect_indexes(changes.give_up, as_api=True, **mine)
    settings = {"embedding_model": "a-model", "chunk_tokens": 50, "chunk_overlap_tokens": 0}
    await plans.expect_indexes(changes.begin, as_api=True, **mine, **settings)


async def test_what_is_retired_is_removed_by_its_profile(
    changing: Move, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = Plans(changing, monkeypatch)
    claim = await changing.store.claimed_index()
    await changing.put(chunk_tokens=200)
    await plans.expect_indexes(retired.park, claim=claim)
    await plans.expect_indexes(retired.delete_chunks, limit=2_000)
    await plans.expect_indexes(retired.delete_indexes, limit=2_000)
    await plans.expect_indexes(retired.delete_profiles, limit=2_000)
    rows = await changing.store.fetch(
        "SELECT count(*) AS profiles FROM profiles WHERE retired_at IS NOT NULL"
    )
    assert rows == [{"profiles": 0}]


async def wordy_rag(move: Move) -> tuple[Crowd, list[ClaimedIndex]]:
    made = [
        await wordy(move.store, move.customer_id, move.rag_id, [f"kettle {number}", "cup"])
        for number in range(6)
    ]
    rows = await move.store.fetch(
        "SELECT customer_id, profile_id, array_agg(id ORDER BY id) AS segment_ids,"
        " sum(chunk_count)::int AS chunk_count FROM segments"
        " WHERE customer_id = %(customer_id)s GROUP BY 1, 2",
        customer_id=move.customer_id,
    )
    return Crowd(**rows[0]), made


async def test_a_merge_reads_what_it_puts_together(
    move: Move, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, made = await wordy_rag(move)
    plans = Plans(move, monkeypatch)
    async with move.store.api.transaction(customer_id=move.customer_id) as tx:
        await rags.lock(tx, customer_id=move.customer_id, rag_id=move.rag_id, strength="update")
    await move.rags.delete_source(move.customer_id, move.rag_id, SourceId(made[0].source_id))
    await plans.expect_indexes(merging.discard_unfinished)
    await plans.expect_indexes(merging.crowds, limit=20, fresh_s=600.0)
    await plans.expect_indexes(merging.resting, limit=20, fresh_s=600.0)
    await plans.expect_indexes(merging.decayed, limit=20, fresh_s=600.0)
    members = await move.store.do(merging.members, crowd=wanted)
    assert [member.dead for member in members] == [True] + [False] * 5
    await plans.expect_indexes(merging.members, crowd=wanted)
    kept = [member for member in members if not member.dead]
    await plans.expect_indexes(merging.begin, crowd=wanted, kept=kept)
    await plans.expect_indexes(merging.read_terms, crowd=wanted, first=-(2**63), last=2**63 - 1)
    rows = await move.store.fetch("SELECT id FROM segments WHERE state = 'building'")
    await plans.expect_indexes(
        merging.switch, crowd=wanted, segment_id=rows[0]["id"], dropped=members[:1]
    )


async def test_segments_are_removed_without_looking_at_those_that_answer(
    move: Move, monkeypatch: pytest.MonkeyPatch
) -> None:
    await wordy_rag(move)
    plans = Plans(move, monkeypatch)
    await move.rags.delete(move.customer_id, move.rag_id)
    await plans.expect_indexes(merging.retire_unwanted, limit=2_000)
    for _ in range(2):
        await plans.expect_indexes(merging.remove_replaced, age_s=90.0, limit=2_000)
    await plans.expect_indexes(merging.forget_dead, age_s=24 * 3600.0, limit=2_000)
    rows = await move.store.fetch(
        "SELECT count(*) AS count FROM segments WHERE customer_id = %(id)s", id=move.customer_id
    )
    assert rows == [{"count": 0}]


async def test_entries_are_kept_without_looking_at_other_profiles(
    large: Large, move: Move, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(60):
        large.source(grouped(20, seed=seed))
    await large.keep()
    await large.store.execute("UPDATE indexes SET ann_generation = NULL")
    large.filler.delete(large.source(grouped(20, seed=70)))
    large.source(grouped(20, seed=71))
    large.filler.connection.execute("VACUUM ANALYZE")
    plans = Plans(move, monkeypatch)
    (table,) = await large.store.do(ann.tables)
    await plans.expect_indexes(annentries.mark, table=table, limit=5_000)
    await plans.expect_indexes(annentries.waiting_chunks, table=table)
    waiting = await large.store.do(annentries.waiting, table=table, limit=500)
    assert len(waiting) == 1
    await plans.expect_indexes(annentries.waiting, table=table, limit=500)
    await plans.expect_indexes(annentries.enter, table=table, waiting=waiting)
    await plans.expect_indexes(annentries.delete_dead, table=table, limit=5_000)
