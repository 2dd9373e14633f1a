"""Sources that are added, refreshed, deleted or fail while their RAG's profile is changed."""

import asyncio

import pytest
from fix_changes import Move, failed, move, postponed, states
from fix_store import FINAL, KILLED, NOBODY

from engine.errors import Superseded
from engine.models import ChangeStatus, SourceId, State, WorkerId, rag_status
from engine.store import acquisition, changes, claims, indexes, purge
from engine.store.claims import ClaimedIndex, ClaimedSource

__all__ = ["move"]  # fixtures

pytestmark = pytest.mark.anyio


async def next_claim(move: Move) -> ClaimedIndex:
    """Claim an index of the next profile."""
    claim = await move.store.claimed_index()
    rows = await move.store.fetch("SELECT profile_next FROM rags WHERE profile_next IS NOT NULL")
    assert [row["profile_next"] for row in rows] == [claim.profile_id]
    return claim


async def broken(move: Move) -> SourceId:
    """A source whose text is there and whose live index has failed."""
    source_id = await move.add()
    await failed(move, await move.store.acquire(await move.store.claimed_source()), failure=FINAL)
    return source_id


# Added ------------------------------------------------------------------------------------------


async def test_a_text_that_comes_meanwhile_is_made_under_both_profiles(move: Move) -> None:
    await move.ready()
    await move.put(chunk_tokens=100)
    added = await move.ready(chunk_count=4)
    assert (await move.source(added)).chunk_count == 4
    assert (await move.change()).total == 2
    assert await move.build_due() == 2
    rag = await move.rag()
    assert (rag.chunk_tokens, states(rag)) == (100, [State.READY, State.READY])
    assert [source.chunk_count for source in rag.sources] == [2, 2]
    await move.expect_rest()


async def test_a_source_that_does_not_answer_yet_does_not_hold_the_switch_up(move: Move) -> None:
    await move.ready()
    await move.put(chunk_tokens=100)
    added = await move.add()
    late = await move.store.acquire(await move.store.claimed_source())
    first = await next_claim(move)
    assert await move.build(first), "what never answered has blocked"
    assert (await move.source(added)).state is State.PROCESSING
    with pytest.raises(Superseded):
        await move.store.store(late, ordinals=range(1))
    assert await move.build_due() == 1
    assert (await move.source(added)).state is State.READY
    await move.expect_rest()


async def test_a_source_is_told_when_its_new_index_is_there_before_its_old_one(
    move: Move,
) -> None:
    await move.ready()
    await move.put(chunk_tokens=100)
    added = await move.add()
    await move.store.acquire(await move.store.claimed_source())
    assert await move.build_due() == 2
    assert (await move.rag()).change is None
    assert (await move.source(added)).state is State.READY
    await move.expect_rest()


async def test_an_unread_source_goes_to_the_profile_that_is_live_when_it_is_read(
    move: Move,
) -> None:
    await move.ready()
    await move.put(chunk_tokens=100)
    added = await move.add()
    await move.build_due()
    assert (await move.source(added)).state is State.PENDING
    await move.store.ingest()
    assert (await move.source(added)).state is State.READY
    await move.expect_rest()


# Refreshed --------------------------------------------------------------------------------------


async def test_the_switch_waits_until_the_newest_answering_text_is_built(move: Move) -> None:
    source_id = await move.ready()
    await move.put(chunk_tokens=100)
    other = await move.ready()
    await move.refresh(source_id)
    await move.store.ingest(text="newer text")
    assert (await move.next_row(source_id))["generation"] == 2
    while claim := await move.store.take_index():
        assert (await move.rag()).change is not None
        await move.build(claim)
    rag = await move.rag()
    assert (rag.change, states(rag)) == (None, [State.READY, State.READY])
    assert other in {source.id for source in rag.sources}
    rows = await move.store.fetch(
        "SELECT i.generation_live FROM indexes i JOIN rags r ON r.profile_live = i.profile_id"
        " WHERE i.source_id = %(id)s",
        id=source_id,
    )
    assert rows == [{"generation_live": 2}]
    await move.expect_rest()


async def test_a_refresh_under_way_goes_on_under_the_new_profile(move: Move) -> None:
    source_id = await move.ready()
    await move.put(chunk_tokens=100)
    await move.refresh(source_id)
    claim = await move.store.claimed_source()
    assert (await move.change()).failed == 0
    await move.store.do(acquisition.fail, claim=claim, failure=FINAL)
    assert await move.build_due() == 1, "the text that is there was not used"
    source = await move.source(source_id)
    assert ((await move.rag()).chunk_tokens, source.state) == (100, State.READY)
    assert source.coverage
    assert [warned.code for warned in source.coverage.warnings] == ["refresh_failed"]
    await move.expect_rest()


