"""PDF to a document, page by page: pdfium reads, pypdf is asked where pdfium gives up.

The only module that touches pypdf and pypdfium2.
"""

import io
import re
import warnings as python_warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import cast

import msgspec
import pypdfium2 as pdfium
from pypdf import PdfReader
from pypdf.errors import PyPdfError
from pypdf.generic import ArrayObject, DictionaryObject
from pypdfium2 import raw as pdfium_raw

from engine.errors import DocumentBroken, DocumentTooLarge, EmptyText, PdfEncrypted, PdfImageOnly
from engine.models import Coverage, Document, Warned
from workers.extract.canonical import Layout, canonical, paragraph_spans

_OUTLINE_ENTRIES_MAX = 10_000
_OUTLINE_LEVELS_MAX = 8
_TITLE_LINES_MAX = 4
# To look at each page with pypdf takes longer than to read all text with pdfium. A tree that tells
# of one page for each kid is believed once so many of them were looked at and told the truth.
_TREES_TESTED = 4
# A line that stops well short of the margin after a full stop ends its paragraph.
_SHORT_LINE_SHARE = 0.8
_LONG_LINE_CHARACTERS = 40
_SENTENCE_ENDS = (".", "!", "?", ":", ".”", '."', "。")
_NUMBERING = re.compile(r"(?:chapter |section |appendix )?(?:\d+|[a-z]|[ivxlc]+)(?:\.\d+)*[.):]? ")
# What pypdf's code is seen to raise on malformed files, besides its own errors.
_PYPDF_FAULTS = (
    PyPdfError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    AssertionError,
    NotImplementedError,
    RecursionError,
    OSError,
    ArithmeticError,
)


