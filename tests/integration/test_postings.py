"""Search by words over real segments: who is found, in which order, and who counts."""

import pytest
from fix_store import Store
from fix_words import wordy, write

from engine.models import CustomerId, ProfileId, RagId, SourceId
from engine.store import postings, rags, sources
from engine.store.postings import Scored

pytestmark = pytest.mark.anyio


async def ask(
    store: Store,
    customer_id: CustomerId,
    rag_id: RagId,
    question: str,
    *,
    limit: int = 10,
    source_ids: list[SourceId] | None = None,
) -> list[Scored]:
    async with store.api.transaction(customer_id=customer_id) as tx:
        profile = await rags.profile(tx, customer_id=customer_id, rag_id=rag_id)
        assert profile
        return await postings.ranked(
            tx,
            customer_id=customer_id,
            profile_id=ProfileId(profile.id),
            question=question,
            limit=limit,
            source_ids=source_ids,
        )


async def test_a_generation_is_found_by_its_words_as_soon_as_it_is_live(store: Store) -> None:
    customer_id = await store.customer()
    rag_id = await store.rag(customer_id)
    assert await ask(store, customer_id, rag_id, "kettles") == []
    index = await wordy(store, customer_id, rag_id, ["a kettle", "a parcel", "kettle kettle"])
    hits = await ask(store, customer_id, rag_id, "boiling kettles")
    assert [(hit.index_id, hit.generation, hit.ordinal) for hit in hits] == [
        (index.id, 1, 2),
        (index.id, 1, 0),
    ]
    assert hits[0].score > hits[1].score > 0


async def test_a_refreshed_source_answers_by_its_new_words_only(store: Store) -> None:
    customer_id = await store.customer()
    rag_id = await store.rag(customer_id)
    index = await wordy(store, customer_id, rag_id, ["a kettle", "a parcel"])
    async with store.api.transaction(customer_id=customer_id) as tx:
        await sources.refresh(tx, customer_id=customer_id, rag_id=rag_id, source_id=index.source_id)
    again = await store.acquire(await store.claimed_source())
    assert len(await ask(store, customer_id, rag_id, "kettle")) == 1
    await write(store, again, ["a teapot"])
    assert await ask(store, customer_id, rag_id, "kettle") == []
    found = await ask(store, customer_id, rag_id, "teapot")
    assert [(hit.generation, hit.ordinal) for hit in found] == [(2, 0)]


async def test_a_deleted_source_is_not_found_and_not_counted(store: Store) -> None:
    customer_id = await store.customer()
    rag_id = await store.rag(customer_id)
    await wordy(store, customer_id, rag_id, ["a kettle", "a cup"])
    alone = await ask(store, customer_id, rag_id, "kettle")
    other = await wordy(store, customer_id, rag_id, ["kettle lids", "a kettle", "tea"])
    assert len(await ask(store, customer_id, rag_id, "kettle")) == 3
    async with store.api.transaction(customer_id=customer_id) as tx:
        await sources.mark_deleted(
            tx, customer_id=customer_id, rag_id=rag_id, source_ids=[other.source_id]
        )
    assert await ask(store, customer_id, rag_id, "kettle") == alone


async def test_of_some_sources_the_best_are_found_as_well(store: Store) -> None:
    customer_id = await store.customer()
    rag_id = await store.rag(customer_id)
    made = [
        await wordy(store, customer_id, rag_id, [f"kettle {'cup ' * number}"])
        for number in range(5)
    ]
    every = await ask(store, customer_id, rag_id, "kettle")
    assert [hit.index_id for hit in every] == [index.id for index in made]
    some = await ask(
        store, customer_id, rag_id, "kettle", source_ids=[made[4].source_id, made[2].source_id]
    )
    assert some == [every[2], every[4]]
    assert await ask(store, customer_id, rag_id, "kettle", source_ids=[]) == []
