"""Of hits that say the same the best one stays, and nothing else goes."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.folding import OVERLAP_MIN, folded
from engine.hits import Neighbour
from engine.models import SourceId

SOURCES = [SourceId(UUID(int=number)) for number in (1, 2)]


class Passage(Neighbour, frozen=True, kw_only=True):
    source_id: SourceId = SOURCES[0]


def passage(start: int, end: int, *, text: str | None = None, source: int = 0) -> Passage:
    text = f"{start} to {end} of {source}" if text is None else text
    return Passage(text=text, start=start, end=end, source_id=SOURCES[source])


@st.composite
def passages(draw):
    start = draw(st.integers(0, 300))
    return passage(
        start,
        start + draw(st.integers(1, 100)),
        text=draw(st.sampled_from(["a b", "A  B", "c", "d e f"])),
        source=draw(st.integers(0, 1)),
    )


@given(st.lists(passages()))
def test_who_stays_keeps_the_order_and_the_first_stays(given_passages):
    kept = list(folded(given_passages))
    left = iter(given_passages)
    assert all(any(each is other for other in left) for each in kept)
    assert kept[:1] == given_passages[:1]


@given(st.lists(passages()))
def test_no_two_that_stay_say_the_same_and_folding_again_changes_nothing(given_passages):
    kept = list(folded(given_passages))
    assert list(folded(kept)) == kept
    words = [(each.source_id, each.text.casefold().split()) for each in kept]
    assert all(words.count(each) == 1 for each in words)


@given(st.lists(passages()))
def test_whoever_goes_repeats_one_that_stays_ahead_of_it(given_passages):
    kept = list(folded(given_passages))
    for each in given_passages:
        if not any(each is other for other in kept):
            assert list(folded([*kept, each])) == kept


@pytest.mark.parametrize(
    ("other", "left"),
    [
        (passage(0, 100, text="other words"), 1),
        (passage(10, 110), 1),  # nine tenths of either
        (passage(20, 120), 1),  # just enough
        (passage(21, 121), 2),
        (passage(40, 140), 2),  # a chunker's overlap
        (passage(100, 200), 2),
        (passage(500, 600, text="0 TO\n 100  of 0"), 1),
        (passage(0, 100, text="0 to 100 of 0", source=1), 2),
        (passage(20, 60), 1),  # stands in it as a whole
    ],
)
def test_what_counts_as_a_repetition(other, left):
    assert len(list(folded([passage(0, 100), other]))) == left


def test_the_usual_overlap_of_neighbours_is_no_repetition():
    assert OVERLAP_MIN > 60 / 200
