"""The sandboxed half of extraction: bytes in, a document out. Runs in the child, never outside.

It dispatches on what the bytes are and holds what all formats share: limits, empty texts, titles.
"""

from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

import msgspec

from engine.config import Limits
from engine.errors import DocumentBroken, DocumentTooComplex, DocumentTooLarge, EmptyText
from engine.models import Block, Coverage, Document
from engine.text import clean_line
from workers.extract import html
from workers.extract.archive import Archive, is_archive
from workers.extract.canonical import canonical
from workers.extract.charset import Decoded, claimed_wide, decode
from workers.extract.docx import read_docx
from workers.extract.epub import read_epub
from workers.extract.markdown import markdown_blocks, markdown_title
from workers.extract.pdf import read_pdf
from workers.extract.sniff import (
    HEAD_BYTES,
    Format,
    archive_format,
    is_pdf,
    refuse_archive,
    refuse_binary,
    text_format,
)
from workers.extract.text import text_blocks
from workers.shapes import Fetched

# Millions of one-letter paragraphs fit in a small file, and each block costs far more than that.
_BLOCKS_MAX = 300_000


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What the child is told about the bytes that it reads from its open file."""

    fetched: Fetched
    limits: Limits


# Headings, a table, a list and a link, so that every reader of text is met.
_PAGE = (
    b"<!DOCTYPE html><html lang=en><head><title>A page</title></head><body><h1>A page</h1>"
    + b"<p>Some <b>words</b> and a <a href=/more>link</a> to more of them, said again.</p>" * 20
    + b"<ul><li>one</li><li>two</li></ul><table><tr><th>a</th></tr><tr><td>1</td></tr></table>"
    + b"<pre><code>x = 1</code></pre></body></html>"
)
_MARKDOWN = b"# A page\n\nSome *words*.\n\n- one\n- two\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"


def warm_up() -> None:
    """Read pages of our own, in the process that children are forked from.

    What the libraries load and compile at first use took a quarter of a child's time on a page.
    """
    html.warm_up()
    for name, data in (("page.html", _PAGE), ("page.md", _MARKDOWN), ("page.txt", b"A page.\n")):
        fetched = Fetched(path=Path(name), byte_count=len(data), sha256=b"", filename=name)
        document_of(data, fetched=fetched, limits=Limits())


def parse(file: BinaryIO, task: bytes) -> bytes:
    """The document, msgpack-encoded. Raises the extract leaves of PermanentError."""
    told = msgspec.msgpack.decode(task, type=Task, dec_hook=lambda kind, value: kind(value))
    document = document_of(file.read(), fetched=told.fetched, limits=told.limits)
    return msgspec.msgpack.encode(document)


def document_of(data: bytes, *, fetched: Fetched, limits: Limits) -> Document:
    """The document that the bytes are, whatever their format."""
    head = data[:HEAD_BYTES]
    # An archive first: a PDF may lie in one, within the first bytes.
    if is_archive(head):
        document = _archived_document(data, limits=limits)
    elif is_pdf(head):
        document = read_pdf(
            data,
            pages_max=limits.document_pages_max,
            characters_max=limits.document_characters_max,
        )
    else:
        document = _text_document(data, fetched=fetched, limits=limits)
    _check_characters(document.coverage.characters, limits=limits)
    if len(document.blocks) > _BLOCKS_MAX:
        raise DocumentTooComplex(
            f"The document has {len(document.blocks)} paragraphs, tables and headings;"
            f" the limit is {_BLOCKS_MAX}."
        )
    titles = (document.title, _name_of(fetched), "untitled")
    lines = (clean_line(canonical(each), limit=limits.name_characters_max) for each in titles)
    return msgspec.structs.replace(document, title=next(filter(None, lines)))


def _archived_document(data: bytes, *, limits: Limits) -> Document:
    try:
        archive = Archive(data, limits=limits)
    except DocumentBroken:
        refuse_archive(data[:HEAD_BYTES])
        raise
    mimetype = archive.read("mimetype") if "mimetype" in archive else b""
    kind = archive_format(archive.names, mimetype=mimetype)
    read = read_epub if kind is Format.EPUB else read_docx
    return read(archive, characters_max=limits.document_characters_max)


def _text_document(data: bytes, *, fetched: Fetched, limits: Limits) -> Document:
    wide = claimed_wide(data, declared=fetched.charset)
    refuse_binary(data[:HEAD_BYTES], wide_claimed=wide != "")
    decoded = decode(data, declared=fetched.charset)
    kind = text_format(decoded.text, fetched=fetched)
    if kind is Format.HTML:
        return html.read_html(decoded.text, base_url=fetched.final_url, warnings=decoded.warnings)
    _check_characters(len(decoded.text), limits=limits)
    return _kept(decoded, kind=kind)


def _kept(decoded: Decoded, *, kind: Format) -> Document:
    """A text whose source is its canonical text."""
    text = canonical(decoded.text)
    if not text.strip():
        raise EmptyText("The document is empty, or only blank.")
    is_markdown = kind is Format.MARKDOWN
    blocks = markdown_blocks(text) if is_markdown else text_blocks(text, kind=kind)
    return Document(
        title=markdown_title(blocks, text=text) if is_markdown else "",
        text=text,
        blocks=blocks,
        media_type=kind.value,
        coverage=_coverage(text, blocks=blocks, decoded=decoded),
    )


def _coverage(text: str, *, blocks: tuple[Block, ...], decoded: Decoded) -> Coverage:
    tables = sum(block.kind == "table" for block in blocks)
    return Coverage(characters=len(text), tables=tables, warnings=decoded.warnings)


def _check_characters(count: int, *, limits: Limits) -> None:
    if count > limits.document_characters_max:
        raise DocumentTooLarge(
            f"The document has {count} characters of text;"
            f" the limit is {limits.document_characters_max}."
        )


def _name_of(fetched: Fetched) -> str:
    """What a document without a title of its own is called."""
    url = urlsplit(fetched.final_url)
    stems = (PurePosixPath(name).stem for name in (fetched.filename, unquote(url.path)))
    return next((name for name in (*stems, url.hostname) if name), "")
