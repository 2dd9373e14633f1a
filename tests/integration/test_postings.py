"""Search by words over real segments: who is found, in which order, and who counts."""

import pytest
from fix_store import Store
from fix_words import ask, delete, refresh, wordy

pytestmark = pytest.mark.anyio


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
    await refresh(store, customer_id, rag_id, index.source_id, ["a teapot"])
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
    await delete(store, customer_id, rag_id, other.source_id)
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
