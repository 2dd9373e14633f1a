"""Verbs about a customer's library: all its documents and folders, across RAGs, as one tree.

Reading, ordering and deleting live here; making documents and changing their content do not, nor
does the making of rag indexes. The tree's lock is taken before any RAG's.
"""

from collections.abc import Sequence
from itertools import groupby
from uuid import UUID

from engine.config import Limits
from engine.entries import (
    Entry,
    EntryCursor,
    EntryFilter,
    EntryKind,
    EntryPage,
    EntryText,
    entry_id_of,
)
from engine.errors import (
    CallerError,
    ChunkNotFound,
    Detail,
    FolderMoveRefused,
    FolderNotEmpty,
    FolderNotFound,
    InvalidRequest,
    KindRefused,
    RagIndexNotFound,
    SourceNotFound,
    TextMissing,
    TextNotReady,
    TooManyFolders,
)
from engine.idempotency import Keep
from engine.models import (
    Chunk,
    ChunkId,
    Cursor,
    CustomerId,
    FolderId,
    IndexId,
    Page,
    RagId,
    SourceId,
    State,
)
from engine.store import Database, Tx, chunks, documents, entries, folders, rags, sources
from engine.text import clean_line, is_clean
from engine.waiting import settled

PAGE_CHARACTERS = 3_000  # of a page, where the format has none


