"""What of a library the sweep removes: edited texts with their source, folders with their owner."""

import pytest
from fix_library import Shelf, neighbour, shelf

from engine.access import Operator
from engine.entries import Entry, EntryKind
from engine.models import FolderId
from engine.store import folders, purge

__all__ = ["neighbour", "shelf"]
pytestmark = pytest.mark.anyio


async def files_left(shelf: Shelf) -> set[str]:
    return {row["name"] for row in await shelf.store.fetch("SELECT name FROM files")}


async def sweep_sources(shelf: Shelf) -> None:
    for step in (
        purge.delete_sources_of_deleted_rags,
        purge.delete_chunks_of_deleted_sources,
        purge.delete_rows_of_deleted_sources,
        purge.delete_rags,
    ):
        await shelf.store.do(step, limit=100)


async def test_an_edited_text_stays_while_its_source_is_there_and_goes_with_it(
    shelf: Shelf,
) -> None:
    url = await shelf.document()
    file = await shelf.document("origin", kind=EntryKind.FILE)
    for source_id in (url, file):
        await shelf.store.execute(
            "UPDATE sources SET edit_id = %(edit_id)s WHERE id = %(id)s",
            edit_id=await shelf.file(f"edit of {source_id}"),
            id=source_id,
        )
    await shelf.file("nobody's")
    assert await shelf.store.do(purge.delete_files, limit=9) == 1
    assert await files_left(shelf) == {"origin", f"edit of {url}", f"edit of {file}"}
    await shelf.library.delete(shelf.customer_id, file, force=False)
    assert await shelf.store.do(purge.delete_files, limit=9) == 0
    await sweep_sources(shelf)
    assert await shelf.store.do(purge.delete_files, limit=9) == 2
    assert await files_left(shelf) == {f"edit of {url}"}


async def test_a_text_that_was_edited_again_goes_at_once(shelf: Shelf) -> None:
    await shelf.document()
    for name in ("first edit", "second edit"):
        await shelf.store.execute("UPDATE sources SET edit_id = %(id)s", id=await shelf.file(name))
    assert await shelf.store.do(purge.delete_files, limit=9) == 1
    assert await files_left(shelf) == {"second edit"}


async def test_files_in_use_do_not_hold_up_those_that_go(shelf: Shelf) -> None:
    for number in range(3):
        source_id = await shelf.document()
        await shelf.store.execute(
            "UPDATE sources SET edit_id = %(edit_id)s WHERE id = %(id)s",
            edit_id=await shelf.file(f"edit {number}"),
            id=source_id,
        )
    await shelf.file("nobody's")
    assert await shelf.store.do(purge.delete_files, limit=1) == 1
    assert await files_left(shelf) == {"edit 0", "edit 1", "edit 2"}


async def test_an_edited_text_that_is_just_being_given_to_a_source_is_passed_over(
    shelf: Shelf,
) -> None:
    await shelf.document()
    file_id = await shelf.file("edit")
    async with shelf.store.worker.transaction() as slow:
        await slow.run("UPDATE sources SET edit_id = %(id)s", {"id": file_id})
        assert await shelf.store.do(purge.delete_files, limit=9) == 0
    assert await shelf.store.do(purge.delete_files, limit=9) == 0
    assert await files_left(shelf) == {"edit"}


async def tree(shelf: Shelf) -> list[Entry]:
    """Five folders on three levels, two of them with a document."""
    made: list[Entry] = []
    for name, above in (("a", None), ("b", 0), ("c", 1), ("d", 0), ("e", None)):
        made.append(await shelf.folder(name, parent=None if above is None else made[above]))
    await shelf.document(folder=made[0])
    await shelf.document(folder=made[2])
    return made


async def test_the_folders_of_a_closed_customer_go_after_its_sources_a_bounded_number_at_a_time(
    shelf: Shelf, neighbour: Shelf
) -> None:
    await tree(shelf)
    operator = Operator(database=shelf.store.operator)
    kept = await operator.remaining(neighbour.customer_id)
    receipt = await operator.close_customer(shelf.customer_id)
    assert (receipt.folders, receipt.sources, kept.folders) == (5, 2, 1)
    assert await shelf.store.do(purge.delete_folders, limit=2) == 0
    await sweep_sources(shelf)
    touched = [await shelf.store.do(purge.delete_folders, limit=2) for _ in range(4)]
    assert touched == [2, 2, 1, 0]
    assert await operator.remaining(neighbour.customer_id) == kept


async def test_a_customer_stays_while_it_has_a_folder_and_goes_with_its_last(
    shelf: Shelf, neighbour: Shelf
) -> None:
    await shelf.folder("top")
    await shelf.folder("other")
    operator = Operator(database=shelf.store.operator)
    await operator.close_customer(shelf.customer_id)
    await sweep_sources(shelf)
    assert await shelf.store.do(purge.delete_customers, limit=1) == 1
    assert (await operator.remaining(shelf.customer_id)).folders == 1
    assert await shelf.store.do(purge.delete_customers, limit=1) == 2
    customers = [customer.id for customer in await operator.customers()]
    assert customers == [neighbour.customer_id]
    assert await shelf.store.do(purge.delete_customers, limit=1) == 0


async def test_a_folder_that_goes_leaves_deleted_sources_in_no_folder(shelf: Shelf) -> None:
    made = await tree(shelf)
    ids = [FolderId(folder.id) for folder in made]
    await shelf.store.do(folders.delete, customer_id=shelf.customer_id, folder_ids=ids)
    rows = await shelf.store.fetch("SELECT folder_id FROM sources")
    assert [row["folder_id"] for row in rows] == [None, None]
