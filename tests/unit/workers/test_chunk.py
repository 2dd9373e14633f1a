"""The rules of chunking by example. One word, one mark or one ideograph is one token here."""

import time
from itertools import pairwise

import pytest
from fix_chunks import WordSpans, document_of, passages_of, plain, texts_of, words

from engine.errors import TooManyChunks
from engine.models import Block, Document
from workers.chunk import CHARACTERS_PER_TOKEN
from workers.reading import BATCH_CHARACTERS, SEGMENT_CHARACTERS


def test_a_blank_document_gives_no_passage() -> None:
    assert passages_of(plain("")) == []
    assert passages_of(plain(" \n\t\u3000 ")) == []


def test_a_short_document_is_one_passage_under_its_title() -> None:
    (passage,) = passages_of(plain("  Just this.  ", title="Notes"))
    assert passage.text == "Just this."
    assert (passage.start, passage.end) == (2, 12)
    assert passage.embedded == "Notes\nJust this."
    assert passage.tokens == 4


def test_paragraphs_are_packed_whole_up_to_the_cap() -> None:
    document = document_of(
        ("paragraph", words(8)), ("paragraph", words(9)), ("paragraph", words(12))
    )
    assert texts_of(document) == [f"{words(8)}\n\n{words(9)}", words(12)]


def test_a_long_paragraph_is_cut_between_sentences() -> None:
    sentences = [f"S{index} {words(6)}." for index in range(6)]
    found = texts_of(plain(" ".join(sentences)))
    assert all(text.startswith("S") and text.endswith(".") for text in found)
    assert len(found) == 3


@pytest.mark.parametrize("dot", ["Dr. ", "e.g. ", "J. ", "Fig. ", "p. a "])
def test_an_abbreviation_does_not_end_a_sentence(dot: str) -> None:
    text = f"{words(6)}. {words(4, name='W')} {dot}X{words(12)}"
    assert texts_of(plain(text))[0] == f"{words(6)}."


def test_sentences_of_scripts_without_spaces_are_found() -> None:
    text = "今日は良い天気です。" * 2 + "「本当に？」と彼は言った。" * 2
    found = texts_of(plain(text), chunk_tokens=16)
    assert len(found) > 2
    assert all(text.endswith(("。", "？」")) for text in found)


def test_list_items_stay_whole() -> None:
    items = [f"- {words(6, name=letter)}" for letter in "abcde"]
    assert texts_of(document_of(("list", "\n".join(items)))) == [
        "\n".join(items[:2]),
        "\n".join(items[2:4]),
        items[4],
    ]


def test_code_is_cut_at_blank_lines_then_at_lines() -> None:
    parts = [f"def f{index}\n    {words(6)}" for index in range(4)]
    found = texts_of(document_of(("code", "\n\n".join(parts))))
    assert found == ["\n\n".join(parts[:2]), "\n\n".join(parts[2:])]
    lines = [words(7, name=letter) for letter in "abcd"]
    found = texts_of(document_of(("code", "\n".join(lines))))
    assert found == ["\n".join(lines[:2]), "\n".join(lines[2:])]


def test_code_that_fits_stays_whole() -> None:
    code = f"a\n\n{words(8)}\n\nb"
    found = texts_of(document_of(("paragraph", words(14)), ("code", code), ("paragraph", words(9))))
    assert found == [words(14), f"{code}\n\n{words(9)}"]


def test_a_table_is_cut_by_rows_and_its_header_is_read_with_each_piece() -> None:
    rows = [f"r{index} | one | two" for index in range(9)]
    table = "\n".join(["name | x | y", *rows])
    found = passages_of(document_of(("table", table)))
    assert "\n".join(passage.text for passage in found) == table
    assert found[0].embedded == found[0].text
    assert len(found) > 1
    assert all(passage.embedded == f"name | x | y\n{passage.text}" for passage in found[1:])


def test_a_row_over_the_cap_is_cut_between_cells() -> None:
    cells = [f"a{index} b{index}" for index in range(20)]
    found = texts_of(document_of(("table", "x\n" + " | ".join(cells))))
    assert all(text.removesuffix("|").strip().endswith(tuple(cells)) for text in found)


def test_a_huge_table_header_leaves_room_for_rows() -> None:
    table = " | ".join(f"c{index}" for index in range(400)) + "\n" + "\n".join(["1 | 2 | 3"] * 40)
    found = passages_of(document_of(("table", table)), tokens_max=62, chunk_tokens=50)
    assert all(passage.tokens <= 60 for passage in found)
    assert found[-1].text.count("\n") >= 2


