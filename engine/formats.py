"""What some first bytes say about a file: which kind it seems to be, and whether a reader takes it.

Here is what can be told without opening the file: the table of beginnings that the workers refuse
by as well, and the decision of a door about an upload. Not here: which reader takes a text
(workers.extract.sniff), decoding, and anything behind the first bytes.
"""

import re

HEAD_BYTES = 4_096  # of an upload, kept for this decision
ZIP_MAGIC = b"PK\x03\x04"

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (ZIP_MAGIC, "a ZIP archive"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a Microsoft Office file that is old or has a password"),
    (b"{\\rtf", "an RTF document"),
    (b"%!PS", "a PostScript document"),
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF87a", "a GIF image"),
    (b"GIF89a", "a GIF image"),
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
    (b"\x00\x00\x01\x00", "an icon"),
    (b"8BPS", "a Photoshop image"),
    (b"ID3\x02", "an MP3 recording"),
    (b"ID3\x03", "an MP3 recording"),
    (b"ID3\x04", "an MP3 recording"),
    (b"\xff\xfb", "an MP3 recording"),
    (b"OggS", "an Ogg recording"),
    (b"fLaC", "a FLAC recording"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"(\xb5/\xfd", "a Zstandard archive"),
    (b"7z\xbc\xaf'\x1c", "a 7-Zip archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\x7fELF", "a program"),
    (b"\xca\xfe\xba\xbe", "a program"),
    (b"\x00asm", "a program"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"PAR1", "a Parquet file"),
    (b"wOFF", "a font"),
    (b"wOF2", "a font"),
)
_RIFF = {b"WEBP": "a WebP image", b"WAVE": "a WAV recording", b"AVI ": "an AVI video"}
_TAR_MAGIC_AT = 257
_CONTROL_SHARE_MAX = 0.05
_CONTROLS = bytes(byte for byte in range(32) if byte not in b"\t\n\r\f\x1b")
_PDF_WITHIN_BYTES = 1_024

EPUB = "an EPUB book"
DOCX = "a Word document (DOCX)"
OPEN_DOCUMENT = "an OpenDocument file"
PLAIN_ZIP = "a ZIP archive"
# By the folder that an Office package keeps its parts in.
OFFICE_FOLDERS = {
    "word": DOCX,
    "xl": "an Excel workbook (XLSX)",
    "ppt": "a PowerPoint presentation (PPTX)",
}
_ZIP_MARKS = (
    (b"mimetypeapplication/epub+zip", EPUB),
    (b"META-INF/container.xml", EPUB),
    (b"mimetypeapplication/vnd.oasis", OPEN_DOCUMENT),
    *((f"{folder}/".encode(), name) for folder, name in OFFICE_FOLDERS.items()),
)
# The local header of a member: 22 bytes behind the magic the length of its name stands.
_ZIP_HEADER = re.compile(re.escape(ZIP_MAGIC) + rb".{22}(..)..", re.DOTALL)
# Members that a DOCX or an EPUB may well begin with, and that ordinary archives do not have.
_PACKAGE_MEMBER = re.compile(
    r"\[content_types\]\.xml|_rels/|docprops/|customxml/|mimetype\b|meta-inf/|oebps/|ops/|epub/"
    r"|[^/]*\.(?:opf|ncx)\Z",
    re.I,
)
_BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")


def foreign(head: bytes) -> str | None:
    """What a file that begins like this is, with its article, when no reader takes it; else None.

    None means that a worker decides, which sees the whole file: it may still refuse it.
    """
    if head.startswith(ZIP_MAGIC):
        return _foreign_archive(head)
    # Readers of PDF accept some bytes before its header, and its streams are full of NULs.
    if b"%PDF-" in head[:_PDF_WITHIN_BYTES]:
        return None
    if seems := magic_name(head):
        return seems
    if head.startswith(_BYTE_ORDER_MARKS) or wide_charset(head):
        return None
    return "binary data" if b"\x00" in head or is_mostly_control(head) else None


def magic_name(head: bytes) -> str:
    """What the first bytes are of, with its article, by the table; "" when it does not know."""
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return zip_name(head) if magic == ZIP_MAGIC else name
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12], "a RIFF media file")
    if head[:2] == b"\x00\x00" and head[4:8] == b"ftyp":
        return "an MP4 or HEIF media file"
    if head[_TAR_MAGIC_AT : _TAR_MAGIC_AT + 5] == b"ustar":
        return "a tar archive"
    if head[:2] == b"MZ" and b"\x00" in head:
        return "a program"
    return "a bitmap image" if head[:2] == b"BM" and b"\x00" in head[:14] else ""


def zip_name(head: bytes) -> str:
    """What an archive seems to be by the first mark that is anywhere in its first bytes."""
    return next((name for mark, name in _ZIP_MARKS if mark in head), PLAIN_ZIP)


def is_mostly_control(head: bytes) -> bool:
    """Whether more of these bytes are control characters than any text has."""
    controls = len(head) - len(head.translate(None, _CONTROLS))
    return controls > max(4, len(head) * _CONTROL_SHARE_MAX)


def wide_charset(head: bytes) -> str:
    """UTF-16 without a byte order mark, told by where its NULs stand; "" when it is not."""
    sample = head[: len(head) & ~1][:2_000]
    if len(sample) < 8:
        return ""
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    half = len(sample) // 2
    if odd > half * 0.6 and even < half * 0.05:
        return "utf-16-le"
    return "utf-16-be" if even > half * 0.6 and odd < half * 0.05 else ""


def _foreign_archive(head: bytes) -> str | None:
    """By the names of the members that begin in the head: compressed bytes may spell anything."""
    names = _member_names(head)
    folders = {name.partition("/")[0].lower() for name in names}
    if "word" in folders or b"mimetypeapplication/epub+zip" in head:
        return None
    if b"mimetypeapplication/vnd.oasis" in head:
        return OPEN_DOCUMENT
    for folder, seems in OFFICE_FOLDERS.items():
        if folder in folders:
            return seems
    is_package = any(_PACKAGE_MEMBER.match(name) for name in names)
    return None if is_package or not names else PLAIN_ZIP


def _member_names(head: bytes) -> list[str]:
    """Those that the head holds in full."""
    names = []
    for header in _ZIP_HEADER.finditer(head):
        name = head[header.end() : header.end() + int.from_bytes(header[1], "little")]
        if header.end() + int.from_bytes(header[1], "little") <= len(head):
            names.append(name.decode("utf-8", "replace"))
    return names
