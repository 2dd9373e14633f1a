import pytest

from engine.errors import EmptyText
from workers.extract.html import read_html

PAGE = """<!doctype html><html lang="en-GB"><head><title> The  Handbook
</title><script>var secret = 1;</script></head><body>
<nav><ul><li><a href="/">Home page</a></li><li><a href="/b">Blog posts</a></li></ul></nav>
<main><article><h1>Handbook</h1>
<p>An introduction with a <a href="../x?y=1">relative link</a> and <b>bold</b> words, long enough
to be the content of this page rather than a line of its menu.</p>
<h2>Install</h2><ul><li>take <code>pip</code></li><li>go on<ul><li>nested step</li></ul></li></ul>
<h3>Values</h3><table><tr><th>Name</th><th>Value</th></tr><tr><td>a | b</td><td>1</td></tr>
<tr><td>c</td><td><a href="http://e.org/q">q</a></td></tr></table>
<pre><code>def f():
    return 1

print(f())</code></pre>
<h2>Notes</h2><ol><li>first note</li><li>second note</li></ol>
<blockquote>A quoted sentence that says something of weight.</blockquote></article></main>
<footer>Copyright 2020 Nobody at all</footer></body></html>"""


def read(page, *, base_url="https://docs.example.org/a/b/c"):
    return read_html(page, base_url=base_url, warnings=())


@pytest.fixture(scope="module")
def document():
    return read(PAGE)


def texts(document, kind):
    return [document.text[b.start : b.end] for b in document.blocks if b.kind == kind]


def test_title_and_language_come_from_the_page(document):
    assert document.title == "The Handbook"
    assert document.language == "en-GB"
    assert document.media_type == "text/html"


def test_headings_are_kept_with_their_levels(document):
    assert texts(document, "heading") == ["# Handbook", "## Install", "### Values", "## Notes"]
    paths = {document.text[b.start : b.end]: b.headings for b in document.blocks}
    assert paths["# Handbook"] == ()
    assert paths["### Values"] == ("Handbook", "Install")
    assert paths["1. first note\n2. second note"] == ("Handbook", "Notes")


def test_lists_keep_their_items_and_their_depth(document):
    assert texts(document, "list") == [
        "- take `pip`\n- go on\n  - nested step",
        "1. first note\n2. second note",
    ]


def test_tables_become_rows_with_a_header(document):
    (table,) = (block for block in document.blocks if block.kind == "table")
    text = document.text[table.start : table.end]
    assert text.split("\n") == [
        "| Name | Value |",
        "| --- | --- |",
        "| a \\| b | 1 |",
        "| c | [q](http://e.org/q) |",
    ]
    assert document.text[table.start : table.header_end] == "| Name | Value |\n| --- | --- |\n"
    assert document.coverage.tables == 1


def test_code_keeps_its_lines(document):
    assert texts(document, "code") == ["```\ndef f():\n    return 1\n\nprint(f())\n```"]


def test_links_are_completed_and_kept(document):
    assert "[relative link](https://docs.example.org/a/x?y=1) and bold words" in document.text


def test_navigation_footer_and_scripts_are_left_out(document):
    for noise in ("Home page", "Blog posts", "Copyright", "secret"):
        assert noise not in document.text


def test_blocks_cover_the_text_in_order(document):
    at = 0
    for block in document.blocks:
        assert not document.text[at : block.start].strip()
        assert block.start >= at
        at = block.end
    assert at == len(document.text) == document.coverage.characters


def test_a_table_without_header_cells_has_an_empty_header():
    rows = "".join(f"<tr><td>key number {n}</td><td>some value {n}</td></tr>" for n in range(9))
    document = read(f"<html><body><article><p>{'Words. ' * 40}</p><table>{rows}</table></article>")
    (table,) = (block for block in document.blocks if block.kind == "table")
    assert table.header_end == table.start


def test_a_page_without_an_article_gives_all_its_visible_text():
    page = "<html><body><nav>menu</nav><span>Só</span> <i>curto</i><div>x</div><style>y{}</style>"
    document = read(page)
    assert document.text == "Só curto\n\nx"


def test_a_page_without_text_is_empty():
    with pytest.raises(EmptyText) as caught:
        read("<html><head><title>App</title></head><body><script>render()</script></body></html>")
    assert caught.value.code == "empty_text"


def test_what_is_nested_too_deep_is_reported():
    page = f"<html><body><p>{'Words of content. ' * 20}</p>" + "<div>" * 400 + "lost</body></html>"
    assert [w.code for w in read(page).coverage.warnings] == ["html_nested_too_deep"]
    assert read(page.replace("<div>" * 400, "<div>" * 40)).coverage.warnings == ()


def test_nul_bytes_do_not_end_the_page():
    page = f"<html><body><p>{'Words of content. ' * 20}</p>\x00<p>{'After the NUL. ' * 20}</p>"
    document = read(page)
    assert "After the NUL." in document.text
    assert "\x00" not in document.text


