"""Weighed postings as arrays: built from terms, cut into pages, read back, merged.

BM25 in two halves. What a passage says of a term, saturated and normalised by length, is a weight
in 0..1 that is fixed when it is indexed; how rare the term is among what is live is known only when
somebody asks. Pure: terms are made in `lexical`, pages are kept in `store`.
"""

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.lexical import term_key

SATURATION = 1.2  # k1: how soon a repetition counts no more
NORMALISATION = 0.75  # b: how far a passage of more than the usual length is discounted
PASSAGES_MAX = 65_536  # of a segment: their numbers fit into 16 bits
PAGE_BYTES = 4_000
COMMON_SHARE = 0.1  # of the passages: terms of more are looked at last, and only where it matters
LOOKED_UP = 1 / 15  # of a common term's passages: looking one up costs so much more than adding all
TIES_MAX = 1_000  # passages that are as good as the last hit: among more, chance decides
STEPS = 65_535  # a weight is stored as so many parts of 1
SLACK = 1 + 1e-9  # more than sums in 64 bits can be off

Keys = NDArray[np.int64]
Numbers = NDArray[np.uint16]
Scores = NDArray[np.float64]
Places = NDArray[np.intp]


class Postings(NamedTuple):
    """Terms ascending by key; those of a term stand together, ascending by passage."""

    terms: Keys
    counts: NDArray[np.uint32]  # passages of each term
    passages: Numbers
    weights: Numbers


_NOTHING = Postings(
    terms=np.zeros(0, dtype=np.int64),
    counts=np.zeros(0, dtype=np.uint32),
    passages=np.zeros(0, dtype=np.uint16),
    weights=np.zeros(0, dtype=np.uint16),
)


class Where(NamedTuple):
    """Where a term stands in a segment: its passages and weights, and the highest of these."""

    passages: Numbers
    weights: Numbers
    most: int


NOWHERE = Where(_NOTHING.passages, _NOTHING.weights, most=0)


class Page(NamedTuple):
    """Neighbouring terms, from the first to the last one, as bytes."""

    first_term: int
    last_term: int
    content: bytes


def build(passages: Sequence[Sequence[str]], *, length: int) -> Postings:
    """Of at most 65,536 passages, each by its terms; `length` is that of a usual one."""
    assert len(passages) <= PASSAGES_MAX
    keys: dict[str, int] = {}
    terms: list[int] = []
    counts: list[int] = []
    sizes: list[int] = []
    for passage in passages:
        counted = Counter(passage)
        for term in counted:
            if term not in keys:
                keys[term] = term_key(term)
            terms.append(keys[term])
        counts += counted.values()
        sizes.append(len(counted))
    numbers = np.repeat(np.arange(len(passages), dtype=np.uint16), sizes)
    lengths = np.repeat(np.array([len(each) for each in passages], dtype=np.float64), sizes)
    weights = weigh(np.array(counts, dtype=np.float64), lengths=lengths, length=length)
    return _sorted(np.array(terms, dtype=np.int64), passages=numbers, weights=weights)


def weigh(counts: NDArray[np.float64], *, lengths: NDArray[np.float64], length: int) -> Numbers:
    """How much passages of these lengths say of a term that they have so many times."""
    norm = SATURATION * (1 - NORMALISATION + NORMALISATION * lengths / length)
    return np.rint(counts / (counts + norm) * STEPS).astype(np.uint16)


def rarity(count: int, *, total: int) -> float:
    """The idf of a term that `count` of `total` live passages have."""
    return math.log(1 + (total - count + 0.5) / (count + 0.5))


