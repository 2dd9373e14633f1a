"""What the statement finds is what the rule says: candidates of both sides, scored and in order."""

import asyncio
from uuid import UUID

import numpy as np
import pytest
from fix_ann import Filler
from fix_store import Store
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg._queries import MAX_CACHED_STATEMENT_LENGTH

from engine.hits import Mode
from engine.inverted import Best
from engine.models import CustomerId, ProfileId, RagId
from engine.retrieval import DENSE_SHARE, dense_share
from engine.store import hits
from engine.store.hits import Answer, Asked

SOURCES, PER_SOURCE, SEGMENTS = 5, 8, 2
QUARTERS = st.integers(-4, 4).map(lambda number: number / 4)  # exact in 16 bits, so ties are ties
VECTORS = st.lists(QUARTERS, min_size=4, max_size=4).map(lambda each: np.array(each, np.float32))
Key = tuple[UUID, int, int]


class Corpus:
    """40 chunks of five sources, numbered in two segments; one source is deleted."""

    def __init__(self, filler: Filler, *, url: str) -> None:
        self.url = url
        self.customer_id = CustomerId(filler.customer())
        rag_id, profile_id = filler.rag(self.customer_id)
        self.rag_id, self.profile_id = RagId(rag_id), ProfileId(profile_id)
        self.vectors: dict[Key, np.ndarray] = {}
        self.members: list[list[Key]] = []
        self.segment_ids: list[int] = []
        drawn = np.random.default_rng(11).integers(-4, 5, (SOURCES, PER_SOURCE, 4)) / 4
        indexes = [self._source(filler, each.astype(np.float32)) for each in drawn]
        for number in range(SEGMENTS):
            self._segment(filler, indexes[number::SEGMENTS])
        filler.delete(self._gone)
        filler.connection.execute("ANALYZE")

    def _source(self, filler: Filler, vectors: np.ndarray) -> UUID:
        self._gone = filler.source(self.profile_id, vectors)
        rows = filler.connection.execute(
            "SELECT id FROM indexes WHERE source_id = %s", [self._gone]
        ).fetchall()
        index_id: UUID = rows[0][0]
        self.last = index_id
        self.vectors |= {(index_id, 1, at): vector for at, vector in enumerate(vectors)}
        return index_id

    def _segment(self, filler: Filler, indexes: list[UUID]) -> None:
        (segment_id,) = filler.connection.execute(
            "INSERT INTO segments (customer_id, profile_id, state, chunk_count, analysers)"
            " VALUES (%s, %s, 'live', %s, '{en.1}') RETURNING id",
            [self.customer_id, self.profile_id, len(indexes) * PER_SOURCE],
        ).fetchall()[0]
        self.segment_ids.append(segment_id)
        for number, index_id in enumerate(indexes):
            filler.connection.execute(
                "INSERT INTO segment_members (segment_id, first_number, chunk_count, first_ordinal,"
                " customer_id, profile_id, index_id, generation, analyser)"
                " VALUES (%s, %s, %s, 0, %s, %s, %s, 1, 'en.1')",
                [segment_id, number * PER_SOURCE, PER_SOURCE, self.customer_id, self.profile_id,
                 index_id],
            )  # fmt: skip
        self.members.append([(each, 1, at) for each in indexes for at in range(PER_SOURCE)])

    def find(self, **asked: object) -> Answer:
        async def found() -> Answer:
            store = Store(self.url)
            await store.open()
            try:
                async with store.api.transaction(customer_id=self.customer_id) as tx:
                    given = {"customer_id": self.customer_id, "rag_id": self.rag_id, **asked}
                    return await hits.find(tx, Asked(profile_id=self.profile_id, **given))
            finally:
                await store.close()

        return asyncio.run(found())

    def alive(self, key: Key) -> bool:
        return key[0] != self.last


def expected(
    corpus: Corpus, *, vector: np.ndarray | None, words: Best, share: float, min_score: float,
    limit: int,
) -> list[tuple[Key, float, float | None, float | None]]:  # fmt: skip
    """Key, score, cosine and BM25 of all candidates, by lists."""
    cosines = {} if vector is None else {k: float(v @ vector) for k, v in corpus.vectors.items()}
    near = sorted((k for k in cosines if corpus.alive(k)), key=lambda k: (-cosines[k], k))[:limit]
    placed = {
        corpus.members[corpus.segment_ids.index(segment_id)][number]: score
        for segment_id, number, score in words.hits
    }
    worded = sorted(placed, key=lambda key: (-placed[key], key))[:limit]
    rows = []
    for key in {*near, *worded}:
        dense, lexical = cosines.get(key), placed[key] if key in worded else None
        said = min((lexical or 0.0) / (words.most or 1.0), 1.0)
        score = share * min(max(dense or 0.0, 0.0), 1.0) + (1 - share) * said
        if score >= min_score:
            rows.append((key, score, dense, lexical))
    return sorted(rows, key=lambda row: (-row[1], -(row[2] or 0.0) if vector is not None else 0,
                                         row[0]))  # fmt: skip


