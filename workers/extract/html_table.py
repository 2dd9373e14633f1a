"""What an HTML tree says of its tables: captions, how far headers reach, what cells span.

Beside the renderer, so that it says the same of a table whichever way the page is laid out.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice

from lxml import etree

SPAN_MAX = 100  # that trafilatura follows

# trafilatura counts the cells of a row anew for each that it adds: a row twice as wide takes four
# times as long. So many looks at a cell are a second or two; no honest page comes near.
CELL_LOOKS_MAX = 100_000_000
# Cells that the spans of one page may add: some megabytes of text. Beyond, they are ignored.
_SPANNED_MAX = 1_000_000
_SECTIONS = ("thead", "tbody", "tfoot")
_CELLS = ("td", "th")
# A cell of more elements than this counts as one that says something, unread: a cell may hold
# tables in tables, and each of them would read all that is in it.
_BLANK_ELEMENTS_MAX = 8


def move_captions(tree: etree._Element) -> None:
    """Put each caption before its table, as trafilatura takes one for the first row of it."""
    for caption in tree.xpath("//table/caption"):
        table = caption.getparent()
        around = table.getparent()
        # In a broken table nothing but rows would be kept.
        if around is not None and around.tag not in ("table", "tr", *_SECTIONS):
            caption.tag = "p"
            caption.attrib.clear()  # their names mean something else to trafilatura
            table.addprevious(caption)


def mark_headers(tree: etree._Element) -> None:
    """Make the cells of each table's last header row `th`, and no others.

    For trafilatura forgets `thead`, and all `th` but those of the first row that has any.
    """
    for loose in tree.xpath("//thead/*[self::td or self::th][1]"):
        _gather_row(loose)
    last_rows = [row for table in tree.iter("table") if (row := _last_header(table)) is not None]
    for cell in list(tree.iter("th")):
        cell.tag = "td"
    for row in last_rows:
        for cell in row.iterchildren("td"):
            cell.tag = "th"


def span_of(cell: etree._Element, name: str) -> int:
    """How many columns or rows a cell says that it takes."""
    said = cell.get(name, "1")[:9]
    return min(int(said), SPAN_MAX) if said.isdecimal() else 1


class Spans:
    """Puts the cells of rows into their columns, table after table of one page.

    What trafilatura has made has no spans left: it comes out as it is.
    """

    def __init__(self) -> None:
        self._left = _SPANNED_MAX
        self._taken: dict[int, int] = {}  # columns of the next row, and for how many rows

    def open_table(self) -> None:
        self._taken = {}

    def row(self, cells: Iterable[tuple[etree._Element, str]]) -> list[str]:
        """The texts of the cells, "" where one reaches that began further left or above."""
        placed: list[str] = []
        below: dict[int, int] = {}
        for cell, said in cells:
            while len(placed) in self._taken:
                placed.append("")
            columns, rows = self._span(cell)
            if rows > 1:
                below |= dict.fromkeys(range(len(placed), len(placed) + columns), rows - 1)
            placed += [said, *[""] * (columns - 1)]
        self._taken = {at: more - 1 for at, more in self._taken.items() if more > 1} | below
        return placed

    def _span(self, cell: etree._Element) -> tuple[int, int]:
        columns, rows = max(1, span_of(cell, "colspan")), max(1, span_of(cell, "rowspan"))
        added = columns * rows - 1
        if added > self._left:
            return 1, 1
        self._left -= added
        return columns, rows


def _gather_row(cell: etree._Element) -> None:
    """Put a header's cells into a row where they have none."""
    header, row = cell.getparent(), cell.makeelement("tr")
    cell.addprevious(row)
    row.extend(list(header.iterchildren(*_CELLS)))


def _last_header(table: etree._Element) -> etree._Element | None:
    last = None
    for row in _rows(table):
        cells = list(row.iterchildren(*_CELLS))
        if all(map(_is_blank, cells)):
            continue  # left out of the text
        if not _is_header(row, cells, first=last is None):
            break
        last = row
    return last


def _rows(table: etree._Element) -> Iterator[etree._Element]:
    for part in table:
        if part.tag == "tr":
            yield part
        elif part.tag in _SECTIONS:
            yield from part.iterchildren("tr")


def _is_header(row: etree._Element, cells: list[etree._Element], *, first: bool) -> bool:
    if row.getparent().tag == "thead":
        return True
    heads = [cell for cell in cells if cell.tag == "th" and not _is_blank(cell)]
    others = [cell for cell in cells if cell.tag == "td" and not _is_blank(cell)]
    if not heads:
        return False
    if others:
        return first and others == cells[:1]  # the corner, above the names of the rows
    # One `th` before cells left empty is the name of its row.
    return heads != cells[:1] or all(cell.tag == "th" for cell in cells)


def _is_blank(cell: etree._Element) -> bool:
    parts = list(islice(cell.iter(), _BLANK_ELEMENTS_MAX + 1))
    words = [cell.text, *(word for part in parts[1:] for word in (part.text, part.tail))]
    return len(parts) <= _BLANK_ELEMENTS_MAX and not any(word and word.strip() for word in words)


def cell_looks(tree: etree._Element) -> int:
    """How often trafilatura will look at the cells of tables, about."""
    looks = 0
    for table in tree.iter("table"):
        above, ends = 0, Counter[int]()  # columns that cells of earlier rows take, and up to where
        rows: list[Iterable[etree._Element]] = table.xpath("tr|*/tr")
        for number, row in enumerate([*rows, table.xpath("td|th|*[not(self::tr)]/td|*/th")]):
            above -= ends.pop(number, 0)
            columns, looks = above, looks + above * above // 2
            for cell in row:
                span = span_of(cell, "colspan")
                columns += span
                looks += columns
                if (down := span_of(cell, "rowspan")) > 1:
                    ends[number + down] += span
            above = sum(ends.values())
    return looks
