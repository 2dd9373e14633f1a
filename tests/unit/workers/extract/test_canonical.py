from hypothesis import given
from hypothesis import strategies as st

from workers.extract.canonical import (
    HEADING_CHARACTERS_MAX,
    Layout,
    Outline,
    canonical,
    paragraph_spans,
)

ANY_TEXT = st.text(
    alphabet=st.one_of(
        st.sampled_from("\r\n\t \x00\x0b\x0c\x1f\ud83d\ude00\ufeffa\u0301#-|`"),
        st.characters(exclude_categories=()),
    )
)


def test_newlines_become_line_feeds():
    assert canonical("a\r\nb\rc\x0cd\x0be") == "a\nb\nc\nd\ne"


def test_nul_controls_and_lone_surrogates_are_removed():
    assert canonical("a\x00b\x1bc\ud800d\te") == "abcd\te"


def test_a_pair_of_surrogates_becomes_its_character():
    assert canonical("x\ud83d\x00\ude00y") == "x\U0001f600y"


def test_unicode_is_not_normalised():
    assert canonical("e\u0301 ﬁ") == "e\u0301 ﬁ"


@given(ANY_TEXT)
def test_canonical_text_is_canonical_already(text):
    once = canonical(text)
    assert canonical(once) == once
    once.encode("utf-8")
    assert "\x00" not in once
    assert "\r" not in once


@given(ANY_TEXT)
def test_paragraphs_cover_every_line_that_is_not_blank(text):
    text = canonical(text)
    spans = list(paragraph_spans(text))
    outside = "".join(
        text[a:b]
        for a, b in zip(
            [0, *(e for _, e in spans)], [*(s for s, _ in spans), len(text)], strict=True
        )
    )
    assert not outside.strip()
    assert all("\n\n" not in text[start:end] for start, end in spans)


def test_an_outline_leaves_what_is_as_deep_or_deeper():
    outline = Outline()
    assert outline.enter("A", level=1) == ()
    assert outline.enter("B", level=3) == ("A",)
    assert outline.enter("C", level=2) == ("A",)
    assert outline.path == ("A", "C")


def test_an_endless_heading_is_cut_in_the_paths_below_it():
    outline = Outline()
    outline.enter("x" * 10_000, level=1)
    assert outline.path == ("x" * HEADING_CHARACTERS_MAX,)


def test_a_layout_counts_offsets_after_cleaning():
    layout = Layout()
    layout.heading("T\x00itle", level=1, shown="# T\x00itle")
    layout.block("a\x00b\r\nc", kind="paragraph", page=3)
    layout.block(" \n ", kind="paragraph")
    layout.block("| h |\n| - |\n| 1 |", kind="table", header="| h |\n| - |\n")
    assert layout.text == "# Title\n\nab\nc\n\n| h |\n| - |\n| 1 |"
    assert [layout.text[b.start : b.end] for b in layout.blocks] == [
        "# Title",
        "ab\nc",
        "| h |\n| - |\n| 1 |",
    ]
    assert layout.blocks[0].headings == ()
    assert layout.blocks[1].headings == ("Title",)
    assert layout.blocks[1].page == 3
    assert layout.text[layout.blocks[2].header_end :] == "| 1 |"
    assert layout.characters == len(layout.text)
