"""Generations whose passages are real words, written as a worker writes them."""

from collections.abc import Sequence

from fix_store import Store

from engine.models import Coverage, CustomerId, Document, Passage, RagId
from engine.store import indexes, segments
from engine.store.claims import ClaimedIndex
from workers.words import words

USUAL_LENGTH = 133  # of the profile of Store.rag, whose chunks have 200 tokens


def passages_of(texts: Sequence[str]) -> list[Passage]:
    return [
        Passage(ordinal=number, text=text, start=0, end=len(text), embedded=text, tokens=1)
        for number, text in enumerate(texts)
    ]


def document_of(texts: Sequence[str], *, language: str | None = "en") -> Document:
    return Document(
        title="",
        text="\n".join(texts),
        blocks=(),
        media_type="text/plain",
        coverage=Coverage(characters=0),
        language=language,
    )


async def write(
    store: Store, claim: ClaimedIndex, texts: Sequence[str], *, language: str | None = "en"
) -> None:
    """Make a generation with these passages live."""
    document = document_of(texts, language=language)
    made = words(document, passages=passages_of(texts), usual_length=USUAL_LENGTH)
    async with store.worker.transaction() as tx:
        await indexes.finish(tx, claim=claim, chunk_count=len(texts))
        await segments.add(tx, claim=claim, made=made)


async def wordy(
    store: Store,
    customer_id: CustomerId,
    rag_id: RagId,
    texts: Sequence[str],
    *,
    language: str | None = "en",
) -> ClaimedIndex:
    """A new source with these passages, ready."""
    await store.source(customer_id, rag_id)
    index = await store.acquire(await store.claimed_source())
    await write(store, index, texts, language=language)
    return index
