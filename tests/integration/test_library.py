"""The verbs of the library over a real database: reading, the tree, deleting, and who may."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from fix_library import BORN, MODEL, Shelf, neighbour, shelf
from fix_store import FINAL, PASSING

from engine.entries import Entry, EntryFilter, EntryKind
from engine.errors import (
    CallerError,
    ChunkNotFound,
    FolderMoveRefused,
    FolderNotEmpty,
    FolderNotFound,
    InvalidRequest,
    KindRefused,
    NotFound,
    RagIndexNotFound,
    SourceNotFound,
    Superseded,
    TextMissing,
    TextNotReady,
    TooManyFolders,
)
from engine.library import Library
from engine.models import ChunkId, Cursor, FolderId, SourceId, State
from engine.store import acquisition, entries, folders, rags

__all__ = ["neighbour", "shelf"]
pytestmark = pytest.mark.anyio

OTHER_MODEL = "multilingual_e5_large_instruct"


def fid(entry: Entry) -> FolderId:
    return FolderId(entry.id)


async def chain(shelf: Shelf, length: int, *, name: str = "f") -> list[Entry]:
    """Folders, each in the one before."""
    made: list[Entry] = []
    for number in range(length):
        made.append(await shelf.folder(f"{name}{number}", parent=made[-1] if made else None))
    return made


# Entries ----------------------------------------------------------------------------------------


async def test_an_entry_says_of_which_kind_it_is_and_what_that_kind_has(shelf: Shelf) -> None:
    folder = await shelf.folder("folder")
    url = await shelf.get(await shelf.document("page", folder=folder, byte_count=70))
    file = await shelf.get(await shelf.document("a.pdf", kind=EntryKind.FILE, byte_count=9))
    text = await shelf.get(await shelf.document("note", kind=EntryKind.TEXT, byte_count=4))
    assert (url.kind, file.kind, text.kind, folder.kind) == (
        EntryKind.URL,
        EntryKind.FILE,
        EntryKind.TEXT,
        EntryKind.FOLDER,
    )
    assert (url.byte_count, file.byte_count, text.byte_count, folder.byte_count) == (70, 9, 4, 0)
    assert url.url
    assert url.url.startswith("https://example.org/")
    assert (file.filename, file.url, url.filename) == ("a.pdf", None, None)
    assert (url.parent_id, [ref.name for ref in url.folder_path]) == (folder.id, ["folder"])
    assert (file.rag_id, file.state, folder.rag_id) == (shelf.rag_id, State.PENDING, None)


async def test_an_edited_file_is_a_file_still_with_the_size_of_what_was_read(shelf: Shelf) -> None:
    source_id = await shelf.document("a.pdf", kind=EntryKind.FILE, byte_count=9)
    edit_id = await shelf.file("a.txt", byte_count=3, is_written=True)
    await shelf.store.execute(
        "UPDATE sources SET edit_id = %(edit_id)s, original_bytes = 3", edit_id=edit_id
    )
    entry = await shelf.get(source_id)
    assert (entry.kind, entry.byte_count, entry.filename) == (EntryKind.FILE, 3, "a.pdf")


async def test_a_failed_document_says_why_and_one_that_answers_does_not(shelf: Shelf) -> None:
    source_id = await shelf.document()
    await shelf.store.do(acquisition.fail, claim=await shelf.store.claimed_source(), failure=FINAL)
    entry = await shelf.get(source_id)
    assert (entry.state, entry.failure) == (State.ERROR, FINAL)
    await shelf.store.execute("UPDATE sources SET state = 'ready'")
    assert (await shelf.get(source_id)).failure is None


async def test_a_folder_counts_what_lies_in_it_and_all_documents_below(shelf: Shelf) -> None:
    top, middle, low = await chain(shelf, 3)
    beside = await shelf.folder("beside", parent=top)
    gone = await shelf.store.rag(shelf.customer_id)
    for folder, number in ((top, 2), (middle, 1), (low, 3)):
        for _ in range(number):
            await shelf.document(folder=folder)
    await shelf.document(folder=low, rag_id=gone)
    await shelf.document()
    await shelf.store.do(rags.mark_deleted, customer_id=shelf.customer_id, rag_id=gone)
    seen = {entry.id: entry for entry in await shelf.listed(EntryFilter(), page_size=100)}
    counts = [
        (seen[folder.id].children_count, seen[folder.id].document_count)
        for folder in (top, middle, low, beside)
    ]
    assert counts == [(4, 6), (2, 4), (3, 3), (0, 0)]


async def test_many_are_keyed_as_given_and_unknown_ones_are_absent(
    shelf: Shelf, neighbour: Shelf
) -> None:
    source_id, folder = await shelf.document(), await shelf.folder()
    theirs = (await neighbour.listed(EntryFilter(), page_size=9))[0]
    loud = str(source_id).upper()
    odd = [str(theirs.id), str(uuid4()), "", "x", "\x00", source_id.hex, f"{{{source_id}}}", "ä"]
    found = await shelf.library.many(
        shelf.customer_id, [str(folder.id), loud, *odd, str(source_id), str(source_id)]
    )
    assert {key: entry.id for key, entry in found.items()} == {
        str(folder.id): folder.id,
        loud: source_id,
        str(source_id): source_id,
    }
    assert await shelf.library.many(shelf.customer_id, []) == {}


async def test_a_list_shows_live_sources_of_live_rags_and_nothing_of_others(
    shelf: Shelf, neighbour: Shelf
) -> None:
    second = await shelf.store.rag(shelf.customer_id)
    await shelf.document("first")
    deleted = await shelf.document("deleted")
    await shelf.document("of a second RAG", rag_id=second)
    await shelf.folder("folder")
    await shelf.library.delete(shelf.customer_id, deleted, force=False)
    assert await shelf.names() == {"first", "of a second RAG", "folder"}
    await shelf.store.do(rags.mark_deleted, customer_id=shelf.customer_id, rag_id=second)
    assert await shelf.names() == {"first", "folder"}


async def test_a_list_may_be_of_a_folder_or_of_all_below_it(shelf: Shelf) -> None:
    top, middle = await chain(shelf, 2)
    for name, folder in (("at the root", None), ("in top", top), ("in middle", middle)):
        await shelf.document(name, folder=folder)
    assert await shelf.names(EntryFilter(parent_id=fid(top))) == {"in top", "f1"}
    assert await shelf.names(EntryFilter(ancestor_id=fid(top))) == {"in top", "f1", "in middle"}
    both = EntryFilter(ancestor_id=fid(top), parent_id=fid(middle))
    assert await shelf.names(both) == {"in middle"}
    crossed = EntryFilter(ancestor_id=fid(middle), parent_id=fid(top))
    assert await shelf.names(crossed) == set()


# Text and chunks --------------------------------------------------------------------------------


async def test_a_text_is_the_newest_that_was_read_even_while_it_is_read_anew(
    shelf: Shelf,
) -> None:
    source_id = await shelf.document()
    assert (await shelf.library.read(shelf.customer_id, source_id)).text == ""
    await shelf.store.ingest(text="the first")
    assert await shelf.library.text(shelf.customer_id, source_id) == "the first"
    await shelf.store.execute("UPDATE sources SET state = 'pending', due_at = now()")
    assert await shelf.library.text(shelf.customer_id, source_id) == "the first"
    await shelf.store.acquire(await shelf.store.claimed_source(), text="the second")
    read = await shelf.library.read(shelf.customer_id, source_id)
    assert (read.text, read.entry.id) == ("the second", source_id)
    assert await shelf.library.text(shelf.customer_id, source_id) == "the second"


async def test_a_text_is_waited_for_without_a_connection_being_held(shelf: Shelf) -> None:
    library = shelf.with_limits(text_wait_s=20.0)
    source_id = await shelf.document()
    readers = [
        asyncio.create_task(library.text(shelf.customer_id, source_id))
        for _ in range(3 * shelf.store.api.connections)
    ]
    async with asyncio.timeout(10):
        await asyncio.sleep(0.3)
        await shelf.get(source_id)  # more readers wait than there are connections
        await shelf.store.ingest(text="at last")
        assert set(await asyncio.gather(*readers)) == {"at last"}


async def test_a_text_that_does_not_come_in_time_is_not_ready(shelf: Shelf) -> None:
    source_id = await shelf.document()
    claim = await shelf.store.claimed_source()
    started = time.monotonic()
    with pytest.raises(TextNotReady):
        await shelf.library.text(shelf.customer_id, source_id)
    assert 0.3 <= time.monotonic() - started < 3
    await shelf.store.do(acquisition.postpone, claim=claim, delay_s=0, failure=PASSING)
    with pytest.raises(TextNotReady):
        await shelf.library.text(shelf.customer_id, source_id)


async def test_a_text_that_will_not_come_says_why_at_once(shelf: Shelf) -> None:
    library = shelf.with_limits(text_wait_s=60.0)
    source_id = await shelf.document()
    await shelf.store.do(acquisition.fail, claim=await shelf.store.claimed_source(), failure=FINAL)
    async with asyncio.timeout(10):
        with pytest.raises(TextMissing, match=r"No text\. Add some\."):
            await library.text(shelf.customer_id, source_id)


async def test_a_folder_has_no_text_to_wait_for(shelf: Shelf) -> None:
    folder = await shelf.folder()
    with pytest.raises(KindRefused):
        await shelf.library.text(shelf.customer_id, folder.id)
    assert (await shelf.library.read(shelf.customer_id, folder.id)).text == ""


async def test_the_chunks_of_an_index_are_paged_in_document_order_and_found_by_id(
    shelf: Shelf,
) -> None:
    source_id = await shelf.document()
    await shelf.store.ingest(chunk_count=2)
    await shelf.answering(source_id, chunk_count=7)
    ordinals: list[int] = []
    after: Cursor | None = None
    while True:
        page = await shelf.library.chunks(
            shelf.customer_id, source_id, model=MODEL, page_size=3, after=after
        )
        ordinals += [chunk.ordinal for chunk in page.items]
        for chunk in page.items:
            assert chunk == await shelf.library.chunk(
                shelf.customer_id, source_id, chunk.id, model=MODEL
            )
        if (after := page.next) is None:
            break
    assert ordinals == list(range(7))


async def test_a_chunk_is_known_under_the_name_of_its_own_index_only(shelf: Shelf) -> None:
    source_id, other_id = await shelf.document(), await shelf.document()
    for _ in range(2):
        await shelf.store.ingest()
    await shelf.answering(source_id)
    await shelf.answering(source_id, model=OTHER_MODEL)
    await shelf.answering(other_id)
    rows = await shelf.store.fetch(
        "SELECT c.id, p.public_model, c.source_id FROM chunks c"
        " JOIN profiles p ON p.id = c.profile_id"
    )
    assert len(rows) == 15  # two primary indexes, three under public names
    for model in (MODEL, OTHER_MODEL):
        found = set()
        for row in rows:
            try:
                chunk = await shelf.library.chunk(
                    shelf.customer_id, source_id, row["id"], model=model
                )
            except ChunkNotFound:
                continue
            found.add(chunk.id)
        own = {row["id"] for row in rows if row["public_model"] == model
               and row["source_id"] == source_id}  # fmt: skip
        assert (found, len(own)) == (own, 3)
        page = await shelf.library.chunks(
            shelf.customer_id, source_id, model=model, page_size=9, after=None
        )
        assert {chunk.id for chunk in page.items} == own


async def test_an_index_that_does_not_answer_yet_has_no_chunks(shelf: Shelf) -> None:
    source_id = await shelf.document()
    read = {"model": MODEL, "page_size": 9, "after": None}
    with pytest.raises(RagIndexNotFound):
        await shelf.library.chunks(shelf.customer_id, source_id, **read)
    await shelf.store.ingest()
    with pytest.raises(RagIndexNotFound):  # the primary index has no public name
        await shelf.library.chunk(shelf.customer_id, source_id, ChunkId(uuid4()), model=MODEL)
    await shelf.index(source_id)
    claim = await shelf.store.claimed_index()
    await shelf.store.store(claim, ordinals=range(2))
    page = await shelf.library.chunks(shelf.customer_id, source_id, **read)
    assert (page.items, page.next) == ((), None)
    await shelf.store.finish(claim, chunk_count=2)
    page = await shelf.library.chunks(shelf.customer_id, source_id, **read)
    assert len(page.items) == 2


async def test_pages_are_those_of_the_format_else_3_000_characters_each(shelf: Shelf) -> None:
    assert await shelf.library.page_count(shelf.customer_id) == 0
    for number in range(3):
        await shelf.document(f"{number}")
        await shelf.store.ingest(text="x" * 4_500)
    paged, gone, _ = [row["id"] for row in await shelf.store.fetch("SELECT id FROM sources")]
    await shelf.store.execute(
        "UPDATE documents SET coverage = coverage || '{\"pages_total\": 7}' WHERE source_id ="
        " %(id)s",
        id=paged,
    )
    assert await shelf.library.page_count(shelf.customer_id) == pytest.approx(7 + 2 * 1.5)
    await shelf.library.delete(shelf.customer_id, gone, force=False)
    await shelf.document("unread")
    assert await shelf.library.page_count(shelf.customer_id) == pytest.approx(7 + 1.5)


# Folders ----------------------------------------------------------------------------------------


async def test_a_folder_is_made_at_the_root_or_in_another_with_a_clean_name(shelf: Shelf) -> None:
    top = await shelf.folder("  a\x00 b\n c ")
    inner = await shelf.folder("x" * 255, parent=top)
    assert (top.name, top.kind, top.folder_path) == ("a b c", EntryKind.FOLDER, ())
    assert [ref.id for ref in inner.folder_path] == [top.id]
    assert (top.children_count, (await shelf.get(top.id)).children_count) == (0, 1)


@pytest.mark.parametrize("name", ["", " \n ", "\x00", "x" * 256])
async def test_a_name_of_no_good_length_is_refused(shelf: Shelf, name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await shelf.folder(name)
    assert [detail.field for detail in caught.value.details] == ["name"]
    assert await shelf.names() == set()


async def test_folders_lie_no_deeper_than_the_limit_by_making_or_by_moving(shelf: Shelf) -> None:
    deep = await chain(shelf, 4)
    with pytest.raises(FolderMoveRefused, match="4 deep"):
        await shelf.folder("too deep", parent=deep[-1])
    pair = await chain(shelf, 2, name="pair")
    move = shelf.library.move
    with pytest.raises(FolderMoveRefused, match="4 deep"):
        await move(shelf.customer_id, [pair[0].id], folder_id=fid(deep[2]))
    await move(shelf.customer_id, [pair[0].id], folder_id=fid(deep[1]))
    path = (await shelf.get(pair[1].id)).folder_path
    assert [ref.name for ref in path] == ["f0", "f1", "pair0"]


async def test_a_customer_has_no_more_folders_than_the_limit_even_at_the_same_moment(
    shelf: Shelf, neighbour: Shelf
) -> None:
    library = shelf.with_limits(customer_folders_max=3)

    async def make(number: int) -> Entry:
        return await library.create_folder(shelf.customer_id, name=f"{number}", parent_id=None)

    outcomes = await asyncio.gather(*map(make, range(6)), return_exceptions=True)
    assert [type(o) for o in outcomes if isinstance(o, BaseException)] == [TooManyFolders] * 3
    assert len(await shelf.names()) == 3
    library = neighbour.with_limits(customer_folders_max=3)
    await library.create_folder(neighbour.customer_id, name="n", parent_id=None)


async def test_documents_and_folders_move_together_or_not_at_all(shelf: Shelf) -> None:
    source, folder, target = await shelf.document(), await shelf.folder("f"), await shelf.folder()
    second = await shelf.store.rag(shelf.customer_id)
    other = await shelf.document(rag_id=second)
    move, ids = shelf.library.move, [source, folder.id, other]
    with pytest.raises(SourceNotFound):
        await move(shelf.customer_id, [*ids, uuid4()], folder_id=fid(target))
    with pytest.raises(FolderMoveRefused):
        await move(shelf.customer_id, ids, folder_id=fid(folder))
    with pytest.raises(FolderNotFound):
        await move(shelf.customer_id, ids, folder_id=FolderId(uuid4()))
    assert [(await shelf.get(each)).parent_id for each in ids] == [None] * 3
    await move(shelf.customer_id, [*ids, source], folder_id=fid(target))
    assert [(await shelf.get(each)).parent_id for each in ids] == [target.id] * 3
    await move(shelf.customer_id, ids, folder_id=None)
    assert [(await shelf.get(each)).parent_id for each in ids] == [None] * 3


async def test_a_document_is_no_folder_to_move_into_or_to_make_one_in(shelf: Shelf) -> None:
    source_id = FolderId(await shelf.document())
    with pytest.raises(FolderNotFound):
        await shelf.library.create_folder(shelf.customer_id, name="n", parent_id=source_id)
    folder = await shelf.folder()
    with pytest.raises(FolderNotFound):
        await shelf.library.move(shelf.customer_id, [folder.id], folder_id=source_id)


@pytest.mark.parametrize("depth", [0, 1, 2])
async def test_a_folder_cannot_be_moved_into_itself_or_below(shelf: Shelf, depth: int) -> None:
    made = await chain(shelf, 3)
    with pytest.raises(FolderMoveRefused, match="itself"):
        await shelf.library.move(shelf.customer_id, [made[0].id], folder_id=fid(made[depth]))
    assert (await shelf.get(made[0].id)).parent_id is None


async def test_of_two_moves_at_once_that_make_a_circle_exactly_one_is_made(shelf: Shelf) -> None:
    for number in range(8):
        one, two = await shelf.folder(f"one {number}"), await shelf.folder(f"two {number}")
        outcomes = await asyncio.gather(
            shelf.library.move(shelf.customer_id, [one.id], folder_id=fid(two)),
            shelf.library.move(shelf.customer_id, [two.id], folder_id=fid(one)),
            return_exceptions=True,
        )
        assert sorted(type(outcome).__name__ for outcome in outcomes) == [
            "FolderMoveRefused",
            "NoneType",
        ]


# Deleting ---------------------------------------------------------------------------------------


async def test_a_deleted_document_is_unknown_at_once_to_every_reader(shelf: Shelf) -> None:
    source_id = await shelf.document("going")
    await shelf.store.ingest()
    await shelf.answering(source_id)
    deleted = await shelf.library.delete(shelf.customer_id, source_id, force=False)
    assert (deleted.id, deleted.name, deleted.state) == (source_id, "going", State.READY)
    for reading in readings(shelf.library, shelf, source_id):
        with pytest.raises(SourceNotFound):
            await reading()
    assert await shelf.names() == set()


async def test_a_running_attempt_at_a_deleted_document_writes_nothing(shelf: Shelf) -> None:
    source_id = await shelf.document()
    claim = await shelf.store.claimed_source()
    await shelf.library.delete(shelf.customer_id, source_id, force=False)
    with pytest.raises(Superseded):
        await shelf.store.acquire(claim)


async def test_a_folder_that_is_not_empty_goes_by_force_only_with_all_below_it(
    shelf: Shelf,
) -> None:
    top, middle = await chain(shelf, 2)
    second = await shelf.store.rag(shelf.customer_id)
    below = [
        await shelf.document(f"d{number}", folder=folder, rag_id=rag_id)
        for number, (folder, rag_id) in enumerate(
            [(top, shelf.rag_id), (middle, second), (middle, shelf.rag_id)]
        )
    ]
    stays = await shelf.document("stays")
    for folder in (top, middle):
        with pytest.raises(FolderNotEmpty):
            await shelf.library.delete(shelf.customer_id, folder.id, force=False)
    assert len(await shelf.names()) == 6
    deleted = await shelf.library.delete(shelf.customer_id, top.id, force=True)
    assert (deleted.id, deleted.document_count) == (top.id, 3)
    assert await shelf.names() == {"stays"}
    for entry_id in (top.id, middle.id, *below):
        with pytest.raises(SourceNotFound):
            await shelf.get(entry_id)
    rows = await shelf.store.fetch(
        "SELECT id FROM sources WHERE deleted_at IS NOT NULL AND due_at IS NULL"
    )
    assert {row["id"] for row in rows} == set(below)
    assert (await shelf.get(stays)).name == "stays"


async def test_a_folder_whose_documents_are_all_deleted_is_empty(shelf: Shelf) -> None:
    folder = await shelf.folder()
    source_id = await shelf.document(folder=folder)
    await shelf.library.delete(shelf.customer_id, source_id, force=False)
    await shelf.library.delete(shelf.customer_id, folder.id, force=False)
    assert await shelf.names() == set()


async def test_nothing_enters_a_folder_while_it_is_deleted(shelf: Shelf) -> None:
    """The move waits for the delete and then finds no folder to go into."""
    folder, source_id = await shelf.folder(), await shelf.document("stays")
    async with shelf.store.api.transaction(customer_id=shelf.customer_id) as tx:
        await folders.lock(tx, customer_id=shelf.customer_id)
        entering = asyncio.create_task(
            shelf.library.move(shelf.customer_id, [source_id], folder_id=fid(folder))
        )
        _, waiting = await asyncio.wait([entering], timeout=0.2)
        assert waiting
        await folders.delete(tx, customer_id=shelf.customer_id, folder_ids=[fid(folder)])
    with pytest.raises(FolderNotFound):
        await entering
    assert await shelf.names() == {"stays"}


async def test_what_has_just_entered_a_folder_goes_with_it(shelf: Shelf) -> None:
    """The delete waits for the move, and then sees what it has moved."""
    folder, source_id = await shelf.folder(), await shelf.document("enters")
    async with shelf.store.api.transaction(customer_id=shelf.customer_id) as tx:
        await folders.lock(tx, customer_id=shelf.customer_id)
        await entries.place(
            tx, customer_id=shelf.customer_id, source_ids=[source_id], folder_id=fid(folder)
        )
        deleting = asyncio.create_task(
            shelf.library.delete(shelf.customer_id, folder.id, force=True)
        )
        _, waiting = await asyncio.wait([deleting], timeout=0.2)
        assert waiting
    assert (await deleting).document_count == 1
    assert await shelf.names() == set()


async def test_a_delete_waits_for_what_a_worker_writes_and_ends_it(shelf: Shelf) -> None:
    folder = await shelf.folder()
    source_id = await shelf.document(folder=folder)
    async with shelf.store.worker.transaction() as tx:
        await acquisition.hold_rag(tx, customer_id=shelf.customer_id, rag_id=shelf.rag_id)
        deleting = asyncio.create_task(
            shelf.library.delete(shelf.customer_id, folder.id, force=True)
        )
        _, waiting = await asyncio.wait([deleting], timeout=0.2)
        assert waiting
    await deleting
    with pytest.raises(SourceNotFound):
        await shelf.get(source_id)


async def test_deletes_of_many_documents_at_once_do_not_stop_each_other(shelf: Shelf) -> None:
    second = await shelf.store.rag(shelf.customer_id)
    tops = []
    for number in range(4):
        top = await shelf.folder(f"{number}")
        tops.append(top)
        for rag_id in (shelf.rag_id, second, shelf.rag_id):
            await shelf.document(folder=top, rag_id=rag_id)
    async with asyncio.timeout(30):
        await asyncio.gather(
            *(shelf.library.delete(shelf.customer_id, top.id, force=True) for top in tops)
        )
    assert await shelf.names() == set()


async def test_each_of_many_is_deleted_on_its_own_and_keyed_as_given(
    shelf: Shelf, neighbour: Shelf
) -> None:
    full, empty = await shelf.folder("full"), await shelf.folder("empty")
    await shelf.document(folder=full)
    source_id = await shelf.document()
    theirs = (await neighbour.listed(EntryFilter(), page_size=9))[0]
    given = [str(source_id), "x", str(full.id), str(theirs.id), str(empty.id), str(source_id)]
    outcomes = await shelf.library.delete_many(shelf.customer_id, given, force=False)
    assert list(outcomes) == given[:-1]
    kinds = [type(outcome) for outcome in outcomes.values()]
    assert kinds == [Entry, SourceNotFound, FolderNotEmpty, SourceNotFound, Entry]
    assert (await neighbour.get(theirs.id)).id == theirs.id


async def test_a_folder_may_be_deleted_in_one_call_with_what_is_in_it(shelf: Shelf) -> None:
    top, middle = await chain(shelf, 2)
    source_id = await shelf.document(folder=middle)
    for force in (False, True):
        given = [str(top.id), str(middle.id), str(source_id)]
        outcomes = await shelf.library.delete_many(shelf.customer_id, given, force=force)
        gone = Entry if not force else SourceNotFound  # the second time there is nothing left
        assert [type(outcome) for outcome in outcomes.values()] == [gone] * 3
    top, middle = await chain(shelf, 2)
    outcomes = await shelf.library.delete_many(
        shelf.customer_id, [str(top.id), str(middle.id)], force=True
    )
    assert {type(outcome) for outcome in outcomes.values()} == {Entry}


# Tenants ----------------------------------------------------------------------------------------

Reading = Callable[[], Awaitable[object]]


def readings(library: Library, shelf: Shelf, entry_id: UUID) -> list[Reading]:
    """Every verb that takes an entry."""
    mine, source_id = shelf.customer_id, SourceId(entry_id)
    return [
        lambda: library.get(mine, entry_id),
        lambda: library.read(mine, entry_id),
        lambda: library.text(mine, entry_id),
        lambda: library.chunks(mine, source_id, model=MODEL, page_size=9, after=None),
        lambda: library.chunk(mine, source_id, ChunkId(entry_id), model=MODEL),
        lambda: library.move(mine, [entry_id], folder_id=None),
        lambda: library.delete(mine, entry_id, force=True),
    ]


async def test_entries_of_another_customer_are_unknown_to_every_verb(
    shelf: Shelf, neighbour: Shelf
) -> None:
    theirs = await neighbour.listed(EntryFilter(), page_size=9)
    assert len(theirs) == 2
    for entry in theirs:
        for reading in readings(shelf.library, shelf, entry.id):
            with pytest.raises(SourceNotFound):
                await reading()
    assert await neighbour.listed(EntryFilter(), page_size=9) == theirs


async def test_a_folder_of_another_customer_is_no_place_to_put_or_to_look_into(
    shelf: Shelf, neighbour: Shelf
) -> None:
    source_id = await shelf.document()
    theirs = (await neighbour.listed(EntryFilter(kinds=(EntryKind.FOLDER,)), page_size=9))[0]
    mine, library, folder_id = shelf.customer_id, shelf.library, fid(theirs)
    attempts: list[Reading] = [
        lambda: library.create_folder(mine, name="n", parent_id=folder_id),
        lambda: library.move(mine, [source_id], folder_id=folder_id),
        lambda: shelf.names(EntryFilter(parent_id=folder_id)),
        lambda: shelf.names(EntryFilter(ancestor_id=folder_id)),
    ]
    for attempt in attempts:
        with pytest.raises(FolderNotFound):
            await attempt()
    assert (await neighbour.get(theirs.id)).children_count == 1


async def test_nothing_of_a_library_is_an_unknown_error(shelf: Shelf) -> None:
    """All refusals of unknown things are of the kind that every door knows as not found."""
    for reading in readings(shelf.library, shelf, uuid4()):
        with pytest.raises(NotFound) as caught:
            await reading()
        assert isinstance(caught.value, CallerError)


async def test_a_move_shows_in_the_time_of_change_and_nowhere_else(shelf: Shelf) -> None:
    source_id = await shelf.document(at=BORN)
    folder = await shelf.folder()
    await shelf.library.move(shelf.customer_id, [source_id], folder_id=fid(folder))
    entry = await shelf.get(source_id)
    assert entry.created_at == BORN
    assert entry.updated_at > BORN + timedelta(days=1)
    assert entry.state is State.PENDING
