"""Hostile pages of PDF files: streams and filters that swell, contents that never end, fonts."""

import base64
import zlib

from cases import deflated, error, ready, zeros_deflated
from raw_pdf import objects, page, pdf, shown, stream, written

WORDS = "Hostile words."
CONTENT = shown(WORDS)
IMAGES_ONLY = "pdf_image_only"
SHORT_S = {"sandbox_timeout_s": 2.0}


def filtered(data, names):
    return pdf(o4=stream(data, said=f"/Filter [{names}]"))


def run_length(data):
    parts = [data[at : at + 128] for at in range(0, len(data), 128)]
    return b"".join(bytes([len(part) - 1]) + part for part in parts) + b"\x80"


def hexed(data, *, times):
    for _ in range(times):
        data = data.hex().encode() + b">"
    return data


def _flate_bomb(byte):
    stream_ = zlib.compressobj(9)
    parts = [stream_.compress(CONTENT + b"\n")]
    parts += [stream_.compress(byte * 1024 * 1024) for _ in range(200)]
    return filtered(b"".join(parts) + stream_.flush(), "/FlateDecode")


def _flates(times):
    return filtered(deflated(zeros_deflated(200), times=times - 1), "/FlateDecode " * times)


def _image_bomb():
    said = "/Type /XObject /Subtype /Image /Width 100000 /Height 100000 /BitsPerComponent 8"
    image = stream(zeros_deflated(20), said=f"{said} /ColorSpace /DeviceRGB /Filter /FlateDecode")
    return pdf(b"q 600 0 0 700 0 0 cm /I Do Q", o3=page(more="/XObject << /I 6 0 R >>"), o6=image)


def form(content, *, calls=""):
    said = f"/Type /XObject /Subtype /Form /BBox [0 0 612 792] /Resources << {calls}"
    return stream(content, said=said + " /Font << /F1 5 0 R >> >>")


def forms(levels, *, each):
    """Forms that call the next one several times: each ** levels in all."""
    found = objects(b"/X Do", o3=page(more="/XObject << /X 10 0 R >>"))
    for number in range(10, 10 + levels):
        calls = f"/XObject << /X {number + 1} 0 R >>"
        found[number] = form(b"/X Do " * each, calls=calls)
    found[10 + levels] = form(shown("deep"))
    return written(found)


def mapped(ranges):
    """A font whose map to Unicode is given; the page shows the codes 01 and 02."""
    cmap = (
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /X def\n"
        "1 begincodespacerange <00> <FF> endcodespacerange\n" + ranges + "\nendcmap end end"
    )
    font = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /ToUnicode 6 0 R >>"
    content = CONTENT + b" BT /F2 12 Tf 72 600 Td (A\x01\x02B) Tj ET"
    return pdf(content, o3=page(fonts="/F1 5 0 R /F2 7 0 R"), o6=stream(cmap.encode()), o7=font)


def _form_loop():
    xobject = "/XObject << /X 10 0 R >>"
    content = CONTENT + b" /X Do"
    return pdf(content, o3=page(more=xobject), o10=form(b"/X Do", calls=xobject))


def _lines(count):
    shown_lines = b"".join(b"(line %d) Tj 0 -1 Td\n" % number for number in range(count))
    return pdf(b"BT /F1 1 Tf 72 3000 Td " + shown_lines + b"ET")


def _half_empty():
    tree = b"<< /Type /Pages /Kids [3 0 R 6 0 R] /Count 2 >>"
    return pdf(o2=tree, o6=page(content="7 0 R"), o7=stream(b""))


def _half_missing():
    return pdf(o2=b"<< /Type /Pages /Kids [3 0 R 66 0 R] /Count 2 >>")


FILTERS = [
    ready("flate.pdf", filtered(deflated(CONTENT), "/FlateDecode"), WORDS),
    ready("hex.pdf", filtered(hexed(CONTENT, times=1), "/ASCIIHexDecode"), WORDS),
    ready("base85.pdf", filtered(base64.a85encode(CONTENT) + b"~>", "/ASCII85Decode"), WORDS),
    ready("run-length.pdf", filtered(run_length(CONTENT), "/RunLengthDecode"), WORDS),
    ready(
        "hex-then-flate.pdf",
        filtered(hexed(deflated(CONTENT), times=1), "/ASCIIHexDecode /FlateDecode"),
        WORDS,
    ),
    ready("flate-thrice.pdf", filtered(deflated(CONTENT, times=3), "/FlateDecode " * 3), WORDS),
    ready("unknown-filter.pdf", filtered(CONTENT, "/NobodyDecode"), WORDS),
    error("flate-that-is-none.pdf", filtered(b"\xff" * 400, "/FlateDecode"), IMAGES_ONLY),
    ready("flate-cut-off.pdf", filtered(deflated(CONTENT)[:-4], "/FlateDecode"), WORDS),
    ready("flate-of-zeros.pdf", lambda: _flate_bomb(b"\x00"), WORDS, heavy=True),
    ready("flate-of-blanks.pdf", lambda: _flate_bomb(b" "), WORDS, heavy=True),
    error("flate-of-flates.pdf", lambda: _flates(2), IMAGES_ONLY, heavy=True),
    ready("endless-filters.pdf", filtered(CONTENT, "/FlateDecode " * 5_000), WORDS),
    error("image-of-billions.pdf", _image_bomb, IMAGES_ONLY),
]

