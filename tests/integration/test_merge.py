"""Merges beside queries, deletes and finishes; killed; and what the sweep removes behind them."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fix_store import Store
from fix_words import ask, crowd_of, delete, refresh, wordy

from engine.config import Limits
from engine.errors import Superseded
from engine.inverted import Postings
from engine.models import CustomerId, RagId
from engine.store import indexes, merging, purge, rags
from workers import merge as module
from workers.merge import Merge

pytestmark = pytest.mark.anyio


async def filled(store: Store, *, count: int = 6) -> tuple[CustomerId, RagId]:
    """A RAG of so many sources, each with a kettle and something of its own."""
    customer_id = await store.customer()
    rag_id = await store.rag(customer_id)
    for number in range(count):
        await wordy(store, customer_id, rag_id, [f"kettle of shop {number}", f"cup{number}"])
    return customer_id, rag_id


def merge_of(store: Store) -> Merge:
    return Merge(database=store.worker, limits=Limits())


async def live_segments(store: Store, customer_id: CustomerId) -> int:
    rows = await store.fetch(
        "SELECT count(*) AS count FROM segments WHERE customer_id = %(customer_id)s"
        " AND state = 'live'",
        customer_id=customer_id,
    )
    return int(rows[0]["count"])


async def test_small_segments_become_few_and_answer_the_same(store: Store) -> None:
    customer_id, rag_id = await filled(store, count=20)
    before = await ask(store, customer_id, rag_id, "kettle cup7 shop")
    assert len(before) == 21
    assert await live_segments(store, customer_id) == 20
    while await merge_of(store).once():
        pass
    assert await live_segments(store, customer_id) == 1
    assert await ask(store, customer_id, rag_id, "kettle cup7 shop") == before


async def test_small_segments_are_of_one_size_and_large_ones_wait_for_their_like(
    store: Store,
) -> None:
    customer_id = await store.customer()
    rag_id = await store.rag(customer_id)
    for count in (1, 5, 20, 1_100):
        await wordy(store, customer_id, rag_id, ["kettle"] * count)
    assert await merge_of(store).once() == 0
    await wordy(store, customer_id, rag_id, ["kettle"] * 70)
    assert await merge_of(store).once() == 4
    rows = await store.fetch("SELECT chunk_count FROM segments WHERE state = 'live' ORDER BY 1")
    assert [row["chunk_count"] for row in rows] == [96, 1_100]


@pytest.mark.parametrize(
    ("sizes", "left"),
    [
        ([3, 1], [4]),
        ([1, 1_100, 300], [1_401]),
        ([5, 1_100, 200], [205, 1_100]),  # not for less than a quarter
        ([1, 1_100], [1, 1_100]),
        ([1_100], [1_100]),
    ],
)
async def test_segments_of_a_rag_at_rest_become_one_where_that_is_worth_it(
    store: Store, sizes: list[int], left: list[int]
) -> None:
    customer_id = await store.customer()
    rag_id = await store.rag(customer_id)
    for count in sizes:
        await wordy(store, customer_id, rag_id, ["kettle"] * count)
    before = await ask(store, customer_id, rag_id, "kettle", limit=sum(sizes))
    assert await merge_of(store).once() == 0
    await rest(store)
    while await merge_of(store).once():
        await rest(store)
    rows = await store.fetch("SELECT chunk_count FROM segments WHERE state = 'live' ORDER BY 1")
    assert [row["chunk_count"] for row in rows] == left
    assert await ask(store, customer_id, rag_id, "kettle", limit=sum(sizes)) == before


async def rest(store: Store) -> None:
    """As if nothing had come for long enough."""
    await store.execute(
        "UPDATE segments SET changed_at = now() - make_interval(secs => %(rest_s)s)"
        " WHERE state = 'live'",
        rest_s=merging.REST_S + 1,
    )


async def test_no_segment_at_rest_becomes_too_large(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(store, count=3)  # of two passages each
    await rest(store)
    monkeypatch.setattr(merging, "PASSAGES_MAX", 5)
    (crowd,) = await store.do(merging.resting, limit=20)
    assert (len(crowd.segment_ids), crowd.chunk_count) == (2, 4)
    monkeypatch.setattr(merging, "PASSAGES_MAX", 3)
    assert await store.do(merging.resting, limit=20) == []


async def test_what_is_dead_is_left_out_and_its_marks_go(store: Store) -> None:
    customer_id, rag_id = await filled(store, count=4)
    gone = await wordy(store, customer_id, rag_id, ["a kettle that goes"])
    await delete(store, customer_id, rag_id, gone.source_id)
    before = await ask(store, customer_id, rag_id, "kettle")
    assert await store.fetch("SELECT 1 FROM dead_members")
    while await merge_of(store).once():
        pass
    assert await ask(store, customer_id, rag_id, "kettle") == before
    assert await store.fetch("SELECT 1 FROM dead_members") == []
    crowd = await crowd_of(store, customer_id)
    assert crowd
    members = await store.do(merging.members, crowd=crowd)
    assert gone.id not in {member.index_id for member in members}


async def test_a_delete_and_a_refresh_in_the_middle_of_a_merge_are_not_undone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer_id, rag_id = await filled(store, count=3)
    gone = await wordy(store, customer_id, rag_id, ["a kettle that goes"])
    changed = await wordy(store, customer_id, rag_id, ["a kettle that changes"])

    async def meanwhile() -> None:
        await delete(store, customer_id, rag_id, gone.source_id)
        await refresh(store, customer_id, rag_id, changed.source_id, ["teapot"])

    crowd = await crowd_of(store, customer_id)
    assert crowd
    await merge_beside(store, crowd, monkeypatch, meanwhile)
    found = await ask(store, customer_id, rag_id, "kettle")
    assert len(found) == 3
    assert {gone.id, changed.id}.isdisjoint(hit.index_id for hit in found)
    assert [hit.generation for hit in await ask(store, customer_id, rag_id, "teapot")] == [2]
    # And once more, now that the dead stand in the merged segment.
    await merge_beside(store, crowd_after := await crowd_of(store, customer_id), monkeypatch)
    assert crowd_after
    assert await ask(store, customer_id, rag_id, "kettle") == found


async def merge_beside(
    store: Store,
    crowd: merging.Crowd | None,
    monkeypatch: pytest.MonkeyPatch,
    meanwhile: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Merge a crowd, and do something when everything is written but the switch."""
    assert crowd
    switch = merging.switch

    async def late_switch(*args: object, **kwargs: object) -> None:
        if meanwhile is not None:
            await meanwhile()
        await switch(*args, **kwargs)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(merging, "switch", late_switch)
        await merge_of(store).merge(crowd)


