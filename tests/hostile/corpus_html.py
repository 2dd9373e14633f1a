"""Hostile pages: trees without end, tags that swell, text where no text belongs."""

from cases import MIB, error, ready

WORDS = "Hostile words are in this paragraph."
P = f"<p>{WORDS}</p>"
DEEP = ("html_nested_too_deep",)
COMPLEX, EMPTY = "document_too_complex", "empty_text"
SHORT = {"sandbox_timeout_s": 2.0}
# What takes a second or two, and took minutes.
BRIEF = {"sandbox_timeout_s": 20.0}


def html(body, *, head=""):
    return f"<!DOCTYPE html><html><head><title>T</title>{head}</head><body>{body}</body></html>"


def attributes(count):
    return " ".join(f"a{number}=1" for number in range(count))


def cells(rows, columns):
    return f"<table>{('<tr>' + '<td>x' * columns) * rows}<tr><td>{WORDS}</table>"


def spanning(rows, columns):
    cell = '<td rowspan="100" colspan="100">x'
    return f"<table>{('<tr>' + cell * columns) * rows}<tr><td>{WORDS}</table>"


def nested(tag, depth, *, inside=P):
    return f"<{tag}>" * depth + inside + f"</{tag}>" * depth


def _noisy_then_deep():
    return html(P + "</x>" * 300_000 + nested("div", 300, inside="x"))


