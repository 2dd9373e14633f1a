"""Two rankings of the same passages made into one. Pure; which passages they are stands elsewhere.

A convex combination of both scores, each brought to 0..1 over the candidates of the question. The
raw scores cannot be added: a cosine lies somewhere between 0 and 1, where depends on the model, and
BM25 has no upper end. Reciprocal ranks need no scale, and forget by how much one beats another.
"""

from collections.abc import Hashable, Mapping
from typing import TypeVar

DENSE_SHARE = 0.3  # of the sum; the rest is lexical

K = TypeVar("K", bound=Hashable)


def fused(dense: Mapping[K, float], lexical: Mapping[K, float]) -> list[tuple[K, float]]:
    """The keys of both, best first, with scores in 0..1.

    Every candidate has a dense score, because that can be looked up. One without a lexical score
    has none of the words, or less of them than all that have one: it counts as 0, the least that
    BM25 gives.
    """
    share = DENSE_SHARE if lexical else 1.0
    lowest, span = _range(dense)
    highest = max(lexical.values(), default=0.0)
    scores = {
        key: share * ((dense[key] - lowest) / span if key in dense else 0.0)
        + (1 - share) * (lexical.get(key, 0.0) / highest if highest > 0 else 0.0)
        for key in dense.keys() | lexical.keys()
    }
    return sorted(
        ((key, min(max(score, 0.0), 1.0)) for key, score in scores.items()),
        key=lambda pair: (-pair[1], -dense.get(pair[0], -1.0), str(pair[0])),
    )


def _range(scores: Mapping[K, float]) -> tuple[float, float]:
    """The lowest score and how far the highest is from it; all the same counts as highest."""
    if not scores:
        return 0.0, 1.0
    lowest, highest = min(scores.values()), max(scores.values())
    return (lowest, highest - lowest) if highest > lowest else (lowest - 1.0, 1.0)
