"""Hostile PDF files: structures, tables, lengths and trees that lie or never end."""

import io

from cases import error, ready
from pypdf import PdfWriter
from raw_pdf import object_stream, objects, page, pdf, shown, stream, written, xref_stream_pdf

WORDS = "Hostile words."
BROKEN = "document_broken"


def encrypted(*, user, owner):
    writer, out = PdfWriter(clone_from=io.BytesIO(pdf())), io.BytesIO()
    writer.encrypt(user, owner, algorithm="AES-256")
    writer.write(out)
    return out.getvalue()


def updated(*contents):
    """Each content is a revision behind the last one; readers must show the newest."""
    data = pdf(shown(contents[0]))
    for content in contents[1:]:
        previous = data.rindex(b"xref\n", 0, data.rindex(b"startxref"))
        at = len(data)
        data += b"4 0 obj\n" + stream(shown(content)) + b"\nendobj\n"
        table = len(data)
        data += b"xref\n4 1\n%010d 00000 n \n" % at
        data += b"trailer\n<< /Size 6 /Root 1 0 R /Prev %d >>\n" % previous
        data += b"startxref\n%d\n%%%%EOF\n" % table
    return data


def kids(count, *, told=None):
    """One page that is listed as many times as wanted."""
    listed = "3 0 R " * count
    return pdf(o2=f"<< /Type /Pages /Kids [{listed}] /Count {told or count} >>".encode())


def three(count, *, deep=False):
    """Three pages of which the tree tells so many; `deep` puts the lie one level down."""
    found = objects()
    for number, at in ((2, 6), (3, 8)):
        found[at] = page(content=f"{at + 1} 0 R")
        found[at + 1] = stream(shown(f"Page {number}."))
    told = f"<< /Type /Pages /Kids [3 0 R 6 0 R 8 0 R] /Count {count} >>".encode()
    found[10 if deep else 2] = told
    if deep:
        found[2] = f"<< /Type /Pages /Kids [10 0 R] /Count {count} >>".encode()
    return written(found)


def nested_pages(depth):
    """A page below as many levels of page trees."""
    found = objects()
    levels = range(10, 10 + depth)
    for number in levels:
        below = number + 1 if number < levels[-1] else 3
        found[number] = f"<< /Type /Pages /Kids [{below} 0 R] /Count 1 >>".encode()
    found[2] = b"<< /Type /Pages /Kids [10 0 R] /Count 1 >>"
    return written(found)


def cut(share):
    whole = pdf(shown(WORDS + " More of them." * 40))
    return whole[: int(len(whole) * share)]


def spliced(before, after):
    assert before in pdf()
    return pdf().replace(before, after)


def _prev(where):
    data = pdf()
    at = data.rindex(b"xref\n", 0, data.rindex(b"startxref"))
    told = at if where == "self" else where
    return data.replace(b"/Root 1 0 R", b"/Root 1 0 R /Prev %d" % told)


def _outline(following, *, title="Chapter"):
    told = f"/Next {following}" if following else ""
    return pdf(
        o1=b"<< /Type /Catalog /Pages 2 0 R /Outlines 7 0 R >>",
        o6=f"<< /Title ({title}) /Parent 7 0 R /Dest [3 0 R /Fit] {told} >>".encode(),
        o7=b"<< /Type /Outlines /First 6 0 R /Last 6 0 R /Count 1 >>",
    )


def _actions():
    return pdf(
        o1=b"<< /Type /Catalog /Pages 2 0 R /OpenAction 6 0 R /AA << /WC 7 0 R >> >>",
        o6=b"<< /S /JavaScript /JS (while\\(true\\){}) /Next 6 0 R >>",
        o7=b"<< /S /Launch /F (/bin/sh) >>",
    )


def _attachment():
    return pdf(
        o1=b"<< /Type /Catalog /Pages 2 0 R /Names << /EmbeddedFiles 8 0 R >> >>",
        o6=b"<< /Type /Filespec /F (../../a) /EF << /F 7 0 R >> >>",
        o7=stream(b"attached words", said="/Type /EmbeddedFile"),
        o8=b"<< /Names [(a) 6 0 R] >>",
    )