def _line(mebibytes):
    return "Hostile words " * (mebibytes * MIB // 14)


def _listing():
    lines = "a line of it\n" * 900_000
    return html(f"<pre>{lines}the end.</pre>{P}")


TREES = [
    ready("plain.html", html(P), WORDS),
    ready("deep-divs-after.html", html(P + nested("div", 300, inside="x")), WORDS, warns=DEEP),
    error("all-too-deep.html", html(nested("div", 300)), EMPTY),
    ready("deeper-divs.html", html(P + nested("div", 50_000, inside="x")), WORDS, warns=DEEP),
    ready("deep-inline.html", html(P + nested("b", 300, inside="x")), WORDS, warns=DEEP),
    ready(
        "deep-behind-a-million-errors.html",
        _noisy_then_deep,
        WORDS,
        warns=DEEP,
        heavy=True,
    ),
    ready("deep-lists.html", html(P + "<ul><li>x" * 100), WORDS),
    ready("nested-tables.html", html(nested("table><tr><td", 50, inside=P)), WORDS),
    ready("nested-quotes.html", html(nested("blockquote", 200)), WORDS),
    ready("unclosed-everything.html", "<html><body><div><p><b><i><table><tr><td>" + WORDS, WORDS),
    ready("closed-too-often.html", html("</div>" * 100_000 + P), WORDS),
    ready("only-closing.html", "</html></body>" + P, WORDS),
    ready("bodies.html", "<html>" + f"<body>{P}" * 50, WORDS),
    ready(
        "text-behind-the-end.html",
        html(P) + "<p>And some more words behind it.</p>",
        WORDS,
        "behind it",
    ),
    ready(
        "text-behind-the-body.html",
        html(P).replace("</html>", "<p>Behind.</p></html>"),
        WORDS,
        "Behind.",
    ),
    ready(
        "two-pages-in-one.html", html(P) + html("<p>And the second page.</p>"), WORDS, "second page"
    ),
    ready("a-million-cells.html", lambda: html(cells(1_000, 1_000)), WORDS, heavy=True),
    ready("wide-row.html", lambda: html(cells(1, 2_000)), WORDS),
    ready("wider-row.html", lambda: html(cells(1, 100_000)), WORDS, limits=BRIEF, heavy=True),
    ready("wide-spans.html", lambda: html(spanning(1, 10_000)), WORDS, limits=BRIEF),
    ready("spans-down-and-across.html", lambda: html(spanning(200, 50)), WORDS, limits=BRIEF),
    ready(
        "cells-without-rows.html",
        lambda: html(P + "<table>" + "<td>x" * 30_000 + "<td>The last cell.</table>"),
        WORDS,
        "The last cell.",
        limits=BRIEF,
    ),
    ready(
        "wide-row-with-caption.html",
        lambda: html(cells(1, 20_000).replace("<table>", "<table><caption>What it is.</caption>")),
        WORDS,
        "What it is.",
    ),
    ready(
        "span-of-billions.html", html(f'<table><tr><td colspan="999999999">{WORDS}</table>'), WORDS
    ),
    ready("many-breaks.html", lambda: html(P + "<br>" * 30_000), WORDS, heavy=True),
    ready("many-links.html", lambda: html(P + '<a href="x">y</a> ' * 10_000), WORDS, heavy=True),
    ready("many-tag-names.html", lambda: html(P + "".join(f"<t{n}>" for n in range(200))), WORDS),
    error(
        "too-many-paragraphs.html",
        lambda: html("<h2>t</h2><p>x</p>" * 160_000),
        COMPLEX,
        heavy=True,
    ),
    error(
        "endless-attributes.html",
        lambda: html(f"<p {attributes(300_000)}>{WORDS}"),
        COMPLEX,
        limits=SHORT,
        heavy=True,
    ),
    ready("many-attributes.html", lambda: html(f"<p {attributes(5_000)}>{WORDS}"), WORDS),
    ready("long-attribute.html", lambda: html(f'<p title="{"x" * 5_000_000}">{WORDS}'), WORDS),
    ready(
        "longer-attribute.html",
        lambda: html(P + f'<p title="{"x" * 11_000_000}">After it.'),
        WORDS,
        "After it",
    ),
    ready("long-tag-name.html", lambda: html(P + f"<{'x' * 1_000_000}>After it."), WORDS, "After"),
    ready("long-comment.html", lambda: html(f"<!--{'x' * 11_000_000}-->{P}"), WORDS),
    ready("unclosed-comment.html", html(P + "<!-- " + "x" * 10_000), WORDS),
    ready("unclosed-tag.html", html(P) + "<p " + "x" * 10_000, WORDS),
    ready("unclosed-attribute.html", html(P) + '<p a="' + "x" * 10_000, WORDS),
    ready("unclosed-script.html", html(P) + "<script>" + "x" * 10_000, WORDS, hides=("xxx",)),
    ready("unclosed-title.html", "<html><body>" + P + "<title>x", WORDS),
]

TEXTS = [
    error("one-line-of-fifty-megabytes.html", lambda: html(_line(50)), COMPLEX, heavy=True),
    ready(
        "text-of-eleven-megabytes.html",
        lambda: html(f"<p>{_line(11)} the end.</p>{P}"),
        "the end.",
        WORDS,
        heavy=True,
    ),
    ready("preformatted-eleven-megabytes.html", _listing, "the end.", WORDS, heavy=True),
    ready("one-word-of-a-megabyte.html", lambda: html("x" * 1_000_000 + P), WORDS),
    ready(
        "numeric-references.html", html(P + "<p>A&#0;B&#xD800;C&#x110000;D&#99999999999;E."), WORDS
    ),
    ready("delete-and-bell.html", html(P + "<p>one\x7ftwo\x07three."), "onetwothree"),
    ready(
        "entity-laughs.html",
        f'<!DOCTYPE html [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><html><body><p>&b;{WORDS}',
        WORDS,
    ),
    ready(
        "external-entity.html",
        f'<!DOCTYPE html [<!ENTITY a SYSTEM "file:///etc/passwd">]><html><body><p>&a; {WORDS}',
        WORDS,
        hides=("root:",),
    ),
    ready(
        "xinclude.html",
        html(P + '<xi:include href="file:///etc/passwd" parse="text"/>'),
        WORDS,
        hides=("root:",),
    ),
    ready(
        "base-is-script.html",
        html(P + '<p><a href="x">Some link</a> here.', head='<base href="javascript:alert(1)//">'),
        WORDS,
        hides=("javascript",),
    ),
    ready("base-is-no-url.html", html(P, head='<base href="http://[::1">'), WORDS),
    ready(
        "script-link.html",
        html(P + '<p>See <a href=" JaVaScRiPt:x()">this one</a>.'),
        WORDS,
        hides=("JaVa",),
    ),
    ready(
        "data-link.html",
        html(P + '<p>See <a href="data:text/html,x">this one</a>.'),
        WORDS,
        hides=("data:",),
    ),
    ready(
        "refresh.html",
        html(P, head='<meta http-equiv="refresh" content="0;url=http://[::1]">'),
        WORDS,
    ),
    ready("cdata.html", html(f"<![CDATA[ x ]]>{P}"), WORDS),
    ready("instructions.html", html("<?php while(1); ?>" + P), WORDS),
    ready("conditional-comments.html", html(f"<!--[if IE]>no<![endif]-->{P}"), WORDS),
    ready("plaintext.html", html(P + "<plaintext>" + P * 3), WORDS),
    ready(
        "template.html", html(P + "<template><p>Unseen.</p></template>"), WORDS, hides=("Unseen",)
    ),
    ready("drawing.html", html(P + "<svg>" + "<g>" * 100 + "</g>" * 100 + "</svg>"), WORDS),
    ready("title-of-a-megabyte.html", html(P).replace("T<", "T" * 1_000_000 + "<"), WORDS),
    ready("nul-everywhere.html", html(P).replace("w", "\x00w"), WORDS),
    ready(
        "half-a-pair.html",
        html(P).encode().replace(b"<p>", b"<p>\xed\xa0\x80"),
        WORDS,
        warns=("charset_guessed",),
    ),
    ready("zip-behind.html", html(P).encode() + b"PK\x03\x04", WORDS),
    ready("called-pdf.pdf", html(P), WORDS),
    error("frames.html", "<html><frameset><frame src=x></frameset></html>", EMPTY),
    error("only-script.html", html("<script>document.write('x')</script>"), EMPTY),
    error("only-pictures.html", html("<img src=x>" * 1_000), EMPTY),
    error("nothing-inside.html", "<html></html>", EMPTY),
    error("only-a-doctype.html", "<!DOCTYPE html>", "document_broken"),
    error("only-a-comment.html", "<html><!-- nothing --></html>", EMPTY),
]

CASES = [*TREES, *TEXTS]