def pages(postings: Postings) -> Iterator[Page]:
    """Of a few kilobytes each, so that looking up a rare term reads little; a term that fills one
    by itself has one to itself, so that its neighbours are read without it."""
    terms, counts = postings.terms, postings.counts
    if not len(terms):
        return
    ends = np.cumsum(counts, dtype=np.int64)
    sizes = 12 + 4 * counts.astype(np.int64)
    large = sizes >= PAGE_BYTES
    steps = np.cumsum(np.where(large, 0, sizes)) // PAGE_BYTES
    cuts = (np.diff(steps) > 0) | large[1:] | large[:-1]
    edges = [0, *(np.flatnonzero(cuts) + 1).tolist(), len(terms)]
    for start, end in pairwise(edges):
        begin = int(ends[start - 1]) if start else 0
        yield _page(
            Postings(
                terms=terms[start:end],
                counts=counts[start:end],
                passages=postings.passages[begin : ends[end - 1]],
                weights=postings.weights[begin : ends[end - 1]],
            )
        )


def read(content: bytes | memoryview) -> Postings:
    """A page, without copying it."""
    size = int(np.frombuffer(content, dtype=np.int64, count=1)[0])
    total = (len(content) - 8 - 12 * size) // 4
    return Postings(
        terms=np.frombuffer(content, dtype=np.int64, count=size, offset=8),
        counts=np.frombuffer(content, dtype=np.uint32, count=size, offset=8 + 8 * size),
        passages=np.frombuffer(content, dtype=np.uint16, count=total, offset=8 + 12 * size),
        weights=np.frombuffer(
            content, dtype=np.uint16, count=total, offset=8 + 12 * size + 2 * total
        ),
    )


def between(postings: Postings, *, first: int, last: int) -> Postings:
    """The part of a page from one term to another."""
    start = int(np.searchsorted(postings.terms, first))
    end = int(np.searchsorted(postings.terms, last, side="right"))
    if (start, end) == (0, len(postings.terms)):
        return postings
    ends = np.cumsum(postings.counts, dtype=np.int64)
    low = int(ends[start - 1]) if start else 0
    high = int(ends[end - 1]) if end else 0
    return Postings(
        terms=postings.terms[start:end],
        counts=postings.counts[start:end],
        passages=postings.passages[low:high],
        weights=postings.weights[low:high],
    )


