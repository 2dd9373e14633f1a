"""What some bytes are: content first, then the claimed Content-Type, then the extension.

Here is the decision only; how kinds without a reader begin stands in engine.formats, decoding lives
in charset.py and reading in one module per format.
"""

import re
from collections.abc import Iterable
from enum import StrEnum
from pathlib import PurePosixPath
from urllib.parse import urlsplit

import msgspec

from engine import formats
from engine.errors import UnsupportedFormat
from workers.shapes import Fetched

HEAD_BYTES = 8_192
_PDF_WITHIN_BYTES = 1_024
_PDF_OBJECT = re.compile(rb"[\r\n][ \t]*\d{1,10} \d{1,5} obj\b")


class Format(StrEnum):
    """The readers that there are."""

    PDF = "application/pdf"
    DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
    EPUB = "application/epub+zip"
    HTML = "text/html"
    MARKDOWN = "text/markdown"
    CSV = "text/csv"
    TSV = "text/tab-separated-values"
    JSON = "application/json"
    YAML = "application/yaml"
    XML = "application/xml"
    CODE = "text/x-code"
    PLAIN = "text/plain"


_READ_ARCHIVES = (formats.EPUB, formats.DOCX)
_UNREADABLE = "The document seems to be {}, which cannot be read yet."
_CONTENT_TYPES = "[content_types].xml"

wide_charset = formats.wide_charset  # decoding follows the rule that binary data is told by

_BY_MEDIA_TYPE = {
    "text/html": Format.HTML,
    "application/xhtml+xml": Format.HTML,
    "text/markdown": Format.MARKDOWN,
    "text/x-markdown": Format.MARKDOWN,
    "text/csv": Format.CSV,
    "application/csv": Format.CSV,
    "text/tab-separated-values": Format.TSV,
    "application/json": Format.JSON,
    "text/json": Format.JSON,
    "application/x-ndjson": Format.JSON,
    "application/jsonl": Format.JSON,
    "application/yaml": Format.YAML,
    "application/x-yaml": Format.YAML,
    "text/yaml": Format.YAML,
    "application/xml": Format.XML,
    "text/xml": Format.XML,
    "application/javascript": Format.CODE,
    "text/javascript": Format.CODE,
    "application/toml": Format.CODE,
    "application/sql": Format.CODE,
    "application/x-sh": Format.CODE,
    "text/css": Format.CODE,
}
_EXTENSIONS = {
    Format.PDF: "pdf",
    Format.HTML: "html htm xhtml shtml",
    Format.MARKDOWN: "md markdown mdown mkd mkdn mdx",
    Format.CSV: "csv",
    Format.TSV: "tsv tab",
    Format.JSON: "json jsonl ndjson geojson ipynb",
    Format.YAML: "yaml yml",
    Format.XML: "xml xsd xsl xslt svg rss atom plist",
    Format.PLAIN: "txt text log rst adoc org tex srt vtt eml",
    Format.CODE: (
        "py pyi js mjs cjs ts tsx jsx java kt kts c h cc cpp cxx hpp hh cs go rs rb php pl pm lua r"
        " jl scala swift m mm sh bash zsh fish ps1 bat cmd sql css scss sass less toml ini cfg conf"
        " env properties gradle groovy dart ex exs erl hrl hs clj cljs edn lisp el vim proto thrift"
        " graphql tf hcl nix cmake mk dockerfile makefile vue svelte asm s f90 pas diff patch"
    ),
}
_BY_EXTENSION = {name: kind for kind, names in _EXTENSIONS.items() for name in names.split()}

# A page says so itself within its first tag; a fragment only hints, because Markdown may begin
# with `<div align="center">` as well.
_HTML_PAGE = re.compile(r"<(?:!doctype\s+html|html|head|body)\b", re.I)
_HTML_FRAGMENT = re.compile(
    r"<(?:title|meta|link|script|style|div|p|h[1-6]|table|ul|ol|a|span|article|main"
    r"|section|header|nav|br|b|img|iframe|font)\b[^<>]*>",
    re.I,
)
_ANY_TAG = re.compile(r"<[a-z!/][^<>]*>", re.I)
_NOT_BLANK = re.compile(r"[^\ufeff \t\r\n]")
_XML_LEAD = re.compile(r"\A\s*<\?xml\b", re.I)
_MARKDOWN_SIGNS = (
    re.compile(r"^#{1,6}[ \t]+\S", re.M),
    re.compile(r"\[[^\]\n]{1,200}\]\([^)\s]{1,500}\)"),
    re.compile(r"^(?:```|~~~)", re.M),
    re.compile(r"^[ ]{0,3}[-*+][ \t]+\S", re.M),
    re.compile(r"^[ ]{0,3}(?:=|-){3,}[ \t]*$", re.M),
)


