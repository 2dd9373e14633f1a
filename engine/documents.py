"""Verbs about documents: made of a text, a URL or a file, changed, linked to; and what was read.

A document is a source. Those made here go to the customer's default RAG, an ordinary one. Lists,
folders and deletion of documents are in library, sources of a named RAG in rags, rag indexes in
indexes.
"""

from collections.abc import AsyncIterator
from uuid import UUID

from engine import edits, links, quotas, written
from engine.addresses import AllowList, UrlError, check_url
from engine.config import Settings
from engine.edits import New
from engine.embedding import Registry
from engine.entries import Entry, EntryKind, EntryText
from engine.errors import (
    Detail,
    InvalidRequest,
    KindRefused,
    RagNotFound,
    SourceNotFound,
    StorageFileNotFound,
    TooManySources,
)
from engine.files import Files
from engine.formats import foreign
from engine.idempotency import Keep
from engine.jobs import Bell
from engine.models import (
    Chunk,
    Cursor,
    CustomerId,
    File,
    FolderId,
    Page,
    RagId,
    SourceId,
    Upload,
)
from engine.store import (
    Database,
    Tx,
    chunks,
    documents,
    rags,
    signing_keys,
    sources,
)
from engine.text import clean_line
from engine.waiting import settled

DEFAULT_RAG_NAME = "Knowledge base"
DELETIONS_MAX = 5  # of the default RAG, while one document is being made

_DOCUMENTS = (EntryKind.FILE, EntryKind.URL, EntryKind.TEXT)
_CALLED = {
    EntryKind.FILE: "a file",
    EntryKind.URL: "a web page",
    EntryKind.TEXT: "a text",
    EntryKind.FOLDER: "a folder",
}


