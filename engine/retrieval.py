"""The planner: which passages of a RAG come into question, and by which statement.

Our code chooses the statement, not the database's planner: that one took the graph for a small
share of a large table and found one of ten. A profile without an ANN table is scanned; one with a
table is asked through it, and scanned after all where that would give too little. All of it happens
in the caller's transaction, which sees one moment: an answer is never half old and half new.
"""

import asyncio
import math
from collections.abc import Sequence

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from engine.filters import Predicate
from engine.hits import Mode
from engine.inverted import NO_HITS, Best
from engine.models import CustomerId, Noun, RagId, SourceId
from engine.store import Tx, attributes, hits, near, postings
from engine.store.hits import Answer, Asked, Found, Sides
from engine.store.targets import Target
from engine.store.termcache import TermCache

# Candidates of each side. A passage that only one side has among its first can still win; one that
# neither side has cannot. A hundred find no more: docs/decisions/0010-what-is-found.md
CANDIDATES_MIN = 50
CANDIDATES_PER_HIT = 2
ANN_CANDIDATES_MAX = 1_000  # more is asked for only where most hits are folded; a scan is as good
# Under a filter many entries of a graph are looked at for one that counts, and each costs as much
# as so many passages in a scan: docs/decisions/0011-two-statements.md
WALKED_COST = 20
# From so many entries on, both sides at once save more than a second statement costs:
# docs/decisions/0014-speed.md
APART_ENTRIES = 250_000
# Of a hybrid score, the rest is that of the words: docs/decisions/0010-what-is-found.md
DENSE_SHARE = 0.35
COUNTED_SOURCES_MAX = 2_000  # of a filter: counting the chunks of more takes longer than it saves
# Of a filter that leaves more sources than these: what is ranked by its words among all is asked
# whether it matches, so many times as many as are wanted. Sending the list takes longer.
SENT_SOURCES_MAX = 10_000
SPARE = 10
SPARE_MAX = 5_000

Vector = NDArray[np.float32]


class Question(Noun, frozen=True, kw_only=True):
    """What is asked of a target. `source_ids` None: any; `predicate`: by which they were chosen, if
    by one."""

    customer_id: CustomerId
    rag_id: RagId
    target: Target
    text: str
    mode: Mode
    source_ids: Sequence[SourceId] | None
    predicate: Predicate | None = None
    min_score: float = 0.0


class Candidates(Noun, frozen=True, kw_only=True):
    """Best first. `complete`: nothing else of the RAG has the score that is asked for."""

    found: list[Found]
    complete: bool


def candidates_for(top_k: int) -> int:
    return max(CANDIDATES_MIN, CANDIDATES_PER_HIT * top_k)


async def candidates(
    tx: Tx,
    *,
    question: Question,
    vector: asyncio.Future[Vector] | None,
    limit: int,
    count: int,
    exact_chunks_max: int,
    terms: TermCache,
) -> Candidates:
    """The best `count` of the best `limit` of both sides. The question's `vector` is waited for
    while its words are ranked; None in lexical mode. Raises Superseded, ModelUnavailable."""
    approximate = vector is not None and await _is_approximate(
        tx, question=question, limit=limit, exact_chunks_max=exact_chunks_max
    )
    if approximate:
        await near.widen(tx, entries=question.target.ann_entries)
    asked = Asked(
        customer_id=question.customer_id,
        rag_id=question.rag_id,
        profile_id=question.target.profile_id,
        vector=None,
        source_ids=question.source_ids,
        ann_number=question.target.ann_number if approximate else None,
        min_score=question.min_score,
        limit=limit,
        count=count,
    )
    if vector is not None and approximate and _is_worth_two_statements(question):
        asked = await _both_sides(tx, asked, question=question, vector=vector, terms=terms)
    else:
        words = await _words(tx, question=question, limit=limit, terms=terms)
        asked = replace(asked, words=words, vector=None if vector is None else await vector)
    share = dense_share(question.mode, words=bool(asked.words.hits))
    asked = replace(asked, dense_share=share)
    answer = await _found(tx, asked)
    return Candidates(found=answer.found, complete=_is_complete(answer.sides, asked))


def _is_worth_two_statements(question: Question) -> bool:
    """Whether the words take so long to rank that the graph is walked meanwhile."""
    return (
        question.mode is Mode.HYBRID
        and question.source_ids is None
        and question.target.ann_entries >= APART_ENTRIES
    )


async def _both_sides(
    tx: Tx,
    asked: Asked,
    *,
    question: Question,
    vector: asyncio.Future[Vector],
    terms: TermCache,
) -> Asked:
    """With both sides: the database walks its graph while the words are ranked in this process."""
    words = await _gathered(tx, question=question, source_ids=None, terms=terms)
    asked = replace(asked, vector=await vector)
    walk = asyncio.ensure_future(hits.nearest(tx, asked))
    try:
        await asyncio.sleep(0)  # it is on its way then
        ranked = words.best(limit=asked.limit)
        return replace(asked, words=ranked, nearest=await walk)
    finally:
        walk.cancel()


