"""BM25 as rank-bm25 computes it, on our terms and with our usual length of a passage."""

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

from rank_bm25 import BM25Okapi

from engine.inverted import NORMALISATION, SATURATION

Place = TypeVar("Place")


class Reference(BM25Okapi):
    """With Lucene's idf, which is never negative. The library's own depends on the whole corpus."""

    def __init__(self, corpus: Sequence[Sequence[str]], *, length: float) -> None:
        super().__init__([list(each) for each in corpus], k1=SATURATION, b=NORMALISATION)
        self.avgdl = length

    def _calc_idf(self, nd: Mapping[str, int]) -> None:
        for term, count in nd.items():
            self.idf[term] = math.log(1 + (self.corpus_size - count + 0.5) / (count + 0.5))


def reference_scores(
    passages: Mapping[Place, Sequence[str]], *, question: Sequence[str], length: float
) -> dict[Place, float]:
    """Of all passages that score. Ours leave out the constant factor k1 + 1."""
    if not any(passages.values()):
        return {}
    reference = Reference(list(passages.values()), length=length)
    scores = reference.get_scores(list(question)) / (SATURATION + 1)
    return {place: float(score) for place, score in zip(passages, scores, strict=True) if score > 0}
