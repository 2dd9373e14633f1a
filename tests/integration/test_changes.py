"""Changing how a RAG's chunks are made: built beside what answers, until one switch."""

import asyncio

import pytest
from fix_changes import MODEL, OTHER, Move, move
from fix_store import Store

from engine.errors import InvalidRequest, RagNotFound, Superseded
from engine.models import ChangeStatus, State, rag_status
from engine.profiles import Wanted
from engine.store import changes, customers, retired, targets

__all__ = ["move"]  # fixtures

pytestmark = pytest.mark.anyio


async def test_the_live_profile_answers_until_the_last_source_is_built(move: Move) -> None:
    first, second = await move.ready(), await move.ready()
    before = await move.put(chunk_tokens=100)
    assert (before.chunk_tokens, before.embedding_model) == (200, MODEL)
    assert before.change
    assert (before.change.chunk_tokens, before.change.total) == (100, 2)
    assert before.change.status is ChangeStatus.BUILDING
    assert not await move.build(await move.store.claimed_index())
    half = await move.rag()
    assert half.change
    assert (half.change.done, half.change.total) == (1, 2)
    assert (half.chunk_tokens, rag_status(half.counts)) == (200, State.READY)
    assert [source.chunk_count for source in half.sources] == [3, 3]
    assert await move.build(await move.store.claimed_index())
    after = await move.rag()
    assert (after.chunk_tokens, after.change) == (100, None)
    assert [(s.id, s.state, s.chunk_count) for s in after.sources] == [
        (first, State.READY, 2),
        (second, State.READY, 2),
    ]
    await move.expect_rest()


async def test_the_sweep_switches_when_the_worker_that_built_the_last_index_died(
    move: Move,
) -> None:
    await move.ready()
    await move.put(embedding_model=OTHER, chunk_tokens=100)
    claim = await move.store.claimed_index()
    await move.store.store(claim, ordinals=range(2))
    await move.store.finish(claim, chunk_count=2)
    assert (await move.change()).done == 1
    await move.sweep.once()
    rag = await move.rag()
    assert (rag.embedding_model, rag.chunk_tokens, rag.change) == (OTHER, 100, None)
    await move.expect_rest()


async def test_nothing_answers_by_two_profiles_and_none_by_neither(move: Move) -> None:
    source_id = await move.ready()
    await move.put(chunk_tokens=100)
    claim = await move.store.claimed_index()
    old = (await move.store.fetch("SELECT profile_live FROM rags"))[0]["profile_live"]
    await move.build(claim)
    rows = await move.store.fetch("SELECT profile_live, profile_next FROM rags")
    assert rows[0] == {"profile_live": claim.profile_id, "profile_next": None} != old
    asking = targets.asking(move.store.api, customer_id=move.customer_id, rag_id=claim.rag_id)
    async with asking as (_, target):
        assert target is not None
        assert (target.profile_id, target.searchable) == (claim.profile_id, True)
    assert (await move.source(source_id)).searchable


async def test_what_is_live_already_is_no_change(move: Move) -> None:
    await move.ready()
    before = await move.rag()
    after = await move.put(embedding_model=MODEL, chunk_tokens=200, chunk_overlap_tokens=0)
    assert after == before
    assert await move.store.take_index() is None


async def test_asking_for_what_is_live_gives_a_running_change_up(move: Move) -> None:
    await move.ready()
    await move.put(chunk_tokens=100)
    claim = await move.store.claimed_index()
    await move.store.store(claim, ordinals=range(1))
    rag = await move.put(chunk_tokens=200)
    assert (rag.change, rag.chunk_tokens) == (None, 200)
    with pytest.raises(Superseded):
        await move.store.store(claim, ordinals=range(1, 2))
    with pytest.raises(Superseded):
        await move.store.finish(claim, chunk_count=1)
    await move.expect_rest()
    assert (await move.rag()).sources[0].chunk_count == 3