async def test_queries_beside_merges_and_finishes_miss_nothing(store: Store) -> None:
    customer_id, rag_id = await filled(store, count=6)
    seen: list[int] = []
    done = asyncio.Event()

    async def query() -> None:
        while not done.is_set():
            seen.append(len(await ask(store, customer_id, rag_id, "kettle", limit=100)))

    async def grow() -> None:
        for number in range(20):
            await wordy(store, customer_id, rag_id, [f"kettle {number}"])
            await merge_of(store).once()
            await store.do(merging.remove_replaced, age_s=60.0, limit=100)
        done.set()

    await asyncio.gather(query(), query(), grow())
    assert seen[0] >= 6
    assert await ask(store, customer_id, rag_id, "kettle", limit=100)
    assert max(seen) <= 26
    for before, after in zip(seen, seen[4:], strict=False):
        assert after >= before - 1  # two readers, whose answers come in no strict order


class Killed(BaseException):
    """As SIGKILL: nothing of ours runs after it."""


@pytest.mark.parametrize("moment", ["begin", "write_terms", "switch"])
async def test_a_merge_that_is_killed_changes_nothing_and_leaves_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    customer_id, rag_id = await filled(store, count=5)
    before = await ask(store, customer_id, rag_id, "kettle cup3")
    real = getattr(merging, moment)

    async def killed(*args: object, **kwargs: object) -> None:
        await real(*args, **kwargs)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(merging, moment, killed)
        with pytest.raises(Killed):
            await merge_of(store).once()
    assert await ask(store, customer_id, rag_id, "kettle cup3") == before
    assert await live_segments(store, customer_id) == 5
    await store.do(merging.discard_unfinished)
    while await store.do(merging.remove_replaced, age_s=60.0, limit=1):
        pass
    rows = await store.fetch("SELECT state, count(*) AS count FROM segments GROUP BY state")
    assert rows == [{"state": "live", "count": 5}]
    while await merge_of(store).once():
        pass
    assert await ask(store, customer_id, rag_id, "kettle cup3") == before