async def test_a_refresh_that_is_read_after_the_switch_lets_the_old_text_answer(
    move: Move,
) -> None:
    source_id, _ = await move.ready(), await move.ready()
    await move.put(chunk_tokens=100)
    await move.build_due()
    await move.put(chunk_tokens=50)
    await move.build(await next_claim(move))
    await move.refresh(source_id)
    await move.build_due()
    assert (await move.rag()).chunk_tokens == 50, "a refresh that has not begun has blocked"
    source = await move.source(source_id)
    assert (source.state, source.searchable) == (State.PENDING, True)
    await move.store.ingest()
    assert (await move.source(source_id)).state is State.READY
    await move.expect_rest()


async def test_a_warning_that_the_old_index_gave_goes_with_it(move: Move) -> None:
    source_id = await move.ready()
    await move.refresh(source_id)
    await failed(move, await move.store.acquire(await move.store.claimed_source()), failure=FINAL)
    source = await move.source(source_id)
    assert (source.state, bool(source.coverage and source.coverage.warnings)) == (State.READY, True)
    await move.put(chunk_tokens=100)
    await move.build_due()
    source = await move.source(source_id)
    assert (source.state, source.coverage and source.coverage.warnings) == (State.READY, ())
    await move.expect_rest()


# Deleted ----------------------------------------------------------------------------------------


async def test_deleting_the_last_source_that_is_not_built_lets_the_switch_go_on(
    move: Move,
) -> None:
    first, second = await move.ready(), await move.ready()
    await move.put(chunk_tokens=100)
    await move.build(await next_claim(move))
    left = second if (await move.next_row(first))["state"] == "ready" else first
    await move.rags.delete_source(move.customer_id, move.rag_id, left)
    assert (await move.change()).total == 1
    await move.sweep.once()
    assert (await move.rag()).chunk_tokens == 100
    await move.expect_rest()


# Failed -----------------------------------------------------------------------------------------


async def test_what_fails_under_the_next_profile_blocks_and_is_named(move: Move) -> None:
    first, second = await move.ready(), await move.ready()
    await move.put(chunk_tokens=100)
    claim = await next_claim(move)
    await failed(move, claim, failure=FINAL)
    assert (await move.change()).status is ChangeStatus.BUILDING
    await move.build_due()
    await move.sweep.once()
    rag = await move.rag()
    assert rag.change
    assert (rag.change.status, rag.change.done, rag.change.failed, rag.change.total) == (
        ChangeStatus.BLOCKED, 1, 1, 2
    )  # fmt: skip
    assert [(each.source_id, each.failure) for each in rag.change.blocking] == [
        (claim.source_id, FINAL)
    ]
    assert (rag_status(rag.counts), states(rag)) == (State.READY, [State.READY] * 2)
    assert {source.failure for source in rag.sources} == {None}
    assert claim.source_id in {first, second}


async def test_the_same_request_again_tries_what_failed_once_more(move: Move) -> None:
    await move.ready()
    await move.put(chunk_tokens=100)
    await failed(move, await next_claim(move), failure=FINAL)
    again = await move.put(chunk_tokens=100)
    assert again.change
    assert (again.change.status, again.change.failed) == (ChangeStatus.BUILDING, 0)
    assert await move.build_due() == 1
    assert (await move.rag()).chunk_tokens == 100
    await move.expect_rest()


async def test_a_refresh_tries_a_blocking_source_with_its_new_text(move: Move) -> None:
    source_id = await move.ready()
    await move.put(chunk_tokens=100)
    await failed(move, await next_claim(move), failure=FINAL)
    await move.refresh(source_id)
    assert (await move.change()).blocking == ()
    await move.store.ingest(text="a better text")
    await move.build_due()
    assert (await move.rag()).chunk_tokens == 100
    await move.expect_rest()


async def test_a_source_in_error_does_not_block_and_may_become_ready(move: Move) -> None:
    await move.ready()
    healed, hopeless = await broken(move), await broken(move)
    await move.put(chunk_tokens=100)
    claims_by_source = {}
    while claim := await move.store.take_index():
        claims_by_source[claim.source_id] = claim
    await failed(move, claims_by_source.pop(hopeless), failure=KILLED)
    await move.build(claims_by_source.pop(healed))
    assert (await move.source(healed)).state is State.ERROR, "it followed the wrong index"
    (last,) = claims_by_source.values()
    assert await move.build(last)
    assert (await move.source(healed)).state is State.READY
    source = await move.source(hopeless)
    assert (source.state, source.failure) == (State.ERROR, KILLED)
    await move.expect_rest()


async def test_a_switch_makes_no_ready_rag_less_ready(move: Move) -> None:
    ready = await move.ready()
    broken_id = await broken(move)
    await move.put(chunk_tokens=100)
    while (claim := await move.store.claimed_index()).source_id != ready:
        await postponed(move, claim)
    assert await move.build(claim)
    rag = await move.rag()
    assert (rag_status(rag.counts), rag.counts.error) == (State.READY, 1)
    await move.make_due()
    assert await move.build_due() == 1
    assert (await move.source(broken_id)).state is State.READY
    await move.expect_rest()


