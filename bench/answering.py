"""What the engine itself would answer from a corpus, without a database: its own code in memory.

The analyser, the postings with their weights, BM25, the share of each side and the folding are the
engine's, in the order in which engine.search runs them; what the database does is done here with
lists. Other ways to rank, for comparison: bench/fusion.py.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from uuid import UUID

import numpy as np

from bench.fusion import best as nearest
from bench.judging import HITS, RANKED_MAX, Piece
from engine.folding import folded
from engine.hits import Mode
from engine.inverted import Page, Segment, best, build, pages
from engine.lexical import Analyser, question_terms, term_key, terms
from engine.models import Passage, SourceId
from engine.retrieval import candidates_for, dense_share

SEGMENT = 1


class Placed(NamedTuple):
    """A passage as folding looks at it."""

    row: int
    source_id: SourceId
    text: str
    start: int
    end: int


class Answering:
    """Passages that the engine has indexed; `analysers` and `pieces` are one for each passage."""

    def __init__(
        self,
        passages: Sequence[Passage],
        *,
        pieces: Sequence[Piece],
        analysers: Sequence[Analyser],
        usual_length: int,
    ) -> None:
        self._count = len(passages)
        self._analysers = sorted(set(analysers))
        self._placed = [
            Placed(row, SourceId(UUID(int=piece.manual)), passage.text, passage.start, passage.end)
            for row, (passage, piece) in enumerate(zip(passages, pieces, strict=True))
        ]
        made = [
            terms(passage.embedded, analyser=analyser)
            for passage, analyser in zip(passages, analysers, strict=True)
        ]
        self._pages = list(pages(build(made, length=usual_length)))
        self._firsts = [page.first_term for page in self._pages]

    def rows(self, question: str, *, cosines: np.ndarray, mode: Mode) -> list[int]:
        """Those that a query would return, best first, repetitions folded, at most RANKED_MAX."""
        limit = candidates_for(max(HITS))
        by_words = {} if mode is Mode.DENSE else self._by_words(question, limit=limit)
        near = [] if mode is Mode.LEXICAL else nearest(cosines, count=limit).tolist()
        share = dense_share(mode, words=bool(by_words))
        scores = {
            row: share * min(max(float(cosines[row]), 0.0), 1.0)
            + (1 - share) * by_words.get(row, 0.0)
            for row in {*near, *by_words}
        }
        ranked = sorted(scores, key=lambda row: (-scores[row], -cosines[row], row))
        kept = folded(self._placed[row] for row in ranked)
        return [each.row for _, each in zip(range(RANKED_MAX), kept, strict=False)]

    def _by_words(self, question: str, *, limit: int) -> dict[int, float]:
        """Rows and their shares of the most that the words could give."""
        keys = [term_key(term) for term in question_terms(question, analysers=self._analysers)]
        segment = Segment(id=SEGMENT, chunk_count=self._count)
        for page in self._pages_of(keys):
            segment.take(page.content, keys=sorted(keys))
        found = best([segment], keys=keys, limit=limit)
        hits = sorted(found.hits, key=lambda hit: (-hit[2], hit[1]))[:limit]
        return {row: min(score / found.most, 1.0) for _, row, score in hits}

    def _pages_of(self, keys: Sequence[int]) -> Iterator[Page]:
        for number in {bisect_right(self._firsts, key) - 1 for key in keys}:
            if number >= 0:
                yield self._pages[number]