@pytest.fixture
def corpus(filler: Filler, database_url: str) -> Corpus:
    return Corpus(filler, url=database_url)


@st.composite
def bests(draw: st.DrawFn) -> list[tuple[int, int, float]]:
    """Segment, number and score."""
    sizes = [len(range(number, SOURCES, SEGMENTS)) * PER_SOURCE for number in range(SEGMENTS)]
    places = st.sampled_from([(s, n) for s, size in enumerate(sizes) for n in range(size)])
    scores = st.integers(1, 8).map(lambda number: number / 8)
    return [(*place, score) for place, score in draw(st.dictionaries(places, scores)).items()]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    vector=st.none() | VECTORS,
    given_words=bests(),
    mode=st.sampled_from(Mode),
    min_score=st.sampled_from([0.0, 0.0, 0.2, 0.6]),
    limit=st.integers(1, 12),
    count=st.integers(1, 30),
)
def test_the_statement_ranks_as_the_rule_says(
    corpus: Corpus, vector, given_words, mode, min_score, limit, count
):
    if (vector is None) != (mode is Mode.LEXICAL):
        vector = None if mode is Mode.LEXICAL else np.ones(4, dtype=np.float32) / 2
    given_hits = [] if mode is Mode.DENSE else given_words
    words = Best([(corpus.segment_ids[s], n, score) for s, n, score in given_hits], most=1.0)
    share = dense_share(mode, words=bool(words.hits))
    asked = {"vector": vector, "words": words, "min_score": min_score, "limit": limit}
    answer = corpus.find(**asked, dense_share=share, count=count)
    # A deleted source is never read, even where it still has a place among the words.
    rows = expected(corpus, share=share, **asked)[:count]
    rows = [row for row in rows if corpus.alive(row[0])]
    found = [((f.index_id, f.generation, f.ordinal), f.score, f.dense, f.lexical)
             for f in answer.found]  # fmt: skip
    assert [row[0] for row in found] == [row[0] for row in rows]
    for one, other in zip(found, rows, strict=True):
        assert one[1:] == pytest.approx(other[1:])
    assert answer.sides.word_count == min(limit, len(given_hits))
    living = sum(map(corpus.alive, corpus.vectors))
    assert answer.sides.near_count == (0 if vector is None else min(limit, living))


@pytest.mark.parametrize("filtered", [False, True])
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize(("dense", "ann_number"), [(False, None), (True, None), (True, 10**9)])
def test_the_driver_remembers_how_each_statement_is_sent(
    dense: bool, ann_number: int | None, known: bool, filtered: bool
):
    statement = hits._statement(dense=dense, ann_number=ann_number, known=known, filtered=filtered)
    assert len(statement) <= MAX_CACHED_STATEMENT_LENGTH
    assert len(hits._walk(10**9, filtered=filtered)) <= MAX_CACHED_STATEMENT_LENGTH


def test_of_a_score_the_cosine_has_its_share_and_all_of_it_where_nobody_has_the_words():
    assert dense_share(Mode.DENSE, words=False) == 1.0
    assert dense_share(Mode.LEXICAL, words=True) == 0.0
    assert dense_share(Mode.HYBRID, words=True) == DENSE_SHARE
    assert dense_share(Mode.HYBRID, words=False) == 1.0


def test_a_deleted_rag_answers_nothing(corpus: Corpus, filler: Filler):
    asked = {"vector": np.ones(4, dtype=np.float32), "limit": 5, "count": 5}
    assert len(corpus.find(**asked).found) == 5
    filler.connection.execute("UPDATE rags SET deleted_at = now()")
    assert corpus.find(**asked).found == []


def test_another_customer_finds_nothing_by_the_ids_of_the_first(corpus: Corpus, filler: Filler):
    mine, corpus.customer_id = corpus.customer_id, CustomerId(filler.customer())
    asked = {"vector": np.ones(4, dtype=np.float32), "limit": 5, "count": 5}
    words = Best([(corpus.segment_ids[0], 0, 1.0)], most=1.0)
    for whose in (corpus.customer_id, mine):  # in the statement, and in what it asks for
        answer = corpus.find(**asked, words=words, customer_id=whose)
        assert (answer.found, answer.sides.word_count) == ([], 0)
