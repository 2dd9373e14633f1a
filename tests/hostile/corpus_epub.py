"""Hostile books: packages that loop, lie, lead outside or swell, and chapters of every breakage."""

from cases import MIB, error, ready
from fix_archives import CONTAINER, epub_of, page, zipped

WORDS = "Hostile words."
ONE = {"one.xhtml": f"<p>{WORDS}</p>"}
BROKEN, LARGE, FOREIGN = "document_broken", "document_too_large", "unsupported_format"
UNREADABLE = ("chapters_unreadable",)
DEEP = ("html_nested_too_deep",)
LAUGHS = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>'


def book(package, *, container=CONTAINER, mimetype="application/epub+zip", **files):
    """A book whose package is exactly this; `files` are chapters in its folder."""
    chapters = {f"OPS/{name}.xhtml": page(body) for name, body in files.items()}
    start = {"mimetype": mimetype, "META-INF/container.xml": container}
    return zipped({**start, "OPS/book.opf": package, **chapters})


def package(items, spine, *, head="", metadata=""):
    listed = "".join(f'<item id="{key}" {more}/>' for key, more in items.items())
    order = "".join(f'<itemref idref="{key}"/>' for key in spine)
    return (
        f'{head}<package xmlns="http://www.idpf.org/2007/opf"><metadata>{metadata}</metadata>'
        f"<manifest>{listed}</manifest><spine>{order}</spine></package>"
    )


def chapter(href, *, kind="application/xhtml+xml"):
    return f'href="{href}" media-type="{kind}"'


def beside(href, *, kind="application/xhtml+xml"):
    """A book of one good chapter and of whatever `href` leads to."""
    items = {"a": chapter("one.xhtml"), "b": chapter(href, kind=kind)}
    return book(package(items, ["a", "b"]), one=f"<p>{WORDS}</p>")


def contained(path):
    return f'<container><rootfiles><rootfile full-path="{path}"/></rootfiles></container>'


def _deep_package():
    depth = 5_000
    return book("<x>" * depth + GOOD + "</x>" * depth, one=f"<p>{WORDS}</p>")


def _ids_twice():
    twice = GOOD.replace("</manifest>", f'<item id="a" {chapter("two.xhtml")}/></manifest>')
    both = twice.replace("</spine>", '<itemref idref="b"/></spine>')
    return book(both.replace('<item id="a"', '<item id="b"', 1), two=f"<p>{WORDS}</p>")


def _titled(title):
    dc = f'<dc:title xmlns:dc="http://purl.org/dc/elements/1.1/">{title}</dc:title>'
    return book(package({"a": chapter("one.xhtml")}, ["a"], metadata=dc), one=f"<p>{WORDS}</p>")


def _many_items(count):
    items = {f"n{number}": chapter(f"n{number}.xhtml") for number in range(count)}
    return book(package({**items, "a": chapter("one.xhtml")}, ["a"]), one=f"<p>{WORDS}</p>")


def _protected(member):
    said = f'<encryption><CipherReference URI="{member}"/></encryption>'
    return epub_of(ONE, extra={"META-INF/encryption.xml": said})


def chapters(*bodies):
    return epub_of({f"c{number}.xhtml": body for number, body in enumerate(bodies)})


def _latin():
    text = '<?xml version="1.0" encoding="iso-8859-1"?><html><body><p>Größe</p></body></html>'
    return text.replace("<html>", '<html><meta charset="iso-8859-1"/>').encode("latin-1")


def _random():
    return bytes((number * 7_919 + number * number * 31) % 256 for number in range(4_000))


def _attributes(count):
    attributes = " ".join(f'a{number}="1"' for number in range(count))
    return f"<p {attributes}>{WORDS}</p>"


def _many_chapters(count):
    return chapters(*(f"<p>Chapter {number}.</p>" for number in range(count)))


def _long():
    words = " ".join(f"word{number * 7_919 % 99_991}" for number in range(1_300_000))
    return chapters(f"<p>{words}</p>", f"<p>{words}</p>")


GOOD = package({"a": chapter("one.xhtml")}, ["a"])

