"""DOCX to a document: headings, paragraphs, lists, tables, links, and the notes at the end.

The text is read as a stream, element by element, because a tree of it takes a hundred times the
memory of the file (docs/decisions/0007-office-formats.md). Headers, footers, comments, deleted
and hidden text and tables of contents are left out.
"""

import re
from collections.abc import Callable

from engine.errors import DocumentTooLarge, EmptyText
from engine.models import Coverage, Document, Warned
from workers.extract import docx_parts as parts
from workers.extract.archive import Archive
from workers.extract.canonical import BEFORE_TITLE_MAX, Layout
from workers.extract.docx_parts import ListLevel, Numbering, Related, Style, is_on, number
from workers.extract.docx_table import Table
from workers.extract.markup import linked, squeezed, tidy
from workers.extract.sniff import Format
from workers.extract.xmlstream import attribute, local, stream

# Old properties of tracked changes, text that was moved away, and second copies of drawings.
_SKIPPED = frozenset(
    {"del", "moveFrom", "Fallback", "rPrChange", "pPrChange", "tblPrChange", "trPrChange"}
    | {"tcPrChange", "numberingChange", "sectPr"}
)
_CONTENTS = re.compile(r"toc (?:\d|heading)")
_HYPERLINK = re.compile(r'\s*HYPERLINK\s+"([^"]*)"')
_HEADING_MARKS_MAX = 6

Attributes = dict[str, str]
Action = Callable[[Attributes], object]


def read_docx(archive: Archive, *, characters_max: int) -> Document:
    """The document of a DOCX archive.

    Raises DocumentBroken, DocumentTooLarge, UnsupportedFormat (encrypted) and EmptyText.
    """
    package = parts.relationships(archive)
    main = parts.part_of(package, kind="officeDocument") or "word/document.xml"
    related = parts.relationships(archive, of=main)
    styles_part = parts.part_of(related, kind="styles")
    body = _Body(
        layout=Layout(),
        related=related,
        styles=parts.styles(archive, styles_part),
        lists=parts.lists(archive, parts.part_of(related, kind="numbering")),
        characters_max=characters_max,
    )
    with archive.opened(main) as file:
        stream(file, body)
    body.flush_list()
    _lay_notes(body, archive)
    layout = body.layout
    if not layout.blocks:
        raise EmptyText("The Word document has no text.")
    title = parts.title_of(archive, parts.part_of(package, kind="core-properties"))
    return Document(
        title=title.strip() or body.title,
        text=layout.text,
        blocks=tuple(layout.blocks),
        media_type=Format.DOCX.value,
        coverage=Coverage(
            characters=layout.characters,
            tables=sum(block.kind == "table" for block in layout.blocks),
            warnings=_warnings(body.unread),
        ),
        language=parts.language_of(archive, styles_part),
    )


def _warnings(unread: int) -> tuple[Warned, ...]:
    if not unread:
        return ()
    noun = "document" if unread == 1 else "documents"
    message = f"{unread} {noun} embedded in this one could not be read."
    return (Warned(code="parts_unread", message=message),)


def _lay_notes(body: "_Body", archive: Archive) -> None:
    """The notes that the text refers to, numbered as there, below the headings' reach."""
    body.layout.outline.enter("", level=0)
    for kind in ("footnote", "endnote"):
        part = parts.part_of(body.related, kind=f"{kind}s")
        if not part or part not in archive:
            continue
        notes = _Body(
            layout=Layout(),
            related=parts.relationships(archive, of=part),
            styles={},
            lists={},
            characters_max=body.characters_max,
        )
        with archive.opened(part) as file:
            stream(file, notes)
        for (said_kind, note_id), mark in body.marks.items():
            if said_kind == kind and (text := notes.notes.get(note_id)):
                body.lay(f"[{mark}] {text}")


