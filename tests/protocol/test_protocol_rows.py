"""Corners that the search through the model has found, on the real statements."""

from collections.abc import Awaitable, Callable

import pytest
from fix_store import FINAL, KILLED, Store

from engine.errors import DatabaseUnavailable
from engine.models import State
from engine.store import acquisition, customers, purge, sources

pytestmark = pytest.mark.anyio

FAULTS_MAX = 3


async def refused_for_good(store: Store) -> None:
    await store.do(acquisition.fail, claim=await store.claimed_source(), failure=FINAL)


async def killed_each_time(store: Store) -> None:
    """The first death makes it run alone; the following ones are charged."""
    for _ in range(1 + FAULTS_MAX):
        await store.claimed_source()
        await store.expire(table="sources")
        await store.do(purge.expire_sources, limit=10, faults_max=FAULTS_MAX, killed=KILLED)


@pytest.mark.parametrize("end", [refused_for_good, killed_each_time])
async def test_an_index_does_not_wait_for_a_text_that_will_never_come(
    store: Store, end: Callable[[Store], Awaitable[None]]
) -> None:
    """A source was refreshed before its first index was made, and then could not be read."""
    customer_id = await store.customer()
    rag_id = await store.rag(customer_id)
    source_id = await store.source(customer_id, rag_id)
    claim = await store.acquire(await store.claimed_source())
    await store.store(claim, ordinals=range(2))
    await store.do(sources.refresh, customer_id=customer_id, rag_id=rag_id, source_id=source_id)
    await end(store)
    assert await store.state(source_id) is State.ERROR
    assert (await store.index_row(source_id))["state"] == "error"
    await store.do(purge.delete_retired_chunks, limit=10)
    await store.do(purge.delete_retired_documents, limit=10)
    assert (await store.index_row(source_id))["retired"] is False
    assert await store.ordinals(claim) == []


async def test_a_transaction_whose_connection_has_gone_is_never_taken_for_committed(
    store: Store,
) -> None:
    """The driver skips the COMMIT of a closed connection without a word."""

    async def add_and_lose_the_connection() -> None:
        async with store.operator.transaction() as tx:
            await customers.insert(tx, name="never there")
            await tx.connection.close()

    with pytest.raises(DatabaseUnavailable):
        await add_and_lose_the_connection()
    assert await store.fetch("SELECT id FROM customers") == []