class _Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A bookmark: `page` counts from 1, `level` too."""

    title: str
    level: int
    page: int


class _Pages(msgspec.Struct, frozen=True, kw_only=True):
    """What a reader found: the text of each page (None: unreadable) and the outline in order."""

    texts: tuple[str | None, ...]
    outline: tuple[_Entry, ...]
    title: str = ""
    language: str | None = None


def read_pdf(data: bytes, *, pages_max: int, characters_max: int) -> Document:
    """The document of a PDF.

    Raises PdfEncrypted, PdfImageOnly, DocumentBroken, DocumentTooLarge (pages or characters).
    """
    pages = _read(data, pages_max=pages_max, characters_max=characters_max)
    layout = _laid_out(pages)
    total = len(pages.texts)
    with_text = sum(bool(text and text.strip()) for text in pages.texts)
    if not with_text:
        _refuse_textless(pages)
    if not layout.blocks:
        raise EmptyText("The PDF has no readable text.")
    return Document(
        title=pages.title,
        text=layout.text,
        blocks=tuple(layout.blocks),
        media_type="application/pdf",
        coverage=Coverage(
            characters=layout.characters,
            pages_total=total,
            pages_with_text=with_text,
            warnings=_page_warnings(pages),
        ),
        language=pages.language,
    )


def _refuse_textless(pages: _Pages) -> None:
    total = len(pages.texts)
    if all(text is None for text in pages.texts):
        raise DocumentBroken("None of the PDF's pages can be read.")
    noun = "page" if total == 1 else "pages"
    raise PdfImageOnly(f"The PDF has {total} {noun} but no text: it is made of images.")


def _page_warnings(pages: _Pages) -> tuple[Warned, ...]:
    found = []
    total = len(pages.texts)
    empty = sum(text is not None and not text.strip() for text in pages.texts)
    broken = sum(text is None for text in pages.texts)
    if empty:
        message = f"{empty} of {total} pages have no text; they may be images."
        found.append(Warned(code="pages_without_text", message=message))
    if broken:
        message = f"{broken} of {total} pages could not be read."
        found.append(Warned(code="pages_unreadable", message=message))
    return tuple(found)


def _read(data: bytes, *, pages_max: int, characters_max: int) -> _Pages:
    try:
        return _read_with_pdfium(data, pages_max=pages_max, characters_max=characters_max)
    except pdfium.PdfiumError as error:
        if error.err_code == pdfium_raw.FPDF_ERR_PASSWORD:
            raise PdfEncrypted("The PDF opens only with a password.") from error
        if error.err_code == pdfium_raw.FPDF_ERR_SECURITY:
            message = "The PDF is encrypted in a way that cannot be read."
            raise PdfEncrypted(message) from error
    return _read_with_pypdf(data, pages_max=pages_max, characters_max=characters_max)


def _check_pages(count: int, *, pages_max: int) -> None:
    if not count:
        raise DocumentBroken("The PDF has no pages that can be read.")
    if count > pages_max:
        raise DocumentTooLarge(f"The PDF has {count} pages; the limit is {pages_max}.")


def _bounded(texts: Iterator[str | None], *, characters_max: int) -> tuple[str | None, ...]:
    """All pages, unless their text grows over the limit on the way."""
    found: list[str | None] = []
    characters = 0
    for text in texts:
        characters += len(text or "")
        if characters > characters_max:
            raise DocumentTooLarge(f"The PDF has more than {characters_max} characters of text.")
        found.append(text)
    return tuple(found)


def _read_with_pdfium(data: bytes, *, pages_max: int, characters_max: int) -> _Pages:
    document = pdfium.PdfDocument(data)
    try:
        _check_pages(len(document), pages_max=pages_max)
        texts = _bounded(
            (_pdfium_text(document, index) for index in range(len(document))),
            characters_max=characters_max,
        )
        title = _decoded(lambda: document.get_metadata_value("Title"))
        # pdfium believes the count that the page tree tells, and says nothing of what is beyond.
        unlisted = max(0, _counted_pages(data, pages_max=pages_max) - len(texts))
        return _Pages(
            texts=(*texts, *[None] * unlisted),
            outline=tuple(_pdfium_outline(document)),
            title=title,
        )
    finally:
        document.close()


def _counted_pages(data: bytes, *, pages_max: int) -> int:
    """How many pages hang in the page tree, whatever its root tells; 0 when nobody can say."""
    count = truthful = 0
    trees: set[int] = set()
    with suppress(*_PYPDF_FAULTS):
        root = PdfReader(io.BytesIO(data), strict=False).trailer["/Root"]
        waiting = [cast("DictionaryObject", root)["/Pages"]]
        while waiting and max(count, len(trees)) <= pages_max:
            node = cast("DictionaryObject", waiting.pop().get_object())
            if "/Kids" not in node:
                count += 1
            elif id(node) not in trees:
                trees.add(id(node))
                kids = cast("ArrayObject", node["/Kids"])
                if _tells_of_pages(node) and (truthful >= _TREES_TESTED or _has_pages(node)):
                    truthful += 1
                    count += len(kids)
                else:
                    waiting.extend(kids)
    return count


def _tells_of_pages(tree: DictionaryObject) -> bool:
    return tree.get("/Count") == len(cast("ArrayObject", tree["/Kids"])) > 0


def _has_pages(tree: DictionaryObject) -> bool:
    """Whether its outer kids are pages, as in a tree of one page for each kid."""
    kids = cast("ArrayObject", tree["/Kids"])
    outer = [cast("DictionaryObject", kids[place].get_object()) for place in (0, -1)]
    return not any("/Kids" in kid for kid in outer)


def _pdfium_text(document: pdfium.PdfDocument, index: int) -> str | None:
    try:
        page = document[index]
    except pdfium.PdfiumError:
        return None
    try:
        textpage = page.get_textpage()
        text = str(textpage.get_text_range())
        textpage.close()
    except (pdfium.PdfiumError, UnicodeError):
        return None
    finally:
        page.close()
    # pdfium marks a hyphen at the end of a line with one of these, which are no characters.
    return canonical(text.replace("\x02", "-").replace("\ufffe", "-"))


def _decoded(read: Callable[[], str]) -> str:
    """pypdfium2 decodes strictly, and half a surrogate pair in a name must not cost the text."""
    try:
        return _said(read())
    except UnicodeError:
        return ""


def _pdfium_outline(document: pdfium.PdfDocument) -> Iterator[_Entry]:
    with python_warnings.catch_warnings():
        python_warnings.simplefilter("ignore")
        bookmarks = document.get_toc(max_depth=_OUTLINE_LEVELS_MAX)
        for _, bookmark in zip(range(_OUTLINE_ENTRIES_MAX), bookmarks, strict=False):
            target = bookmark.get_dest()
            index = target.get_index() if target else None
            title = _decoded(bookmark.get_title)
            if title and index is not None:
                yield _Entry(title=title, level=bookmark.level + 1, page=index + 1)


def _read_with_pypdf(data: bytes, *, pages_max: int, characters_max: int) -> _Pages:
    try:
        reader = PdfReader(io.BytesIO(data), strict=False)
        if reader.is_encrypted and not reader.decrypt(""):
            raise PdfEncrypted("The PDF opens only with a password.")
        count = len(reader.pages)
    except _PYPDF_FAULTS as error:
        raise DocumentBroken("The PDF is damaged, or no PDF at all.") from error
    _check_pages(count, pages_max=pages_max)
    texts = _bounded(
        (_pypdf_text(reader, index) for index in range(count)), characters_max=characters_max
    )
    return _Pages(texts=texts, outline=())


def _pypdf_text(reader: PdfReader, index: int) -> str | None:
    with suppress(*_PYPDF_FAULTS):
        return canonical(reader.pages[index].extract_text())
    return None


def _said(text: str | None) -> str:
    return " ".join(canonical(text or "").split())


def _laid_out(pages: _Pages) -> Layout:
    """The pages' paragraphs one below the other, the outline's headings in their places."""
    layout = Layout()
    outline = sorted(pages.outline, key=lambda entry: entry.page)
    at = 0
    for number, text in enumerate(pages.texts, start=1):
        first = at
        while at < len(outline) and outline[at].page <= number:
            at += 1
        _lay_page(layout, text or "", entries=outline[first:at], page=number)
    return layout


def _lay_page(layout: Layout, text: str, *, entries: list[_Entry], page: int) -> None:
    """Where a title stands on its page it is a heading block; else its path just applies."""
    lines = text.split("\n")
    places = _places(lines, entries=entries)
    for entry in entries:
        if entry.title not in places:
            layout.outline.enter(entry.title, level=entry.level)
    done = 0
    for entry, start, end in sorted(places.values(), key=lambda place: place[1]):
        _lay_paragraphs(layout, lines[done:start], page=page)
        shown = "\n".join(line.strip() for line in lines[start:end])
        layout.heading(entry.title, level=entry.level, shown=shown, page=page)
        done = end
    _lay_paragraphs(layout, lines[done:], page=page)


def _places(lines: list[str], *, entries: list[_Entry]) -> dict[str, tuple[_Entry, int, int]]:
    """For each title that stands on the page: its entry, its first line and the one after it."""
    wanted = {_folded(entry.title): entry for entry in reversed(entries)}
    found: dict[str, tuple[_Entry, int, int]] = {}
    number = 0
    while wanted and number < len(lines):
        taken = 1
        for count in range(1, _TITLE_LINES_MAX):
            entry = wanted.pop(_folded(" ".join(lines[number : number + count])), None)
            if entry is not None:
                found[entry.title] = (entry, number, number + count)
                taken = count
                break
        number += taken
    return found


def _folded(title: str) -> str:
    """Without case, blanks and numbering, which outline and page often write differently."""
    spaced = " ".join(title.casefold().split())
    numbering = _NUMBERING.match(spaced)
    bare = spaced[numbering.end() :] if numbering else spaced
    return bare.replace(" ", "") or spaced


def _lay_paragraphs(layout: Layout, lines: list[str], *, page: int) -> None:
    text = "\n".join(line.rstrip() for line in lines)
    margin = max((len(line) for line in lines), default=0)
    for start, end in paragraph_spans(text):
        for paragraph in _paragraphs(text[start:end].split("\n"), margin=margin):
            layout.block(paragraph, kind="paragraph", page=page)


def _paragraphs(lines: list[str], *, margin: int) -> Iterator[str]:
    """Line breaks stay as they are: a block only ends where a short line ends a sentence."""
    kept: list[str] = []
    for line in lines:
        kept.append(line)
        short = margin > _LONG_LINE_CHARACTERS and len(line) < margin * _SHORT_LINE_SHARE
        if short and line.endswith(_SENTENCE_ENDS):
            yield "\n".join(kept)
            kept = []
    if kept:
        yield "\n".join(kept)
