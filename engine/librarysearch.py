"""Documents of a whole library that answer a question, across RAGs and their models.

By vectors and by words, as a RAG is asked (engine.retrieval), but every live passage is looked at:
a library has many ANN tables, and documents are ranked far down.
"""

import asyncio
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engine.embedding import Models
from engine.entries import EntryHit, EntryKind
from engine.hits import Mode
from engine.inverted import Best
from engine.models import CustomerId, Noun
from engine.retrieval import dense_share
from engine.store import Database, Tx, entries, postings, rags, targets, vectors
from engine.store.termcache import TermCache
from engine.store.vectors import Ranking, SourceHit

# By their words so many passages count: as many as documents are ranked.
WORDED_MAX = 1_000

Vectors = dict[str, NDArray[np.float32]]  # a question as each model sees it


class _Wanted(Noun, frozen=True, kw_only=True):
    """What a caller wants to know; `end`: of the ranking, as far as it is asked for."""

    customer_id: CustomerId
    question: str
    kinds: tuple[EntryKind, ...]
    offset: int
    end: int


class LibrarySearch:
    """`terms`: what is remembered of segments, by the questions to one RAG as well."""

    def __init__(self, *, database: Database, models: Models, terms: TermCache) -> None:
        self._database = database
        self._models = models
        self._terms = terms

    async def documents(
        self,
        customer_id: CustomerId,
        *,
        question: str,
        kinds: tuple[EntryKind, ...],
        offset: int,
        end: int,
    ) -> tuple[EntryHit, ...]:
        """Best first, each with its best passage. Raises ModelUnavailable."""
        wanted = _Wanted(
            customer_id=customer_id, question=question, kinds=kinds, offset=offset, end=end
        )
        while (hits := await self._documents(wanted)) is None:
            continue
        return hits

    async def _documents(self, wanted: _Wanted) -> tuple[EntryHit, ...] | None:
        """None when a profile that was read first does not answer any more: its documents would be
        missing, or there twice."""
        customer_id = wanted.customer_id
        async with self._database.transaction(customer_id=customer_id) as tx:
            live = await rags.live_profiles(tx, customer_id=customer_id)
            models = await vectors.library_models(tx, customer_id=customer_id)
        asked = await self._asked(models, question=wanted.question)
        # What is live, its words and its passages are of one moment.
        async with self._database.transaction(customer_id=customer_id, snapshot=True) as tx:
            words = await self._words(tx, wanted)
            hits = await _ranked(tx, wanted, asked=asked, words=words)
            if not await rags.still_live(tx, customer_id=customer_id, ids=live):
                return None
            found = hits[wanted.offset : wanted.end]
            return await _with_entries(tx, customer_id=customer_id, hits=found)

    async def _asked(self, models: Sequence[str], *, question: str) -> Vectors:
        """The question's vector under each model that the customer's documents answer by."""
        return {
            model: await (await self._models.open(model)).embed_query(question) for model in models
        }

    async def _words(self, tx: Tx, wanted: _Wanted) -> Best:
        """How rare a word is counts over the whole library, whatever kinds are asked for. Ranked in
        a thread: of many RAGs each has segments of its own."""
        customer_id = wanted.customer_id
        words = await postings.gathered(
            tx,
            customer_id=customer_id,
            heads=await targets.library_heads(tx, customer_id=customer_id),
            question=wanted.question,
            cache=self._terms,
        )
        if wanted.kinds:
            await postings.restrict_kinds(tx, words, customer_id=customer_id, kinds=wanted.kinds)
        return await asyncio.to_thread(words.best, limit=WORDED_MAX)


async def _ranked(tx: Tx, wanted: _Wanted, *, asked: Vectors, words: Best) -> list[SourceHit]:
    """The best documents over all models, up to `end`; a document answers by one of them only."""
    share = dense_share(Mode.HYBRID, words=bool(words.hits))
    ranking = Ranking(
        words=words, worded_max=WORDED_MAX, dense_share=share, kinds=wanted.kinds, limit=wanted.end
    )
    found: list[SourceHit] = []
    for model, vector in asked.items():
        found += await vectors.search_library(
            tx,
            customer_id=wanted.customer_id,
            embedding_model=model,
            vector=vector,
            ranking=ranking,
        )
    return sorted(found, key=lambda hit: (-hit.score, -hit.dense, hit.source_id))[: wanted.end]


async def _with_entries(
    tx: Tx, *, customer_id: CustomerId, hits: Sequence[SourceHit]
) -> tuple[EntryHit, ...]:
    """Without those that were deleted since their chunks were read."""
    known = await entries.many(
        tx, customer_id=customer_id, entry_ids=[hit.source_id for hit in hits]
    )
    return tuple(
        EntryHit(entry=known[hit.source_id], text=hit.text, score=hit.score)
        for hit in hits
        if hit.source_id in known
    )