def ranges(count: int) -> Iterator[tuple[int, int]]:
    """All terms there may be, in so many parts of the same size: first and last of each."""
    edges = [-(2**63) + 2**64 * number // count for number in range(count + 1)]
    return ((first, after - 1) for first, after in pairwise(edges))


def merge(parts: Sequence[tuple[Postings, NDArray[np.int32]]]) -> Postings:
    """Several as one. Each comes with the new numbers of its passages, -1 for those that are dead;
    the numbers of a part are above those of the part before it."""
    terms, passages, weights = [], [], []
    for postings, numbers in parts:
        moved = numbers[postings.passages]
        kept = moved >= 0
        terms.append(np.repeat(postings.terms, postings.counts)[kept])
        passages.append(moved[kept].astype(np.uint16))
        weights.append(postings.weights[kept])
    if not parts:
        return _NOTHING
    return _sorted(
        np.concatenate(terms),
        passages=np.concatenate(passages),
        weights=np.concatenate(weights),
    )


class Segment:
    """What a question needs of a segment: where its terms stand, and who does not count.

    Dead passages are not there for anybody; hidden ones are, but are no hits of this question.
    """

    def __init__(self, *, id: int, chunk_count: int) -> None:
        self.id = id
        self.chunk_count = chunk_count
        self.found: dict[int, Where] = {}
        self._dead: NDArray[np.bool_] | None = None
        self._shown: NDArray[np.bool_] | None = None

    def bury(self, first: int, *, count: int) -> None:
        if self._dead is None:
            self._dead = np.zeros(self.chunk_count, dtype=np.bool_)
        self._dead[first : first + count] = True

    def hide_all(self) -> None:
        self._shown = np.zeros(self.chunk_count, dtype=np.bool_)

    def show(self, first: int, *, count: int) -> None:
        assert self._shown is not None
        self._shown[first : first + count] = True

    def take(self, content: bytes | memoryview, *, keys: Sequence[int]) -> None:
        """Passages and weights of those terms that stand in a page, the dead among them. `keys`
        ascend."""
        page = read(content)
        terms = page.terms
        first = bisect_left(keys, int(terms[0]))
        for key in keys[first : bisect_right(keys, int(terms[-1]), first)]:
            at = int(terms.searchsorted(key))
            if terms[at] == key:
                start = int(page.counts[:at].sum())
                span = slice(start, start + int(page.counts[at]))
                weights = page.weights[span]
                self.found[key] = Where(page.passages[span], weights, most=int(weights.max()))

    def where(self, key: int) -> Where:
        """Of a term, the dead among its passages."""
        return self.found.get(key, NOWHERE)

    @property
    def live(self) -> int:
        return self.chunk_count - (0 if self._dead is None else int(self._dead.sum()))

    def count(self, key: int) -> int:
        """How many live passages have a term."""
        passages = self.where(key).passages
        if self._dead is None:
            return len(passages)
        return len(passages) - int(self._dead[passages].sum())

    def most(self, idf: Mapping[int, float]) -> float:
        """No passage of it scores more by these terms."""
        return sum(self.where(key).most * value for key, value in idf.items()) * SLACK

    def counting(self, totals: Scores) -> Scores:
        """What all passages have that may be hits, and perhaps some that have nothing."""
        if self._dead is None and self._shown is None:
            return totals
        return totals[self.hits(totals)]

    def hits(self, totals: Scores, *, least: float = 0.0) -> Places:
        """Who may be a hit, and has at least this score, if any."""
        numbers = np.flatnonzero(totals >= least if least > 0 else totals > 0)
        if self._dead is not None:
            numbers = numbers[~self._dead[numbers]]
        if self._shown is not None:
            numbers = numbers[self._shown[numbers]]
        return numbers

    def add(self, totals: Scores, *, key: int, idf: float) -> None:
        """What a term gives to everybody."""
        passages, weights, _ = self.where(key)
        totals[passages] += weights * idf

    def add_to(self, scores: Scores, numbers: Numbers, *, key: int, idf: float) -> None:
        """What a term of this segment gives to these passages."""
        passages, weights, _ = self.where(key)
        places = passages.searchsorted(numbers)
        have = passages.take(places, mode="clip") == numbers
        scores += weights.take(places, mode="clip") * have * idf


class Best(NamedTuple):
    """`hits`: segment, number and score. `most`: what no passage could exceed, having all terms."""

    hits: list[tuple[int, int, float]]
    most: float


NO_HITS = Best(hits=[], most=0.0)


def best(segments: Sequence[Segment], *, keys: Sequence[int], limit: int) -> Best:
    """The `limit` best passages, in no order, and those that are as good as the last of them: which
    of these it is to be, others decide."""
    total = sum(segment.live for segment in segments)
    counts = {key: sum(segment.count(key) for segment in segments) for key in keys}
    rare = sorted((key for key in keys if counts[key]), key=lambda key: (counts[key], key))
    if not rare or limit < 1:
        return NO_HITS
    # In parts of a step, as weights are.
    idf = {key: rarity(counts[key], total=total) / STEPS for key in rare}
    common = {key: idf[key] for key in rare if counts[key] > COMMON_SHARE * total}
    terms = _Terms(rare={key: idf[key] for key in rare if key not in common}, common=common)
    found = _Found(limit=limit)
    # From the largest on: what is found there says soonest who need not be looked at elsewhere.
    for segment in sorted(segments, key=lambda each: -each.chunk_count):
        if segment.most(idf) >= found.least:
            found.add(segment.id, *_near(segment, terms, least=found.least, limit=limit))
    return Best(hits=found.hits(), most=sum(idf.values()) * STEPS)


class _Terms(NamedTuple):
    """The weights of a question's terms, each part from the rarest on."""

    rare: Mapping[int, float]
    common: Mapping[int, float]


class _Found:
    """The best so far; `least` is the score of the one at the limit, 0 until there are so many."""

    def __init__(self, *, limit: int) -> None:
        self.least = 0.0
        self._limit = limit
        self._hits: list[tuple[int, Places, Scores]] = []

    def add(self, segment_id: int, numbers: Places, scores: Scores) -> None:
        kept = scores >= self.least
        self._hits.append((segment_id, numbers[kept], scores[kept]))
        self.least = _least(np.concatenate([each for *_, each in self._hits]), limit=self._limit)

    def hits(self) -> list[tuple[int, int, float]]:
        """Best first where there are more than the limit."""
        found = [
            (segment_id, number, score)
            for segment_id, numbers, scores in self._hits
            for number, score in zip(numbers.tolist(), scores.tolist(), strict=True)
            if score >= self.least
        ]
        if len(found) <= self._limit:
            return found
        return sorted(found, key=lambda hit: -hit[2])[: self._limit + TIES_MAX]


def _near(segment: Segment, terms: _Terms, *, least: float, limit: int) -> tuple[Places, Scores]:
    """Those of a segment among whom its `limit` best are, with a score of `least`, and all scores.

    Words that stand nearly everywhere weigh little: whoever is too far below without them is no hit
    with all of them either. Only the others are looked at, once they are few; until then the rarest
    of the common ones are added to everybody.
    """
    left = {key: value for key, value in terms.common.items() if segment.where(key).most}
    totals = _summed(segment, terms.rare)
    while True:
        bound = least or _least(segment.counting(totals), limit=limit)
        bound -= segment.most(left)
        near = segment.hits(totals, least=bound)
        key = next(iter(left), None)
        if key is None or (bound > 0 and len(near) <= LOOKED_UP * len(segment.where(key).passages)):
            break
        segment.add(totals, key=key, idf=left.pop(key))
    scores = totals[near]
    numbers = near.astype(np.uint16)
    for key, value in left.items() if len(near) else ():
        segment.add_to(scores, numbers, key=key, idf=value)
    return near, scores


def _summed(segment: Segment, idf: Mapping[int, float]) -> Scores:
    """What these terms give to each passage."""
    found = [(segment.where(key), value) for key, value in idf.items()]
    sizes = [len(where.passages) for where, _ in found]
    if not sum(sizes):
        return np.zeros(segment.chunk_count)
    return np.bincount(
        np.concatenate([where.passages for where, _ in found]),
        np.concatenate([where.weights for where, _ in found])
        * np.repeat([value for _, value in found], sizes),
        minlength=segment.chunk_count,
    ).astype(np.float64, copy=False)


def _least(scores: Scores, *, limit: int) -> float:
    """The score of the passage at the limit; 0 when not so many have any."""
    most = scores.max(initial=0.0)
    # Few are near the best: that many are sorted out in a tenth of the time.
    good = scores[scores >= most / 2] if most else scores[:0]
    if len(good) < limit and len(good := scores[scores > 0]) < limit:
        return 0.0
    return float(np.partition(good, len(good) - limit)[len(good) - limit])


def _sorted(terms: Keys, *, passages: Numbers, weights: Numbers) -> Postings:
    """One entry for each pair of term and passage, in the order of passages: brought into shape."""
    order = np.argsort(terms, kind="stable")
    found, counts = np.unique(terms, return_counts=True)
    return Postings(
        terms=found,
        counts=counts.astype(np.uint32),
        passages=passages[order],
        weights=weights[order],
    )


def _page(postings: Postings) -> Page:
    size = np.array([len(postings.terms)], dtype=np.int64)
    return Page(
        first_term=int(postings.terms[0]),
        last_term=int(postings.terms[-1]),
        content=b"".join(array.tobytes() for array in (size, *postings)),
    )
