"""Ways to make one ranking of two, dense and lexical, from the best CANDIDATES of each.

A convex combination needs scores on one scale: what each side is divided by is the name of its
norm. Reciprocal rank fusion needs ranks alone.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

CANDIDATES = 100
Row = np.ndarray


class Sides(NamedTuple):
    """All scores of one question. `bound`: what no lexical score can reach."""

    dense: Row
    lexical: Row
    bound: float


Norm = Callable[[Row, Sides], Row]


class Way(NamedTuple):
    """`weight` is the dense side's share. What only one side offers has its other score looked up:
    to take the last candidate's, or none, changed nothing that could be measured."""

    name: str
    dense: Norm
    lexical: Norm
    weight: float


def best(scores: Row, *, count: int) -> Row:
    """Indexes of the highest scores, best first; ties in the order of the texts."""
    count = min(count, len(scores))
    if count == 0:
        return np.array([], np.int64)
    edge = np.partition(scores, len(scores) - count)[len(scores) - count]
    rows = np.flatnonzero(scores >= edge)
    return rows[np.lexsort((rows, -scores[rows]))][:count]


def lexical_best(scores: Row, *, count: int) -> Row:
    """As `best`, of those that have any of the words."""
    rows = best(scores, count=count)
    found: Row = rows[scores[rows] > 0]
    return found


class Candidates:
    """What both sides offer for one question."""

    def __init__(self, sides: Sides) -> None:
        self.sides = sides
        self.dense = best(sides.dense, count=CANDIDATES)
        self.lexical = lexical_best(sides.lexical, count=CANDIDATES)
        self.rows = np.union1d(self.dense, self.lexical)

    def convex(self, way: Way) -> Row:
        """Best first."""
        fused = way.weight * way.dense(self.sides.dense[self.rows], self.sides)
        fused += (1 - way.weight) * way.lexical(self.sides.lexical[self.rows], self.sides)
        return self.rows[np.argsort(-fused, kind="stable")]

    def reciprocal(self, *, k: int, weight: float = 0.5) -> Row:
        """Best first, by the sum of 1 / (k + rank)."""
        fused = np.zeros(len(self.sides.dense))
        for share, rows in ((weight, self.dense), (1 - weight, self.lexical)):
            fused[rows] += share / (k + 1 + np.arange(len(rows)))
        return self.rows[np.argsort(-fused[self.rows], kind="stable")]


def as_is(row: Row, sides: Sides) -> Row:
    """Cosines between 0 and 1."""
    return np.asarray(np.clip(row, 0, 1))


def by_highest(row: Row, sides: Sides) -> Row:
    """Divided by the highest."""
    return row / max(float(row.max()), 1e-9)


def by_range(row: Row, sides: Sides) -> Row:
    """The lowest candidate is 0, the highest 1."""
    low, high = float(row.min()), float(row.max())
    return (row - low) / max(high - low, 1e-9)


def by_bound(row: Row, sides: Sides) -> Row:
    """Divided by what no text can reach: comparable between questions."""
    return row / max(sides.bound, 1e-9)


def by_deviation(row: Row, sides: Sides) -> Row:
    """Standard scores."""
    return np.asarray((row - row.mean()) / max(float(row.std()), 1e-9))


WEIGHTS = (0.3, 0.4, 0.5)
NORMS: dict[str, tuple[Norm, Norm]] = {
    "cosine+highest": (as_is, by_highest),
    "cosine+bound": (as_is, by_bound),
    "highest+highest": (by_highest, by_highest),
    "range+range": (by_range, by_range),
    "range+highest": (by_range, by_highest),
    "deviation": (by_deviation, by_deviation),
}
WAYS = tuple(
    Way(f"{name} {weight}", *norms, weight) for name, norms in NORMS.items() for weight in WEIGHTS
)