async def test_another_change_replaces_the_running_one(move: Move) -> None:
    await move.ready()
    await move.put(chunk_tokens=100)
    rag = await move.put(chunk_tokens=50)
    assert rag.change
    assert rag.change.chunk_tokens == 50
    assert await move.build_due() == 1, "the index of the first change was not parked"
    assert (await move.rag()).chunk_tokens == 50
    await move.expect_rest()


async def test_what_is_not_given_is_as_the_live_profile_has_it(move: Move) -> None:
    await move.ready()
    await move.put(chunk_tokens=100)
    rag = await move.put(chunk_overlap_tokens=20)
    assert rag.change
    assert (rag.change.chunk_tokens, rag.change.chunk_overlap_tokens) == (200, 20)


async def test_a_rag_in_which_nothing_answers_is_switched_at_once(move: Move) -> None:
    rag = await move.put(embedding_model=OTHER, chunk_tokens=100)
    assert (rag.embedding_model, rag.chunk_tokens, rag.change) == (OTHER, 100, None)
    source_id = await move.ready()
    assert (await move.source(source_id)).state is State.READY
    await move.expect_rest()


async def test_a_claim_that_nobody_wants_any_more_is_taken_out_of_the_queue(move: Move) -> None:
    await move.ready()
    await move.put(chunk_tokens=100)
    await move.put(chunk_tokens=200)
    claim = await move.store.claimed_index()
    assert await move.store.do(retired.park, claim=claim)
    assert await move.store.take_index() is None
    await move.put(chunk_tokens=50)
    wanted = await move.store.claimed_index()
    assert not await move.store.do(retired.park, claim=wanted)


async def test_every_wrong_setting_is_named_and_nothing_begins(move: Move) -> None:
    cases: list[tuple[dict[str, object], set[str]]] = [
        ({"embedding_model": "no-such"}, {"embedding_model"}),
        ({"embedding_model": OTHER}, {"chunk_tokens"}),  # reads 128, and 200 are live
        ({"chunk_tokens": 513}, {"chunk_tokens"}),
        ({"chunk_tokens": 15}, {"chunk_tokens"}),
        ({"chunk_overlap_tokens": 101}, {"chunk_overlap_tokens"}),
        ({"chunk_overlap_tokens": -1}, {"chunk_overlap_tokens"}),
        ({"embedding_model": "no-such", "chunk_tokens": 1}, {"embedding_model", "chunk_tokens"}),
    ]
    for wanted, fields in cases:
        with pytest.raises(InvalidRequest) as refused:
            await move.put(**wanted)
        assert {detail.field for detail in refused.value.details} == fields
    assert (await move.rag()).change is None


async def test_a_refused_setting_leaves_the_name_as_it_was(move: Move) -> None:
    before = await move.rag()
    with pytest.raises(InvalidRequest):
        await move.rags.update(
            move.customer_id, move.rag_id, name="new", profile=Wanted(chunk_tokens=1)
        )
    assert await move.rag() == before


async def test_a_name_alone_leaves_a_running_change_alone(move: Move) -> None:
    await move.ready()
    await move.put(chunk_tokens=100)
    change = await move.change()
    rag = await move.rags.update(move.customer_id, move.rag_id, name="new")
    assert (rag.name, rag.change) == ("new", change)


async def test_another_customers_rag_is_not_there(move: Move, store: Store) -> None:
    stranger = await store.customer("stranger")
    with pytest.raises(RagNotFound):
        await move.rags.update(stranger, move.rag_id, profile=Wanted(chunk_tokens=100))
    assert (await move.rag()).change is None


async def test_the_list_shows_changes_as_the_single_answer_does(move: Move) -> None:
    await move.ready()
    rag = await move.put(chunk_tokens=100)
    other = await move.store.rag(move.customer_id)
    page = await move.rags.list(move.customer_id, page_size=10, after=None)
    assert [(each.id, each.change) for each in page.items] == [
        (other, None),
        (move.rag_id, rag.change),
    ]