async def test_a_model_that_is_away_is_charged_to_nobody_and_says_when_it_is_asked_again(
    move: Move,
) -> None:
    source_id = await move.ready()
    await move.put(chunk_tokens=100)
    for _ in range(5):
        await postponed(move, await next_claim(move))
        change = await move.change()
        assert (change.status, change.failed) == (ChangeStatus.BUILDING, 0)
        assert change.due_at
        await move.make_due()
    row = await move.next_row(source_id)
    assert (row["faults"], row["failure"], (await move.change()).due_at) == (0, None, None)
    assert (await move.source(source_id)).due_at is None
    assert await move.build_due() == 1
    await move.expect_rest()


async def test_charged_failures_and_deaths_stay_with_the_next_index(move: Move) -> None:
    source_id = await move.ready()
    await move.put(chunk_tokens=100)
    await postponed(move, await next_claim(move), is_charged=True)
    await move.make_due()
    await next_claim(move)
    await move.store.expire(table="indexes")
    await move.store.do(purge.expire_indexes, limit=10, faults_max=1, killed=KILLED)
    await next_claim(move)
    await move.store.expire(table="indexes")
    await move.store.do(purge.expire_indexes, limit=10, faults_max=1, killed=KILLED)
    source = await move.source(source_id)
    assert (source.state, source.failure, source.chunk_count) == (State.READY, None, 3)
    change = await move.change()
    assert [each.failure for each in change.blocking] == [KILLED]


async def test_an_expired_lease_is_judged_by_the_profile_that_is_live_by_then(move: Move) -> None:
    """The switch makes another index the primary one: its source follows that one's end."""
    await move.ready()
    await move.put(chunk_tokens=100)
    added = await move.add()
    await move.store.acquire(await move.store.claimed_source())
    while (claim := await next_claim(move)).source_id == added:
        held = claim
    assert await move.build(claim)
    if (await move.store.fetch("SELECT id FROM indexes WHERE due_at IS NOT NULL")) != []:
        held = await move.store.claimed_index()
    assert held.source_id == added
    for _ in range(2):
        await move.store.expire(table="indexes")
        await move.store.do(purge.expire_indexes, limit=10, faults_max=1, killed=KILLED)
        while await move.store.take_index():
            pass
    source = await move.source(added)
    assert (source.state, source.failure) == (State.ERROR, KILLED)


# Workers that come too late ---------------------------------------------------------------------


async def test_a_worker_of_the_old_profile_changes_nothing_after_the_switch(move: Move) -> None:
    source_id = await move.ready()
    await move.put(chunk_tokens=100)
    await move.refresh(source_id)
    old = await move.store.acquire(await move.store.claimed_source(), text="newer")
    await move.build_due()
    before = await move.source(source_id)
    assert ((await move.rag()).chunk_tokens, before.state) == (100, State.READY)
    with pytest.raises(Superseded):
        await move.store.store(old, ordinals=range(2))
    with pytest.raises(Superseded):
        await move.store.finish(old, chunk_count=2)
    await move.store.do(indexes.fail, claim=old, failure=FINAL)
    assert await move.source(source_id) == before
    await move.expect_rest()


async def test_a_text_committed_while_the_sweep_adds_its_index_is_the_one_that_is_built(
    move: Move,
) -> None:
    source_id = await move.ready()
    await move.put(chunk_tokens=100)
    await move.refresh(source_id)
    claim: ClaimedSource = await move.store.claimed_source()
    await move.store.execute("DELETE FROM indexes WHERE generation_live IS NULL")
    async with move.store.worker.transaction() as tx:
        await changes.fill(tx, customer_id=move.customer_id, rag_id=move.rag_id, limit=10)
        late = asyncio.create_task(move.store.acquire(claim))
        await asyncio.sleep(0.2)
        assert not late.done()
    await late
    row = await move.next_row(source_id)
    assert (row["generation"], row["due_at"] is not None) == (2, True)


async def test_claims_of_a_change_are_as_fair_as_any(move: Move) -> None:
    """A thousand sources of one customer keep nobody waiting: another one's index comes next."""
    for _ in range(6):
        await move.ready()
    await move.put(chunk_tokens=100)
    first = await move.store.claimed_index()
    stranger = await move.store.customer("stranger")
    rag_id = await move.store.rag(stranger)
    theirs = await move.store.source(stranger, rag_id)
    claim = await move.store.claimed_source()
    assert claim.id == theirs
    index = await move.store.acquire(claim)
    await postponed(move, index)
    await move.make_due()
    following = await move.store.do(
        claims.claim_index, worker_id=WorkerId(first.id), lease_s=60.0, after=NOBODY, idle=True
    )
    assert following
    assert following.customer_id == stranger
