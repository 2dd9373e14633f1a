"""Two at once, and one behind many: what callers and workers do to each other through the rows."""

import asyncio
from uuid import UUID

import pytest
from fix_store import Store

from engine.access import Access, Operator
from engine.config import Settings
from engine.embedding import Registry
from engine.errors import InvalidCredentials, SourceExists
from engine.jobs import Bell
from engine.models import NewRag, NewSources, WorkerId
from engine.rags import Rags
from engine.store import claims, purge, sources
from workers.sweep import KILLED

pytestmark = pytest.mark.anyio

WORKER = WorkerId(UUID(int=7))


async def test_a_row_that_wants_a_process_to_itself_does_not_stand_behind_the_backlog(
    store: Store,
) -> None:
    customer_id = await store.customer()
    rag_id = await store.rag(customer_id)
    older = [await store.source(customer_id, rag_id) for _ in range(5)]
    lonely = await store.source(customer_id, rag_id)
    await store.execute("UPDATE sources SET alone = true WHERE id = %(id)s", id=lonely)

    claim = await store.do(claims.claim_alone_source, worker_id=WORKER, lease_s=60.0)
    assert (claim.id, claim.alone, claim.attempt) == (lonely, True, 1)
    assert await store.do(claims.claim_alone_source, worker_id=WORKER, lease_s=60.0) is None
    assert (await store.claimed_source()).id == older[0]


async def test_an_index_that_wants_a_process_to_itself_is_found_as_well(store: Store) -> None:
    index = await store.acquire(await _one_source(store))
    await store.expire(table="indexes")
    await store.do(purge.expire_indexes, limit=10, faults_max=3, killed=KILLED)
    claim = await store.do(claims.claim_alone_index, worker_id=WORKER, lease_s=60.0)
    assert (claim.id, claim.alone, claim.generation) == (index.id, True, index.generation)


async def test_the_queue_position_counts_the_own_sources_that_come_first(store: Store) -> None:
    mine, other = await store.customer("mine"), await store.customer("other")
    rag_id, other_rag = await store.rag(mine), await store.rag(other)
    await store.source(other, other_rag)
    waiting = [await store.source(mine, rag_id) for _ in range(3)]

    places = [
        await store.do(sources.queue_position, customer_id=mine, source_id=each) for each in waiting
    ]
    assert places == [1, 2, 3]


async def test_the_bootstrap_key_makes_one_customer_however_many_ask_at_once(
    store: Store,
) -> None:
    access = Access(database=store.api, operator=store.operator, bootstrap_key="secret")
    found = await asyncio.gather(*(access.authenticate("secret") for _ in range(4)))
    assert len(set(found)) == 1


async def test_the_bootstrap_key_never_moves_on_to_another_customer(store: Store) -> None:
    operator = Operator(database=store.operator)
    first, _, _ = await operator.create_customer("first")
    await operator.create_customer("second")
    access = Access(database=store.api, operator=store.operator, bootstrap_key="secret")
    assert await access.authenticate("secret") == first.id

    await operator.close_customer(first.id)
    with pytest.raises(InvalidCredentials):
        await access.authenticate("secret")


async def test_the_same_urls_added_at_once_in_opposite_orders_are_a_conflict_not_a_deadlock(
    store: Store, settings: Settings
) -> None:
    bell = Bell(settings.redis_url)
    verbs = Rags(
        database=store.api,
        bell=bell,
        registry=Registry.from_settings(settings),
        settings=settings,
    )
    customer_id = await store.customer()
    rag = await verbs.create(customer_id, NewRag(name="rag"))
    urls = tuple(f"https://example.com/{number}" for number in range(200))
    outcomes = await asyncio.gather(
        verbs.add_sources(customer_id, rag.id, NewSources(urls=urls)),
        verbs.add_sources(customer_id, rag.id, NewSources(urls=urls[::-1])),
        return_exceptions=True,
    )
    await bell.close()
    assert [type(each) for each in outcomes if isinstance(each, BaseException)] == [SourceExists]
    assert (await verbs.get(customer_id, rag.id)).counts.total == len(urls)


async def _one_source(store: Store) -> claims.ClaimedSource:
    customer_id = await store.customer()
    await store.source(customer_id, await store.rag(customer_id))
    return await store.claimed_source()