def is_pdf(head: bytes) -> bool:
    """Readers accept some bytes before the header, so this does; but prose may name it."""
    at = head[:_PDF_WITHIN_BYTES].find(b"%PDF-")
    if at < 0:
        return False
    return not head[:at].strip() or _PDF_OBJECT.search(head, at) is not None


def archive_format(names: Iterable[str], *, mimetype: bytes) -> Format:
    """What an archive with these members is; `mimetype` is the content of the one of that name.

    Raises UnsupportedFormat, naming what the archive seems to be, unless there is a reader.
    """
    folders = {name.lower().partition("/")[0] for name in names}
    if mimetype.strip() == Format.EPUB.value.encode():
        return Format.EPUB
    if _CONTENT_TYPES in folders and "word" in folders:
        return Format.DOCX
    if mimetype.startswith(b"application/vnd.oasis.opendocument"):
        seems = formats.OPEN_DOCUMENT
    elif _CONTENT_TYPES in folders:
        known = (name for folder, name in formats.OFFICE_FOLDERS.items() if folder in folders)
        seems = next(known, formats.PLAIN_ZIP)
    else:
        seems = formats.PLAIN_ZIP
    raise UnsupportedFormat(_UNREADABLE.format(seems))


def refuse_archive(head: bytes) -> None:
    """For an archive that cannot be opened. Raises UnsupportedFormat unless there is a reader."""
    seems = formats.zip_name(head)
    if seems not in _READ_ARCHIVES:
        raise UnsupportedFormat(_UNREADABLE.format(seems))


def refuse_binary(head: bytes, *, wide_claimed: bool = False) -> None:
    """Raises UnsupportedFormat, naming what the first bytes seem to be, unless they are text.

    `wide_claimed`: they decode as the UTF-16 or UTF-32 that they claim, full of control bytes.
    """
    if seems := formats.magic_name(head):
        raise UnsupportedFormat(_UNREADABLE.format(seems))
    if not head or wide_claimed or _wide_text(head):
        return
    if formats.is_mostly_control(head):
        raise UnsupportedFormat("The document seems to be binary data, which has no text.")


def _wide_text(head: bytes) -> bool:
    return head.startswith((b"\xff\xfe", b"\xfe\xff")) or wide_charset(head) != ""


def text_format(text: str, *, fetched: Fetched) -> Format:
    """The format of decoded text, told by what follows its blanks and comments."""
    lead = _lead_end(text)
    head = text[lead : lead + HEAD_BYTES]
    if _HTML_PAGE.match(head):
        return Format.HTML
    for kind in (_claimed(fetched.media_type), _BY_EXTENSION.get(extension(fetched))):
        if kind is Format.HTML and not _ANY_TAG.search(head):
            continue
        if kind not in (None, Format.PDF):
            return kind
    return _guessed(head, whole=text)


def _lead_end(text: str) -> int:
    """Where the blanks, comments and XML declaration before the first tag end.

    By position, because templates leave kilobytes there and cutting copies would be quadratic.
    """
    at = 0
    while found := _NOT_BLANK.search(text, at):
        at = found.start()
        if text.startswith("<!--", at):
            closing = "-->"
        elif text[at : at + 5].lower() == "<?xml":
            closing = ">"
        else:
            return at
        end = text.find(closing, at)
        if end < 0:
            break
        at = end + len(closing)
    return len(text)


def _claimed(media_type: str) -> Format | None:
    if kind := _BY_MEDIA_TYPE.get(media_type):
        return kind
    if media_type.endswith("+json"):
        return Format.JSON
    if media_type.endswith("+xml"):
        return Format.XML
    if media_type.startswith("text/x-"):
        return Format.CODE
    # text/plain is what a server says of anything that it does not know: a hint at most.
    return None


def _guessed(head: str, *, whole: str) -> Format:
    if _XML_LEAD.match(whole):
        return Format.XML
    if _HTML_FRAGMENT.match(head):
        return Format.HTML
    if head[:1] in ("{", "[") and _decodes_as_json(head):
        return Format.JSON
    signs = sum(sign.search(head) is not None for sign in _MARKDOWN_SIGNS)
    return Format.MARKDOWN if signs >= 2 else Format.PLAIN


def _decodes_as_json(head: str) -> bool:
    try:
        msgspec.json.decode(head.encode("utf-8", "replace"))
    except msgspec.DecodeError as error:
        return "truncated" in str(error)
    except RecursionError:
        return True
    return True


def extension(fetched: Fetched) -> str:
    """In lower case, without the dot; of the file's name, else of the final URL's path."""
    for name in (fetched.filename, urlsplit(fetched.final_url).path):
        last = PurePosixPath(name)
        if last.suffix:
            return last.suffix[1:].lower()
        if last.name.lower() in ("dockerfile", "makefile"):
            return last.name.lower()
    return ""
