"""The planner: which passages of a RAG come into question, and how they are ranked.

Our code chooses the statement, not the database's planner: that one took the graph for a small
share of a large table and found one of ten. A profile without an ANN table is scanned; one with a
table is asked through it, and scanned after all where that would give too little. All of it happens
in the caller's transaction, which sees one moment: an answer is never half old and half new.
"""

import asyncio
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from engine.filters import Predicate
from engine.fusion import DENSE_SHARE, fused
from engine.hits import Mode
from engine.inverted import Best
from engine.models import CustomerId, IndexId, Noun, RagId, SourceId
from engine.store import Tx, attributes, near, postings
from engine.store.near import Near, Target
from engine.store.postings import Scored, Words
from engine.store.termcache import TermCache

# Candidates of each side. A passage that only one side has in its first hundred can still win; one
# that neither side has cannot.
CANDIDATES_MIN = 100
CANDIDATES_PER_HIT = 2
ANN_CANDIDATES_MAX = 1_000  # more is asked for only where most hits are folded; a scan is as good
COUNTED_SOURCES_MAX = 2_000  # of a filter: counting the chunks of more takes longer than it saves
# Of a filter that leaves more sources than these: what is ranked by its words among all is asked
# whether it matches, so many times as many as are wanted. Sending the list takes longer.
SENT_SOURCES_MAX = 10_000
SPARE = 10
SPARE_MAX = 5_000

Key = tuple[IndexId, int, int]


class Question(Noun, frozen=True, kw_only=True):
    """What is asked of a target. `source_ids` None: any; `predicate`: by which they were chosen, if
    by one; `vector` is None in lexical mode."""

    customer_id: CustomerId
    rag_id: RagId
    target: Target
    text: str
    mode: Mode
    vector: NDArray[np.float32] | None
    source_ids: Sequence[SourceId] | None
    predicate: Predicate | None = None


class Ranked(Noun, frozen=True, kw_only=True):
    """A candidate in its place; `score` is in 0..1."""

    key: Key
    score: float
    dense: float | None = None
    lexical: float | None = None


class Candidates(Noun, frozen=True, kw_only=True):
    """Best first. `complete`: nothing else of the RAG comes into question; `beyond`: else no
    passage that is not among them has a higher score."""

    ranked: list[Ranked]
    complete: bool
    beyond: float


def candidates_for(top_k: int) -> int:
    return max(CANDIDATES_MIN, CANDIDATES_PER_HIT * top_k)


async def candidates(
    tx: Tx, *, question: Question, limit: int, exact_chunks_max: int, terms: TermCache
) -> Candidates:
    """The best of both sides, `limit` of each. Raises Superseded, ModelUnavailable."""
    found = await _matching(tx, question=question, limit=limit, terms=terms)
    words = None if found is not None else await _words(tx, question=question, terms=terms)
    approximate = question.vector is not None and await _is_approximate(
        tx, question=question, limit=limit, exact_chunks_max=exact_chunks_max
    )
    if approximate:
        await near.prepare(tx, limit=limit)
    # The database looks for the nearest while this process ranks by words.
    nearest, best = await asyncio.gather(
        _dense(tx, question=question, limit=limit, approximate=approximate),
        _best(words, limit=limit),
    )
    if best is not None:
        found = await postings.placed(tx, customer_id=question.customer_id, best=best, limit=limit)
    by_vector = _keyed(nearest)
    by_words = {(each.index_id, each.generation, each.ordinal): each for each in found or ()}
    complete = max(len(by_vector), len(by_words)) < limit
    beyond = _beyond(question.mode, dense=by_vector, lexical=by_words, limit=limit)
    if question.mode is Mode.HYBRID and question.vector is not None:
        missing = [key for key in by_words if key not in by_vector]
        by_vector |= _keyed(
            await near.scored(
                tx, customer_id=question.customer_id, vector=question.vector, keys=missing
            )
        )
    return Candidates(
        ranked=ranked(question.mode, dense=by_vector, lexical=by_words),
        complete=complete,
        beyond=beyond,
    )


def ranked(
    mode: Mode, *, dense: Mapping[Key, float], lexical: Mapping[Key, Scored]
) -> list[Ranked]:
    """Best first. A score does not depend on the other candidates: the cosine cut to 0..1, the
    share of what the words could give, or both."""
    shares = {key: each.share for key, each in lexical.items()}
    match mode:
        case Mode.DENSE:
            pairs = [(key, min(max(score, 0.0), 1.0)) for key, score in dense.items()]
        case Mode.LEXICAL:
            pairs = list(shares.items())
        case Mode.HYBRID:
            pairs = fused(dense, shares)
    return [
        Ranked(
            key=key,
            score=score,
            dense=dense.get(key),
            lexical=lexical[key].score if key in lexical else None,
        )
        for key, score in pairs
    ]