PACKAGES = [
    ready("plain.epub", epub_of(ONE), WORDS),
    ready("spine-names-one-a-hundred-thousand-times.epub", epub_of(ONE, spine=[0] * 10**5), WORDS),
    error("spine-empty.epub", book(package({"a": chapter("one.xhtml")}, [])), BROKEN),
    error("spine-of-nobody.epub", book(package({}, ["x", "y"])), BROKEN),
    ready(
        "spine-names-nobody-too.epub",
        book(package({"a": chapter("one.xhtml")}, ["a", "nobody"]), one=f"<p>{WORDS}</p>"),
        WORDS,
        warns=UNREADABLE,
    ),
    ready("chapter-is-the-package.epub", beside("book.opf"), WORDS),
    ready("chapter-is-the-container.epub", beside("../META-INF/container.xml"), WORDS),
    ready("chapter-missing.epub", beside("two.xhtml"), WORDS, warns=UNREADABLE),
    ready("chapter-outside.epub", beside("../../../../etc/passwd"), WORDS, warns=UNREADABLE),
    ready("chapter-absolute.epub", beside("/etc/passwd"), WORDS, warns=UNREADABLE),
    ready("chapter-on-the-web.epub", beside("http://127.0.0.1/x"), WORDS, warns=UNREADABLE),
    ready("chapter-with-nul.epub", beside("two%00.xhtml"), WORDS, warns=UNREADABLE),
    ready("chapter-with-half-a-pair.epub", beside("%ED%A0%80"), WORDS, warns=UNREADABLE),
    ready("chapter-without-name.epub", beside(""), WORDS, warns=UNREADABLE),
    ready("chapter-is-a-picture.epub", beside("p.svg", kind="image/svg+xml"), WORDS),
    ready(
        "chapter-is-a-pdf.epub", beside("p.pdf", kind="application/pdf"), WORDS, warns=UNREADABLE
    ),
    ready("chapter-of-no-kind.epub", beside("two.xhtml", kind=""), WORDS, warns=UNREADABLE),
    ready("chapter-percent-encoded.epub", beside("%6Fne.xhtml"), WORDS),
    error("all-chapters-missing.epub", book(GOOD), BROKEN),
    error("container-missing.epub", zipped({"mimetype": "application/epub+zip"}), BROKEN),
    error(
        "container-to-itself.epub",
        book(GOOD, container=contained("META-INF/container.xml")),
        BROKEN,
    ),
    error("container-outside.epub", book(GOOD, container=contained("../../etc/passwd")), BROKEN),
    error("container-to-nothing.epub", book(GOOD, container="<container/>"), BROKEN),
    error("container-broken.epub", book(GOOD, container="<container>"), BROKEN),
    error("package-with-entities.epub", book(LAUGHS + GOOD), BROKEN),
    error("package-broken.epub", book(GOOD[:-4]), BROKEN),
    error("package-empty.epub", book(""), BROKEN),
    ready("package-deep.epub", _deep_package, WORDS),
    ready("ids-twice.epub", _ids_twice, WORDS, warns=UNREADABLE),
    ready("title-of-a-megabyte.epub", lambda: _titled("T" * 10**6), WORDS),
    ready("many-items.epub", lambda: _many_items(50_000), WORDS),
    error("mimetype-missing.epub", book(GOOD, mimetype="", one=WORDS), FOREIGN),
    error("mimetype-of-gigabytes.epub", lambda: book(GOOD, mimetype=" " * 64 * MIB), FOREIGN),
    error("protected.epub", lambda: _protected("OPS/one.xhtml"), FOREIGN),
    ready("fonts-scrambled.epub", lambda: _protected("OPS/font.otf"), WORDS),
    error("only-a-table-of-contents.epub", epub_of({"nav.xhtml": "<p>Contents.</p>"}), BROKEN),
]

CHAPTERS = [
    ready("chapter-in-utf-16.epub", chapters(page(f"<p>{WORDS}</p>").encode("utf-16")), WORDS),
    ready("chapter-in-latin-1.epub", lambda: chapters(_latin()), "Größe"),
    ready(
        "chapter-with-entities.epub", chapters((LAUGHS + page(f"<p>{WORDS}</p>")).encode()), WORDS
    ),
    ready("chapter-unclosed.epub", chapters(f"<p>{WORDS}<div><div><b>"), WORDS),
    ready("chapter-blank.epub", chapters("<p> </p>", f"<p>{WORDS}</p>"), WORDS),
    ready("chapter-of-no-bytes.epub", chapters(b"", f"<p>{WORDS}</p>"), WORDS),
    ready(
        "chapter-of-random-bytes.epub",
        lambda: chapters(_random(), f"<p>{WORDS}</p>"),
        WORDS,
        warns=UNREADABLE,
    ),
    ready(
        "chapter-deep.epub",
        chapters("<div>" * 400 + "Deep." + "</div>" * 400, f"<p>{WORDS}</p>"),
        WORDS,
        warns=DEEP,
    ),
    ready(
        "chapter-of-many-paragraphs.epub",
        lambda: chapters("<p>x</p>" * 50_000, f"<p>{WORDS}</p>"),
        WORDS,
    ),
    ready("chapter-of-many-attributes.epub", lambda: chapters(_attributes(3_000)), WORDS),
    ready(
        "ten-thousand-chapters-less-one.epub",
        lambda: _many_chapters(2_000),
        "Chapter 1999.",
        heavy=True,
    ),
    error("chapters-without-text.epub", chapters("<p> </p>", "<img/>"), "empty_text"),
    error("book-too-long.epub", _long, LARGE, heavy=True),
    error("chapter-bomb.epub", lambda: chapters(bytes(64 * MIB)), LARGE),
]

CASES = [*PACKAGES, *CHAPTERS]
