"""Archives that swell, nest or lie, in the shape of Word documents and of nothing at all."""

import bz2
import lzma
import zlib

from cases import MIB, error, ready, zeros_deflated
from corpus_docx import GOOD, WORDS, main
from fix_archives import CONTENT_TYPES, zipped
from msgspec.structs import replace
from raw_zip import Member, archive

BROKEN, LARGE, FOREIGN = "document_broken", "document_too_large", "unsupported_format"
TYPES = Member(name="[Content_Types].xml", data=CONTENT_TYPES.encode())
DOCUMENT = Member(name="word/document.xml", data=main(GOOD).encode())


def lying(**lies):
    """A Word document whose main part is told of wrongly."""
    return archive(TYPES, replace(DOCUMENT, **lies))


def bare_deflate(mebibytes):
    """A raw deflate stream of so many MiB of blanks."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = b" " * MIB
    return b"".join(stream.compress(block) for _ in range(mebibytes)) + stream.flush()


def _commented():
    return archive(TYPES, DOCUMENT, comment=b"PK\x05\x06 is no end")


def _twice():
    """Readers differ in which one they take, so neither may be taken in silence."""
    return archive(TYPES, DOCUMENT, replace(DOCUMENT, data=main("<w:p/>").encode()))


def _with(name):
    return archive(TYPES, DOCUMENT, Member(name=name, data=b"evil"))


def _inflated(mebibytes, *, told=None):
    size = mebibytes * MIB if told is None else told
    packed = bare_deflate(mebibytes)
    return archive(TYPES, Member(name=DOCUMENT.name, data=b"", packed=packed, size=size, crc=0))


def _many(count):
    packed = bare_deflate(1)
    parts = (
        Member(name=f"word/p{number}", data=b"", packed=packed, size=MIB, crc=0)
        for number in range(count)
    )
    return archive(TYPES, DOCUMENT, *parts)


def _overlapping(count):
    """Entries that all point at one member: the directory multiplies what the file holds."""
    entries = (
        Member(name=f"w{number}", data=b"", packed=b"", size=MIB, crc=0, offset=0)
        for number in range(count)
    )
    return archive(TYPES, DOCUMENT, *entries)


def _members(count):
    return zipped({f"word/{number}": b"" for number in range(count)})


def _nested(depth):
    data = zipped({"a.txt": bytes(MIB)})
    for number in range(depth):
        data = zipped(
            {f"{number}-{copy}.zip": data for copy in range(2)}
            if number < 4
            else {f"{number}.zip": data}
        )
    return data


LIES = [
    ready("written-by-hand.docx", archive(TYPES, DOCUMENT), WORDS),
    error("crc-wrong.docx", lying(crc=1), BROKEN),
    error("says-smaller.docx", lying(size=20), BROKEN),
    error("says-empty.docx", lying(size=0), BROKEN),
    ready("says-larger.docx", lying(size=1_000_000), WORDS),
    error("says-four-gigabytes.docx", lying(size=0xFFFFFFFE), LARGE),
    error("packed-says-smaller.docx", lying(packed_size=10), BROKEN),
    ready("packed-says-larger.docx", lying(packed_size=10**8), WORDS),
    error("offset-beyond.docx", lying(offset=10**9), BROKEN),
    error("offset-into-another.docx", lying(offset=0), BROKEN),
    error("offset-into-nothing.docx", lying(offset=7), BROKEN),
    error("another-name-inside.docx", lying(local_name="word/settings.xm"), BROKEN),
    error("encrypted.docx", lying(flags=1), FOREIGN),
    error("strongly-encrypted.docx", lying(flags=0x41), FOREIGN),
    error("patched.docx", lying(flags=0x20), BROKEN),
    error("method-nobody-knows.docx", lying(method=77), FOREIGN),
    error("method-deflate64.docx", lying(method=9), FOREIGN),
    error("method-bzip2.docx", lying(method=12, packed=bz2.compress(DOCUMENT.data)), FOREIGN),
    error("method-lzma.docx", lying(method=14, packed=lzma.compress(DOCUMENT.data)), FOREIGN),
    error("method-zstandard.docx", lying(method=93), FOREIGN),
    error("deflate-that-is-none.docx", lying(packed=b"\xff" * 50), BROKEN),
    error("deflate-cut-off.docx", lying(packed=b"\x4b\x4c"), BROKEN),
    error("count-too-large.docx", archive(TYPES, DOCUMENT, count=60_000, directory_size=9), BROKEN),
    error("directory-beyond.docx", archive(TYPES, DOCUMENT, directory_offset=10**9), BROKEN),
    error("directory-of-nothing.docx", archive(TYPES, DOCUMENT, directory_size=0), FOREIGN),
    error("zip64-extra-lies.docx", lying(size=0xFFFFFFFF, extra=b"\x01\x00\x02\x00ab"), BROKEN),
    error("extra-cut-off.docx", lying(size=0xFFFFFFFF, extra=b"\x01\x00\xff\xff"), BROKEN),
    error("end-record-in-the-comment.docx", _commented, BROKEN),
    error("end-record-missing.docx", archive(TYPES, DOCUMENT)[:-22], BROKEN),
    error("only-the-first-half.docx", archive(TYPES, DOCUMENT)[:200], FOREIGN),
    error("only-a-magic.docx", b"PK\x03\x04", FOREIGN),
    error("only-an-end-record.docx", archive(), FOREIGN),
    error("main-part-twice.docx", _twice, BROKEN),
    ready("names-outside.docx", lambda: _with("../../../../tmp/evil"), WORDS),
    ready("name-absolute.docx", lambda: _with("/etc/passwd"), WORDS),
    ready("name-with-nul.docx", lambda: _with("a\x00b"), WORDS),
    ready("name-of-sixty-thousand.docx", lambda: _with("n" * 60_000), WORDS),
]

BOMBS = [
    error("ratio.docx", lambda: zipped({"word/document.xml": bytes(64 * MIB)}), LARGE),
    error("three-hundred-megabytes.docx", lambda: _inflated(300), LARGE),
    error("says-little-holds-much.docx", lambda: _inflated(300, told=1_000), BROKEN),
    error("many-of-one-megabyte.docx", lambda: _many(400), LARGE),
    error("overlapping-members.docx", lambda: _overlapping(3_000), LARGE),
    error("more-members-than-the-limit.docx", lambda: _members(10_001), LARGE),
    error("nested.zip", lambda: _nested(20), FOREIGN),
    error("plain.zip", zipped({"a.txt": "words"}), FOREIGN),
    error("zip-called-pdf.pdf", zipped({"a.txt": "words"}), FOREIGN),
    error("zip-called-text.txt", zipped({"a.txt": "words"}), FOREIGN),
    error("sheet.xlsx", zipped({"[Content_Types].xml": "x", "xl/workbook.xml": "x"}), FOREIGN),
    error("slides.pptx", zipped({"[Content_Types].xml": "x", "ppt/p.xml": "x"}), FOREIGN),
    error(
        "text.odt",
        zipped({"mimetype": "application/vnd.oasis.opendocument.text", "content.xml": "x"}),
        FOREIGN,
    ),
    error("program.jar", zipped({"META-INF/MANIFEST.MF": "x", "A.class": "x"}), FOREIGN),
    error("zeros.gz", lambda: b"\x1f\x8b\x08\x00" + zeros_deflated(10), FOREIGN),
    error("zeros.bz2", lambda: bz2.compress(bytes(10 * MIB)), FOREIGN),
    error("zeros.xz", lambda: lzma.compress(bytes(10 * MIB)), FOREIGN),
]

CASES = [*LIES, *BOMBS]
