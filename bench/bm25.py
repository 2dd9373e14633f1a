"""A reference BM25 over terms, in numpy: what the engine's own ranking is held against.

The variant is Lucene's: idf = ln(1 + (N - df + 0.5) / (df + 0.5)), which is never negative.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

Terms = Callable[[str], list[str]]
Scores = np.ndarray

K1 = 1.2
B = 0.75


class Bm25:
    """Texts that questions are scored against."""

    def __init__(self, texts: Sequence[str], *, terms: Terms, k1: float = K1, b: float = B) -> None:
        self._terms = terms
        self._k1 = k1
        counts = [Counter(terms(text)) for text in texts]
        lengths = np.array([max(1, sum(count.values())) for count in counts], np.float32)
        norms = k1 * (1 - b + b * lengths / lengths.mean())
        postings: dict[str, tuple[list[int], list[float]]] = {}
        for row, count in enumerate(counts):
            for term, times in count.items():
                rows, weights = postings.setdefault(term, ([], []))
                rows.append(row)
                weights.append(times * (k1 + 1) / (times + float(norms[row])))
        self._count = len(texts)
        self._postings = {
            term: (np.array(rows), np.array(weights, np.float32))
            for term, (rows, weights) in postings.items()
        }

    def scores(self, question: str) -> tuple[Scores, float]:
        """The score of every text, and what no text can reach: all terms, endlessly often."""
        found = np.zeros(self._count, np.float32)
        bound = 0.0
        for term in set(self._terms(question)):
            if term in self._postings:
                rows, weights = self._postings[term]
                idf = self.idf(len(rows))
                found[rows] += idf * weights
                bound += idf * (self._k1 + 1)
        return found, bound

    def idf(self, texts_with: int) -> float:
        """How much a term says that so many texts have."""
        return float(np.log1p((self._count - texts_with + 0.5) / (texts_with + 0.5)))
