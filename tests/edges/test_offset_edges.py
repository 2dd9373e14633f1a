"""Edges of the offsets: where tokens start, what they count for, and which text a block holds."""

import re
from array import array
from collections.abc import Sequence

import pytest

from engine.models import Block, Coverage, Document, Passage
from workers.chunk import Caps, Piece, Section, _add, _Chunker
from workers.pieces import Layout, Room, Tape, covering, cut_up
from workers.reading import BATCH_CHARACTERS, SEGMENT_CHARACTERS, _segments, tape_of

TAPE = Tape(starts=array("I", [0, 5, 10, 10, 15]), end=20)
HALF = SEGMENT_CHARACTERS // 2


class Words:
    """A tokenizer to which a token is a run of letters."""

    calls = 0
    pieces = None

    def spans(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        self.calls += 1
        assert sum(map(len, texts)) < BATCH_CHARACTERS + SEGMENT_CHARACTERS
        return [[match.span() for match in re.finditer(r"\w+", text)] for text in texts]


@pytest.mark.parametrize(
    ("start", "end", "count"),
    [(0, 20, 5), (0, 0, 0), (0, 5, 1), (1, 5, 0), (1, 6, 1), (5, 10, 1), (10, 15, 2), (10, 11, 2)],
)
def test_a_tape_counts_the_tokens_that_start_in_a_range(start: int, end: int, count: int) -> None:
    assert TAPE.count(start, end) == count


@pytest.mark.parametrize(
    ("start", "tokens", "position"),
    [(0, 0, 0), (0, 1, 5), (0, 2, 10), (0, 4, 15), (0, 5, 20), (0, 9, 20), (1, 1, 10), (15, 1, 20)],
)
def test_a_tape_reaches_to_the_first_position_that_is_left_out(
    start: int, tokens: int, position: int
) -> None:
    assert TAPE.reach(start, tokens) == position


@pytest.mark.parametrize(
    ("end", "tokens", "position"),
    [(20, 0, 20), (20, 1, 15), (20, 2, 15), (20, 3, 10), (20, 4, 5), (20, 9, 0), (0, 0, 0)],
)
def test_a_tape_goes_back_without_tearing_tokens_that_start_together(
    end: int, tokens: int, position: int
) -> None:
    assert TAPE.back(end, tokens) == position


def test_a_tape_goes_back_to_its_first_tokens_even_if_they_start_together() -> None:
    tape = Tape(starts=array("I", [3, 3]), end=9)
    assert tape.back(9, 2) == 3
    assert tape.back(9, 1) == 9


def test_a_position_belongs_to_the_block_that_holds_it_or_to_the_one_before() -> None:
    first, second = (
        Block(kind="paragraph", start=2, end=8),
        Block(kind="paragraph", start=10, end=12),
    )
    layout = Layout("  abcdef  gh", blocks=[first, second])
    at = {position: layout.block_at(position) for position in (0, 2, 9, 10, 12, 99)}
    assert [position for position, block in at.items() if block is second] == [10, 12, 99]


def test_blanks_are_skipped_to_the_next_text_or_to_the_end() -> None:
    layout = Layout("  a b ", blocks=[Block(kind="paragraph", start=0, end=6)])
    assert [layout.skip_blank(position) for position in range(7)] == [2, 2, 2, 4, 4, 6, 6]


def ranges(text: str, *blocks: tuple[int, int]) -> list[tuple[str, int, int]]:
    given = tuple(Block(kind="code", start=start, end=end) for start, end in blocks)
    return [(block.kind, block.start, block.end) for block in covering(text, blocks=given)]


def test_blocks_cover_the_text_without_overlap_and_every_gap_that_holds_any() -> None:
    assert ranges("abcdef") == [("paragraph", 0, 6)]
    assert ranges("abcdef", (0, 6)) == [("code", 0, 6)]
    assert ranges("ab  ef", (0, 2), (4, 6)) == [("code", 0, 2), ("code", 4, 6)]
    assert ranges("abcdef", (1, 2), (4, 5)) == [
        ("paragraph", 0, 1), ("code", 1, 2), ("paragraph", 2, 4), ("code", 4, 5),
        ("paragraph", 5, 6),
    ]  # fmt: skip
    assert ranges("abcdef", (0, 4), (2, 6)) == [("code", 0, 4), ("code", 4, 6)]
    assert ranges("abcdef", (0, 6), (2, 4), (1, 6)) == [("code", 0, 6)]
    assert ranges("abcdef", (0, 3), (1, 2), (3, 6)) == [("code", 0, 3), ("code", 3, 6)]
    assert ranges("   ") == []


def test_a_gap_under_a_heading_takes_its_path_and_page() -> None:
    heading = Block(kind="heading", start=0, end=3, headings=("Top",), page=4)
    (_, filler) = covering("# a bcd", blocks=(heading,))
    assert (filler.start, filler.end, filler.headings, filler.page) == (3, 7, ("Top", "a"), 4)
    plain = Block(kind="paragraph", start=0, end=3, headings=("Top",), page=5)
    (_, filler) = covering("abc def", blocks=(plain,))
    assert (filler.headings, filler.page) == (("Top",), 5)
    pages = [Block(kind="paragraph", start=at, end=at + 1, page=at) for at in (0, 1, 2)]
    assert [block.page for block in covering("abcd", blocks=tuple(pages))] == [0, 1, 2, 2]
    (filler,) = covering("abc", blocks=())
    assert (filler.headings, filler.page) == ((), None)


@pytest.mark.parametrize(
    ("text", "cuts"),
    [
        ("", []),
        ("a" * SEGMENT_CHARACTERS, [SEGMENT_CHARACTERS]),
        ("a" * (SEGMENT_CHARACTERS + 1), [SEGMENT_CHARACTERS, SEGMENT_CHARACTERS + 1]),
        ("a" * HALF + " " + "b" * HALF, [HALF + 1, SEGMENT_CHARACTERS + 1]),
        ("a" * (HALF - 1) + " " + "b" * (HALF + 1), [SEGMENT_CHARACTERS, SEGMENT_CHARACTERS + 1]),
        ("a" * HALF + "\n" + "b" * HALF, [HALF + 1, SEGMENT_CHARACTERS + 1]),
        ("a" * HALF + "\nb " + "c" * HALF, [HALF + 3, SEGMENT_CHARACTERS + 3]),
        (" " + "a" * (SEGMENT_CHARACTERS - 1), [SEGMENT_CHARACTERS]),
        ("a" * (SEGMENT_CHARACTERS - 2) + " b", [SEGMENT_CHARACTERS]),
        ("a" * HALF + " b", [HALF + 2]),
    ],
    ids=["empty", "full", "over", "blank", "early", "newline", "later", "one", "fits", "short"],
)
def test_segments_end_behind_the_last_blank_of_their_second_half(
    text: str, cuts: list[int]
) -> None:
    found = list(_segments(text))
    assert [end for _, end in found] == cuts
    assert [start for start, _ in found] == [0, *cuts][: len(cuts)]


def test_the_tokens_of_a_long_text_start_where_they_stand_in_all_of_it() -> None:
    text = "word " * (BATCH_CHARACTERS // 2)
    tape = tape_of(text, spans=Words())
    assert list(tape.starts) == list(range(0, len(text), 5))
    assert tape.end == len(text)


def test_a_long_text_is_counted_in_no_more_batches_than_it_takes() -> None:
    words = Words()
    tape_of("word " * BATCH_CHARACTERS, spans=words)
    assert words.calls == 5


class Forgetful:
    """A tokenizer that leaves out the last text of each call."""

    pieces = None

    def spans(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        return [[(0, 1)] for _ in texts[1:]]


def test_a_tokenizer_that_forgets_a_text_is_not_believed() -> None:
    with pytest.raises(ValueError, match="shorter"):
        tape_of("word " * SEGMENT_CHARACTERS, spans=Forgetful())


def passage(start: int, end: int) -> Passage:
    return Passage(ordinal=9, text="x", start=start, end=end, embedded="x", tokens=1)


@pytest.mark.parametrize(
    ("added", "kept"),
    [
        ([(0, 5), (5, 9)], [(0, 5), (5, 9)]),
        ([(0, 5), (3, 9)], [(0, 5), (3, 9)]),
        ([(0, 5), (3, 5)], [(0, 5)]),
        ([(0, 5), (5, 9), (7, 9)], [(0, 5), (5, 9)]),
        ([(0, 5), (1, 4)], [(0, 5)]),
        ([(0, 5), (0, 6)], [(0, 6)]),
        ([(0, 5), (4, 7), (3, 9)], [(0, 5), (3, 9)]),
        ([(2, 5), (4, 7), (1, 9)], [(1, 9)]),
    ],
)
def test_of_passages_that_hold_each_other_only_the_larger_one_is_kept(
    added: list[tuple[int, int]], kept: list[tuple[int, int]]
) -> None:
    found: list[Passage] = []
    for start, end in added:
        _add(passage(start, end), passages=found)
    assert [(one.start, one.end) for one in found] == kept
    assert [one.ordinal for one in found] == list(range(len(kept)))


def test_a_range_is_cut_into_pieces_that_begin_and_end_with_text() -> None:
    text = "  one two  three   four "
    layout = Layout(text, blocks=[Block(kind="paragraph", start=0, end=len(text))])
    pieces = cut_up(
        layout,
        tape=tape_of(text, spans=Words()),
        start=0,
        end=len(text),
        room_at=lambda _: Room(tokens=1, characters=100),
    )
    assert [text[start:end] for start, end in pieces] == ["one", "two", "three", "four"]


TEXT = "x" * 40


class Given(Words):
    """A tokenizer that finds what it is told, whatever the text."""

    def __init__(self, found: list[tuple[int, int]]) -> None:
        self.found = found

    def spans(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        return [self.found for _ in texts]


def chunker(*, chunk_tokens: int, embedded_tokens: int, spans: Words | None = None) -> _Chunker:
    document = Document(
        title="", text=TEXT, blocks=(), media_type="text/plain",
        coverage=Coverage(characters=len(TEXT)),
    )  # fmt: skip
    caps = Caps(chunk_tokens=chunk_tokens, overlap_tokens=0, embedded_tokens=embedded_tokens)
    return _Chunker(document, spans=spans or Words(), caps=caps)


def piece(start: int, end: int, *, bare: bool = False) -> Piece:
    return Piece(start=start, end=end, section=Section(start=0, end=40, path=()), bare=bare)


@pytest.mark.parametrize(
    ("found", "own"),
    [
        ([(0, 2), (3, 5)], [10]),
        ([(0, 2), (2, 3), (3, 5)], [10]),
        ([(0, 2), (2, 4), (4, 5)], [10, 11]),
        ([(4, 5), (3, 4)], [10, 11]),
        ([(0, 3)], []),
    ],
)
def test_the_tokens_of_a_piece_are_those_that_reach_into_its_own_text(
    found: list[tuple[int, int]], own: list[int]
) -> None:
    """Read as "ab", a line break, and two characters that stand at 10 in the document."""
    reader = chunker(chunk_tokens=9, embedded_tokens=9, spans=Given(found))
    assert list(reader._own_starts(piece(10, 12), string="ab\nxx")) == own


@pytest.mark.parametrize(
    ("tokens", "own", "length", "bare", "fits"),
    [
        (6, 4, 9, False, True),
        (7, 4, 9, False, False),
        (6, 5, 9, False, False),
        (7, 5, 1, True, True),
        (7, 5, 1, False, False),
        (7, 5, 2, True, False),
    ],
)
def test_a_piece_fits_under_both_caps_or_is_a_single_bare_character(
    tokens: int, own: int, length: int, bare: bool, fits: bool
) -> None:
    made = chunker(chunk_tokens=4, embedded_tokens=6)
    assert made._fits(piece(3, 3 + length, bare=bare), tokens=tokens, own_tokens=own) is fits


def test_a_bare_piece_is_embedded_without_its_headings() -> None:
    section = Section(start=0, end=40, path=("Top",))
    one = Piece(start=3, end=7, section=section, bare=True)
    assert chunker(chunk_tokens=20, embedded_tokens=40)._embedded(one) == "xxxx"
