"""Generations whose passages are real words, written as a worker writes them."""

from collections.abc import Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

from fix_store import Store

from engine.models import (
    Coverage,
    CustomerId,
    Document,
    IndexId,
    Passage,
    RagId,
    SourceId,
)
from engine.store import Tx, indexes, postings, rags, segments, sources, targets
from engine.store.claims import ClaimedIndex
from engine.store.merging import Crowd
from engine.store.targets import Target
from engine.store.termcache import TermCache
from workers.words import words

USUAL_LENGTH = 133  # of the profile of Store.rag, whose chunks have 200 tokens


class Ranked(NamedTuple):
    """A chunk and its score, wherever it stands in segments: a merge may move it."""

    index_id: IndexId
    generation: int
    ordinal: int
    score: float


# One for all questions to a store, as an API process has it: what is remembered must not be wrong
# after anything that happens there.
CACHES: WeakKeyDictionary[Store, TermCache] = WeakKeyDictionary()


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


async def ask(
    store: Store,
    customer_id: CustomerId,
    rag_id: RagId,
    question: str,
    *,
    limit: int = 50,
    source_ids: Sequence[SourceId] | None = None,
) -> list[Ranked]:
    """As the API asks, under row-level security."""
    async with targets.asking(store.api, customer_id=customer_id, rag_id=rag_id) as (tx, target):
        assert target
        return await ranked(
            tx,
            customer_id=customer_id,
            target=target,
            question=question,
            limit=limit,
            source_ids=source_ids,
            cache=CACHES.setdefault(store, TermCache()),
        )


async def ranked(
    tx: Tx,
    *,
    customer_id: CustomerId,
    target: Target,
    question: str,
    limit: int,
    source_ids: Sequence[SourceId] | None = None,
    cache: TermCache,
) -> list[Ranked]:
    """What the words of a question find, one step after the other."""
    words = await postings.gathered(
        tx,
        customer_id=customer_id,
        heads=target.segments,
        question=question,
        cache=cache,
    )
    if source_ids is not None:
        await postings.restrict(
            tx,
            words,
            customer_id=customer_id,
            profile_id=target.profile_id,
            source_ids=source_ids,
        )
    best = words.best(limit=limit)
    found = await postings.placed(tx, customer_id=customer_id, best=best, limit=limit)
    return [Ranked(each.index_id, each.generation, each.ordinal, each.score) for each in found]


async def delete(store: Store, customer_id: CustomerId, rag_id: RagId, source_id: SourceId) -> None:
    async with store.api.transaction(customer_id=customer_id) as tx:
        await rags.lock(tx, customer_id=customer_id, rag_id=rag_id, strength="update")
        await sources.mark_deleted(
            tx, customer_id=customer_id, rag_id=rag_id, source_ids=[source_id]
        )


async def refresh(
    store: Store,
    customer_id: CustomerId,
    rag_id: RagId,
    source_id: SourceId,
    texts: Sequence[str],
    *,
    language: str | None = "en",
) -> ClaimedIndex:
    """The source's next generation, live."""
    async with store.api.transaction(customer_id=customer_id) as tx:
        await sources.refresh(tx, customer_id=customer_id, rag_id=rag_id, source_id=source_id)
    index = await store.acquire(await store.claimed_source())
    await write(store, index, texts, language=language)
    return index


async def crowd_of(store: Store, customer_id: CustomerId) -> Crowd | None:
    """All live segments of a customer with one RAG."""
    rows = await store.fetch(
        "SELECT customer_id, profile_id, array_agg(id ORDER BY id) AS segment_ids,"
        " sum(chunk_count)::int AS chunk_count FROM segments WHERE state = 'live'"
        " AND customer_id = %(customer_id)s GROUP BY 1, 2",
        customer_id=customer_id,
    )
    return Crowd(**rows[0]) if rows else None