class Library:
    """`limits` bound the tree, names, and how long a caller waits for a text."""

    def __init__(self, *, database: Database, limits: Limits) -> None:
        self._database = database
        self._limits = limits

    # Reading -----------------------------------------------------------------------------

    async def list(
        self,
        customer_id: CustomerId,
        *,
        filter: EntryFilter,
        page_size: int,
        after: EntryCursor | None,
    ) -> EntryPage:
        """One page in the order of the filter. FolderNotFound for a folder that it names and that
        is not there, InvalidRequest for an `after` of another list."""
        async with self._database.transaction(customer_id=customer_id) as tx:
            within = await _within(tx, customer_id=customer_id, filter=filter)
            # No stored name has such characters, and nobody else has made any document.
            somebody_else = filter.creator not in ("", "@me", str(customer_id))
            if within == [] or somebody_else or not is_clean(filter.prefix):
                return EntryPage(items=())
            places = await entries.page(
                tx,
                customer_id=customer_id,
                filter=filter,
                within=within,
                limit=page_size + 1,
                after=after,
            )
            ids = [place.id for place in places[:page_size]]
            found = await entries.many(tx, customer_id=customer_id, entry_ids=ids)
        # What was deleted between the two statements is left out.
        items = tuple(found[entry_id] for entry_id in ids if entry_id in found)
        return EntryPage(
            items=items, next=places[page_size - 1] if len(places) > page_size else None
        )

    async def get(self, customer_id: CustomerId, entry_id: UUID) -> Entry:
        """SourceNotFound for whatever is neither a document nor a folder of this customer."""
        async with self._database.transaction(customer_id=customer_id) as tx:
            return await _entry(tx, customer_id=customer_id, entry_id=entry_id)

    async def many(self, customer_id: CustomerId, entry_ids: Sequence[str]) -> dict[str, Entry]:
        """Keyed by the ids as they were given; unknown ones are absent."""
        ids = {text: entry_id for text in entry_ids if (entry_id := entry_id_of(text)) is not None}
        async with self._database.transaction(customer_id=customer_id) as tx:
            found = await entries.many(
                tx, customer_id=customer_id, entry_ids=list(set(ids.values()))
            )
        return {text: found[entry_id] for text, entry_id in ids.items() if entry_id in found}

    async def read(self, customer_id: CustomerId, entry_id: UUID) -> EntryText:
        """With the newest text, "" while there is none; does not wait for one."""
        async with self._database.transaction(customer_id=customer_id) as tx:
            entry = await _entry(tx, customer_id=customer_id, entry_id=entry_id)
            newest = await documents.newest(
                tx, customer_id=customer_id, source_id=SourceId(entry_id)
            )
        return EntryText(entry=entry, text=(newest and newest.text) or "")

    async def text(self, customer_id: CustomerId, entry_id: UUID) -> str:
        """The newest text of a document; waits up to `text_wait_s` while one is being read.

        Without any after that: TextNotReady, or TextMissing when it failed. KindRefused for a
        folder.
        """
        source_id = SourceId(entry_id)
        wait_s = self._limits.text_wait_s
        await settled(self._database, customer_id=customer_id, source_id=source_id, wait_s=wait_s)
        async with self._database.transaction(customer_id=customer_id) as tx:
            newest = await documents.newest(tx, customer_id=customer_id, source_id=source_id)
            if newest is None:
                await _entry(tx, customer_id=customer_id, entry_id=entry_id)
                raise KindRefused("A folder has no text.")
        if newest.text is not None:
            return newest.text
        if newest.state is State.ERROR:
            raise TextMissing(_why(newest))
        raise TextNotReady("The document is still being read: ask again in a little while.")

    async def chunks(
        self,
        customer_id: CustomerId,
        source_id: SourceId,
        *,
        model: str,
        page_size: int,
        after: Cursor | None,
    ) -> Page[Chunk]:
        """Of the index under that public name, in document order; empty until it answers."""
        async with self._database.transaction(customer_id=customer_id) as tx:
            rows = await chunks.page_of_index(
                tx,
                customer_id=customer_id,
                index_id=await _index(
                    tx, customer_id=customer_id, source_id=source_id, model=model
                ),
                limit=page_size + 1,
                after=after,
            )
        items = tuple(rows[:page_size])
        if len(rows) <= page_size:
            return Page(items=items)
        return Page(items=items, next=Cursor(position=items[-1].ordinal))

    async def chunk(
        self, customer_id: CustomerId, source_id: SourceId, chunk_id: ChunkId, *, model: str
    ) -> Chunk:
        """Raises ChunkNotFound for one that does not answer under that public name."""
        async with self._database.transaction(customer_id=customer_id) as tx:
            index_id = await _index(tx, customer_id=customer_id, source_id=source_id, model=model)
            chunk = await chunks.get(
                tx, customer_id=customer_id, index_id=index_id, chunk_id=chunk_id
            )
        if chunk is None:
            raise ChunkNotFound("There is no such chunk in this rag index.")
        return chunk

    async def page_count(self, customer_id: CustomerId) -> float:
        """Pages of all documents: as their formats count them, else one for 3,000 characters."""
        async with self._database.transaction(customer_id=customer_id) as tx:
            return await documents.page_count(
                tx, customer_id=customer_id, page_characters=PAGE_CHARACTERS
            )

    # The tree ----------------------------------------------------------------------------

    async def create_folder(
        self,
        customer_id: CustomerId,
        *,
        name: str,
        parent_id: FolderId | None,
        keep: Keep[Entry] | None = None,
    ) -> Entry:
        """Raises InvalidRequest (name), FolderNotFound (parent), TooManyFolders, and
        FolderMoveRefused where it would lie too deep."""
        name = folder_name(name, limits=self._limits)
        async with self._database.transaction(customer_id=customer_id) as tx:
            if keep:
                await keep.begin(tx)
            await folders.lock(tx, customer_id=customer_id)
            depth = await _depth(tx, customer_id=customer_id, folder_id=parent_id)
            self._check_depth(depth + 1)
            if (
                await folders.total(tx, customer_id=customer_id)
                >= self._limits.customer_folders_max
            ):
                raise TooManyFolders(
                    f"There can be {self._limits.customer_folders_max} folders: delete one first."
                )
            folder_id = await folders.insert(
                tx, customer_id=customer_id, name=name, parent_id=parent_id
            )
            entry = await _entry(tx, customer_id=customer_id, entry_id=folder_id)
            if keep:
                await keep.end(tx, entry)
        return entry

    async def move(
        self, customer_id: CustomerId, entry_ids: Sequence[UUID], *, folder_id: FolderId | None
    ) -> None:
        """All or nothing, into a folder or (None) to the root.

        Raises FolderNotFound (target), SourceNotFound (any entry), FolderMoveRefused.
        """
        async with self._database.transaction(customer_id=customer_id) as tx:
            await folders.lock(tx, customer_id=customer_id)
            await self._move_folders(
                tx, customer_id=customer_id, entry_ids=entry_ids, folder_id=folder_id
            )
            found = await entries.many(tx, customer_id=customer_id, entry_ids=entry_ids)
            if missing := [entry_id for entry_id in entry_ids if entry_id not in found]:
                raise _unknown(missing[0])
            moved = {SourceId(e.id): e.rag_id for e in found.values() if e.rag_id is not None}
            for rag_id in sorted(set(moved.values())):
                await rags.lock(tx, customer_id=customer_id, rag_id=rag_id, strength="share")
            placed = await entries.place(
                tx, customer_id=customer_id, source_ids=list(moved), folder_id=folder_id
            )
            if placed < len(moved):
                raise SourceNotFound("One of the documents was deleted meanwhile.")

    async def _move_folders(
        self,
        tx: Tx,
        *,
        customer_id: CustomerId,
        entry_ids: Sequence[UUID],
        folder_id: FolderId | None,
    ) -> None:
        """Those of the entries that are folders."""
        levels = await folders.subtree(
            tx, customer_id=customer_id, folder_ids=[FolderId(each) for each in entry_ids]
        )
        depth = await _depth(tx, customer_id=customer_id, folder_id=folder_id)
        if folder_id in {level.id for level in levels}:
            raise FolderMoveRefused("A folder cannot be moved into itself or below itself.")
        if levels:
            self._check_depth(depth + levels[-1].level)
        moved = [level.id for level in levels if level.id in entry_ids]
        await folders.move(tx, customer_id=customer_id, folder_ids=moved, parent_id=folder_id)

    def _check_depth(self, depth: int) -> None:
        if depth > self._limits.folder_depth_max:
            raise FolderMoveRefused(
                f"Folders lie at most {self._limits.folder_depth_max} deep: choose one further up."
            )

    # Deleting ----------------------------------------------------------------------------

    async def delete(self, customer_id: CustomerId, entry_id: UUID, *, force: bool) -> Entry:
        """The entry as it was. No query that starts after this returns a byte of it.

        A folder takes everything below it along with `force`; without, FolderNotEmpty.
        """
        async with self._database.transaction(customer_id=customer_id) as tx:
            entry = await _entry(tx, customer_id=customer_id, entry_id=entry_id)
            if entry.kind is EntryKind.FOLDER:
                return await _delete_folder(
                    tx, customer_id=customer_id, folder_id=FolderId(entry_id), force=force
                )
            assert entry.rag_id is not None
            if not await _delete_sources(
                tx, customer_id=customer_id, rag_id=entry.rag_id, source_ids=[SourceId(entry_id)]
            ):
                raise _unknown(entry_id)
        return entry

    async def delete_many(
        self, customer_id: CustomerId, entry_ids: Sequence[str], *, force: bool
    ) -> dict[str, Entry | CallerError]:
        """Each on its own, keyed as given, with what became of it.

        What lies deeper goes first, so that a folder and its content can be named together.
        """
        found = await self.many(customer_id, entry_ids)
        order = sorted(found, key=lambda text: _depth_of(found[text]), reverse=True)
        outcomes: dict[str, Entry | CallerError] = {}
        for text in order:
            try:
                outcomes[text] = await self.delete(customer_id, found[text].id, force=force)
            except CallerError as error:
                outcomes[text] = error
        return {text: outcomes.get(text) or _unknown(text) for text in dict.fromkeys(entry_ids)}


