"""Search by words over real segments: who is found, in which order, and who counts."""

from typing import Any

import pytest
from fix_store import Store
from fix_words import CACHES, ask, delete, ranked, refresh, wordy

from engine.store import targets
from engine.store.termcache import TermCache

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


async def test_another_customer_finds_nothing_even_by_the_id_of_the_profile(store: Store) -> None:
    customer_id, stranger_id = await store.customer(), await store.customer("stranger")
    rag_id = await store.rag(customer_id)
    await wordy(store, customer_id, rag_id, ["a kettle"])
    assert await ask(store, customer_id, rag_id, "kettle")  # and now the process remembers it
    async with targets.asking(store.api, customer_id=customer_id, rag_id=rag_id) as (_, target):
        assert target
    async with targets.asking(store.api, customer_id=stranger_id, rag_id=rag_id) as (_, none):
        assert none is None
    for database in (store.api, store.worker):
        async with database.transaction(customer_id=stranger_id) as tx:
            found = await ranked(
                tx,
                customer_id=stranger_id,
                target=target,
                question="kettle",
                limit=5,
                cache=CACHES[store],
            )
        assert found == []


async def test_equals_come_in_the_order_of_their_places_and_fill_the_limit(store: Store) -> None:
    customer_id = await store.customer()
    rag_id = await store.rag(customer_id)
    for _ in range(3):
        await wordy(store, customer_id, rag_id, ["a kettle"] * 3)
    every = await ask(store, customer_id, rag_id, "kettle")
    assert [(hit.index_id, hit.ordinal) for hit in every] == sorted(
        (hit.index_id, hit.ordinal) for hit in every
    )
    assert len(every) == 9
    for limit in range(1, 10):
        assert await ask(store, customer_id, rag_id, "kettle", limit=limit) == every[:limit]


async def test_the_statements_of_a_question_read_by_index_only(store: Store) -> None:
    """However many postings there are: none of the three plans scans a table."""
    customer_id = await store.customer()
    rag_id = await store.rag(customer_id)
    words = [f"word{number} thing{number % 7} kettle" for number in range(600)]
    for start in range(0, 600, 100):
        await wordy(store, customer_id, rag_id, words[start : start + 100])
    gone = await wordy(store, customer_id, rag_id, ["kettle"])
    await delete(store, customer_id, rag_id, gone.source_id)
    async with store.worker.dedicated() as owner:
        await owner.run("RESET ROLE")
        await owner.run("ANALYZE")
    plans: list[str] = []

    async def explained(*args: Any, **kwargs: Any) -> Any:
        query, params = args[0], args[1] if len(args) > 1 else None
        if "FROM" in query and "EXPLAIN" not in query:
            cursor = tx.connection.cursor()
            await cursor.execute("EXPLAIN (FORMAT TEXT) " + query, params)
            plans.append("\n".join(row["QUERY PLAN"] for row in await cursor.fetchall()))
        return await execute(*args, **kwargs)

    async with targets.asking(store.api, customer_id=customer_id, rag_id=rag_id) as (tx, target):
        assert target
        rows = await tx.connection.execute(
            b"EXPLAIN EXECUTE answering('%b', '%b', '')"
            % (customer_id.hex.encode(), rag_id.hex.encode()),
            prepare=False,
        )
        plans.append("\n".join(row["QUERY PLAN"] for row in await rows.fetchall()))
        execute = tx.connection.execute
        tx.connection.execute = explained  # type: ignore[method-assign]
        try:
            found = await ranked(
                tx,
                customer_id=customer_id,
                target=target,
                question="word7 kettle",
                limit=5,
                cache=TermCache(),
            )
        finally:
            del tx.connection.execute
    assert len(found) == 5
    assert len(plans) == 3
    for plan in plans:
        assert "Seq Scan" not in plan, plan
    assert "segments_live" in plans[0]
    assert "postings_pkey" in plans[1]
    assert "segment_members_pkey" in plans[2]
