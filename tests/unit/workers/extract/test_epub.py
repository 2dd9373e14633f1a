import pytest
from fix_archives import CONTAINER, epub_of, page, zipped
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import Limits
from engine.errors import DocumentBroken, DocumentTooLarge, EmptyText, UnsupportedFormat
from workers.extract.archive import Archive
from workers.extract.epub import read_epub


def read(data, *, characters_max=1_000_000):
    return read_epub(Archive(data, limits=Limits()), characters_max=characters_max)


def shown(document):
    return [(b.kind, document.text[b.start : b.end], b.headings) for b in document.blocks]


def test_chapters_come_in_the_order_of_the_spine_with_their_headings():
    data = epub_of(
        {
            "two.xhtml": "<h1>Two</h1><p>Second words.</p>",
            "one.xhtml": "<h1>One</h1><h2>Part</h2><p>First words.</p>",
            "three.xhtml": "<p>Without a heading.</p>",
            "unused.xhtml": "<p>In no spine.</p>",
        },
        metadata="<dc:title> A book </dc:title><dc:title>More</dc:title>"
        "<dc:language>de</dc:language>",
        spine=(1, 0, 2, 1),
    )
    document = read(data)
    assert shown(document) == [
        ("heading", "# One", ()),
        ("heading", "## Part", ("One",)),
        ("paragraph", "First words.", ("One", "Part")),
        ("heading", "# Two", ()),
        ("paragraph", "Second words.", ("Two",)),
        ("paragraph", "Without a heading.", ()),
    ]
    assert (document.title, document.language) == ("A book", "de")
    assert document.media_type == "application/epub+zip"
    assert document.coverage.characters == len(document.text)


def test_tables_of_contents_are_left_out():
    data = epub_of(
        {
            "nav.xhtml": "<p>Contents of EPUB 3</p>",
            "toc.xhtml": "<p>Contents of EPUB 2</p>",
            "one.xhtml": "<nav epub:type='toc'><a href='#x'>Inside</a></nav><p>Words.</p>",
        },
        guide='<reference type="toc" href="toc.xhtml#top"/>',
    )
    assert read(data).text == "Words."


def test_lists_tables_and_links_are_those_of_html():
    body = (
        "<ul><li>a</li><li>b</li></ul><table><tr><th>H</th></tr><tr><td>c</td></tr></table>"
        "<p>To <a href='https://x.org/'>x</a> and <a href='two.xhtml'>within</a>.</p>"
    )
    document = read(epub_of({"one.xhtml": body}))
    assert [text for _, text, _ in shown(document)] == [
        "- a\n- b",
        "| H |\n| --- |\n| c |",
        "To [x](https://x.org/) and within.",
    ]
    assert document.coverage.tables == 1


def test_empty_elements_of_xhtml_do_not_swallow_what_follows():
    body = "<a id='p1'/><h1>One</h1><p>First<br/>line.</p><span class='x' /><p>Second.</p>"
    chapter = page(body).replace("<title>t</title>", "<title/><script src='x'/>").encode()
    assert shown(read(epub_of({"one.xhtml": chapter}))) == [
        ("heading", "# One", ()),
        ("paragraph", "First\nline.", ("One",)),
        ("paragraph", "Second.", ("One",)),
    ]


def test_tags_that_cannot_be_are_walked_through():
    assert read(epub_of({"one.xhtml": '<ton="1.0">Words.'})).text == "Words."


def test_names_are_unquoted_and_found_below_the_package():
    data = epub_of({"a%20b/one%C3%A9.xhtml": ""}, extra={"OPS/a b/oneé.xhtml": page("<p>x</p>")})
    assert read(data).text == "x"


def test_a_picture_in_the_spine_is_passed_over():
    manifest = '<item id="i1" href="cover.svg" media-type="image/svg+xml"/>'
    data = epub_of({"one.xhtml": "<p>x</p>"}, manifest=manifest, spine=(1, 0))
    document = read(data)
    assert (document.text, document.coverage.warnings) == ("x", ())


