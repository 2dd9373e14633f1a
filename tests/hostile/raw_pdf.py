"""PDF files written object by object, so that each part of them can lie."""

FONT = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
CATALOG, PAGES, PAGE, CONTENT, FONT_AT = 1, 2, 3, 4, 5


def shown(text):
    """A content stream that shows the text."""
    return b"BT /F1 12 Tf 72 720 Td (" + text.encode("latin-1") + b") Tj ET"


def stream(data, *, said="", length=None):
    """A stream object; `length` lies about its size."""
    size = str(len(data) if length is None else length)
    head = f"<< /Length {size} {said} >>\nstream\n".encode()
    return head + data + b"\nendstream"


def page(*, content=f"{CONTENT} 0 R", more="", parent=PAGES, fonts="/F1 5 0 R"):
    return (
        f"<< /Type /Page /Parent {parent} 0 R /MediaBox [0 0 612 792] /Contents {content}"
        f" /Resources << /Font << {fonts} >> {more} >> >>"
    ).encode()


def objects(content=None, **replaced):
    """The objects of a one-page document; `replaced` maps "o3" to another third object."""
    found = {
        CATALOG: b"<< /Type /Catalog /Pages 2 0 R >>",
        PAGES: b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        PAGE: page(),
        CONTENT: stream(shown("Hostile words.") if content is None else content),
        FONT_AT: FONT,
    }
    found.update({int(name[1:]): value for name, value in replaced.items()})
    return found


def written(found, *, trailer="", head=b"%PDF-1.7\n", shift=0, startxref=None, size=None):
    """The file. `shift` moves all offsets that the table tells; `startxref` and `size` lie."""
    out = bytearray(head)
    offsets = {}
    for number, body in found.items():
        offsets[number] = len(out) + shift
        out += b"%d 0 obj\n" % number + body + b"\nendobj\n"
    at = len(out)
    last = max(found) + 1
    out += b"xref\n0 %d\n0000000000 65535 f \n" % last
    for number in range(1, last):
        used = b"n" if number in offsets else b"f"
        out += b"%010d 00000 %s \n" % (max(0, offsets.get(number, 0)), used)
    told = last if size is None else size
    where = at if startxref is None else startxref
    out += f"trailer\n<< /Size {told} /Root 1 0 R {trailer} >>\n".encode()
    return bytes(out) + b"startxref\n%d\n%%%%EOF\n" % where


def pdf(content=None, *, trailer="", **replaced):
    """A whole document of one page, with some of its objects replaced."""
    return written(objects(content, **replaced), trailer=trailer)


def xref_stream_pdf(*, widths="[1 4 2]", prev=None, index="", compressed=None):
    """A document whose table is a stream; `compressed` are objects kept in an object stream."""
    found = objects()
    out = bytearray(b"%PDF-1.7\n")
    rows = {0: (0, 0, 65535)}
    inside = compressed or {}
    for number, body in found.items():
        if number in inside:
            continue
        rows[number] = (1, len(out), 0)
        out += b"%d 0 obj\n" % number + body + b"\nendobj\n"
    if inside:
        rows[6] = (1, len(out), 0)
        out += b"6 0 obj\n" + object_stream(inside) + b"\nendobj\n"
        rows.update({number: (2, 6, at) for at, number in enumerate(inside)})
    rows[7] = (1, len(out), 0)
    table = b"".join(_row(rows.get(number, (0, 0, 0))) for number in range(8))
    previous = f"/Prev {len(out) if prev == 'self' else prev}" if prev is not None else ""
    said = f"/Type /XRef /Size 8 /W {widths} /Root 1 0 R {index} {previous}"
    at = len(out)
    out += b"7 0 obj\n" + stream(table, said=said) + b"\nendobj\n"
    return bytes(out) + b"startxref\n%d\n%%%%EOF\n" % at


def _row(entry):
    kind, second, third = entry
    return bytes([kind]) + second.to_bytes(4, "big") + third.to_bytes(2, "big")


def object_stream(inside, *, count=None, first=None, more=""):
    """Objects kept in a stream; `count` and `first` lie."""
    bodies, heads = bytearray(), []
    for number, body in inside.items():
        heads.append(f"{number} {len(bodies)}")
        bodies += body + b" "
    head = (" ".join(heads) + " ").encode()
    told = len(inside) if count is None else count
    begins = len(head) if first is None else first
    said = f"/Type /ObjStm /N {told} /First {begins} {more}"
    return stream(head + bytes(bodies), said=said)
