"""Hostile Word documents: XML that swells or never ends, parts that lie, loop or lead outside."""

from cases import error, ready
from fix_archives import CONTENT_TYPES, W, docx_of, paragraph, zipped

WORDS = "Hostile words."
GOOD = paragraph(WORDS)
BROKEN, COMPLEX, LARGE = "document_broken", "document_too_complex", "document_too_large"
LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
TYPE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def parts(document, **more):
    """A DOCX whose main part is exactly this, bytes or text."""
    files = {"[Content_Types].xml": CONTENT_TYPES, "word/document.xml": document}
    return zipped(files | {f"word/{name}.xml": content for name, content in more.items()})


def main(body, *, head="", root="w:document"):
    return f"{head}<{root} {W}><w:body>{body}</w:body></{root}>"


def package_leads(target, *, mode=""):
    """The package says that its main part is there."""
    related = f'<Relationship Id="a" Type="{TYPE}/officeDocument" Target="{target}" {mode}/>'
    return zipped(
        {
            "[Content_Types].xml": CONTENT_TYPES,
            "_rels/.rels": f"<Relationships>{related}</Relationships>",
            "word/document.xml": main(GOOD),
        }
    )


def table(rows, columns, *, cell="<w:tc><w:p/></w:tc>", last=GOOD):
    row = f"<w:tr>{cell * columns}</w:tr>"
    return f"<w:tbl>{row * rows}<w:tr><w:tc>{last}</w:tc></w:tr></w:tbl>"


def styled(*styles, body=None):
    return docx_of(body or paragraph(WORDS, '<w:pStyle w:val="a"/>'), styles="".join(styles))


def style(name, more=""):
    return f'<w:style w:type="paragraph" w:styleId="{name}"><w:name w:val="x"/>{more}</w:style>'


def _attributes(count):
    return "<w:b " + " ".join(f'a{number}="1"' for number in range(count)) + "/>"


def _nested(depth):
    opened, closed = "<w:tbl><w:tr><w:tc>", "</w:tc></w:tr></w:tbl>"
    return opened * depth + GOOD + closed * depth


def _linked(url):
    related = f'<Relationship Id="l" Type="x/hyperlink" Target="{url}" TargetMode="External"/>'
    run = f"<w:r><w:t>{WORDS}</w:t></w:r>"
    return docx_of(f'<w:p><w:hyperlink r:id="l">{run}</w:hyperlink></w:p>', rels=related)


def _run(text, *, tag="t", properties=""):
    return f"<w:r><w:rPr>{properties}</w:rPr><w:{tag}>{text}</w:{tag}></w:r>"


def padded(body):
    """A document that shrinks well, in an archive that does not: below the refused ratio."""
    document = main(body() if callable(body) else body)
    members = {"[Content_Types].xml": CONTENT_TYPES, "word/document.xml": document}
    return zipped(members | {"a": _noise()})


def _noise():
    """Bytes that do not shrink, so that the archive stays below the ratio that is refused."""
    return bytes(number * number % 251 ^ (number >> 7) % 256 for number in range(400_000))


def _backslashed(name):
    return name.replace("/", "\\") if name.startswith("word") else name


def _renamed(rename):
    files = {"[Content_Types].xml": CONTENT_TYPES, "word/document.xml": main(GOOD)}
    return zipped({rename(name): content for name, content in files.items()})