async def test_a_deleted_rag_takes_its_change_along(move: Move) -> None:
    await move.ready()
    await move.put(chunk_tokens=100)
    claim = await move.store.claimed_index()
    await move.rags.delete(move.customer_id, move.rag_id)
    with pytest.raises(Superseded):
        await move.store.store(claim, ordinals=range(2))
    await move.run_dry()
    rows = await move.store.fetch(
        "SELECT (SELECT count(*) FROM rags) + (SELECT count(*) FROM profiles)"
        " + (SELECT count(*) FROM indexes) + (SELECT count(*) FROM chunks) AS left_over"
    )
    assert rows == [{"left_over": 0}]


async def test_more_sources_than_a_request_makes_indexes_for_are_left_to_the_sweep(
    move: Move, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.profiles.FILL_INDEXES", 2)
    monkeypatch.setattr("workers.sweep.BATCH_ROWS", 2)
    for _ in range(7):
        await move.ready()
    await move.put(chunk_tokens=100)
    open_max = 0
    for _ in range(10):
        rows = await move.store.fetch(
            "SELECT count(*) AS due FROM indexes WHERE due_at IS NOT NULL"
        )
        open_max = max(open_max, rows[0]["due"])
        if claim := await move.store.take_index():
            await move.build(claim)
        await move.sweep.once(tidy=False)
    assert (await move.rag()).chunk_tokens == 100
    assert 1 < open_max <= 3, "the queue was flooded"
    await move.expect_rest()


async def test_usage_counts_no_chunks_of_a_profile_that_was_retired(move: Move) -> None:
    await move.ready(chunk_count=3)
    await move.put(chunk_tokens=100)
    await move.build_due(chunk_count=5)
    rows = await move.store.fetch("SELECT count(*) AS count FROM chunks")
    assert rows == [{"count": 8}], "the old chunks were removed before they were counted"
    async with move.store.api.transaction(customer_id=move.customer_id) as tx:
        usage = await customers.usage(tx, customer_id=move.customer_id)
    assert usage.chunks == 5


async def test_an_answer_shows_the_rag_as_of_one_moment(move: Move) -> None:
    """Never the old settings without the change: that would look like one that was given up."""
    await move.ready()
    await move.put(chunk_tokens=100)
    claim = await move.store.claimed_index()
    await move.store.store(claim, ordinals=range(2))
    await move.store.finish(claim, chunk_count=2)
    async with move.store.worker.transaction() as tx:
        # Sources are counted between reading the RAG and reading its change.
        await tx.run("LOCK TABLE sources IN ACCESS EXCLUSIVE MODE")
        read = asyncio.create_task(move.rag())
        listed = asyncio.create_task(move.rags.list(move.customer_id, page_size=1, after=None))
        await asyncio.sleep(0.3)
        assert not read.done()
        assert await changes.switch(tx, customer_id=move.customer_id, rag_id=move.rag_id)
    for rag in (await read, (await listed).items[0]):
        assert (rag.chunk_tokens, bool(rag.change)) in {(200, True), (100, False)}


async def test_nothing_switches_before_every_text_has_its_index(
    move: Move, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.profiles.FILL_INDEXES", 1)
    for _ in range(2):
        await move.ready()
    await move.put(chunk_tokens=100)
    assert not await move.build(await move.store.claimed_index())
    async with move.store.worker.transaction() as tx:
        assert not await changes.switch(tx, customer_id=move.customer_id, rag_id=move.rag_id)
    assert ((await move.rag()).chunk_tokens, (await move.change()).total) == (200, 2)


async def test_a_new_text_makes_nothing_due_that_was_given_up(move: Move) -> None:
    source_id = await move.ready()
    await move.put(chunk_tokens=100)
    claim = await move.store.claimed_index()
    await move.put(chunk_tokens=200)
    assert await move.store.do(retired.park, claim=claim)
    await move.refresh(source_id)
    await move.store.ingest()
    assert await move.store.take_index() is None
    await move.expect_rest()