def test_a_short_page_keeps_its_structure():
    page = (
        "<html><body><h1>Prices</h1><table><tbody><tr><th>a</th><th>b</th></tr><tr><td>1</td>"
        "<td>2</td></tr></tbody></table><ul><li>x</li></ul><pre>p=1\nq=2</pre></body></html>"
    )
    document = read(page)
    assert [b.kind for b in document.blocks] == ["heading", "table", "list", "code"]
    assert texts(document, "table") == ["| a | b |\n| --- | --- |\n| 1 | 2 |"]
    assert document.blocks[1].headings == ("Prices",)


def test_a_long_article_loses_the_menus_around_it():
    menu = "".join(f"<li><a href='/{n}'>Menu entry {n}</a></li>" for n in range(40))
    sentences = "The article goes on and says more. " * 6
    article = "".join(f"<p>Paragraph {n}. {sentences}</p>" for n in range(20))
    page = (
        f"<html><body><div class='sidebar menu'><ul>{menu}</ul></div><article>{article}</article>"
    )
    document = read(page)
    assert "Menu entry" not in document.text
    assert document.text.count("The article goes on") == 120


WARNING = (
    "Warning: disconnect the device from the mains before you open the housing, or risk a shock."
)


def manual(*, before="", after="", section="", sections=12, sentences=6):
    """A page whose sections all begin with the same warning, well over 3,000 characters."""
    opened, closed = (f"<{section}>", f"</{section}>") if section else ("", "")
    parts = (
        f"{opened}<h2>Section {number}</h2><p>{WARNING}</p><p>"
        + " ".join(
            f"In part {number} sentence {at} says how long tea should steep."
            for at in range(sentences)
        )
        + f"</p>{closed}"
        for number in range(sections)
    )
    return f"<html><body>{before}<h1>Manual</h1>{''.join(parts)}{after}</body></html>"


@pytest.mark.parametrize(
    "page",
    [manual(), manual(before="<div>", after="</div>"), manual(section="section")],
    ids=["bare", "div", "sections"],
)
def test_a_long_page_keeps_its_headings_and_repeated_paragraphs(page):
    document = read(page)
    expected = ["# Manual", *(f"## Section {number}" for number in range(12))]
    assert texts(document, "heading") == expected
    assert document.text.count(WARNING) == 12


def test_repetitions_that_make_up_most_of_a_page_are_kept():
    document = read(manual(sections=60, sentences=1))
    assert document.text.count(WARNING) == 60
    assert len(texts(document, "heading")) == 61


def test_boilerplate_that_makes_up_most_of_a_page_is_still_left_out():
    prose = "This sentence of the story says what happened next on that very day. "
    story = "".join(f"<p>{number}: {prose * 4}</p>" for number in range(15))
    menu = "".join(f"<li><a href='/{n}'>Another story, number {n}</a></li>" for n in range(400))
    aside = f"<div class='sidebar'><h3>Popular</h3><ul>{menu}</ul><h3>More</h3></div>"
    document = read(f"<html><body><div class='article'>{story}</div>{aside}</body></html>")
    assert "happened next" in document.text
    assert "Another story" not in document.text


def test_a_base_that_is_no_url_is_ignored():
    page = "<html><head><base href='http://[z'></head><body><p>go <a href='x'>on</a></p></body>"
    assert read(page, base_url="https://e.org/a/").text == "go [on](https://e.org/a/x)"


def test_a_relative_base_counts_from_the_url_of_the_page():
    page = "<html><head><base href='/b/'></head><body><p>go <a href='x'>on</a></p></body>"
    assert read(page, base_url="https://e.org/a/").text == "go [on](https://e.org/b/x)"


@pytest.mark.parametrize(
    ("lang", "expected"),
    [
        ("zh-Hant-TW", "zh-Hant-TW"),
        (" de ", "de"),
        ("<?php lang ?>", None),
        ("en_US", None),
        ("a&#1;c", None),
        ("english", None),
        ("en" + "-abcdefgh" * 4, None),
    ],
)
def test_only_a_language_tag_is_a_language(lang, expected):
    assert read(f'<html lang="{lang}"><body><p>words</p></body></html>').language == expected


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        ("policy<sup>1</sup>,", "policy¹,"),
        ('policy<sup id="r"><a href="#n"> 12</a></sup>,', "policy¹²,"),
        ("10<sup>-6</sup> m", "10⁻⁶ m"),
        ("m<sup><i>2</i></sup>", "m²"),
        ("the 1<sup>st</sup>,", "the 1st,"),
        ("x<sup>n+1</sup>", "xn+1"),
        ("H<sub>2</sub>O", "H2O"),
    ],
)
@pytest.mark.parametrize("sentences", [1, 40])
def test_a_raised_number_is_no_end_of_the_word_before_it(written, read_as, sentences):
    prose = "Here is a sentence that says something of weight. " * sentences
    said = read(f"<main><article><p>{prose} Now {written} is written.</p></article></main>").text
    assert f"Now {read_as}" in said
