"""What was read out of a source: its canonical text and its chunks."""

from engine.errors import RagNotFound, SourceNotFound
from engine.models import Chunk, Cursor, CustomerId, Page, RagId, SourceId
from engine.store import Database, Tx, chunks, documents, rags, sources


class Documents:
    """Verbs about texts and chunks."""

    def __init__(self, *, database: Database) -> None:
        self._database = database

    async def text(self, customer_id: CustomerId, rag_id: RagId, source_id: SourceId) -> str:
        """The text that the live chunks point into; "" while there is none yet."""
        async with self._database.transaction(customer_id=customer_id) as tx:
            await _found(tx, customer_id=customer_id, rag_id=rag_id, source_id=source_id)
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
            await _found(tx, customer_id=customer_id, rag_id=rag_id, source_id=source_id)
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


async def _found(tx: Tx, *, customer_id: CustomerId, rag_id: RagId, source_id: SourceId) -> None:
    if await rags.get(tx, customer_id=customer_id, rag_id=rag_id) is None:
        raise RagNotFound("There is no such RAG.")
    if await sources.get(tx, customer_id=customer_id, rag_id=rag_id, source_id=source_id) is None:
        raise SourceNotFound("There is no such source in this RAG.")
