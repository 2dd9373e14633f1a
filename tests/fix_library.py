"""A customer's library with rows of every kind, and short ways to more of them."""

import itertools
from datetime import UTC, datetime
from typing import LiteralString
from uuid import UUID, uuid4

import msgspec
import pytest
from fix_store import Store

from engine.config import Limits
from engine.entries import Entry, EntryCursor, EntryFilter, EntryKind
from engine.library import Library
from engine.models import CustomerId, FolderId, IndexId, RagId, SourceId
from engine.store.claims import ClaimedIndex

LIMITS = Limits(folder_depth_max=4, customer_folders_max=60, text_wait_s=0.3)
MODEL = "e5_mistral_7b_instruct"
PAGES_MAX = 1_000
BORN = datetime(2026, 1, 1, tzinfo=UTC)
_contents = itertools.count(1)


class Shelf:
    """One customer with a RAG, seen through the verbs as the API's role has them."""

    def __init__(self, store: Store, *, limits: Limits = LIMITS) -> None:
        self.store = store
        self.library = Library(database=store.api, limits=limits)
        self.customer_id: CustomerId
        self.rag_id: RagId

    async def set_up(self) -> "Shelf":
        self.customer_id = await self.store.customer()
        self.rag_id = await self.store.rag(self.customer_id)
        return self

    def with_limits(self, **changed: float) -> Library:
        limits = msgspec.structs.replace(LIMITS, **changed)
        return Library(database=self.store.api, limits=limits)

    # Rows -------------------------------------------------------------------------------

    async def folder(
        self, name: str = "folder", *, parent: Entry | None = None, at: datetime | None = None
    ) -> Entry:
        parent_id = FolderId(parent.id) if parent else None
        made = await self.library.create_folder(self.customer_id, name=name, parent_id=parent_id)
        if at:
            await self.store.execute(
                "UPDATE folders SET created_at = %(at)s, updated_at = %(at)s WHERE id = %(id)s",
                at=at,
                id=made.id,
            )
        return await self.get(made.id)

    async def document(
        self,
        name: str = "document",
        *,
        kind: EntryKind = EntryKind.URL,
        folder: Entry | None = None,
        rag_id: RagId | None = None,
        byte_count: int = 0,
        at: datetime | None = None,
    ) -> SourceId:
        """A source that is due; `byte_count` is of its file, or of what a URL gave."""
        is_url = kind is EntryKind.URL
        file_id = None
        if not is_url:
            file_id = await self.file(
                name, byte_count=byte_count, is_written=kind is EntryKind.TEXT
            )
        rows = await self._inserted(
            """
            INSERT INTO sources (customer_id, rag_id, file_id, url, name, folder_id,
                                 original_bytes, created_at, updated_at)
            VALUES (%(customer_id)s, %(rag_id)s, %(file_id)s, %(url)s, %(name)s, %(folder_id)s,
                    %(original_bytes)s, COALESCE(%(at)s, now()), COALESCE(%(at)s, now()))
            RETURNING id
            """,
            rag_id=rag_id or self.rag_id,
            file_id=file_id,
            url=f"https://example.org/{uuid4()}" if is_url else None,
            name=name,
            folder_id=folder.id if folder else None,
            original_bytes=byte_count if is_url else 0,
            at=at,
        )
        return SourceId(rows)

    async def file(
        self, name: str = "a.txt", *, byte_count: int = 5, is_written: bool = False
    ) -> UUID:
        return await self._inserted(
            """
            WITH blob AS (
                INSERT INTO blobs (customer_id, sha256, file_bytes)
                VALUES (%(customer_id)s, %(sha256)s, %(byte_count)s)
            )
            INSERT INTO files (customer_id, name, filename, media_type, file_bytes, sha256, kept,
                               written)
            VALUES (%(customer_id)s, %(name)s, %(name)s, '', %(byte_count)s, %(sha256)s, false,
                    %(is_written)s)
            RETURNING id
            """,
            name=name,
            byte_count=byte_count,
            sha256=next(_contents).to_bytes(32, "big"),
            is_written=is_written,
        )

    async def index(self, source_id: SourceId, *, model: str = MODEL) -> IndexId:
        """A due index under a public model name, for the source's newest text."""
        return IndexId(
            await self._inserted(
                """
                WITH made AS (
                    INSERT INTO profiles (customer_id, rag_id, embedding_model, public_model,
                                          chunk_tokens, chunk_overlap_tokens)
                    SELECT customer_id, rag_id, 'a-model', %(model)s, 200, 0
                    FROM sources WHERE id = %(source_id)s
                    ON CONFLICT (rag_id, public_model) WHERE public_model IS NOT NULL
                    DO UPDATE SET chunk_tokens = 200
                    RETURNING id
                )
                INSERT INTO indexes (customer_id, rag_id, source_id, profile_id, due_at, generation)
                SELECT s.customer_id, s.rag_id, s.id, made.id, now(), s.revision
                FROM sources s, made WHERE s.id = %(source_id)s
                RETURNING id
                """,
                model=model,
                source_id=source_id,
            )
        )

    async def answering(
        self, source_id: SourceId, *, model: str = MODEL, chunk_count: int = 3
    ) -> ClaimedIndex:
        """As index, worked to its end."""
        await self.index(source_id, model=model)
        claim = await self.store.claimed_index()
        await self.store.store(claim, ordinals=range(chunk_count))
        await self.store.finish(claim, chunk_count=chunk_count)
        return claim

    async def _inserted(self, query: LiteralString, **params: object) -> UUID:
        rows = await self.store.fetch(query, customer_id=self.customer_id, **params)
        found: UUID = rows[0]["id"]
        return found

    # What is seen -----------------------------------------------------------------------

    async def get(self, entry_id: UUID) -> Entry:
        return await self.library.get(self.customer_id, entry_id)

    async def names(self, filter: EntryFilter | None = None) -> set[str]:
        page = await self.library.list(
            self.customer_id, filter=filter or EntryFilter(), page_size=100, after=None
        )
        return {entry.name for entry in page.items}

    async def listed(self, filter: EntryFilter, *, page_size: int) -> list[Entry]:
        """All pages of a list, one after the other."""
        entries: list[Entry] = []
        after: EntryCursor | None = None
        for _ in range(PAGES_MAX):
            page = await self.library.list(
                self.customer_id, filter=filter, page_size=page_size, after=after
            )
            assert len(page.items) == page_size or page.next is None
            entries += page.items
            if (after := page.next) is None:
                return entries
        raise AssertionError("the list has no end")


@pytest.fixture
async def shelf(store: Store) -> Shelf:
    return await Shelf(store).set_up()


@pytest.fixture
async def neighbour(store: Store) -> Shelf:
    """Another customer, with a document and a folder."""
    made = await Shelf(store).set_up()
    folder = await made.folder("theirs")
    await made.document("their document", folder=folder)
    return made