def test_chapters_that_cannot_be_read_are_counted():
    manifest = '<item id="i2" href="gone.xhtml" media-type="application/xhtml+xml"/>'
    data = epub_of(
        {"one.xhtml": "<p>x</p>", "two.xhtml": b"\x00\x01" * 400},
        manifest=manifest,
        spine=(0, 1, 2),
    )
    document = read(data)
    assert document.text == "x"
    codes = {warned.code: warned.message for warned in document.coverage.warnings}
    assert codes["chapters_unreadable"].endswith("of 3 chapters could not be read.")


def test_a_book_without_readable_chapters_is_broken():
    with pytest.raises(DocumentBroken, match="None of the book's chapters"):
        read(
            epub_of(
                {},
                manifest='<item id="i0" href="x" media-type="text/html"/>',
                spine=(0,),
            )
        )


@pytest.mark.parametrize(
    "members",
    [
        {"mimetype": "application/epub+zip"},
        {"META-INF/container.xml": "<container/>"},
        {"META-INF/container.xml": CONTAINER},
        {"META-INF/container.xml": CONTAINER, "OPS/book.opf": "<package/>"},
        {"META-INF/container.xml": CONTAINER, "OPS/book.opf": "no XML"},
        {
            "META-INF/container.xml": CONTAINER,
            "OPS/book.opf": '<!DOCTYPE p [<!ENTITY x "y">]><package>&x;</package>',
        },
    ],
)
def test_a_damaged_package_is_broken(members):
    with pytest.raises(DocumentBroken) as caught:
        read(zipped(members))
    assert caught.value.code == "document_broken"


def test_a_book_that_shows_nothing_is_empty():
    with pytest.raises(EmptyText):
        read(epub_of({"one.xhtml": "<img src='scan.png'/>", "two.xhtml": b""}))


def test_a_protected_book_is_named_and_scrambled_fonts_do_not_matter():
    said = '<encryption><CipherData><CipherReference URI="{}"/></CipherData></encryption>'
    chapters = {"one.xhtml": "<p>x</p>"}
    fonts = {"META-INF/encryption.xml": said.format("OPS/font.otf")}
    assert read(epub_of(chapters, extra=fonts)).text == "x"
    with pytest.raises(UnsupportedFormat, match="protected"):
        read(epub_of(chapters, extra={"META-INF/encryption.xml": said.format("OPS/one.xhtml")}))


def test_entities_of_a_chapter_are_not_expanded():
    chapter = b'<!DOCTYPE html [<!ENTITY b "bomb">]><html><body><p>a &b; &amp; c</p></body></html>'
    assert "bomb" not in read(epub_of({"one.xhtml": chapter})).text.partition("a ")[2]


def test_too_much_text_is_refused_on_the_way():
    with pytest.raises(DocumentTooLarge, match="more than 100 characters"):
        read(epub_of({"one.xhtml": f"<p>{'x' * 101}</p>"}), characters_max=100)


TAGS = ["p", "h1", "h2", "ul", "li", "table", "tr", "td", "th", "pre", "a", "span", "div", "nav"]
BODIES = st.recursive(
    st.one_of(st.text("ab |&;\n", max_size=6), st.sampled_from(["<br/>", "<a id='x'/>", "<p/>"])),
    lambda inner: st.builds(
        lambda tag, parts: f"<{tag}>{''.join(parts)}</{tag}>",
        st.sampled_from(TAGS),
        st.lists(inner, max_size=4),
    ),
    max_leaves=20,
)


@settings(deadline=None)
@given(st.lists(BODIES, min_size=1, max_size=3))
def test_any_chapters_become_a_covered_document(bodies):
    chapters = {f"{number}.xhtml": body for number, body in enumerate(bodies)}
    try:
        document = read(epub_of(chapters))
    except EmptyText:
        return
    at = 0
    for block in document.blocks:
        assert at <= block.start < block.end
        assert not document.text[at : block.start].strip()
        at = block.end
    assert not document.text[at:].strip()