STRUCTURE = [
    ready("plain.pdf", pdf(), WORDS),
    ready("header-behind-blanks.pdf", b"\n" * 900 + pdf(), WORDS),
    ready("header-behind-junk.pdf", b"\x00\x01junk" * 20 + b"\n" + pdf(), WORDS),
    ready("no-startxref.pdf", pdf().split(b"startxref")[0], WORDS),
    ready("no-table.pdf", pdf().split(b"xref\n")[0] + b"trailer << /Root 1 0 R >>", WORDS),
    ready("startxref-beyond.pdf", written(objects(), startxref=99_999_999), WORDS),
    ready("startxref-negative.pdf", written(objects(), startxref=-1), WORDS),
    ready("startxref-into-stream.pdf", written(objects(), startxref=300), WORDS),
    ready("offsets-one-off.pdf", written(objects(), shift=1), WORDS),
    ready("offsets-far-off.pdf", written(objects(), shift=5_000), WORDS),
    ready("size-too-small.pdf", written(objects(), size=2), WORDS),
    ready("size-two-billion.pdf", written(objects(), size=2_147_483_647), WORDS),
    ready("size-negative.pdf", written(objects(), size=-5), WORDS),
    ready("prev-to-itself.pdf", lambda: _prev("self"), WORDS),
    ready("prev-beyond.pdf", lambda: _prev(10**9), WORDS),
    ready("junk-behind-the-end.pdf", pdf() + b"\x00" * 5_000, WORDS),
    ready("newest-of-three.pdf", updated("First.", "Second.", "Third."), "Third."),
    ready("xref-stream.pdf", xref_stream_pdf(), WORDS),
    ready("xref-stream-prev-to-itself.pdf", xref_stream_pdf(prev="self"), WORDS),
    ready("xref-stream-odd-widths.pdf", xref_stream_pdf(widths="[99999999 4 2]"), WORDS),
    ready("xref-stream-no-widths.pdf", xref_stream_pdf(widths="[]"), WORDS),
    ready("xref-stream-index-lies.pdf", xref_stream_pdf(index="/Index [0 99999999]"), WORDS),
    ready("catalog-missing-type.pdf", pdf(o1=b"<< /Pages 2 0 R >>"), WORDS),
    ready("name-with-nul.pdf", pdf(o6=b"<< /A#00B (x) >>"), WORDS),
    ready("html-behind.pdf", pdf() + b"<html><body><p>Not this.</p>", WORDS, hides=("Not this",)),
    ready("zip-behind.pdf", pdf() + b"PK\x03\x04" + bytes(200), WORDS),
    error("truncated-at-90.pdf", cut(0.9), BROKEN),
    error("truncated-at-10.pdf", cut(0.1), BROKEN),
    error("header-only.pdf", b"%PDF-1.7\n", BROKEN),
    error("header-and-eof.pdf", b"%PDF-1.7\n%%EOF\n", BROKEN),
    error("header-and-nul.pdf", b"%PDF-1.7\n" + bytes(50_000), BROKEN),
    error("objects-only-begun.pdf", b"%PDF-1.7\n" + b"1 0 obj << /A " * 5_000, BROKEN),
    ready("root-missing.pdf", pdf().replace(b"/Root 1 0 R", b"/Root 99 0 R"), WORDS),
]

TREES = [
    error("no-kids.pdf", pdf(o2=b"<< /Type /Pages /Kids [] /Count 0 >>"), BROKEN),
    error("kid-is-its-own-tree.pdf", pdf(o2=b"<< /Type /Pages /Kids [2 0 R] /Count 1 >>"), BROKEN),
    ready(
        "kids-loop-beside-a-page.pdf",
        pdf(o2=b"<< /Type /Pages /Kids [3 0 R 2 0 R] /Count 2 >>"),
        WORDS,
        warns=("pages_unreadable",),
    ),
    ready("parent-is-itself.pdf", pdf(o3=page(parent=3)), WORDS),
    ready("parent-missing.pdf", pdf(o3=page(parent=77)), WORDS),
    ready("deep-page-tree.pdf", nested_pages(30), WORDS),
    error("deeper-page-tree.pdf", lambda: nested_pages(20_000), BROKEN),
    ready("same-page-twice.pdf", kids(2), WORDS),
    ready("count-is-negative.pdf", kids(1, told=-1), WORDS),
    ready("count-says-one-of-three.pdf", three(1), WORDS, warns=("pages_unreadable",)),
    ready(
        "count-says-one-deeper-down.pdf", three(1, deep=True), WORDS, warns=("pages_unreadable",)
    ),
    ready("count-says-none.pdf", three(0), WORDS, "Page 3."),
    ready("count-says-more.pdf", kids(1, told=3), WORDS, warns=("pages_unreadable",)),
    ready("count-says-two-billion.pdf", kids(1, told=2_147_483_647), WORDS),
    error("more-pages-than-the-limit.pdf", lambda: kids(10_001), "document_too_large"),
    ready(
        "kids-null.pdf",
        pdf(o2=b"<< /Type /Pages /Kids [null 3 0 R] /Count 2 >>"),
        WORDS,
        warns=("pages_unreadable",),
    ),
    ready("outline-loop.pdf", lambda: _outline("6 0 R"), WORDS),
    ready("outline-into-page.pdf", lambda: _outline("3 0 R"), WORDS),
    ready("outline-title-of-a-megabyte.pdf", lambda: _outline("", title="T" * 10**6), WORDS),
    ready(
        "objects-in-a-stream.pdf",
        xref_stream_pdf(compressed={3: objects()[3], 5: objects()[5]}),
        WORDS,
    ),
    ready(
        "object-stream-extends-itself.pdf",
        pdf(o6=object_stream({8: b"<< >>"}, more="/Extends 6 0 R")),
        WORDS,
    ),
    ready("object-stream-of-billions.pdf", pdf(o6=object_stream({8: b"1"}, count=10**9)), WORDS),
    ready("object-stream-first-lies.pdf", pdf(o6=object_stream({8: b"1"}, first=10**9)), WORDS),
    ready("actions.pdf", _actions, WORDS),
    ready("attachment.pdf", _attachment, WORDS, hides=("attached",)),
]

LOCKS = [
    error("locked.pdf", encrypted(user="secret", owner="boss"), "pdf_encrypted"),
    ready("locked-for-printing.pdf", encrypted(user="", owner="boss"), WORDS),
    error(
        "unknown-lock.pdf",
        pdf(trailer="/Encrypt << /Filter /Nobody /V 99 >> /ID [<00> <00>]"),
        "pdf_encrypted",
    ),
]

CASES = [*STRUCTURE, *TREES, *LOCKS]