class Documents:
    """`registry` and `settings` say how chunks of the default RAG are made; `files` takes bytes."""

    def __init__(
        self,
        *,
        database: Database,
        bell: Bell,
        files: Files,
        registry: Registry,
        settings: Settings,
    ) -> None:
        self._database = database
        self._bell = bell
        self._files = files
        self._registry = registry
        self._settings = settings
        self._limits = settings.limits
        self._allow_list = AllowList.parse(settings.allow_networks)

    # Made -----------------------------------------------------------------------------------------

    async def create_text(
        self,
        customer_id: CustomerId,
        *,
        text: str,
        name: str | None,
        folder_id: FolderId | None,
        keep: Keep[Entry] | None = None,
    ) -> Entry:
        """A text/plain file of these words. Without a name its first line becomes one.

        InvalidRequest | FileTooLarge | FolderNotFound | TooManySources.
        """
        text = written.checked(text, field="text")
        name = self._checked_name(name) or written.name_of(text)
        upload = await self._receive(customer_id, text, name=name)
        new = New(name=name, name_given=True, folder_id=folder_id, upload=upload, is_text=True)
        return await self._create(customer_id, new, keep=keep)

    async def create_url(
        self,
        customer_id: CustomerId,
        *,
        url: str,
        name: str | None,
        folder_id: FolderId | None,
        keep: Keep[Entry] | None = None,
    ) -> Entry:
        """A page to be fetched; the same URL may be there already. Without a name its title becomes
        one once it is read. InvalidRequest | FolderNotFound | TooManySources."""
        given = self._checked_name(name)
        self._check_url(url)
        shown = given or url[: self._limits.name_characters_max]
        new = New(name=shown, name_given=given is not None, folder_id=folder_id, url=url)
        return await self._create(customer_id, new, keep=keep)

    async def create_file(
        self,
        customer_id: CustomerId,
        *,
        upload: Upload,
        name: str | None,
        folder_id: FolderId | None,
        keep: Keep[Entry] | None = None,
    ) -> Entry:
        """An uploaded file. Without a name its filename is one.

        KindRefused when its first bytes say that no reader takes it; InvalidRequest |
        FolderNotFound | TooManySources.
        """
        given = self._checked_name(name)
        _check_kind(upload)
        new = New(
            name=given or upload.name,
            name_given=given is not None,
            folder_id=folder_id,
            upload=upload,
        )
        return await self._create(customer_id, new, keep=keep)

    async def _create(
        self, customer_id: CustomerId, new: New, *, keep: Keep[Entry] | None
    ) -> Entry:
        async with self._database.transaction(customer_id=customer_id) as tx:
            if keep:
                await keep.begin(tx)
            if new.folder_id is not None:
                await edits.hold_folder(tx, customer_id=customer_id, folder_id=new.folder_id)
            rag_id = await self._hold_default_rag(tx, customer_id=customer_id)
            source_id = await edits.add(tx, customer_id=customer_id, rag_id=rag_id, new=new)
            total = await sources.total(tx, customer_id=customer_id, rag_id=rag_id)
            if total > self._limits.rag_sources_max:
                raise TooManySources(
                    f"A knowledge base holds at most {self._limits.rag_sources_max} documents: "
                    "delete some that are not needed."
                )
            await quotas.check_sources(tx, customer_id=customer_id, limits=self._limits)
            entry = await edits.found(tx, customer_id=customer_id, entry_id=source_id)
            if keep:
                await keep.end(tx, entry)
        await self._bell.ring()
        return entry

    async def _hold_default_rag(self, tx: Tx, *, customer_id: CustomerId) -> RagId:
        """The default RAG, kept from deletion and from other additions until the end."""
        model = self._registry.default
        chunk_tokens = min(self._settings.chunk_tokens, model.tokens_max)
        for _ in range(DELETIONS_MAX):
            rag_id = await rags.ensure_default(
                tx,
                customer_id=customer_id,
                name=DEFAULT_RAG_NAME,
                embedding_model=model.name,
                chunk_tokens=chunk_tokens,
                chunk_overlap_tokens=min(self._settings.chunk_overlap_tokens, chunk_tokens // 2),
            )
            if rag_id is not None and await rags.lock(
                tx, customer_id=customer_id, rag_id=rag_id, strength="share"
            ):
                await rags.lock_adding(tx, rag_id=rag_id)
                return rag_id
        raise RagNotFound("The knowledge base is being deleted at this moment: try again.")

    # Changed --------------------------------------------------------------------------------------

    async def update(
        self, customer_id: CustomerId, entry_id: UUID, *, name: str | None, content: str | None
    ) -> EntryText:
        """Set what is not None. A folder has a name only, else KindRefused.

        New content replaces a text; of a file or a page it is read in place of the origin, until
        the next refresh. The old text answers until the new one does. InvalidRequest |
        SourceNotFound | FileTooLarge | QueueFull.
        """
        given = self._checked_name(name)
        content = None if content is None else written.checked(content, field="content")
        upload = None
        if content is not None:
            async with self._database.transaction(customer_id=customer_id) as tx:
                entry = await edits.found(tx, customer_id=customer_id, entry_id=entry_id)
            _refuse(entry, kinds=_DOCUMENTS, issue="has a name only")
            upload = await self._receive(customer_id, content, name=given or entry.name)
        async with self._database.transaction(customer_id=customer_id) as tx:
            entry = await edits.held(tx, customer_id=customer_id, entry_id=entry_id)
            if upload is not None:
                await edits.replace(tx, entry, upload=upload, is_text=True)
                await quotas.check_queue(tx, customer_id=customer_id, limits=self._limits)
            if given is not None:
                await edits.rename(tx, entry, name=given)
        return await self._read(entry, anew=upload is not None)

    async def replace_file(
        self, customer_id: CustomerId, entry_id: UUID, *, upload: Upload
    ) -> EntryText:
        """Another file in place of a document's own; name and content follow it.

        KindRefused unless the document is a file and its new bytes are of a kind that is read;
        SourceNotFound; QueueFull.
        """
        _check_kind(upload)
        async with self._database.transaction(customer_id=customer_id) as tx:
            entry = await edits.held(tx, customer_id=customer_id, entry_id=entry_id)
            _refuse(entry, kinds=(EntryKind.FILE,), issue="has no file to replace")
            await edits.replace(tx, entry, upload=upload, is_text=False)
            await quotas.check_queue(tx, customer_id=customer_id, limits=self._limits)
            await edits.rename(tx, entry, name=upload.name)
        return await self._read(entry, anew=True)

    async def refresh(self, customer_id: CustomerId, entry_id: UUID) -> EntryText:
        """Read the origin again, also where an edited text stood in its place; the old text
        answers meanwhile. KindRefused for a folder; SourceNotFound; QueueFull."""
        async with self._database.transaction(customer_id=customer_id) as tx:
            entry = await edits.held(tx, customer_id=customer_id, entry_id=entry_id)
            _refuse(entry, kinds=_DOCUMENTS, issue="has no content to read again")
            await edits.refresh(tx, entry)
            await quotas.check_queue(tx, customer_id=customer_id, limits=self._limits)
        return await self._read(entry, anew=True)

    async def _read(self, entry: Entry, *, anew: bool) -> EntryText:
        """With the new text, if it is there within `text_wait_s`, else with the old one."""
        if anew:
            await self._bell.ring()
            await settled(
                self._database,
                customer_id=entry.customer_id,
                source_id=SourceId(entry.id),
                wait_s=self._limits.text_wait_s,
            )
        async with self._database.transaction(customer_id=entry.customer_id) as tx:
            return await edits.read(tx, entry)

    # Linked to ------------------------------------------------------------------------------------

    async def source_file_link(self, customer_id: CustomerId, entry_id: UUID) -> str:
        """A token that opens the document's file without a key for `limits.link_expire_s`.

        KindRefused for a page or a folder; SourceNotFound.
        """
        async with self._database.transaction(customer_id=customer_id) as tx:
            entry = await edits.found(tx, customer_id=customer_id, entry_id=entry_id)
            key = await signing_keys.get(tx)
        _refuse(entry, kinds=(EntryKind.FILE, EntryKind.TEXT), issue="has no source file")
        link = links.Link(customer_id=customer_id, source_id=SourceId(entry_id))
        return links.sign(link, key=key, expire_s=self._limits.link_expire_s)

    async def linked_file(self, token: str) -> tuple[File, AsyncIterator[bytes]]:
        """The file that a token opens, and its bytes in pieces: the original, whatever was edited.

        LinkNotValid when the token is not one of ours, has expired, or its document is gone.
        """
        async with self._database.transaction() as tx:
            key = await signing_keys.get(tx)
        link = links.verify(token, key=key)
        async with self._database.transaction(customer_id=link.customer_id) as tx:
            file_id = await sources.file_of(
                tx, customer_id=link.customer_id, source_id=link.source_id
            )
        if file_id is None:
            raise links.not_valid()
        try:
            return await self._files.read(link.customer_id, file_id)
        except StorageFileNotFound as error:
            raise links.not_valid() from error

    # Read -----------------------------------------------------------------------------------------

    async def text(self, customer_id: CustomerId, rag_id: RagId, source_id: SourceId) -> str:
        """The text that the live chunks point into; "" while there is none yet."""
        async with self._database.transaction(customer_id=customer_id) as tx:
            await _in_rag(tx, customer_id=customer_id, rag_id=rag_id, source_id=source_id)
            text = await documents.live_text(
                tx, customer_id=customer_id, rag_id=rag_id, source_id=source_id
            )
        return text or ""

    async def chunks(
        self,
        customer_id: CustomerId,
        rag_id: RagId,
        source_id: SourceId,
        *,
        page_size: int,
        after: Cursor | None,
    ) -> Page[Chunk]:
        """Live chunks in document order; none until the source is ready for the first time."""
        async with self._database.transaction(customer_id=customer_id) as tx:
            await _in_rag(tx, customer_id=customer_id, rag_id=rag_id, source_id=source_id)
            rows = await chunks.page(
                tx,
                customer_id=customer_id,
                rag_id=rag_id,
                source_id=source_id,
                limit=page_size + 1,
                after=after,
            )
        if len(rows) <= page_size:
            return Page(items=tuple(rows))
        items = tuple(rows[:page_size])
        return Page(items=items, next=Cursor(position=items[-1].ordinal))

    # What is asked of requests --------------------------------------------------------------------

    def _checked_name(self, name: str | None) -> str | None:
        """On one line; None when none was given."""
        limit = self._limits.name_characters_max
        cleaned = None if name is None else clean_line(name, limit=limit + 1)
        if cleaned is not None and not 1 <= len(cleaned) <= limit:
            raise _invalid("name", issue=f"must have 1 to {limit} characters")
        return cleaned

    def _check_url(self, url: str) -> None:
        limit = self._limits.url_characters_max
        try:
            check_url(url, characters_max=limit, allow_list=self._allow_list)
        except UrlError as error:
            raise _invalid("url", issue=str(error)) from error

    async def _receive(self, customer_id: CustomerId, text: str, *, name: str) -> Upload:
        """Have the bytes of a text in storage."""
        return await self._files.receive(
            customer_id,
            _once(written.encoded(text)),
            filename=written.filename(name, characters_max=self._limits.name_characters_max),
            media_type=written.MEDIA_TYPE,
        )


def _check_kind(upload: Upload) -> None:
    if seems := foreign(upload.head):
        raise KindRefused(f"This is {seems}: upload PDF, DOCX, EPUB, HTML, Markdown or text.")


def _refuse(entry: Entry, *, kinds: tuple[EntryKind, ...], issue: str) -> None:
    """KindRefused unless the entry is of one of `kinds`."""
    if entry.kind not in kinds:
        raise KindRefused(f"This is {_CALLED[entry.kind]}, which {issue}.")


def _invalid(field: str, *, issue: str) -> InvalidRequest:
    details = (Detail(field=field, issue=issue),)
    return InvalidRequest("The request has invalid fields.", details=details)


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def _in_rag(tx: Tx, *, customer_id: CustomerId, rag_id: RagId, source_id: SourceId) -> None:
    if not await rags.exists(tx, customer_id=customer_id, rag_id=rag_id):
        raise RagNotFound("There is no such RAG.")
    if await sources.get(tx, customer_id=customer_id, rag_id=rag_id, source_id=source_id) is None:
        raise SourceNotFound("There is no such source in this RAG.")
