"""Documents as the second door makes and changes them: real rows, real bytes, no worker."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from fix_store import FINAL, Store

from engine import edits
from engine.blobs import Blobs
from engine.config import Settings
from engine.documents import DEFAULT_RAG_NAME, Documents
from engine.embedding import Registry
from engine.entries import EntryKind
from engine.errors import (
    FileInUse,
    FolderNotFound,
    InvalidRequest,
    KindRefused,
    LinkNotValid,
    SourceNotFound,
    TooManySources,
)
from engine.files import Files
from engine.jobs import Bell
from engine.models import (
    CustomerId,
    FileId,
    FolderId,
    NewRag,
    NewSources,
    RagId,
    SourceId,
    State,
    Upload,
)
from engine.rags import Rags
from engine.store import acquisition, folders, purge, rags, sources

pytestmark = pytest.mark.anyio

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
PAGE = "https://example.org/a-page"


class Desk:
    """The verbs over one database, and one customer."""

    def __init__(self, store: Store, settings: Settings, *, customer_id: CustomerId) -> None:
        self.store = store
        self.customer_id = customer_id
        self.bell = Bell(settings.redis_url)
        self.registry = Registry.from_settings(settings)
        self.files = Files(
            database=store.api,
            blobs=Blobs(settings.blobs_url),
            limits=settings.limits,
            spool_dir=settings.data_dir / "spool",
        )
        self.documents = self.documents_of(settings)
        self.rags = Rags(
            database=store.api, bell=self.bell, registry=self.registry, settings=settings
        )

    def documents_of(self, settings: Settings) -> Documents:
        return Documents(
            database=self.store.api,
            bell=self.bell,
            files=self.files,
            registry=self.registry,
            settings=settings,
        )

    async def upload(self, data: bytes = b"words", *, filename: str = "notes.txt") -> Upload:
        return await self.files.receive(
            self.customer_id, pieces(data), filename=filename, media_type="text/plain"
        )

    async def text(self, text: str = "Some words", **named: Any) -> SourceId:
        options = {"name": None, "folder_id": None} | named
        made = await self.documents.create_text(self.customer_id, text=text, **options)
        return SourceId(made.id)

    async def url(self, url: str = PAGE, **named: Any) -> SourceId:
        options = {"name": None, "folder_id": None} | named
        return SourceId((await self.documents.create_url(self.customer_id, url=url, **options)).id)

    async def file(self, data: bytes = b"words", **named: Any) -> SourceId:
        options = {"name": None, "folder_id": None} | named
        upload = await self.upload(data)
        made = await self.documents.create_file(self.customer_id, upload=upload, **options)
        return SourceId(made.id)

    async def folder(self) -> FolderId:
        return await self.store.do(
            folders.insert, customer_id=self.customer_id, name="a folder", parent_id=None
        )

    async def row(self, source_id: UUID) -> dict[str, Any]:
        return await self.store.source_row(SourceId(source_id))

    async def file_row(self, file_id: UUID) -> dict[str, Any]:
        rows = await self.store.fetch("SELECT * FROM files WHERE id = %(id)s", id=file_id)
        return rows[0]

    async def bytes_of(self, file_id: UUID) -> bytes:
        _, read = await self.files.read(self.customer_id, FileId(file_id))
        return b"".join([piece async for piece in read])

    async def linked(self, source_id: UUID) -> tuple[str, bytes]:
        token = await self.documents.source_file_link(self.customer_id, source_id)
        file, read = await self.documents.linked_file(token)
        return file.filename, b"".join([piece async for piece in read])

    async def ingested(self, source_id: SourceId, *, text: str = "read text") -> None:
        """The one due source, worked to ready."""
        claim = await self.store.claimed_source()
        assert claim.id == source_id
        await self.store.ingest_claim(claim, text=text)


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    yield data


@pytest.fixture
async def desk(store: Store, settings: Settings) -> AsyncIterator[Desk]:
    # No worker reads what is changed here, so nobody waits for it.
    limits = msgspec.structs.replace(settings.limits, text_wait_s=0.01)
    settings = msgspec.structs.replace(settings, limits=limits)
    made = Desk(store, settings, customer_id=await store.customer())
    yield made
    await made.bell.close()


@pytest.fixture
async def stranger(store: Store) -> CustomerId:
    return await store.customer("a stranger")


# Made -------------------------------------------------------------------------------------------


async def test_a_text_becomes_a_written_file_of_the_default_rag(desk: Desk) -> None:
    made = await desk.documents.create_text(
        desk.customer_id, text="First line\nSecond \x00line", name=None, folder_id=None
    )
    assert (made.kind, made.name, made.state) == (EntryKind.TEXT, "First line", State.PENDING)
    assert made.byte_count == len(b"First line\nSecond line")
    row = await desk.row(made.id)
    assert (row["name_given"], row["folder_id"], row["edit_id"]) == (True, None, None)
    file = await desk.file_row(row["file_id"])
    assert (file["written"], file["kept"], file["name"]) == (True, False, "First line")
    assert (file["filename"], file["media_type"]) == (
        "First line.txt",
        "text/plain; charset=utf-8",
    )
    assert await desk.bytes_of(file["id"]) == b"First line\nSecond line"
    rag = await desk.rags.get(desk.customer_id, RagId(row["rag_id"]))
    assert (rag.name, rag.embedding_model) == (DEFAULT_RAG_NAME, desk.registry.default.name)


async def test_a_given_name_is_the_name_of_a_document_of_any_kind(desk: Desk) -> None:
    for made in (
        await desk.text(name=" A \n name "),
        await desk.url(name=" A \n name "),
        await desk.file(name=" A \n name "),
    ):
        row = await desk.row(made)
        assert (row["name"], row["name_given"]) == ("A name", True)


async def test_a_page_is_called_by_its_url_until_it_has_been_read(desk: Desk) -> None:
    made = await desk.documents.create_url(desk.customer_id, url=PAGE, name=None, folder_id=None)
    assert (made.kind, made.name, made.url) == (EntryKind.URL, PAGE, PAGE)
    row = await desk.row(made.id)
    assert (row["name_given"], row["url_key"], row["file_id"]) == (False, None, None)


async def test_the_same_page_and_the_same_text_may_come_twice(desk: Desk) -> None:
    assert len({await desk.url(), await desk.url(), await desk.text(), await desk.text()}) == 4


async def test_a_file_is_called_by_its_filename(desk: Desk) -> None:
    made = await desk.documents.create_file(
        desk.customer_id, upload=await desk.upload(b"12345"), name=None, folder_id=None
    )
    assert (made.kind, made.name, made.filename) == (EntryKind.FILE, "notes.txt", "notes.txt")
    row = await desk.row(made.id)
    assert (row["name_given"], row["original_bytes"]) == (False, 5)
    assert (await desk.file_row(row["file_id"]))["written"] is False


@pytest.mark.parametrize("bad", ["", "   ", "\x00", "x" * 256])
async def test_a_name_that_is_blank_or_too_long_is_refused(desk: Desk, bad: str) -> None:
    upload = await desk.upload()
    source_id = await desk.text()
    common: dict[str, Any] = {"name": bad, "folder_id": None}
    for refused in (
        desk.documents.create_text(desk.customer_id, text="words", **common),
        desk.documents.create_url(desk.customer_id, url=PAGE, **common),
        desk.documents.create_file(desk.customer_id, upload=upload, **common),
        desk.documents.update(desk.customer_id, source_id, name=bad, content=None),
    ):
        with pytest.raises(InvalidRequest) as caught:
            await refused
        assert [detail.field for detail in caught.value.details] == ["name"]
    assert len(await desk.store.fetch("SELECT id FROM sources")) == 1


async def test_a_blank_text_is_refused_by_its_field(desk: Desk) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await desk.text(" \n")
    assert [detail.field for detail in caught.value.details] == ["text"]


@pytest.mark.parametrize("url", ["ftp://example.org/", "http://127.0.0.1/", "no url", ""])
async def test_a_url_that_cannot_be_fetched_is_refused_by_its_field(desk: Desk, url: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await desk.url(url)
    assert [detail.field for detail in caught.value.details] == ["url"]


async def test_a_file_that_no_reader_takes_is_refused_at_once(desk: Desk) -> None:
    with pytest.raises(KindRefused, match=r"^This is a PNG image: upload PDF, DOCX, EPUB, HTML"):
        await desk.file(PNG)
    source_id = await desk.file(b"words")
    with pytest.raises(KindRefused, match="PNG"):
        await desk.documents.replace_file(
            desk.customer_id, source_id, upload=await desk.upload(PNG)
        )


async def test_a_document_may_be_made_in_a_folder(desk: Desk) -> None:
    folder_id = await desk.folder()
    for source_id in (
        await desk.text(folder_id=folder_id),
        await desk.url(folder_id=folder_id),
        await desk.file(folder_id=folder_id),
    ):
        assert (await desk.row(source_id))["folder_id"] == folder_id


async def test_nothing_is_made_in_a_folder_that_is_not_there(
    desk: Desk, stranger: CustomerId
) -> None:
    foreign = await desk.store.do(
        folders.insert, customer_id=stranger, name="theirs", parent_id=None
    )
    for folder_id in (FolderId(uuid4()), foreign):
        with pytest.raises(FolderNotFound):
            await desk.text(folder_id=folder_id)
    assert await desk.store.fetch("SELECT id FROM sources") == []


async def test_concurrent_creates_make_one_default_rag(desk: Desk) -> None:
    made = await asyncio.gather(*(desk.text(f"text {number}") for number in range(8)))
    assert len(set(made)) == 8
    rows = await desk.store.fetch("SELECT id FROM rags WHERE is_default")
    assert len(rows) == 1
    assert {(await desk.row(source_id))["rag_id"] for source_id in made} == {rows[0]["id"]}
    assert len(await desk.store.fetch("SELECT id FROM profiles")) == 1


async def test_each_customer_has_a_default_rag_of_its_own(desk: Desk, stranger: CustomerId) -> None:
    mine = (await desk.row(await desk.text()))["rag_id"]
    made = await desk.documents.create_text(stranger, text="theirs", name=None, folder_id=None)
    assert made.rag_id != mine


async def test_a_deleted_default_rag_is_replaced_by_the_next_create(desk: Desk) -> None:
    first = (await desk.row(await desk.text()))["rag_id"]
    await desk.rags.delete(desk.customer_id, first)
    second = (await desk.row(await desk.text()))["rag_id"]
    third = (await desk.row(await desk.text()))["rag_id"]
    assert first != second == third


async def test_a_create_that_waits_for_the_deletion_of_the_default_rag_makes_another(
    desk: Desk,
) -> None:
    first = (await desk.row(await desk.text()))["rag_id"]
    async with desk.store.worker.transaction() as tx:
        keys = {"customer_id": desk.customer_id, "rag_id": first}
        assert await rags.lock(tx, **keys, strength="update")
        await rags.mark_deleted(tx, **keys)
        creating = asyncio.create_task(desk.text())
        await asyncio.sleep(0.2)
        assert not creating.done()
    second = (await desk.row(await creating))["rag_id"]
    assert second != first
    assert await desk.store.do(rags.default, customer_id=desk.customer_id) == second


async def test_the_default_rag_takes_no_more_sources_than_any_other(
    desk: Desk, settings: Settings
) -> None:
    limits = msgspec.structs.replace(settings.limits, rag_sources_max=3)
    documents = desk.documents_of(msgspec.structs.replace(settings, limits=limits))
    made = await asyncio.gather(
        *(
            documents.create_text(desk.customer_id, text="words", name=None, folder_id=None)
            for _ in range(6)
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(each, TooManySources) for each in made) == 3
    rows = await desk.store.fetch("SELECT customer_id, id AS rag_id FROM rags WHERE is_default")
    assert await desk.store.do(sources.total, **rows[0]) == 3


async def test_chunks_of_the_default_rag_are_never_larger_than_its_model_reads(
    desk: Desk, settings: Settings
) -> None:
    documents = desk.documents_of(msgspec.structs.replace(settings, chunk_tokens=100_000))
    made = await documents.create_text(desk.customer_id, text="words", name=None, folder_id=None)
    assert made.rag_id
    rag = await desk.rags.get(desk.customer_id, made.rag_id)
    assert rag.chunk_tokens == desk.registry.default.tokens_max


# Changed ----------------------------------------------------------------------------------------


async def test_a_new_name_alone_does_not_have_the_document_read_again(desk: Desk) -> None:
    source_id = await desk.url()
    await desk.ingested(source_id)
    before = await desk.row(source_id)
    updated = await desk.documents.update(
        desk.customer_id, source_id, name="Another name", content=None
    )
    assert (updated.entry.name, updated.text) == ("Another name", "read text")
    after = await desk.row(source_id)
    assert (after["state"], after["attempt"], after["due_at"]) == ("ready", before["attempt"], None)
    assert after["name_given"] is True


async def test_a_name_given_while_a_page_is_read_is_not_replaced_by_its_title(desk: Desk) -> None:
    source_id = await desk.url()
    claim = await desk.store.claimed_source()
    await desk.documents.update(desk.customer_id, source_id, name="Mine", content=None)
    await desk.store.ingest_claim(claim)
    assert (await desk.row(source_id))["name"] == "Mine"


async def test_new_content_of_a_text_replaces_its_file(desk: Desk) -> None:
    source_id = await desk.text("old words")
    await desk.ingested(source_id, text="old words")
    before = await desk.row(source_id)
    updated = await desk.documents.update(
        desk.customer_id, source_id, name=None, content="new words, more"
    )
    # What is live goes on answering.
    assert (updated.text, updated.entry.state) == ("old words", State.PENDING)
    after = await desk.row(source_id)
    assert (after["name"], after["edit_id"]) == ("old words", None)
    assert after["file_id"] != before["file_id"]
    assert after["original_bytes"] == len("new words, more")
    assert after["attempt"] > before["attempt"]
    assert (await desk.file_row(after["file_id"]))["written"] is True
    claim = await desk.store.claimed_source()
    assert (claim.id, claim.file_id, claim.url) == (source_id, after["file_id"], None)


@pytest.mark.parametrize("kind", ["url", "file"])
async def test_new_content_of_a_page_or_a_file_is_read_in_place_of_the_origin(
    desk: Desk, kind: str
) -> None:
    source_id = await (desk.url() if kind == "url" else desk.file(b"the original"))
    await desk.ingested(source_id)
    before = await desk.row(source_id)
    updated = await desk.documents.update(desk.customer_id, source_id, name=None, content="an edit")
    assert updated.entry.kind == EntryKind(kind)
    after = await desk.row(source_id)
    assert (after["file_id"], after["url"]) == (before["file_id"], before["url"])
    assert (after["state"], after["original_bytes"]) == ("pending", len("an edit"))
    file = await desk.file_row(after["edit_id"])
    assert (file["written"], file["kept"]) == (True, False)
    assert await desk.bytes_of(file["id"]) == b"an edit"
    claim = await desk.store.claimed_source()
    assert (claim.file_id, claim.url) == (after["edit_id"], None)


async def test_name_and_content_change_together_or_not_at_all(desk: Desk) -> None:
    source_id = await desk.text("old words")
    await desk.documents.update(desk.customer_id, source_id, name="New", content="new words")
    after = await desk.row(source_id)
    assert (after["name"], after["original_bytes"]) == ("New", len("new words"))
    with pytest.raises(InvalidRequest) as caught:
        await desk.documents.update(desk.customer_id, source_id, name="Newer", content=" \n ")
    assert [detail.field for detail in caught.value.details] == ["content"]
    assert await desk.row(source_id) == after


async def test_an_update_without_anything_new_changes_nothing(desk: Desk) -> None:
    source_id = await desk.text()
    before = await desk.row(source_id)
    updated = await desk.documents.update(desk.customer_id, source_id, name=None, content=None)
    assert updated.entry.id == source_id
    assert await desk.row(source_id) == before


@pytest.mark.parametrize("natively", [True, False])
async def test_a_refresh_goes_back_to_the_origin(desk: Desk, natively: bool) -> None:
    source_id = await desk.file(b"the original")
    await desk.documents.update(desk.customer_id, source_id, name=None, content="an edit")
    row = await desk.row(source_id)
    if natively:
        await desk.rags.refresh_source(desk.customer_id, RagId(row["rag_id"]), source_id)
    else:
        refreshed = await desk.documents.refresh(desk.customer_id, source_id)
        assert refreshed.entry.byte_count == len(b"the original")
    after = await desk.row(source_id)
    assert (after["edit_id"], after["file_id"]) == (None, row["file_id"])
    assert (after["original_bytes"], after["state"]) == (len(b"the original"), "pending")
    claim = await desk.store.claimed_source()
    assert claim.file_id == row["file_id"]


async def test_a_refresh_of_an_edited_page_fetches_it_again(desk: Desk) -> None:
    source_id = await desk.url()
    await desk.documents.update(desk.customer_id, source_id, name=None, content="an edit")
    await desk.documents.refresh(desk.customer_id, source_id)
    claim = await desk.store.claimed_source()
    assert (claim.file_id, claim.url) == (None, PAGE)


async def test_an_edited_page_has_the_size_of_its_text_until_it_is_fetched_again(
    desk: Desk,
) -> None:
    source_id = await desk.url()
    await desk.documents.update(desk.customer_id, source_id, name=None, content="an edit")
    await desk.ingested(source_id, text="an edit")
    await desk.store.execute("UPDATE sources SET original_bytes = 7")

    refreshed = await desk.documents.refresh(desk.customer_id, source_id)
    assert (refreshed.entry.byte_count, refreshed.text) == (7, "an edit")

    await desk.store.do(acquisition.fail, claim=await desk.store.claimed_source(), failure=FINAL)
    assert (await desk.row(source_id))["original_bytes"] == 7


async def test_a_worker_that_reads_the_old_content_is_fenced_off(desk: Desk) -> None:
    source_id = await desk.text("old words")
    claim = await desk.store.claimed_source()
    await desk.documents.update(desk.customer_id, source_id, name=None, content="new words")
    renewed = await desk.store.claimed_source()
    assert (renewed.id, renewed.attempt > claim.attempt) == (claim.id, True)


async def test_another_file_brings_its_name_and_its_content(desk: Desk) -> None:
    source_id = await desk.file(b"the original", name="A name")
    await desk.documents.update(desk.customer_id, source_id, name=None, content="an edit")
    before = await desk.row(source_id)
    upload = await desk.upload(b"the replacement", filename="newer.md")
    replaced = await desk.documents.replace_file(desk.customer_id, source_id, upload=upload)
    assert (replaced.entry.name, replaced.entry.filename) == ("newer.md", "newer.md")
    after = await desk.row(source_id)
    assert after["file_id"] != before["file_id"]
    assert (after["edit_id"], after["original_bytes"]) == (None, len(b"the replacement"))
    assert await desk.bytes_of(after["file_id"]) == b"the replacement"
    claim = await desk.store.claimed_source()
    assert claim.file_id == after["file_id"]


async def test_only_a_file_can_be_replaced_by_a_file(desk: Desk) -> None:
    upload = await desk.upload()
    for source_id in (await desk.url(), await desk.text(), await desk.folder()):
        with pytest.raises(KindRefused):
            await desk.documents.replace_file(desk.customer_id, source_id, upload=upload)


async def test_a_folder_has_a_name_and_nothing_else(desk: Desk) -> None:
    folder_id = await desk.folder()
    renamed = await desk.documents.update(desk.customer_id, folder_id, name="Renamed", content=None)
    assert (renamed.entry.kind, renamed.entry.name, renamed.text) == (
        EntryKind.FOLDER,
        "Renamed",
        "",
    )
    for refused in (
        desk.documents.update(desk.customer_id, folder_id, name="Again", content="words"),
        desk.documents.refresh(desk.customer_id, folder_id),
        desk.documents.source_file_link(desk.customer_id, folder_id),
    ):
        with pytest.raises(KindRefused, match="a folder"):
            await refused
    found = await desk.store.do(folders.get, customer_id=desk.customer_id, folder_id=folder_id)
    assert found
    assert found.name == "Renamed"


async def test_what_is_unknown_deleted_or_anothers_is_not_found(
    desk: Desk, stranger: CustomerId
) -> None:
    deleted, theirs, below = await desk.text(), await desk.text(), await desk.text()
    row = await desk.row(deleted)
    await desk.rags.delete_source(desk.customer_id, row["rag_id"], deleted)
    upload = await desk.upload()
    for customer_id, source_id in (
        (desk.customer_id, uuid4()),
        (desk.customer_id, deleted),
        (stranger, theirs),
    ):
        await _refused(desk.documents, customer_id, source_id, upload=upload)
    await desk.rags.delete(desk.customer_id, row["rag_id"])
    await _refused(desk.documents, desk.customer_id, below, upload=upload)


async def _refused(
    documents: Documents, customer_id: CustomerId, source_id: UUID, *, upload: Upload
) -> None:
    for refused in (
        documents.update(customer_id, source_id, name="Mine now", content=None),
        documents.update(customer_id, source_id, name=None, content="words"),
        documents.replace_file(customer_id, source_id, upload=upload),
        documents.refresh(customer_id, source_id),
        documents.source_file_link(customer_id, source_id),
    ):
        with pytest.raises(SourceNotFound):
            await refused


async def test_a_change_waits_for_a_deletion_and_then_finds_nothing(desk: Desk) -> None:
    source_id = await desk.text()
    rag_id = (await desk.row(source_id))["rag_id"]
    keys = {"customer_id": desk.customer_id, "rag_id": rag_id}
    async with desk.store.worker.transaction() as tx:
        assert await rags.lock(tx, **keys, strength="update")
        changing = asyncio.create_task(desk.documents.refresh(desk.customer_id, source_id))
        await asyncio.sleep(0.2)
        assert not changing.done()
        await sources.mark_deleted(tx, **keys, source_ids=[source_id])
    with pytest.raises(SourceNotFound):
        await changing


async def test_concurrent_edits_leave_one_of_them_and_no_stray_file(desk: Desk) -> None:
    source_id = await desk.url()
    contents = [f"edit {number}" for number in range(6)]
    await asyncio.gather(
        *(
            desk.documents.update(desk.customer_id, source_id, name=None, content=content)
            for content in contents
        )
    )
    row = await desk.row(source_id)
    assert (await desk.bytes_of(row["edit_id"])).decode() in contents
    await desk.store.do(purge.delete_files, limit=100)
    left = await desk.store.fetch("SELECT id FROM files")
    assert [file["id"] for file in left] == [row["edit_id"]]


async def test_the_file_of_an_edit_is_in_use(desk: Desk) -> None:
    source_id = await desk.url()
    await desk.documents.update(desk.customer_id, source_id, name=None, content="an edit")
    edit_id = FileId((await desk.row(source_id))["edit_id"])
    with pytest.raises(FileInUse):
        await desk.files.delete(desk.customer_id, edit_id, force=False)
    await desk.files.delete(desk.customer_id, edit_id, force=True)
    assert (await desk.row(source_id))["deleted_at"] is not None


async def test_a_forced_deletion_of_a_file_spares_what_was_made_of_another_file_meanwhile(
    desk: Desk,
) -> None:
    source_id = await desk.file(b"the old words")
    row = await desk.row(source_id)
    keys = {"customer_id": desk.customer_id, "rag_id": row["rag_id"], "source_id": source_id}
    upload = await desk.upload(b"the new words")
    async with desk.store.worker.transaction() as tx:
        assert await rags.lock(
            tx, customer_id=desk.customer_id, rag_id=row["rag_id"], strength="share"
        )
        file_id = await edits.keep_file(
            tx, customer_id=desk.customer_id, upload=upload, is_text=False
        )
        await sources.replace(tx, **keys, file_id=file_id, original_bytes=upload.file_bytes)
        deleting = asyncio.create_task(
            desk.files.delete(desk.customer_id, FileId(row["file_id"]), force=True)
        )
        await asyncio.sleep(0.2)
        assert not deleting.done()
    await deleting

    left = await desk.row(source_id)
    assert (left["deleted_at"], left["file_id"]) == (None, file_id)
    assert (await desk.file_row(row["file_id"]))["deleted_at"] is not None


async def test_a_source_that_is_added_natively_has_the_size_of_its_file(desk: Desk) -> None:
    file = await desk.files.create(desk.customer_id, await desk.upload(b"1234567"))
    rag = await desk.rags.create(
        desk.customer_id,
        NewRag(name="a RAG", sources=NewSources(file_ids=(file.id,), urls=(PAGE,))),
    )
    sizes = {source.url: await desk.row(source.id) for source in rag.sources}
    assert (sizes[None]["original_bytes"], sizes[PAGE]["original_bytes"]) == (7, 0)


# Linked to --------------------------------------------------------------------------------------


async def test_a_link_opens_the_original_of_a_file_whatever_was_edited(desk: Desk) -> None:
    source_id = await desk.file(b"the original")
    await desk.documents.update(desk.customer_id, source_id, name="Renamed", content="an edit")
    assert await desk.linked(source_id) == ("notes.txt", b"the original")


async def test_a_link_to_a_text_opens_its_newest_words(desk: Desk) -> None:
    source_id = await desk.text("old words", name="A/name")
    token = await desk.documents.source_file_link(desk.customer_id, source_id)
    await desk.documents.update(desk.customer_id, source_id, name=None, content="new words")
    file, read = await desk.documents.linked_file(token)
    assert file.filename == "A-name.txt"
    assert b"".join([piece async for piece in read]) == b"new words"


async def test_a_page_has_no_source_file(desk: Desk) -> None:
    source_id = await desk.url()
    with pytest.raises(KindRefused, match="a web page"):
        await desk.documents.source_file_link(desk.customer_id, source_id)


async def test_a_link_opens_nothing_once_its_document_or_rag_is_deleted(desk: Desk) -> None:
    first, second = await desk.text(), await desk.text()
    tokens = [
        await desk.documents.source_file_link(desk.customer_id, source_id)
        for source_id in (first, second)
    ]
    rag_id = (await desk.row(first))["rag_id"]
    await desk.rags.delete_source(desk.customer_id, rag_id, first)
    with pytest.raises(LinkNotValid):
        await desk.documents.linked_file(tokens[0])
    assert await desk.documents.linked_file(tokens[1])
    await desk.rags.delete(desk.customer_id, rag_id)
    with pytest.raises(LinkNotValid):
        await desk.documents.linked_file(tokens[1])


async def test_a_link_expires(desk: Desk, settings: Settings) -> None:
    limits = msgspec.structs.replace(settings.limits, link_expire_s=0.001)
    documents = desk.documents_of(msgspec.structs.replace(settings, limits=limits))
    token = await documents.source_file_link(desk.customer_id, await desk.text())
    await asyncio.sleep(0.05)
    with pytest.raises(LinkNotValid):
        await desk.documents.linked_file(token)


async def test_what_is_no_link_opens_nothing(desk: Desk) -> None:
    for token in ("", "a.b.c", "\ud800"):
        with pytest.raises(LinkNotValid):
            await desk.documents.linked_file(token)


# Received ---------------------------------------------------------------------------------------


async def test_an_upload_carries_how_it_begins_whatever_the_pieces(desk: Desk) -> None:
    async def dripping() -> AsyncIterator[bytes]:
        for _ in range(50):
            yield b"x" * 99 + b"y"

    upload = await desk.files.receive(desk.customer_id, dripping(), filename="a", media_type="")
    assert upload.head == (b"x" * 99 + b"y") * 40 + (b"x" * 96)
