"""A reference BM25 over terms, in numpy: for the comparison of ways to rank, never for the floors.

The variant is Lucene's: idf = ln(1 + (N - df + 0.5) / (df + 0.5)), which is never negative.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

Scores = np.ndarray

K1 = 1.2
B = 0.75


class Bm25:
    """Texts, each by its terms, that questions are scored against."""

    def __init__(
        self, texts: Sequence[Sequence[str]], *, k1: float = K1, b: float = B, length: float = 0.0
    ) -> None:
        self._k1 = k1
        counts = [Counter(terms) for terms in texts]
        lengths = np.array([max(1, sum(count.values())) for count in counts], np.float32)
        norms = k1 * (1 - b + b * lengths / (length or lengths.mean()))
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

    def scores(self, question: Sequence[str]) -> tuple[Scores, float]:
        """The score of every text, and what no text can reach: all terms, endlessly often."""
        found = np.zeros(self._count, np.float32)
        bound = 0.0
        for term in dict.fromkeys(question):
            if term in self._postings:
                rows, weights = self._postings[term]
                idf = self.idf(len(rows))
                found[rows] += idf * weights
                bound += idf * (self._k1 + 1)
        return found, bound

    def idf(self, texts_with: int) -> float:
        """How much a term says that so many texts have."""
        return float(np.log1p((self._count - texts_with + 0.5) / (texts_with + 0.5)))