XML = [
    ready("plain.docx", docx_of(GOOD), WORDS),
    error(
        "billion-laughs.docx",
        parts(main(GOOD + "&l9;", head=f'<!DOCTYPE x [<!ENTITY l0 "ha">{LAUGHS}]>')),
        BROKEN,
    ),
    error(
        "quadratic-entity.docx",
        parts(main("&a;" * 10_000, head=f'<!DOCTYPE x [<!ENTITY a "{"a" * 10_000}">]>')),
        BROKEN,
    ),
    error(
        "entity-from-a-file.docx",
        parts(main("&a;", head='<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>')),
        BROKEN,
    ),
    error(
        "entity-from-the-web.docx",
        parts(main(GOOD, head='<!DOCTYPE x SYSTEM "http://127.0.0.1/a.dtd">')),
        BROKEN,
    ),
    error("unknown-entity.docx", parts(main("&nobody;")), BROKEN),
    error("unclosed.docx", parts(main(GOOD)[:-5]), BROKEN),
    error("two-roots.docx", parts(main(GOOD) * 2), BROKEN),
    error("no-xml.docx", parts(b"\x00\x01\x02 no xml"), BROKEN),
    error("no-bytes.docx", parts(b""), BROKEN),
    error("nul-reference.docx", docx_of(paragraph("&#0;")), BROKEN),
    error("half-a-pair-reference.docx", docx_of(paragraph("&#xD800;")), BROKEN),
    error(
        "half-a-pair-in-utf8.docx",
        parts(main(GOOD).encode().replace(b"H", b"\xed\xa0\x80")),
        BROKEN,
    ),
    error("overlong-utf8.docx", parts(main(GOOD).encode().replace(b"H", b"\xc1\x88")), BROKEN),
    ready("delete-character.docx", docx_of(paragraph("Hostile\x7f words.")), WORDS),
    ready("utf-16.docx", parts(main(GOOD).encode("utf-16")), WORDS),
    error(
        "says-utf-7.docx",
        parts(main(GOOD, head='<?xml version="1.0" encoding="utf-7"?>')),
        BROKEN,
    ),
    error(
        "says-utf-16-is-utf-8.docx",
        parts(main(GOOD, head='<?xml version="1.0" encoding="utf-16"?>')),
        BROKEN,
    ),
    ready(
        "says-latin-1.docx",
        parts(
            main(paragraph("Größe"), head='<?xml version="1.0" encoding="iso-8859-1"?>').encode(
                "latin-1"
            )
        ),
        "Größe",
    ),
    ready("byte-order-mark.docx", parts("\ufeff" + main(GOOD)), WORDS),
    ready("xinclude.docx", docx_of('<i:include xmlns:i="x" href="/etc/passwd"/>' + GOOD), WORDS),
    error("attribute-twice.docx", parts(main('<w:b w:a="1" w:a="1"/>')), BROKEN),
    ready("names-without-prefix.docx", parts(main(GOOD).replace("w:", "")), WORDS),
    ready("another-prefix.docx", parts(main(GOOD).replace("w:", "z:")), WORDS),
    ready("deep-elements.docx", docx_of("<w:sdt>" * 20_000 + GOOD + "</w:sdt>" * 20_000), WORDS),
    ready(
        "deep-paragraphs.docx",
        docx_of("<w:p>" * 20_000 + f"<w:r><w:t>{WORDS}</w:t></w:r>" + "</w:p>" * 20_000),
        WORDS,
    ),
    ready("endless-attributes.docx", lambda: docx_of(_attributes(20_000) + GOOD), WORDS),
    ready("long-attribute.docx", lambda: padded(f'<w:b w:v="{"x" * 10**7}"/>' + GOOD), WORDS),
    ready("long-name.docx", lambda: docx_of(f"<w:{'b' * 10**6}/>" + GOOD), WORDS),
    ready("long-comment.docx", lambda: padded(f"<!--{'x' * 10**7}-->" + GOOD), WORDS),
    ready("many-instructions.docx", lambda: docx_of("<?x y?>" * 300_000 + GOOD), WORDS),
]

FIELD = '<w:r><w:fldChar w:fldCharType="begin"/></w:r>'

DELETED = f"<w:p><w:del>{_run('Gone.', tag='delText')}</w:del></w:p>"

SPANNED = '<w:tcPr><w:gridSpan w:val="999999999"/></w:tcPr>' + GOOD

