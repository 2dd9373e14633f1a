"""Two rankings of the same passages made into one. Pure; which passages they are stands elsewhere.

A convex sum of two scores that both lie in 0..1 whatever else was found: the cosine, and BM25 as a
share of the most that the question's words could give. So the score of a passage does not depend on
the other candidates, and says the same from question to question. Reciprocal ranks forget by how
much one beats another: docs/decisions/0010-what-is-found.md has the figures.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

DENSE_SHARE = 0.35  # of the sum: docs/decisions/0010-what-is-found.md

K = TypeVar("K", bound=Any)  # hashable, and of an order that breaks ties


def fused(dense: Mapping[K, float], lexical: Mapping[K, float]) -> list[tuple[K, float]]:
    """The keys of both, best first, with scores in 0..1. `lexical`: shares, as of postings.Scored.

    Every candidate has a dense score, because that can be looked up. One without a lexical score
    has none of the words, or less of them than all that have one: it counts as 0, the least that
    BM25 gives. Where nothing has any of the words, the cosine stands alone.
    """
    share = DENSE_SHARE if lexical else 1.0
    scores = {key: share * _within(score) for key, score in dense.items()}
    for key, score in lexical.items():
        scores[key] = scores.get(key, 0.0) + (1 - share) * _within(score)
    return sorted(scores.items(), key=lambda pair: (-pair[1], -dense.get(pair[0], -1.0), pair[0]))


def _within(score: float) -> float:
    return min(max(score, 0.0), 1.0)
