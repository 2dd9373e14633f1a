"""What a ranking is worth, by ranges of text: the same truth for passages of every size.

recall: the share of the answer's characters that the hits together hold; nDCG: each hit's gain is
the share that it adds. With a budget, hits count until the next one would not fit into it.
"""

from bisect import bisect_right
from collections.abc import Sequence
from math import log2
from typing import NamedTuple

import numpy as np

from bench.questions import Question

HITS = (5, 10)
BUDGETS_TOKENS = (1_000, 2_000)
RANKED_MAX = 60


class Piece(NamedTuple):
    """A passage as it is returned."""

    manual: int
    start: int
    end: int
    tokens: int


class Judged(NamedTuple):
    """Means over questions."""

    recall_5: float
    recall_10: float
    ndcg_10: float
    budget_1000: float
    budget_2000: float

    @classmethod
    def mean(cls, judged: Sequence["Judged"]) -> "Judged":
        return cls(*(float(figure) for figure in np.mean(judged, axis=0)))


class Judge:
    """Knows which pieces hold what of each question's answer."""

    def __init__(self, pieces: Sequence[Piece], *, questions: Sequence[Question]) -> None:
        self._pieces = pieces
        by_manual: dict[int, list[int]] = {}
        for row, piece in enumerate(pieces):
            by_manual.setdefault(piece.manual, []).append(row)
        self._answers = [
            self._overlapping(by_manual.get(one.manual, ()), (one.start, one.end))
            for one in questions
        ]
        self._origins = [
            frozenset(
                self._overlapping(by_manual.get(one.origin[0], ()), one.origin[1:])
                if one.origin
                else ()
            )
            for one in questions
        ]
        self._lengths = [one.end - one.start for one in questions]

    def judged(self, number: int, ranked: Sequence[int]) -> Judged:
        """The worth of a ranking (rows of pieces, best first) for question `number`."""
        answers, origins = self._answers[number], self._origins[number]
        rows = [row for row in ranked[:RANKED_MAX] if row not in origins]
        length = self._lengths[number]
        shares, ndcg, spent, share = [0.0], 0.0, [0], 0.0
        missing = set(range(length)) if any(row in answers for row in rows) else set()
        for place, row in enumerate(rows):
            if row in answers:
                missing.difference_update(range(*answers[row]))
                share = 1 - len(missing) / length
            if place < 10:
                ndcg += (share - shares[-1]) / log2(place + 2)
            shares.append(share)
            spent.append(spent[-1] + self._pieces[row].tokens)
        counts = (*HITS, *(bisect_right(spent, budget) - 1 for budget in BUDGETS_TOKENS))
        at = [shares[min(count, len(rows))] for count in counts]
        return Judged(at[0], at[1], ndcg, at[2], at[3])

    def _overlapping(
        self, rows: Sequence[int], wanted: tuple[int, int]
    ) -> dict[int, tuple[int, int]]:
        start, end = wanted
        found = {}
        for row in rows:
            piece = self._pieces[row]
            first, last = max(start, piece.start), min(end, piece.end)
            if first < last:
                found[row] = (first - start, last - start)
        return found