BODIES = [
    error("no-body.docx", parts(f"<w:document {W}/>"), "empty_text"),
    error("blank-paragraphs.docx", docx_of(paragraph(" ") * 10_000), "empty_text"),
    ready("nested-tables.docx", docx_of(_nested(3_000)), WORDS),
    ready("a-million-cells.docx", lambda: padded(table(1_000, 1_000)), WORDS, heavy=True),
    ready("wide-row.docx", docx_of(table(1, 200_000)), WORDS),
    ready("span-of-billions.docx", docx_of(table(1, 1, last=SPANNED)), WORDS),
    ready("table-without-rows.docx", docx_of(f"<w:tbl>{GOOD}</w:tbl>"), WORDS),
    ready("cell-without-table.docx", docx_of(f"<w:tc>{GOOD}</w:tc>"), WORDS),
    ready("text-beside-paragraphs.docx", docx_of(GOOD + _run("Between.")), WORDS, "Between."),
    ready("text-without-paragraph.docx", docx_of(_run(WORDS)), WORDS),
    ready("text-in-a-row.docx", docx_of(f"<w:tbl><w:tr>{GOOD}</w:tr></w:tbl>"), WORDS),
    error(
        "too-many-characters.docx", lambda: padded(paragraph("x" * 21_000_000)), LARGE, heavy=True
    ),
    error(
        "too-many-paragraphs.docx", lambda: padded(paragraph("x") * 300_001), COMPLEX, heavy=True
    ),
    ready("fields-without-end.docx", docx_of(f"<w:p>{FIELD}</w:p>" * 5_000 + GOOD), WORDS),
    ready("link-to-script.docx", _linked("javascript:alert(1)"), WORDS, hides=("javascript",)),
    ready("link-to-a-file.docx", _linked("file:///etc/passwd"), WORDS, hides=("passwd",)),
    ready(
        "hidden-run.docx",
        docx_of(GOOD + f"<w:p>{_run('Unseen.', properties='<w:vanish/>')}</w:p>"),
        WORDS,
        hides=("Unseen",),
    ),
    ready("deleted-run.docx", docx_of(GOOD + DELETED), WORDS, hides=("Gone",)),
    ready("right-to-left.docx", docx_of(paragraph("\u202eevil\u202c " + WORDS)), WORDS),
    ready(
        "another-document-inside.docx",
        docx_of(GOOD + '<w:altChunk r:id="x"/>'),
        WORDS,
        warns=("parts_unread",),
    ),
    ready(
        "sub-document.docx",
        docx_of(GOOD + '<w:subDoc r:id="x"/>'),
        WORDS,
        warns=("parts_unread",),
    ),
]

NOTE = f'<w:footnote w:id="1">{paragraph("Noted.")}</w:footnote>'

NOTED = f'<w:p>{_run(WORDS)}<w:r><w:footnoteReference w:id="1"/></w:r></w:p>'

NOTE_LOOP = f'<w:footnote w:id="1">{NOTED}</w:footnote>'

PARTS = [
    ready("style-on-itself.docx", styled(style("a", '<w:basedOn w:val="a"/>')), WORDS),
    ready(
        "styles-in-a-circle.docx",
        styled(style("a", '<w:basedOn w:val="b"/>'), style("b", '<w:basedOn w:val="a"/>')),
        WORDS,
    ),
    ready(
        "style-chain.docx",
        styled(*(style(f"a{n}", f'<w:basedOn w:val="a{n + 1}"/>') for n in range(3_000))),
        WORDS,
    ),
    ready(
        "level-of-billions.docx",
        docx_of(paragraph(WORDS, '<w:outlineLvl w:val="99999999999999999999"/>')),
        WORDS,
    ),
    ready("level-negative.docx", docx_of(paragraph(WORDS, '<w:outlineLvl w:val="-1"/>')), WORDS),
    ready(
        "list-level-of-billions.docx",
        docx_of(paragraph(WORDS, '<w:numPr><w:ilvl w:val="99999"/><w:numId w:val="1"/></w:numPr>')),
        WORDS,
    ),
    error("styles-broken.docx", styled("<w:style>"), BROKEN),
    ready("notes.docx", docx_of(NOTED, footnotes=NOTE), WORDS, "Noted."),
    ready("note-refers-to-itself.docx", docx_of(NOTED, footnotes=NOTE_LOOP), WORDS),
    ready("notes-missing.docx", docx_of(NOTED), WORDS),
    ready("main-part-elsewhere.docx", package_leads("/word/document.xml"), WORDS),
    error("main-part-missing.docx", package_leads("word/nobody.xml"), BROKEN),
    error("main-part-outside.docx", package_leads("../../../../etc/passwd"), BROKEN),
    ready(
        "main-part-on-the-web.docx",
        package_leads("http://127.0.0.1/x", mode='TargetMode="External"'),
        WORDS,
    ),
    error("main-part-is-the-package.docx", package_leads("_rels/.rels"), "empty_text"),
    ready("relations-in-a-circle.docx", package_leads("word/./../word/document.xml"), WORDS),
    ready("names-in-capitals.docx", lambda: _renamed(str.upper), WORDS),
    error("names-with-backslashes.docx", lambda: _renamed(_backslashed), "unsupported_format"),
]

CASES = [*XML, *BODIES, *PARTS]