def folder_name(name: str, *, limits: Limits) -> str:
    """As it is stored: one clean line. Raises InvalidRequest where that has no good length."""
    line = clean_line(name, limit=limits.name_characters_max + 1)
    if not 1 <= len(line) <= limits.name_characters_max:
        issue = f"must have 1 to {limits.name_characters_max} characters"
        raise InvalidRequest(
            "The request has invalid fields.", details=(Detail(field="name", issue=issue),)
        )
    return line


def _why(newest: documents.Newest) -> str:
    if newest.failure is None:
        return "The document has no text."
    return f"{newest.failure.message} {newest.failure.remedy}".strip()


def _unknown(entry_id: UUID | str) -> SourceNotFound:
    return SourceNotFound(f"There is no document or folder {entry_id}.")


def _depth_of(entry: Entry) -> tuple[bool, int]:
    """Sorts documents behind folders, and folders by how deep they lie."""
    return entry.kind is not EntryKind.FOLDER, len(entry.folder_path)


async def _entry(tx: Tx, *, customer_id: CustomerId, entry_id: UUID) -> Entry:
    entry = await entries.get(tx, customer_id=customer_id, entry_id=entry_id)
    if entry is None:
        raise _unknown(entry_id)
    return entry


async def _depth(tx: Tx, *, customer_id: CustomerId, folder_id: FolderId | None) -> int:
    """Of a folder; 0 for the root. Raises FolderNotFound."""
    if folder_id is None:
        return 0
    path = await folders.path(tx, customer_id=customer_id, folder_id=folder_id)
    if not path:
        raise FolderNotFound("There is no such folder.")
    return len(path)


