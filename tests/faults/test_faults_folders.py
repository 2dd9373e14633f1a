"""A folder that goes between two statements of one answer."""

from typing import Any

import pytest
from fix_store import Store, store

from engine.store import entries, folders

__all__ = ["store"]

pytestmark = pytest.mark.anyio


async def test_a_document_whose_folder_is_deleted_meanwhile_is_shown_without_a_path(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer_id = await store.customer()
    source_id = await store.source(customer_id, await store.rag(customer_id))
    folder_id = await store.do(
        folders.insert, customer_id=customer_id, name="a folder", parent_id=None
    )
    await store.execute("UPDATE sources SET folder_id = %(id)s", id=folder_id)
    look_for_paths = entries._paths

    async def too_late(*given: Any, **more: Any) -> Any:
        await store.execute("DELETE FROM folders")
        return await look_for_paths(*given, **more)

    monkeypatch.setattr(entries, "_paths", too_late)
    found = await store.do(entries.many, customer_id=customer_id, entry_ids=[source_id])
    assert found[source_id].folder_path == ()