class _Paragraph:
    """A paragraph under way. `links` holds where each open link began, and its URL."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.links: list[tuple[int, str]] = []
        self.style = ""
        self.level = ""
        self.list_id = ""
        self.list_level = ""


class _Body:
    """Hears the elements of a text part and lays them out."""

    def __init__(
        self,
        *,
        layout: Layout,
        related: dict[str, Related],
        styles: dict[str, Style],
        lists: dict[str, dict[int, ListLevel]],
        characters_max: int,
    ) -> None:
        self.layout = layout
        self.related = related
        self.characters_max = characters_max
        self.marks: dict[tuple[str, str], int] = {}
        self.notes: dict[str, str] = {}
        self._styles = styles
        self._titles: dict[int, str] = {}
        self._lists = Numbering(lists)
        self._skipped = 0
        self._characters = 0
        self._paragraphs: list[_Paragraph] = []
        self._table = Table()
        self._items: list[str] = []
        self._in_properties = self._in_text = self._hidden = False
        # Whether the paragraph under way was opened by a run that stands in none.
        self._is_stray = False
        self.unread = 0
        # Fields under way: the instruction, None once the field's result has begun.
        self._fields: list[list[str] | None] = []
        self._in_instruction = False
        self._note: tuple[str, list[str]] | None = None
        self._starts = self._start_actions()
        self._ends = self._end_actions()

    @property
    def title(self) -> str:
        """The first heading of the highest level that stands at the top, "" without one."""
        return self._titles[min(self._titles)] if self._titles else ""

    def _start_actions(self) -> dict[str, Action]:
        return {
            "p": lambda _: self._paragraphs.append(_Paragraph()),
            "pPr": lambda _: self._set_in_properties(True),
            "pStyle": lambda said: self._set("style", said),
            "outlineLvl": lambda said: self._set("level", said),
            "numId": lambda said: self._set("list_id", said),
            "ilvl": lambda said: self._set("list_level", said),
            "r": lambda _: self._open_run(),
            "vanish": self._vanish,
            "t": lambda _: self._set_in_text(not self._hidden),
            "tab": lambda _: self._say(" "),
            "br": lambda _: self._say("\n"),
            "cr": lambda _: self._say("\n"),
            "noBreakHyphen": lambda _: self._say("-"),
            "hyperlink": self._open_hyperlink,
            "fldSimple": lambda said: self._open_link(_field_url(attribute(said, "instr"))),
            "fldChar": self._field,
            "instrText": lambda _: self._set_in_instruction(True),
            "footnoteReference": lambda said: self._refer("footnote", said),
            "endnoteReference": lambda said: self._refer("endnote", said),
            "footnote": self._open_note,
            "endnote": self._open_note,
            "tbl": lambda _: self._table.open(),
            "tr": lambda _: self._table.open_row(),
            "tc": lambda _: self._table.open_cell(),
            "gridSpan": self._table.span,
            "tblHeader": self._table.repeat_header,
            "tblLook": self._table.look,
            "altChunk": lambda _: self._miss(),
            "subDoc": lambda _: self._miss(),
        }

    def _end_actions(self) -> dict[str, Callable[[], object]]:
        return {
            "p": self._close_paragraph,
            "pPr": lambda: self._set_in_properties(False),
            "r": self._close_run,
            "t": lambda: self._set_in_text(False),
            "instrText": lambda: self._set_in_instruction(False),
            "hyperlink": self._close_link,
            "fldSimple": self._close_link,
            "footnote": self._close_note,
            "endnote": self._close_note,
            "tbl": self._close_table,
            "tc": self._table.close_cell,
        }

    def start(self, name: str, attributes: Attributes, /) -> None:
        said = local(name)
        if self._skipped or said in _SKIPPED:
            self._skipped += 1
        elif action := self._starts.get(said):
            action(attributes)

    def end(self, name: str, /) -> None:
        if self._skipped:
            self._skipped -= 1
        elif action := self._ends.get(local(name)):
            action()

    def data(self, text: str, /) -> None:
        if self._skipped:
            return
        if self._in_text and self._paragraphs:
            self._count(len(text))
            self._paragraphs[-1].texts.append(text)
        elif self._in_instruction and self._fields and self._fields[-1] is not None:
            self._fields[-1].append(text)

    def _count(self, characters: int) -> None:
        self._characters += characters
        if self._characters > self.characters_max:
            raise DocumentTooLarge(
                f"The document has more than {self.characters_max} characters of text."
            )

    def _set_in_properties(self, inside: bool) -> None:
        self._in_properties = inside

    def _open_run(self) -> None:
        self._hidden = False
        # Broken writers leave runs beside paragraphs, and their text is text all the same.
        if not self._paragraphs:
            self._paragraphs.append(_Paragraph())
            self._is_stray = True

    def _close_run(self) -> None:
        if self._is_stray and len(self._paragraphs) == 1:
            self._close_paragraph()
            self._is_stray = False

    def _set_in_text(self, inside: bool) -> None:
        self._in_text = inside

    def _set_in_instruction(self, inside: bool) -> None:
        self._in_instruction = inside

    def _miss(self) -> None:
        """A document within the document, which is not read."""
        self.unread += 1

    # Of the paragraph ------------------------------------------------------------------------

    def _set(self, name: str, attributes: Attributes) -> None:
        if self._in_properties and self._paragraphs:
            setattr(self._paragraphs[-1], name, attribute(attributes, "val"))

    def _vanish(self, attributes: Attributes) -> None:
        # In a paragraph's properties it hides the paragraph's mark, not its text.
        if not self._in_properties:
            self._hidden = is_on(attribute(attributes, "val"))

    def _say(self, text: str) -> None:
        # A tab in a paragraph's properties is where it stops, and none of the text.
        if self._paragraphs and not self._in_properties and not self._hidden:
            self._paragraphs[-1].texts.append(text)

    def _open_hyperlink(self, attributes: Attributes) -> None:
        related = self.related.get(attribute(attributes, "id"))
        self._open_link(related.target if related and related.external else "")

    def _open_link(self, url: str) -> None:
        if self._paragraphs:
            paragraph = self._paragraphs[-1]
            paragraph.links.append((len(paragraph.texts), url))

    def _close_link(self) -> None:
        if not self._paragraphs or not self._paragraphs[-1].links:
            return
        paragraph = self._paragraphs[-1]
        began, url = paragraph.links.pop()
        text = "".join(paragraph.texts[began:])
        if url and text.strip():
            before = text[: len(text) - len(text.lstrip())]
            after = text[len(text.rstrip()) :]
            text = f"{before}{linked(squeezed(text), url=url)}{after}"
        paragraph.texts[began:] = [text]

    def _field(self, attributes: Attributes) -> None:
        match attribute(attributes, "fldCharType"):
            case "begin":
                self._fields.append([])
            case "separate" if self._fields and self._fields[-1] is not None:
                self._open_link(_field_url("".join(self._fields[-1])))
                self._fields[-1] = None
            case "end" if self._fields:
                if self._fields.pop() is None:
                    self._close_link()

    def _refer(self, kind: str, attributes: Attributes) -> None:
        note = (kind, attribute(attributes, "id"))
        self._say(f"[{self.marks.setdefault(note, len(self.marks) + 1)}]")

    def _close_paragraph(self) -> None:
        while self._paragraphs and self._paragraphs[-1].links:
            self._close_link()
        if not self._paragraphs:
            return
        paragraph = self._paragraphs.pop()
        text = tidy("".join(paragraph.texts))
        if not text:
            return
        if self._note is not None:
            self._note[1].append(text)
        elif self._table.is_open:
            self._table.say(text)
        else:
            self._lay_paragraph(paragraph, text)

    def _lay_paragraph(self, paragraph: _Paragraph, text: str) -> None:
        style = self._styles.get(paragraph.style) or self._styles.get("", Style())
        if _CONTENTS.fullmatch(style.name):
            return
        level = style.level
        if paragraph.level:
            outline = number(paragraph.level, otherwise=parts.LEVELS)
            level = outline + 1 if outline < parts.LEVELS else None
        list_id = paragraph.list_id or style.list_id
        if level is not None:
            self._lay_heading(squeezed(text), level=level)
        elif list_id not in ("", "0"):
            at = number(paragraph.list_level, otherwise=style.list_level)
            self._items.append(self._lists.item(squeezed(text), list_id=list_id, level=at))
        else:
            self.lay(text)

    def _lay_heading(self, title: str, *, level: int) -> None:
        self.flush_list()
        if self.layout.characters <= BEFORE_TITLE_MAX:
            self._titles.setdefault(level, title)
        marks = "#" * min(max(1, level), _HEADING_MARKS_MAX)
        self.layout.heading(title, level=level, shown=f"{marks} {title}")

    def lay(self, text: str) -> None:
        """A paragraph of its own."""
        self.flush_list()
        self.layout.block(text, kind="paragraph")

    def flush_list(self) -> None:
        """Lay down the list that has come to its end, if there is one."""
        if self._items:
            self.layout.block("\n".join(self._items), kind="list")
            self._items = []

    def _close_table(self) -> None:
        text, header = self._table.close()
        if text:
            self.flush_list()
            self.layout.block(text, kind="table", header=header)

    # Of notes --------------------------------------------------------------------------------

    def _open_note(self, attributes: Attributes) -> None:
        # Those with a type are the lines that separate notes from the text.
        if not attribute(attributes, "type"):
            self._note = (attribute(attributes, "id"), [])

    def _close_note(self) -> None:
        if self._note is not None:
            name, texts = self._note
            self.notes[name] = "\n".join(texts)
            self._note = None


def _field_url(instruction: str) -> str:
    found = _HYPERLINK.match(instruction)
    return found[1] if found else ""
