"""One entry inside a transaction of the caller's: added, held against deletion, changed, read.

What a request may ask of which kind of entry is up to documents, which also rings the bell.
"""

from typing import TypedDict
from uuid import UUID

import msgspec

from engine.entries import Entry, EntryKind, EntryText
from engine.errors import FolderNotFound, SourceNotFound
from engine.models import CustomerId, FileId, FolderId, Noun, RagId, SourceId, Upload
from engine.store import Tx, documents, entries, files, folders, rags, sources


class New(Noun, frozen=True, kw_only=True):
    """A document to be, of a URL or of an upload; `is_text`: of one that was written here."""

    name: str
    name_given: bool
    folder_id: FolderId | None
    url: str | None = None
    upload: Upload | None = None
    is_text: bool = False


class _Key(TypedDict):
    """How the store names a source."""

    customer_id: CustomerId
    rag_id: RagId
    source_id: SourceId


async def keep_file(tx: Tx, *, customer_id: CustomerId, upload: Upload, is_text: bool) -> FileId:
    """A file that goes with its last source."""
    file = await files.insert(
        tx, customer_id=customer_id, upload=upload, type="rag", kept=False, written=is_text
    )
    return file.id


async def hold_folder(tx: Tx, *, customer_id: CustomerId, folder_id: FolderId) -> None:
    """Keep the folder from deletion until the end. First of all locks."""
    await folders.lock(tx, customer_id=customer_id)
    if await folders.get(tx, customer_id=customer_id, folder_id=folder_id) is None:
        raise FolderNotFound("There is no such folder.")


async def add(tx: Tx, *, customer_id: CustomerId, rag_id: RagId, new: New) -> SourceId:
    file_id = None
    if new.upload is not None:
        upload = msgspec.structs.replace(new.upload, name=new.name)
        file_id = await keep_file(tx, customer_id=customer_id, upload=upload, is_text=new.is_text)
    return await sources.insert_one(
        tx,
        customer_id=customer_id,
        rag_id=rag_id,
        name=new.name,
        name_given=new.name_given,
        folder_id=new.folder_id,
        file_id=file_id,
        url=new.url,
        original_bytes=new.upload.file_bytes if new.upload else 0,
    )


async def found(tx: Tx, *, customer_id: CustomerId, entry_id: UUID) -> Entry:
    entry = await entries.get(tx, customer_id=customer_id, entry_id=entry_id)
    if entry is None:
        raise SourceNotFound("There is no such document.")
    return entry


async def held(tx: Tx, *, customer_id: CustomerId, entry_id: UUID) -> Entry:
    """The entry, with what keeps it from deletion locked until the end."""
    entry = await found(tx, customer_id=customer_id, entry_id=entry_id)
    if entry.rag_id is None:
        await folders.lock(tx, customer_id=customer_id)
    else:
        await rags.lock(tx, customer_id=customer_id, rag_id=entry.rag_id, strength="share")
    # Looked at again, because a deletion may have been waited for.
    return await found(tx, customer_id=customer_id, entry_id=entry_id)


async def replace(tx: Tx, entry: Entry, *, upload: Upload, is_text: bool) -> None:
    """A text for a text and a file for a file; a text for anything else is an edit of it."""
    file_id = await keep_file(tx, customer_id=entry.customer_id, upload=upload, is_text=is_text)
    is_edit = is_text and entry.kind is not EntryKind.TEXT
    await sources.replace(
        tx,
        **_key(entry),
        file_id=None if is_edit else file_id,
        edit_id=file_id if is_edit else None,
        original_bytes=upload.file_bytes,
    )


async def refresh(tx: Tx, entry: Entry) -> None:
    """Have the origin read again; a document only."""
    await sources.refresh(tx, **_key(entry))


async def rename(tx: Tx, entry: Entry, *, name: str) -> None:
    if entry.kind is EntryKind.FOLDER:
        folder_id = FolderId(entry.id)
        await folders.rename(tx, customer_id=entry.customer_id, folder_id=folder_id, name=name)
    else:
        await sources.rename(tx, **_key(entry), name=name)


async def read(tx: Tx, entry: Entry) -> EntryText:
    """The entry as it is now, and its newest text."""
    entry = await found(tx, customer_id=entry.customer_id, entry_id=entry.id)
    newest = await documents.newest(tx, customer_id=entry.customer_id, source_id=SourceId(entry.id))
    return EntryText(entry=entry, text=(newest and newest.text) or "")


def _key(entry: Entry) -> _Key:
    assert entry.rag_id
    return {
        "customer_id": entry.customer_id,
        "rag_id": entry.rag_id,
        "source_id": SourceId(entry.id),
    }