async def test_who_was_taken_for_dead_does_not_switch(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer_id, rag_id = await filled(store, count=4)
    before = await ask(store, customer_id, rag_id, "kettle")
    crowd = await crowd_of(store, customer_id)

    async def discard() -> None:
        await store.do(merging.discard_unfinished)

    with pytest.raises(Superseded):
        await merge_beside(store, crowd, monkeypatch, discard)
    assert await ask(store, customer_id, rag_id, "kettle") == before
    assert await live_segments(store, customer_id) == 4


async def test_segments_go_with_their_rag_in_bounded_steps(store: Store) -> None:
    customer_id, rag_id = await filled(store, count=4)
    source = await wordy(store, customer_id, rag_id, ["kettle"])
    await delete(store, customer_id, rag_id, source.source_id)
    await store.do(rags.mark_deleted, customer_id=customer_id, rag_id=rag_id)
    await store.do(purge.delete_sources_of_deleted_rags, limit=10)
    for _ in range(60):
        assert await store.do(merging.retire_unwanted, limit=1) <= 2
        assert await store.do(merging.remove_replaced, age_s=90.0, limit=1) <= 3
        await store.do(purge.delete_chunks_of_deleted_sources, limit=100)
        await store.do(purge.delete_rows_of_deleted_sources, limit=100)
        await store.do(purge.delete_rags, limit=1)
    receipt = await store.do(purge.count, customer_id=customer_id)
    assert (receipt.segments, receipt.segment_members, receipt.postings) == (0, 0, 0)
    assert (receipt.dead_members, receipt.profiles, receipt.rags) == (0, 0, 0)


async def test_a_generation_without_words_gets_them_from_its_chunks(store: Store) -> None:
    customer_id = await store.customer()
    rag_id = await store.rag(customer_id)
    await store.source(customer_id, rag_id)
    index = await store.acquire(await store.claimed_source())
    await store.store(index, ordinals=range(3))
    await store.do(indexes.finish, claim=index, chunk_count=3)
    assert await ask(store, customer_id, rag_id, "passage 2") == []
    assert await merge_of(store).fill() == 1
    found = await ask(store, customer_id, rag_id, "passage 2")
    assert [hit.ordinal for hit in found] == [2, 0, 1]
    assert await merge_of(store).fill() == 0


async def test_only_one_process_merges(store: Store) -> None:
    async with store.worker.dedicated() as first, store.worker.dedicated() as second:
        assert await merging.sole(first)
        assert not await merging.sole(second)


async def test_a_merge_that_takes_longer_than_silence_is_allowed_keeps_its_lock(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the next process discards what it has written, and the one after that again."""
    customer_id, rag_id = await filled(store, count=4)
    before = await ask(store, customer_id, rag_id, "kettle cup3")
    whole = module._merged

    def slowly(*args: Any, **kwargs: Any) -> Postings:
        time.sleep(0.4)
        return whole(*args, **kwargs)

    monkeypatch.setattr(module, "SLICE_CHUNKS", 1)
    monkeypatch.setattr(module, "_merged", slowly)
    async with store.worker.dedicated() as lock, store.worker.dedicated() as other:
        assert await merging.sole(lock, silent_s=2.0)
        assert await merge_of(store).once(lock=lock) == 4
        assert not await merging.sole(other)
    assert await ask(store, customer_id, rag_id, "kettle cup3") == before