def dense_share(mode: Mode, *, words: bool) -> float:
    """What the cosine has of a score: a sum of two that both lie in 0..1 whatever else was found,
    the cosine and the share of the most that the question's words could give. So the score of a
    passage does not depend on the other candidates, and says the same from question to question;
    ranks would forget by how much one beats another.

    Who has none of the words has 0 of theirs. Where nobody has any, the cosine stands alone.
    """
    match mode:
        case Mode.DENSE:
            return 1.0
        case Mode.LEXICAL:
            return 0.0
        case Mode.HYBRID:
            return DENSE_SHARE if words else 1.0


async def _found(tx: Tx, asked: Asked) -> Answer:
    """Whatever the ANN table leaves out is scanned for."""
    answer = await hits.find(tx, asked)
    if asked.ann_number is None or answer.sides.near_count >= asked.limit:
        return answer
    return await hits.find(tx, replace(asked, ann_number=None, nearest=None))


def _is_complete(sides: Sides, asked: Asked) -> bool:
    """Whether there is nothing beside the candidates of both sides, or nothing that could have the
    score that is asked for."""
    if max(sides.near_count, sides.word_count) < asked.limit:
        return True
    return _most_left(sides, asked) < asked.min_score


def _most_left(sides: Sides, asked: Asked) -> float:
    """What a passage could score that is on neither side, or near and further down by its words
    than was ranked: of these words it has been given nothing."""
    near = rare = 0.0
    if sides.word_count >= asked.limit and sides.least_lexical is not None:
        rare = min(sides.least_lexical / asked.words.most, 1.0)
    if rare:
        near = sides.most_dense or 0.0
    elif sides.near_count >= asked.limit:
        near = sides.least_dense or 0.0
    return asked.dense_share * max(near, 0.0) + (1 - asked.dense_share) * rare


async def _words(tx: Tx, *, question: Question, limit: int, terms: TermCache) -> Best:
    """The best by the words of the question, which no side of the mode may need."""
    if question.mode is Mode.DENSE:
        return NO_HITS
    matching = await _matching(tx, question=question, limit=limit, terms=terms)
    if matching is not None:
        return matching
    words = await _gathered(tx, question=question, source_ids=question.source_ids, terms=terms)
    return words.best(limit=limit)


async def _matching(tx: Tx, *, question: Question, limit: int, terms: TermCache) -> Best | None:
    """The best of what matches, out of the best of all; None where these do not suffice, or where
    it is not worth it. How rare a word is counts over all in any case: the hits are the same."""
    predicate, source_ids = question.predicate, question.source_ids
    if predicate is None or source_ids is None or len(source_ids) <= SENT_SOURCES_MAX:
        return None
    asked = max(limit, min(limit * SPARE, SPARE_MAX))
    words = await _gathered(tx, question=question, source_ids=None, terms=terms)
    best = words.best(limit=asked)
    ranked = await postings.placed(tx, customer_id=question.customer_id, best=best, limit=asked)
    holding = await attributes.holding(
        tx,
        customer_id=question.customer_id,
        index_ids=list({each.index_id for each in ranked}),
        predicate=predicate,
    )
    kept = [each for each in ranked if each.index_id in holding][:limit]
    if len(kept) < limit and len(ranked) == asked:
        return None
    return Best(hits=[(each.segment_id, each.number, each.score) for each in kept], most=best.most)


async def _gathered(
    tx: Tx, *, question: Question, source_ids: Sequence[SourceId] | None, terms: TermCache
) -> postings.Words:
    words = await postings.gathered(
        tx,
        customer_id=question.customer_id,
        heads=question.target.segments,
        question=question.text,
        cache=terms,
    )
    if source_ids is not None and words.keys:
        await postings.restrict(
            tx,
            words,
            customer_id=question.customer_id,
            profile_id=question.target.profile_id,
            source_ids=source_ids,
        )
    return words


async def _is_approximate(tx: Tx, *, question: Question, limit: int, exact_chunks_max: int) -> bool:
    return question.target.ann_number is not None and not await _worth_scanning(
        tx, question=question, limit=limit, exact_chunks_max=exact_chunks_max
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
    return chunk_count <= max(exact_chunks_max, scanned_max(limit, question.target.ann_entries))


def scanned_max(limit: int, entries: int) -> int:
    """Of how many passages of a filter a scan costs no more than a graph of so many entries, of
    which `limit` / passages * `entries` are looked at."""
    return math.isqrt(WALKED_COST * limit * entries)
