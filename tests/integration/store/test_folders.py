"""The tree of folders, one statement at a time, as the role of the API runs them."""

import asyncio
from uuid import uuid4

import pytest
from fix_library import Shelf, neighbour, shelf

from engine.entries import Entry
from engine.errors import DatabaseUnavailable
from engine.models import FolderId
from engine.store import Tx, folders

__all__ = ["neighbour", "shelf"]
pytestmark = pytest.mark.anyio


class Tree:
    """a > b > c, a > d, and e beside them."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.ids: dict[str, FolderId] = {}

    async def set_up(self) -> "Tree":
        made: dict[str, Entry] = {}
        for name, above in (("a", ""), ("b", "a"), ("c", "b"), ("d", "a"), ("e", "")):
            made[name] = await self.shelf.folder(name, parent=made.get(above))
            self.ids[name] = FolderId(made[name].id)
        return self

    async def path(self, tx: Tx, name: str) -> str:
        found = await folders.path(tx, customer_id=self.shelf.customer_id, folder_id=self.ids[name])
        return "/".join(folder.name for folder in found)

    async def below(self, tx: Tx, *names: str) -> dict[str, int]:
        found = await folders.subtree(
            tx,
            customer_id=self.shelf.customer_id,
            folder_ids=[self.ids[name] for name in names],
        )
        named = {folder_id: name for name, folder_id in self.ids.items()}
        assert [level.level for level in found] == sorted(level.level for level in found)
        return {named[level.id]: level.level for level in found}


@pytest.fixture
async def tree(shelf: Shelf) -> Tree:
    return await Tree(shelf).set_up()


async def test_a_path_leads_from_the_root_to_the_folder(tree: Tree) -> None:
    async with tree.shelf.store.api.transaction(customer_id=tree.shelf.customer_id) as tx:
        assert [await tree.path(tx, name) for name in "abcde"] == ["a", "a/b", "a/b/c", "a/d", "e"]
        unknown = await folders.path(
            tx, customer_id=tree.shelf.customer_id, folder_id=FolderId(uuid4())
        )
    assert unknown == []


async def test_a_subtree_is_the_folder_and_all_below_it_level_by_level(tree: Tree) -> None:
    async with tree.shelf.store.api.transaction(customer_id=tree.shelf.customer_id) as tx:
        assert await tree.below(tx, "a") == {"a": 1, "b": 2, "d": 2, "c": 3}
        assert await tree.below(tx, "c") == {"c": 1}
        assert await tree.below(tx, "b", "a", "e") == {"a": 1, "e": 1, "b": 2, "d": 2, "c": 3}
        assert await tree.below(tx) == {}


async def test_a_folder_that_moves_takes_along_what_is_below_it(tree: Tree) -> None:
    customer_id, ids = tree.shelf.customer_id, tree.ids
    async with tree.shelf.store.api.transaction(customer_id=customer_id) as tx:
        await folders.move(tx, customer_id=customer_id, folder_ids=[ids["b"]], parent_id=ids["e"])
        assert await tree.path(tx, "c") == "e/b/c"
        await folders.move(
            tx, customer_id=customer_id, folder_ids=[ids["b"], ids["d"]], parent_id=None
        )
        assert [await tree.path(tx, name) for name in "bcd"] == ["b", "b/c", "d"]
        assert await tree.below(tx, "a") == {"a": 1}


async def test_a_folder_that_is_renamed_or_moved_says_when(tree: Tree) -> None:
    customer_id, folder_id = tree.shelf.customer_id, tree.ids["b"]
    before = await tree.shelf.get(folder_id)
    async with tree.shelf.store.api.transaction(customer_id=customer_id) as tx:
        assert await folders.rename(tx, customer_id=customer_id, folder_id=folder_id, name="B")
        assert not await folders.rename(
            tx, customer_id=customer_id, folder_id=FolderId(uuid4()), name="B"
        )
    renamed = await tree.shelf.get(folder_id)
    assert (renamed.name, renamed.created_at) == ("B", before.created_at)
    assert renamed.updated_at > before.updated_at
    async with tree.shelf.store.api.transaction(customer_id=customer_id) as tx:
        await folders.move(tx, customer_id=customer_id, folder_ids=[folder_id], parent_id=None)
    assert (await tree.shelf.get(folder_id)).updated_at > renamed.updated_at


async def test_a_subtree_is_deleted_as_a_whole_and_never_in_part(tree: Tree) -> None:
    customer_id, ids = tree.shelf.customer_id, tree.ids
    with pytest.raises(DatabaseUnavailable):
        async with tree.shelf.store.api.transaction(customer_id=customer_id) as tx:
            await folders.delete(tx, customer_id=customer_id, folder_ids=[ids["a"], ids["b"]])
    async with tree.shelf.store.api.transaction(customer_id=customer_id) as tx:
        assert await folders.total(tx, customer_id=customer_id) == 5
        gone = [ids[name] for name in "abcd"]
        assert await folders.delete(tx, customer_id=customer_id, folder_ids=gone) == 4
        assert await folders.total(tx, customer_id=customer_id) == 1


async def test_no_statement_reaches_the_folders_of_another_customer(
    tree: Tree, neighbour: Shelf
) -> None:
    """As a worker, whom row-level security lets see all customers."""
    mine, theirs = tree.shelf.customer_id, neighbour.customer_id
    folder_id, store = tree.ids["b"], tree.shelf.store
    assert await store.do(folders.get, customer_id=theirs, folder_id=folder_id) is None
    assert await store.do(folders.path, customer_id=theirs, folder_id=folder_id) == []
    assert await store.do(folders.subtree, customer_id=theirs, folder_ids=[folder_id]) == []
    assert not await store.do(folders.rename, customer_id=theirs, folder_id=folder_id, name="taken")
    moved = {"customer_id": theirs, "folder_ids": [folder_id]}
    assert await store.do(folders.move, **moved, parent_id=None) == 0
    assert await store.do(folders.delete, **moved) == 0
    assert await store.do(folders.total, customer_id=theirs) == 1
    found = await store.do(folders.get, customer_id=mine, folder_id=folder_id)
    assert found
    assert found.name == "b"


async def test_the_lock_of_a_tree_is_one_customers_own_and_ends_with_the_transaction(
    shelf: Shelf, neighbour: Shelf
) -> None:
    store = shelf.store
    async with store.api.transaction(customer_id=shelf.customer_id) as tx:
        await folders.lock(tx, customer_id=shelf.customer_id)
        async with asyncio.timeout(5):
            await store.do(folders.lock, customer_id=neighbour.customer_id)
        waiting = asyncio.create_task(store.do(folders.lock, customer_id=shelf.customer_id))
        _, pending = await asyncio.wait([waiting], timeout=0.2)
        assert pending == {waiting}
    async with asyncio.timeout(5):
        await waiting
