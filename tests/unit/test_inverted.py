"""Weighed postings: what is built is what is read, merged and ranked, whatever the pages."""

import math
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.inverted import (
    PAGE_BYTES,
    PASSAGES_MAX,
    STEPS,
    TIES_MAX,
    Page,
    Postings,
    Segment,
    best,
    between,
    build,
    merge,
    pages,
    ranges,
    rarity,
    read,
    weigh,
)
from engine.lexical import term_key

LENGTH = 4
TERMS = st.sampled_from(["a", "b", "c", "d", "e"])
PASSAGES = st.lists(st.lists(TERMS, max_size=6), max_size=6)
QUESTION = (
    ("w0", "w1"),  # both are nearly everywhere
    ("w0", "w40", "w7"),
    ("w300", "w2"),
    ("w0", "w1", "w2", "w3", "w30"),
    ("w9999", "w0"),
    ("w5",),
)


def same(one: Postings, other: Postings) -> bool:
    return all(
        ours.dtype == theirs.dtype and np.array_equal(ours, theirs)
        for ours, theirs in zip(one, other, strict=True)
    )


def joined(parts: list[Postings]) -> Postings:
    return Postings(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


@cache
def large(seed: int, *, count: int = 300) -> list[list[str]]:
    """Passages whose words come as words do: a few everywhere, most of them hardly ever."""
    dice = np.random.default_rng(seed)
    ranks = [np.minimum(dice.zipf(1.3, size=dice.integers(1, 40)), 2_000) for _ in range(count)]
    return [[f"w{rank - 1}" for rank in each] for each in ranks]


# Built, cut, read ---------------------------------------------------------------------------------


def test_a_term_stands_with_its_passages_ascending_and_counted_once_each():
    found = build([["a", "b", "a"], [], ["a"]], length=3)
    keys = {term: term_key(term) for term in "ab"}
    assert found.terms.tolist() == sorted(keys.values())
    spans = dict(zip(found.terms.tolist(), found.counts.tolist(), strict=True))
    assert spans == {keys["a"]: 2, keys["b"]: 1}
    at = 0 if found.terms[0] == keys["a"] else 1
    assert found.passages[at : at + 2].tolist() == [0, 2]


def test_a_weight_is_saturated_and_normalised_as_bm25_is():
    counts, lengths = np.array([1.0, 2.0, 1.0, 1.0]), np.array([10.0, 10.0, 20.0, 5.0])
    found = weigh(counts, lengths=lengths, length=10) / STEPS
    assert found == pytest.approx([1 / 2.2, 2 / 3.2, 1 / 3.1, 1 / 1.75], abs=1e-5)
    assert build([["a"] * 2 + ["b"] * 8], length=10).weights.tolist() == sorted(
        weigh(np.array([2.0, 8.0]), lengths=np.array([10.0]), length=10).tolist(),
        reverse=term_key("a") > term_key("b"),
    )


def test_rarity_is_the_idf_that_is_never_below_zero():
    assert rarity(2, total=10) == pytest.approx(math.log(1 + 8.5 / 2.5))
    assert rarity(10, total=10) == pytest.approx(math.log(1 + 0.5 / 10.5))


def test_pages_hold_everything_in_order_and_are_of_a_few_kilobytes():
    found = build(large(1, count=2_000), length=20)
    cut = list(pages(found))
    parts = [read(page.content) for page in cut]
    assert same(joined(parts), found)
    assert len(cut) > 5
    for page, part in zip(cut, parts, strict=True):
        assert (page.first_term, page.last_term) == (part.terms[0], part.terms[-1])
        if len(part.terms) > 1:
            assert len(page.content) < 2 * PAGE_BYTES
            assert int(part.counts.max()) * 4 + 12 < PAGE_BYTES, "a large term has company"
    small = [len(page.content) for page in cut if len(read(page.content).terms) > 1]
    assert sum(small) / len(small) > PAGE_BYTES / 4, "pages are cut too small"


def test_a_term_of_just_a_page_stands_alone_and_one_below_does_not():
    most = (PAGE_BYTES - 12) // 4  # passages of a term that fills a page
    for count, alone in ((most, True), (most - 1, False)):
        passages = [["b"] for _ in range(count)]
        passages[0] = ["a", "b", "c", "d"]
        sizes = {
            int(part.terms[0]): len(part.terms)
            for part in map(read, (page.content for page in pages(build(passages, length=1))))
        }
        assert (sizes.get(term_key("b")) == 1) is alone, (count, sizes)


def test_nothing_makes_no_page():
    assert list(pages(build([], length=LENGTH))) == []
    assert list(pages(build([[], []], length=LENGTH))) == []
    assert same(merge([]), build([], length=LENGTH))


@given(PASSAGES, TERMS, TERMS)
def test_a_part_of_a_page_has_the_terms_from_one_to_another(passages, one, other):
    first, last = sorted((term_key(one), term_key(other)))
    found = build(passages, length=LENGTH)
    kept = [[term for term in each if first <= term_key(term) <= last] for each in passages]
    part = between(found, first=first, last=last)
    expected = build(kept, length=LENGTH)
    assert part.terms.tolist() == expected.terms.tolist()
    assert part.counts.tolist() == expected.counts.tolist()
    assert part.passages.tolist() == expected.passages.tolist()
    mask = np.repeat((found.terms >= first) & (found.terms <= last), found.counts)
    assert part.weights.tolist() == found.weights[mask].tolist()


@pytest.mark.parametrize("count", [1, 2, 3, 7, 64])
def test_ranges_are_all_terms_there_may_be_each_once(count):
    found = list(ranges(count))
    assert len(found) == count
    assert (found[0][0], found[-1][1]) == (-(2**63), 2**63 - 1)
    assert all(before[1] + 1 == after[0] for before, after in pairwise(found))
    sizes = {last - first for first, last in found}
    assert max(sizes) - min(sizes) <= 1


@given(st.lists(st.tuples(PASSAGES, st.lists(st.booleans(), min_size=6, max_size=6)), max_size=4))
def test_several_merged_are_what_would_be_built_of_those_alive(given_parts):
    parts, kept, after = [], [], 0
    for passages, alive in given_parts:
        lives = np.array(alive[: len(passages)], dtype=bool)
        numbers = np.where(lives, after + np.cumsum(lives) - 1, -1).astype(np.int32)
        parts.append((build(passages, length=LENGTH), numbers))
        kept += [each for each, lives_on in zip(passages, lives, strict=True) if lives_on]
        after += int(lives.sum())
    assert same(merge(parts), build(kept, length=LENGTH))


# Asked --------------------------------------------------------------------------------------------


class Shelf:
    """A segment, and what is known of its passages without it."""

    def __init__(self, number: int, passages: list[list[str]]) -> None:
        self.passages = passages
        self.dead: set[int] = set()
        self.hidden: set[int] = set()
        self.segment = Segment(id=number, chunk_count=len(passages))
        self._pages = _cut(number) if passages is large(number) else _pages(passages)

    def bury(self, first: int, count: int) -> None:
        self.dead |= set(range(first, first + count))
        self.segment.bury(first, count=count)

    def show_only(self, *spans: tuple[int, int]) -> None:
        self.segment.hide_all()
        self.hidden = set(range(len(self.passages)))
        for first, count in spans:
            self.hidden -= set(range(first, first + count))
            self.segment.show(first, count=count)

    def take(self, keys: list[int]) -> None:
        """As a question reads it: only pages that may hold one of its terms."""
        for page in self._pages:
            if any(page.first_term <= key <= page.last_term for key in keys):
                self.segment.take(page.content, keys=sorted(keys))


def _pages(passages: list[list[str]]) -> list[Page]:
    return list(pages(build(passages, length=20)))


@cache
def _cut(number: int) -> list[Page]:
    return _pages(large(number))


def shelves() -> list[Shelf]:
    """With dead ones in the first two, and with hidden ones in the second and the third."""
    made = [Shelf(number, large(number)) for number in (5, 6, 7, 8)]
    made[0].bury(10, 50)
    made[0].bury(299, 1)
    made[1].bury(0, 30)
    made[1].show_only((20, 200))
    made[2].show_only((0, 1), (100, 100))
    return made


@cache
def expected(question: tuple[str, ...]) -> dict[tuple[int, int], float]:
    """Of the shelves, by the formula, passage by passage."""
    alive = [
        (shelf.segment.id, number, terms, number in shelf.hidden)
        for shelf in shelves()
        for number, terms in enumerate(shelf.passages)
        if number not in shelf.dead
    ]
    scores: dict[tuple[int, int], float] = {}
    for word in question:
        have = [each for each in alive if word in each[2]]
        idf = rarity(len(have), total=len(alive))
        for segment_id, number, terms, is_hidden in have:
            count, norm = terms.count(word), 1.2 * (0.25 + 0.75 * len(terms) / 20)
            if not is_hidden:
                key = segment_id, number
                scores[key] = scores.get(key, 0.0) + idf * count / (count + norm)
    return scores


@pytest.mark.parametrize("limit", [1, 10, 60, 5_000])
@pytest.mark.parametrize("question", QUESTION)
def test_the_best_are_those_of_the_formula(question, limit):
    found = shelves()
    keys = [term_key(word) for word in question]
    for shelf in found:
        shelf.take(keys)
    hits, most = best([shelf.segment for shelf in found], keys=keys, limit=limit)
    scores = expected(question)
    ours = {(segment_id, number): score for segment_id, number, score in hits}
    assert len(ours) == len(hits)
    assert ours == pytest.approx({key: scores[key] for key in ours}, rel=2e-4)
    ranked = sorted(scores.values(), reverse=True)
    least = ranked[min(limit, len(ranked)) - 1]
    assert {key for key, score in scores.items() if score > least * (1 + 1e-3)} <= ours.keys()
    assert min(limit, len(scores)) <= len(ours)
    assert all(score >= least * (1 - 1e-3) for score in ours.values())
    total = sum(shelf.segment.live for shelf in found)
    counts = [sum(shelf.segment.count(key) for shelf in found) for key in keys]
    assert most == pytest.approx(sum(rarity(count, total=total) for count in counts if count))


def test_the_dead_are_counted_nowhere():
    shelf = Shelf(1, [["a"], ["a", "b"], ["b"], ["c"]])
    keys = [term_key(term) for term in "abc"]
    shelf.take(keys)
    assert (shelf.segment.live, [shelf.segment.count(key) for key in keys]) == (4, [2, 2, 1])
    shelf.bury(1, 2)
    assert (shelf.segment.live, [shelf.segment.count(key) for key in keys]) == (2, [1, 0, 1])
    assert shelf.segment.count(term_key("nowhere")) == 0


def test_of_equals_at_the_limit_all_come_up_to_a_thousand():
    for count in (7, 900, 3_000):
        shelf = Shelf(1, [["a", "b"]] * count)
        keys = [term_key("a")]
        shelf.take(keys)
        hits, _ = best([shelf.segment], keys=keys, limit=5)
        assert len(hits) == min(count, 5 + TIES_MAX)


def test_a_question_without_a_known_word_finds_nothing():
    shelf = Shelf(1, [["a"], ["b"]])
    keys = [term_key("z")]
    shelf.take(keys)
    assert best([shelf.segment], keys=keys, limit=5) == ([], 0)


def test_a_segment_has_as_many_passages_as_numbers_and_no_more():
    found = build([["a"]] * PASSAGES_MAX, length=LENGTH)
    assert (int(found.counts[0]), int(found.passages[-1])) == (PASSAGES_MAX, PASSAGES_MAX - 1)
    with pytest.raises(AssertionError):
        build([[]] * (PASSAGES_MAX + 1), length=LENGTH)
