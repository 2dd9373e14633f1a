"""Snippets: the place of a text where the words of a question stand, cut into hits and the rest."""

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.snippets import Segment, segments

FILLER = "Nothing of interest stands in this sentence. " * 20


def hits(text: str, *, query: str, characters_max: int = 200) -> list[str]:
    found = segments(text, query=query, characters_max=characters_max)
    return [segment.value for segment in found if segment.is_hit]


def joined(found: tuple[Segment, ...]) -> str:
    return "".join(segment.value for segment in found)


def test_words_of_the_question_are_hits_and_what_is_between_them_is_not() -> None:
    found = segments("You may return a kettle.", query="return my kettle?", characters_max=100)
    assert [(segment.value, segment.is_hit) for segment in found] == [
        ("You may ", False),
        ("return", True),
        (" a ", False),
        ("kettle", True),
        (".", False),
    ]


@pytest.mark.parametrize(
    ("text", "query", "wanted"),
    [
        ("REFUNDS are paid", "refund", ["REFUNDS"]),
        ("we refunded it, refunding is slow", "refund", ["refunded", "refunding"]),
        ("Die Straße und die STRASSE", "strasse", ["Straße", "STRASSE"]),
        ("cart, carts and a card", "cart", ["cart"]),
        ("a kett is no kettle", "kettles", ["kettle"]),
        ("within 30 days, 3 times", "30 days", ["30", "days"]),
        ("to be or not to be", "to be without", []),
        ("AI is in it", "AI", ["AI"]),
        ("केतली की कीमत क्या है", "कीमत", ["कीमत"]),
    ],
)
def test_a_word_is_a_hit_in_all_its_forms_and_no_other_word_is(
    text: str, query: str, wanted: list[str]
) -> None:
    assert hits(text, query=query) == wanted


def test_the_excerpt_is_taken_where_most_of_the_words_stand() -> None:
    text = f"One kettle. {FILLER}The kettle comes back in its box, with the lid. {FILLER}"
    found = segments(text, query="box lid kettle", characters_max=80)
    assert [segment.value for segment in found if segment.is_hit] == ["kettle", "box", "lid"]
    assert 60 <= len(joined(found)) <= 80


def test_different_words_tell_more_than_one_word_again_and_again() -> None:
    text = f"kettle kettle kettle kettle {FILLER} a kettle with a lid {FILLER}"
    assert hits(text, query="kettle lid", characters_max=60) == ["kettle", "lid"]


def test_a_place_has_as_much_before_it_as_after_it() -> None:
    found = segments(FILLER + "kettle " + FILLER, query="kettle", characters_max=101)
    before, hit, after = (segment.value for segment in found)
    assert hit == "kettle"
    assert abs(len(before) - len(after)) <= 20


def test_both_ends_of_an_excerpt_are_between_words() -> None:
    words = FILLER.replace(".", "").split()
    text = FILLER + "kettle " + FILLER
    for characters_max in range(20, 120):
        cut = joined(segments(text, query="kettle", characters_max=characters_max))
        assert set(cut.replace(".", "").split()) <= {*words, "kettle"}


def test_without_a_hit_the_excerpt_is_how_the_text_begins() -> None:
    found = segments("  The first words of it.", query="elephant", characters_max=13)
    assert found == (Segment(value="The first", is_hit=False),)


def test_a_word_longer_than_all_that_is_asked_for_is_cut() -> None:
    assert joined(segments("x" * 50, query="kettle", characters_max=10)) == "x" * 10
    found = segments(f"{FILLER} {'kettle' * 10} end", query="kettle", characters_max=9)
    assert found == (Segment(value="kettleket", is_hit=True),)


@pytest.mark.parametrize("text", ["", "   \n"])
def test_nothing_has_no_segments(text: str) -> None:
    assert segments(text, query="kettle", characters_max=10) == ()


SPOKEN = st.text(alphabet="kettl éßक\u093f.,-\n 0AI", max_size=120)


@given(text=SPOKEN | st.text(max_size=80), query=SPOKEN, characters_max=st.integers(1, 60))
def test_segments_are_a_bounded_piece_of_the_text_that_alternates(
    text: str, query: str, characters_max: int
) -> None:
    found = segments(text, query=query, characters_max=characters_max)
    assert joined(found) in text
    assert len(joined(found)) <= characters_max
    assert all(segment.value for segment in found)
    flags = [segment.is_hit for segment in found]
    assert all(one is not other for one, other in pairwise(flags))


@given(before=SPOKEN, after=SPOKEN, characters_max=st.integers(8, 40))
def test_a_word_that_is_there_is_shown_whole(before: str, after: str, characters_max: int) -> None:
    text = f"{before} elephant {after}"
    assert hits(text, query="elephant", characters_max=characters_max) == ["elephant"]


@pytest.mark.parametrize(
    "text",
    ["x" * 1_000_000, "kettle" * 170_000, "kettle lid " * 90_000, "." * 1_000_000, " " * 1_000_000],
    ids=["no spaces", "one hit", "all hits", "no words", "no text"],
)
def test_a_megabyte_takes_no_more_than_a_moment(text: str) -> None:
    query = "kettle lid " + " ".join(f"word{number}" for number in range(400))
    begun = time.process_time()
    found = segments(text, query=query, characters_max=100_000)
    assert time.process_time() - begun < 4.0
    assert len(joined(found)) <= 100_000