LENGTHS = [
    ready("length-too-small.pdf", pdf(o4=stream(CONTENT, length=3)), WORDS),
    ready("length-too-large.pdf", pdf(o4=stream(CONTENT, length=10**9)), WORDS),
    ready("length-negative.pdf", pdf(o4=stream(CONTENT, length=-1)), WORDS),
    ready("length-is-itself.pdf", pdf(o4=stream(CONTENT, length="4 0 R")), WORDS),
    ready("length-missing.pdf", pdf(o4=stream(CONTENT).replace(b"/Length", b"/Lenght")), WORDS),
    error("contents-missing.pdf", pdf(o3=page(content="99 0 R")), IMAGES_ONLY),
    error("contents-is-the-page.pdf", pdf(o3=page(content="3 0 R")), IMAGES_ONLY),
    ready("contents-a-thousand-times.pdf", pdf(o3=page(content=f"[{'4 0 R ' * 1_000}]")), WORDS),
]

CONTENTS = [
    ready("form-calls-itself.pdf", _form_loop, WORDS),
    ready("form-chain.pdf", lambda: forms(8, each=1), "deep"),
    error(
        "forms-call-forms.pdf",
        lambda: forms(9, each=12),
        "document_too_complex",
        limits=SHORT_S,
        heavy=True,
    ),
    ready("map-to-nul.pdf", mapped("2 beginbfchar <01> <0000> <02> <0007> endbfchar"), WORDS),
    ready("map-to-half-a-pair.pdf", mapped("1 beginbfchar <01> <D800> endbfchar"), WORDS),
    ready("map-to-delete.pdf", mapped("1 beginbfchar <01> <007F> endbfchar"), WORDS),
    ready("map-of-billions.pdf", mapped("1 beginbfrange <00> <FFFFFFFF> <0041> endbfrange"), WORDS),
    ready("map-cut-off.pdf", mapped("1 beginbfrange <00>"), WORDS),
    ready("brackets-in-contents.pdf", pdf(CONTENT + b" " + b"[" * 500_000), WORDS),
    ready("dictionaries-in-contents.pdf", pdf(CONTENT + b" " + b"<<" * 200_000), WORDS),
    ready("brackets-in-an-object.pdf", pdf(o6=b"[" * 500_000), WORDS),
    ready("dictionaries-in-an-object.pdf", pdf(o6=b"<</A" * 200_000), WORDS),
    ready("string-without-end.pdf", pdf(CONTENT + b" BT (" + b"x" * 100_000), WORDS),
    ready("saves-without-end.pdf", pdf(CONTENT + b" q" * 500_000), WORDS),
    ready("restores-without-end.pdf", pdf(CONTENT + b" Q" * 500_000), WORDS),
    ready("numbers-without-end.pdf", pdf(CONTENT + b" 1" * 1_000_000), WORDS),
    ready("text-off-the-page.pdf", pdf(CONTENT.replace(b"72 720", b"1e38 -1e38")), WORDS),
    ready("invisible-text.pdf", pdf(b"BT 3 Tr /F1 12 Tf 72 720 Td (Found by OCR.) Tj ET"), "OCR"),
    error("size-of-zero.pdf", pdf(CONTENT.replace(b"12 Tf", b"0 Tf")), IMAGES_ONLY),
    ready("font-missing.pdf", pdf(CONTENT, o3=page(fonts="/F9 5 0 R")), WORDS),
    ready("font-is-the-page.pdf", pdf(o5=page()), WORDS),
    ready("three-thousand-lines.pdf", lambda: _lines(3_000), "line 2999"),
    error("no-text.pdf", pdf(b"0 0 612 792 re f"), IMAGES_ONLY),
    error("empty-contents.pdf", pdf(b""), IMAGES_ONLY),
    ready("one-page-without-text.pdf", _half_empty, WORDS, warns=("pages_without_text",)),
    ready("one-page-missing.pdf", _half_missing, WORDS, warns=("pages_unreadable",)),
]

CASES = [*FILTERS, *LENGTHS, *CONTENTS]