def _beyond(
    mode: Mode, *, dense: Mapping[Key, float], lexical: Mapping[Key, Scored], limit: int
) -> float:
    """The most that a passage on neither side can score. What both sides put just behind their last
    one is better than much of what one of them has."""
    far = min(dense.values()) if len(dense) >= limit else 0.0
    rare = min(each.share for each in lexical.values()) if len(lexical) >= limit else 0.0
    match mode:
        case Mode.DENSE:
            return max(far, 0.0)
        case Mode.LEXICAL:
            return rare
        case Mode.HYBRID:
            share = DENSE_SHARE if lexical else 1.0
            return share * max(far, 0.0) + (1 - share) * rare


async def _matching(
    tx: Tx, *, question: Question, limit: int, terms: TermCache
) -> list[Scored] | None:
    """The best of what matches, out of the best of all; None where these do not suffice, or where
    it is not worth it. How rare a word is counts over all in any case: the hits are the same."""
    predicate, source_ids = question.predicate, question.source_ids
    if question.mode is Mode.DENSE or predicate is None or source_ids is None:
        return None
    if len(source_ids) <= SENT_SOURCES_MAX:
        return None
    asked = max(limit, min(limit * SPARE, SPARE_MAX))
    ranked = await postings.ranked(
        tx,
        customer_id=question.customer_id,
        profile_id=question.target.profile_id,
        question=question.text,
        limit=asked,
        cache=terms,
    )
    holding = await attributes.holding(
        tx,
        customer_id=question.customer_id,
        index_ids=list({each.index_id for each in ranked}),
        predicate=predicate,
    )
    kept = [each for each in ranked if each.index_id in holding][:limit]
    return kept if len(kept) == limit or len(ranked) < asked else None


async def _words(tx: Tx, *, question: Question, terms: TermCache) -> Words | None:
    if question.mode is Mode.DENSE:
        return None
    return await postings.gathered(
        tx,
        customer_id=question.customer_id,
        profile_id=question.target.profile_id,
        question=question.text,
        source_ids=question.source_ids,
        cache=terms,
    )


async def _best(words: Words | None, *, limit: int) -> Best | None:
    return words.best(limit=limit) if words else None


async def _is_approximate(tx: Tx, *, question: Question, limit: int, exact_chunks_max: int) -> bool:
    return question.target.ann_number is not None and not await _worth_scanning(
        tx, question=question, limit=limit, exact_chunks_max=exact_chunks_max
    )


async def _dense(tx: Tx, *, question: Question, limit: int, approximate: bool) -> list[Near]:
    """The nearest `limit`, or all there are: whatever the ANN table leaves out is scanned for."""
    number = question.target.ann_number
    if question.vector is None:
        return []
    if approximate and number is not None:
        found = await near.approximate(
            tx,
            customer_id=question.customer_id,
            rag_id=question.rag_id,
            profile_id=question.target.profile_id,
            ann_number=number,
            vector=question.vector,
            limit=limit,
            source_ids=question.source_ids,
        )
        if len(found) >= limit:
            return found
        await near.unprepare(tx)
    return await near.exact(
        tx,
        customer_id=question.customer_id,
        rag_id=question.rag_id,
        profile_id=question.target.profile_id,
        vector=question.vector,
        limit=limit,
        source_ids=question.source_ids,
    )


async def _worth_scanning(tx: Tx, *, question: Question, limit: int, exact_chunks_max: int) -> bool:
    """Whether a scan costs no more than the graph, or the graph is not made for so many."""
    if limit > ANN_CANDIDATES_MAX:
        return True
    source_ids = question.source_ids
    if source_ids is None or len(source_ids) > COUNTED_SOURCES_MAX:
        return False
    chunk_count = await near.chunk_count(
        tx,
        customer_id=question.customer_id,
        profile_id=question.target.profile_id,
        source_ids=source_ids,
    )
    return chunk_count <= exact_chunks_max


def _keyed(found: Sequence[Near]) -> dict[Key, float]:
    return {(each.index_id, each.generation, each.ordinal): each.dense for each in found}
