import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.extract.canonical import canonical
from workers.extract.markdown import heading_text, markdown_blocks, markdown_title

LINES = st.sampled_from(
    [
        "",
        "  ",
        "# One",
        "### Three ###",
        "Title",
        "===",
        "---",
        "- item",
        "  more",
        "12) item",
        "```py",
        "~~~",
        "    code",
        "\tcode",
        "| a | b |",
        "|---|:-:|",
        "a | b",
        "-|-",
        "> quote",
        "<!-- x -->",
        "<!--",
        "-->",
        "<pre>",
        "a </PRE> b",
        "```one line```",
        "#",
        "* * *",
        "\xa0",
        "text\u2028more",
    ]
)
MARKDOWN = st.one_of(st.lists(LINES).map("\n".join), st.text())


def kinds(text):
    return [(block.kind, text[block.start : block.end]) for block in markdown_blocks(text)]


@given(MARKDOWN)
def test_blocks_cover_every_character_that_is_not_blank_in_order(source):
    text = canonical(source)
    at = 0
    for block in markdown_blocks(text):
        assert at <= block.start < block.end <= len(text)
        assert not text[at : block.start].strip()
        assert block.header_end is None or block.start <= block.header_end <= block.end
        at = block.end
    assert not text[at:].strip()


def test_each_kind_is_told_from_the_others():
    text = (
        "# Top\n\nSome *text*\nover lines.\n- a\n- b\n\n  more b\n\n"
        "| x | y |\n|---|---|\n| 1 | 2 |\n"
        "\n```py\n# no heading\n\nx\n```\nafter\n\n    indented\n\n    code\n\nend"
    )
    assert kinds(text) == [
        ("heading", "# Top"),
        ("paragraph", "Some *text*\nover lines."),
        ("list", "- a\n- b\n\n  more b"),
        ("table", "| x | y |\n|---|---|\n| 1 | 2 |"),
        ("code", "```py\n# no heading\n\nx\n```"),
        ("paragraph", "after"),
        ("code", "    indented\n\n    code"),
        ("paragraph", "end"),
    ]


def test_headings_make_paths_without_their_marks():
    text = "Top\n===\n\nSub *it* [link](http://x)\n---\n\na\n\n# Next #\n\nb"
    blocks = markdown_blocks(text)
    assert [(b.kind, b.headings) for b in blocks] == [
        ("heading", ()),
        ("heading", ("Top",)),
        ("paragraph", ("Top", "Sub it link")),
        ("heading", ()),
        ("paragraph", ("Next",)),
    ]
    assert markdown_title(blocks, text=text) == "Top"


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("![logo](x)\n\n# Kettle\n\na", "Kettle"),
        ("a sentence. " * 100 + "\n\n# Late\n\na", ""),
        ("---\ntags: [a]\ntitle: 'The kettle'\n---\n# Other", "The kettle"),
        ('---\ntitle: "Say "so"" \n---\na', 'Say "so"'),
        ("---\ntitle:\n---\n# Other", "Other"),
        ("---\n\ntitle: no front matter\n", ""),
        ("a\n\ntitle: x\n---\n", "title: x"),
    ],
)
def test_a_title_stands_at_the_top(text, title):
    assert markdown_title(markdown_blocks(text), text=text) == title


@pytest.mark.parametrize("mark", ["=", "-", "==", "--"])
def test_what_a_page_left_below_a_paragraph_makes_no_heading_of_it(mark):
    assert "heading" not in dict(kinds(f"A sentence.\n {mark}\n\nb"))


def test_a_table_says_where_its_header_ends():
    text = "a | b\n--|--\n1 | 2\n"
    (table,) = markdown_blocks(text)
    assert text[table.start : table.header_end] == "a | b\n--|--\n"
    assert text[table.header_end : table.end] == "1 | 2"


def test_a_line_of_dashes_below_a_cell_is_a_heading_and_no_table():
    assert [kind for kind, _ in kinds("a | b\n---\nc")] == ["heading", "paragraph"]


def test_front_matter_is_one_block():
    assert kinds("---\ntitle: x\n# no\n---\n# Yes")[0] == ("code", "---\ntitle: x\n# no\n---")


def test_an_unclosed_fence_runs_to_the_end():
    assert kinds("```\na\n\n# b")[0] == ("code", "```\na\n\n# b")


def test_heading_text_keeps_names_with_underscores():
    assert heading_text("## `rag_engine` and snake_case_name **now** ##") == (
        "rag_engine and snake_case_name now"
    )


def test_hostile_lines_take_linear_time():
    began = time.monotonic()
    for line in ("# " + "*" * 200_000, "|" + " -" * 200_000, "# " + "[" * 200_000, "- " * 200_000):
        markdown_blocks(f"a | b\n{line}\n{line}")
    markdown_blocks("- a\n\n" * 50_000)
    markdown_blocks("a | b\n" * 50_000)
    assert time.monotonic() - began < 5


def test_three_backticks_that_close_on_their_line_open_no_code() -> None:
    text = "# A\n\n```npm install```\n\n# B\n\n```\ncode\n```\n\n# C"
    assert [kind for kind, _ in kinds(text)] == [
        "heading",
        "paragraph",
        "heading",
        "code",
        "heading",
    ]


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        ("<!--\n# TODO\n\n# more\n-->", "paragraph"),
        ("<pre class='x'>\n# a comment\n\n# one more\n</PRE>", "code"),
        ("  <script>\n# no heading\n</script> behind it", "code"),
    ],
)
def test_what_is_not_markdown_has_no_headings(raw: str, kind: str) -> None:
    text = f"{raw}\n\n# Real\n\ntext"
    assert kinds(text) == [(kind, raw), ("heading", "# Real"), ("paragraph", "text")]
    assert markdown_title(markdown_blocks(text), text=text) == "Real"


def test_a_comment_without_an_end_takes_nothing_with_it() -> None:
    assert kinds("<!-- open\n\n# Real") == [("paragraph", "<!-- open"), ("heading", "# Real")]


def test_many_comments_without_an_end_are_looked_for_once() -> None:
    began = time.process_time()
    assert len(markdown_blocks("<!--\n\n<pre>\n\n" * 50_000)) == 100_000
    assert time.process_time() - began < 10