def test_a_heading_goes_with_the_text_that_follows() -> None:
    document = document_of(
        ("h1", "Guide"),
        ("paragraph", words(18)),
        ("h2", "Install"),
        ("h3", "Linux"),
        ("paragraph", words(16)),
    )
    first, second = passages_of(document)
    assert first.text == f"Guide\n\n{words(18)}"
    assert first.headings == ("Guide",)
    assert second.text == f"Install\n\nLinux\n\n{words(16)}"
    assert second.headings == ("Guide", "Install", "Linux")
    assert second.embedded == f"Guide > Install > Linux\n{second.text}"


def test_a_heading_is_never_left_at_the_end_of_a_passage() -> None:
    document = document_of(("h1", "One two"), ("h2", "Three four"), ("paragraph", words(8)))
    assert texts_of(document, chunk_tokens=4)[:2] == ["One two", "Three four\n\nw0 w1"]
    assert texts_of(document, chunk_tokens=6)[0] == "One two\n\nThree four\n\nw0 w1"


def test_a_heading_that_nothing_follows_still_stands_in_a_passage() -> None:
    found = texts_of(document_of(("paragraph", words(20)), ("h1", "The end")))
    assert found == [words(20), "The end"]


def test_passages_do_not_cross_sections() -> None:
    document = document_of(
        ("h1", "A"), ("paragraph", words(7)), ("h1", "B"), ("paragraph", words(7))
    )
    assert [passage.headings for passage in passages_of(document)] == [("A",), ("B",)]


def test_tiny_siblings_are_joined_under_their_common_parent() -> None:
    entries = [(kind, text) for name in "ABCD" for kind, text in (("h2", name), ("paragraph", "x"))]
    document = document_of(("h1", "Terms"), ("paragraph", words(75)), *entries)
    found = passages_of(document, chunk_tokens=80)
    assert [passage.headings for passage in found] == [("Terms",), ("Terms",)]
    assert found[1].text == "A\n\nx\n\nB\n\nx\n\nC\n\nx\n\nD\n\nx"


def test_tiny_sections_of_different_parents_stay_apart() -> None:
    document = document_of(
        ("h1", "A"),
        ("h2", "One"),
        ("paragraph", "x"),
        ("h1", "B"),
        ("h2", "Two"),
        ("paragraph", "y"),
    )
    found = passages_of(document, chunk_tokens=80)
    assert [passage.headings for passage in found] == [("A", "One"), ("B", "Two")]


def test_a_title_that_is_in_the_path_is_read_once() -> None:
    (passage,) = passages_of(document_of(("h1", "Guide"), ("paragraph", "x"), title="Guide"))
    assert passage.embedded == "Guide\nGuide\n\nx"


def test_a_long_path_keeps_its_innermost_heading_then_the_title() -> None:
    document = document_of(
        ("h1", words(9, name="outer")),
        ("h2", words(6, name="middle")),
        ("h3", "inner"),
        ("paragraph", words(8)),
        title="The title",
    )
    (passage,) = passages_of(document, tokens_max=50, chunk_tokens=40)
    path = f"The title > {words(6, name='middle')} > inner"
    assert passage.embedded == f"{path}\n{passage.text}"
    assert len(passage.headings) == 3


def test_a_heading_longer_than_a_third_of_the_model_is_clipped_when_read() -> None:
    heading = words(30, name="h")
    blocks = [Block(kind="paragraph", start=0, end=len(words(30)), headings=(heading,))]
    found = passages_of(plain(words(30), blocks=blocks), tokens_max=32)
    assert all(one.embedded == f"{words(10, name='h')}\n{one.text}" for one in found)
    assert all(one.headings == (heading,) and one.tokens <= 30 for one in found)


def test_a_page_boundary_ends_a_passage_that_is_half_full() -> None:
    document = document_of(
        ("paragraph", words(4)),
        ("paragraph", words(4)),
        ("paragraph", words(4)),
        ("paragraph", words(6)),
        pages=(1, 2, 2, 3),
    )
    found = passages_of(document)
    assert [passage.page for passage in found] == [1, 3]
    assert found[1].text == words(6)


def test_the_page_of_a_passage_is_that_of_its_first_character() -> None:
    document = document_of(("paragraph", words(3)), ("paragraph", words(9)), pages=(4, 5))
    assert [passage.page for passage in passages_of(document)] == [4]


def test_the_last_piece_is_never_a_crumb() -> None:
    found = texts_of(plain(words(41)))
    assert [len(text.split()) for text in found] == [20, 16, 5]
    assert [len(text.split()) for text in texts_of(plain(words(21)))] == [16, 5]


