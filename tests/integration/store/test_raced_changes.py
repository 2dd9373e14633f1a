"""Two callers change one source at the same moment, one of them by what has just been made."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fix_store import Store

from engine.store import Tx, attributes, entries, folders, sources

pytestmark = pytest.mark.anyio

Change = Callable[..., Awaitable[Any]]


async def _rename(tx: Tx, **key: Any) -> Any:
    return await sources.rename(tx, **key, name="another name")


async def _describe(tx: Tx, **key: Any) -> Any:
    return await attributes.describe(tx, **key, name=None, attributes={"year": 2026})


async def _place(tx: Tx, *, customer_id: Any, source_id: Any, rag_id: Any) -> Any:
    ids = {"customer_id": customer_id, "source_ids": [source_id]}
    return await entries.place(tx, **ids, folder_id=None)


@pytest.mark.parametrize("change", [sources.refresh, _rename, _describe, _place])
async def test_a_change_that_waits_for_another_one_knows_what_that_has_made(
    store: Store, change: Change
) -> None:
    """The policy that asks for a source's folder and file sees those that were made meanwhile."""
    customer_id = await store.customer()
    rag_id = await store.rag(customer_id)
    source_id = await store.source(customer_id, rag_id)

    async def changed() -> Any:
        async with store.api.transaction(customer_id=customer_id) as tx:
            return await change(tx, customer_id=customer_id, rag_id=rag_id, source_id=source_id)

    async with store.api.transaction(customer_id=customer_id) as tx:
        folder_id = await folders.insert(
            tx, customer_id=customer_id, name="a new folder", parent_id=None
        )
        await entries.place(
            tx, customer_id=customer_id, source_ids=[source_id], folder_id=folder_id
        )
        other = asyncio.create_task(changed())
        async with asyncio.timeout(10):
            while not await store.fetch("SELECT FROM pg_locks WHERE NOT granted"):
                await asyncio.sleep(0.01)
    assert await other
    row = await store.source_row(source_id)
    assert row["folder_id"] == (None if change is _place else folder_id)
