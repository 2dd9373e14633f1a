"""EPUB to a document: the chapters in the order of the spine, each laid out as HTML.

Tables of contents are left out. What a package may be is in EPUB 2 and 3 alike.
"""

import posixpath
from collections.abc import Iterator
from urllib.parse import unquote

import msgspec

from engine.errors import DocumentBroken, DocumentTooLarge, EmptyText, UnsupportedFormat
from engine.models import Coverage, Document, Warned
from workers.extract.archive import Archive
from workers.extract.canonical import Layout
from workers.extract.charset import decode
from workers.extract.html import lay_chapter
from workers.extract.sniff import HEAD_BYTES, Format, refuse_binary
from workers.extract.xmlstream import Element, tree

_CONTAINER = "META-INF/container.xml"
_ENCRYPTION = "META-INF/encryption.xml"
_CHAPTER_TYPES = ("application/xhtml+xml", "text/html", "text/x-oeb1-document")
_NOBODY = Element("item")


class _Package(msgspec.Struct, frozen=True, kw_only=True):
    """What the book says of itself; `chapters` are names of members."""

    title: str
    language: str | None
    chapters: tuple[str, ...]


def read_epub(archive: Archive, *, characters_max: int) -> Document:
    """The document of an EPUB archive.

    Raises DocumentBroken, DocumentTooLarge, UnsupportedFormat (protected) and EmptyText.
    """
    package = _package(archive)
    _refuse_protected(archive, package.chapters)
    layout = Layout()
    warnings = _lay_chapters(layout, archive, package.chapters, characters_max=characters_max)
    if not layout.blocks:
        raise EmptyText("The book shows no text.")
    return Document(
        title=package.title,
        text=layout.text,
        blocks=tuple(layout.blocks),
        media_type=Format.EPUB.value,
        coverage=Coverage(
            characters=layout.characters,
            tables=sum(block.kind == "table" for block in layout.blocks),
            warnings=warnings,
        ),
        language=package.language,
    )


def _lay_chapters(
    layout: Layout, archive: Archive, chapters: tuple[str, ...], *, characters_max: int
) -> tuple[Warned, ...]:
    unread = 0
    found: dict[str, Warned] = {}
    for name in chapters:
        warned = _lay_chapter(layout, archive, name)
        unread += warned is None
        found.update({each.code: each for each in warned or ()})
        if layout.characters > characters_max:
            raise DocumentTooLarge(f"The book has more than {characters_max} characters of text.")
    if unread == len(chapters):
        raise DocumentBroken("None of the book's chapters can be read.")
    if unread:
        message = f"{unread} of {len(chapters)} chapters could not be read."
        found["chapters_unreadable"] = Warned(code="chapters_unreadable", message=message)
    return tuple(found.values())


def _lay_chapter(layout: Layout, archive: Archive, name: str) -> tuple[Warned, ...] | None:
    """None for a chapter that cannot be read."""
    # A chapter stands below no heading of the one before it.
    layout.outline.enter("", level=0)
    try:
        data = archive.read(name)
    except DocumentBroken:
        return None
    try:
        refuse_binary(data[:HEAD_BYTES])
        decoded = decode(data, declared="")
        return (*decoded.warnings, *lay_chapter(layout, decoded.text))
    except (DocumentBroken, UnsupportedFormat):
        return None


def _package(archive: Archive) -> _Package:
    path = _package_path(archive)
    root = _tree(archive, path)
    folder = posixpath.dirname(path)
    return _Package(
        title=_said(root, "title"),
        language=_said(root, "language")[:35] or None,
        chapters=tuple(_chapters(root, folder=folder)),
    )


def _package_path(archive: Archive) -> str:
    for each in _tree(archive, _CONTAINER).iter("rootfile"):
        if path := each.get("full-path"):
            return posixpath.normpath(path)
    raise DocumentBroken("The book does not say where its contents are.")


def _chapters(root: Element, *, folder: str) -> Iterator[str]:
    """The spine's chapters, each once, without those that are tables of contents.

    "" for each that is no text or nowhere in the manifest: none of them may go missing in silence.
    """
    items = {each.get("id", ""): each for each in root.iter("item")}
    contents = {
        _member(each.get("href", ""), folder=folder)
        for each in root.iter("reference")
        if each.get("type") == "toc"
    }
    seen: set[str] = set()
    for each in root.iter("itemref"):
        item = items.get(each.get("idref", ""), _NOBODY)
        kind = item.get("media-type", "").lower()
        if kind not in _CHAPTER_TYPES:
            # Covers are pictures in many books, and say nothing that a reader could lose.
            if not kind.startswith("image/"):
                yield ""
            continue
        name = _member(item.get("href", ""), folder=folder)
        is_contents = "nav" in item.get("properties", "").split() or name in contents
        if name not in seen and not is_contents:
            seen.add(name)
            yield name
    if not seen:
        raise DocumentBroken("The book names no chapters.")


def _refuse_protected(archive: Archive, chapters: tuple[str, ...]) -> None:
    """Fonts are scrambled in many books, which does not matter; chapters in copy-protected ones."""
    if _ENCRYPTION not in archive:
        return
    scrambled = {
        _member(each.get("URI", ""), folder="")
        for each in _tree(archive, _ENCRYPTION).iter("CipherReference")
    }
    if scrambled.intersection(chapters):
        raise UnsupportedFormat("The book is protected against copying, so it cannot be read.")


def _member(href: str, *, folder: str) -> str:
    """The name of the member that a relative reference leads to."""
    return posixpath.normpath(posixpath.join(folder, unquote(href.partition("#")[0])))


def _said(root: Element, tag: str) -> str:
    """What the metadata says first."""
    metadata = root.find("metadata")
    said = () if metadata is None else (each.text or "" for each in metadata.iter(tag))
    return next((text.strip() for text in said if text.strip()), "")


def _tree(archive: Archive, name: str) -> Element:
    with archive.opened(name) as file:
        return tree(file)