async def _within(tx: Tx, *, customer_id: CustomerId, filter: EntryFilter) -> list[FolderId] | None:
    """The folders whose direct content is asked for; None: no matter where. FolderNotFound."""
    for folder_id in (filter.parent_id, filter.ancestor_id):
        await _depth(tx, customer_id=customer_id, folder_id=folder_id)
    if filter.ancestor_id is None:
        return None if filter.parent_id is None else [filter.parent_id]
    levels = await folders.subtree(tx, customer_id=customer_id, folder_ids=[filter.ancestor_id])
    below = [level.id for level in levels]
    if filter.parent_id is None:
        return below
    return [filter.parent_id] if filter.parent_id in below else []


async def _index(tx: Tx, *, customer_id: CustomerId, source_id: SourceId, model: str) -> IndexId:
    index_id = await chunks.public_index(
        tx, customer_id=customer_id, source_id=source_id, model=model
    )
    if index_id is None:
        await _entry(tx, customer_id=customer_id, entry_id=source_id)
        raise RagIndexNotFound("The document has no rag index for this model.")
    return index_id


async def _delete_folder(
    tx: Tx, *, customer_id: CustomerId, folder_id: FolderId, force: bool
) -> Entry:
    await folders.lock(tx, customer_id=customer_id)
    entry = await _entry(tx, customer_id=customer_id, entry_id=folder_id)
    if entry.children_count and not force:
        raise FolderNotEmpty("The folder is not empty: force its deletion, or empty it first.")
    levels = await folders.subtree(tx, customer_id=customer_id, folder_ids=[folder_id])
    folder_ids = [level.id for level in levels]
    below = await entries.below(tx, customer_id=customer_id, folder_ids=folder_ids)
    for rag_id, held in groupby(below, key=lambda each: each.rag_id):
        source_ids = [each.id for each in held]
        await _delete_sources(tx, customer_id=customer_id, rag_id=rag_id, source_ids=source_ids)
    await folders.delete(tx, customer_id=customer_id, folder_ids=folder_ids)
    return entry


async def _delete_sources(
    tx: Tx, *, customer_id: CustomerId, rag_id: RagId, source_ids: Sequence[SourceId]
) -> int:
    """Nothing where the RAG went meanwhile: its sources went with it."""
    if not await rags.lock(tx, customer_id=customer_id, rag_id=rag_id, strength="update"):
        return 0
    return await sources.mark_deleted(
        tx, customer_id=customer_id, rag_id=rag_id, source_ids=source_ids
    )
