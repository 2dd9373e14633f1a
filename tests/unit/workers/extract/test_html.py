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