def test_overlap_repeats_the_last_sentences_of_the_passage_before() -> None:
    sentences = [f"S{index} {words(6)}." for index in range(6)]
    found = passages_of(plain(" ".join(sentences)), overlap_tokens=9)
    for first, second in pairwise(found):
        assert second.start < first.end
        assert second.text.startswith(first.text.split(". ")[-1])


def test_overlap_does_not_reach_into_another_section() -> None:
    document = document_of(
        ("h1", "A"), ("paragraph", words(15)), ("h1", "B"), ("paragraph", words(15))
    )
    first, second = passages_of(document, overlap_tokens=8)
    assert first.end < second.start


def test_text_outside_of_any_block_is_in_a_passage() -> None:
    text = "before\n\ninside\n\nafter"
    document = plain(text, blocks=[Block(kind="paragraph", start=8, end=14)])
    assert texts_of(document) == [text]
    assert texts_of(plain(text, blocks=[])) == [text]


def test_text_outside_of_any_block_belongs_to_the_heading_before_it() -> None:
    document = plain("# Head\n\nloose", blocks=[Block(kind="heading", start=0, end=6)])
    assert [passage.headings for passage in passages_of(document)] == [("Head",)]


def test_a_word_without_end_is_cut_by_characters() -> None:
    found = texts_of(plain("x" * 10_000))
    assert "".join(found) == "x" * 10_000
    assert max(map(len, found)) <= 20 * CHARACTERS_PER_TOKEN


@pytest.mark.parametrize(
    "cluster", ["e\u0301", "👩\u200d👧", "🇩🇪", "👍🏽", "नि", "\u1112\u1161\u11ab"]
)
def test_a_cut_inside_a_word_keeps_characters_whole(cluster: str) -> None:
    # One letter in front puts each limit on a different place of the cluster.
    for lead in ("", "a", "ab"):
        found = texts_of(plain(lead + cluster * 500))
        assert len(found) > 1
        assert all(text.removeprefix(lead).replace(cluster, "") == "" for text in found)


def test_more_chunks_than_allowed_are_refused_by_name() -> None:
    assert len(passages_of(plain(words(100)), chunks_max=5)) == 5
    with pytest.raises(TooManyChunks, match="more than 4 chunks"):
        passages_of(plain(words(100)), chunks_max=4)


@pytest.mark.parametrize(("chunk_tokens", "tokens_max"), [(0, 256), (20, 2)])
def test_caps_that_leave_no_room_are_refused(chunk_tokens: int, tokens_max: int) -> None:
    with pytest.raises(ValueError, match="room"):
        passages_of(plain("x"), chunk_tokens=chunk_tokens, tokens_max=tokens_max)


def lined(count: int) -> Document:
    text = "a\n" * count
    return plain(
        text, blocks=[Block(kind="paragraph", start=2 * i, end=2 * i + 1) for i in range(count)]
    )


def table(count: int) -> Document:
    row = " | ".join("c" for _ in range(100))
    text = "\n".join(row for _ in range(count // 100))
    return plain(text, blocks=[Block(kind="table", start=0, end=len(text), header_end=len(row))])


HOSTILE = {
    "no blank": lambda size: plain("abcdefghij" * (size // 10)),
    "newlines only": lambda size: plain("a" + "\n" * size + "b"),
    "blanks and dots": lambda size: plain(". " * (size // 2)),
    "dots": lambda size: plain("." * size),
    "lines of one character": lambda size: plain("a\n" * (size // 2)),
    "blocks of one character": lambda size: lined(size // 2),
    "cells": lambda size: table(size // 4),
    "headings": lambda size: document_of(*[("h1", "x")] * (size // 200)),
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_hostile_texts_take_linear_time(name: str) -> None:
    def seconds(size: int) -> float:
        document = HOSTILE[name](size)
        start = time.process_time()
        passages_of(document, chunk_tokens=200)
        return time.process_time() - start

    seconds(10_000)
    # Eight times the text: 64 times the time if it were quadratic. The floor drowns noise.
    assert seconds(320_000) < 24 * max(seconds(40_000), 0.01)


def test_the_tokenizer_reads_each_text_twice_in_small_batches() -> None:
    spans = WordSpans()
    text = (words(9) + ".\n\n") * 20_000
    passages_of(plain(text), chunk_tokens=200, spans=spans)
    assert spans.characters <= 2 * len(text)
    assert spans.characters_max <= BATCH_CHARACTERS + SEGMENT_CHARACTERS
