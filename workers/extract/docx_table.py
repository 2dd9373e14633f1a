"""A table of a DOCX under way, from its elements to a pipe table. Pure.

What stands in a table within a cell is text of that cell.
"""

import re

from workers.extract.docx_parts import is_on, number
from workers.extract.markup import pipe_table, squeezed
from workers.extract.xmlstream import attribute

# What Word itself allows.
_COLUMNS_MAX = 63
_BITS = re.compile("[0-9A-Fa-f]{4}")
_FIRST_ROW_BIT = 0x20

Attributes = dict[str, str]


class Table:
    """Hears the elements of the outermost table that is open, one table after the other."""

    def __init__(self) -> None:
        self._depth = 0
        self._rows: list[list[str]] = []
        self._texts: list[str] = []
        self._columns = 1
        self._headed = False
        self._repeated = 0

    @property
    def is_open(self) -> bool:
        """Whether a table is under way."""
        return self._depth > 0

    def say(self, text: str) -> None:
        """A paragraph of the cell."""
        self._texts.append(text)

    def open(self) -> None:
        self._depth += 1
        if self._depth == 1:
            self._rows, self._texts = [], []
            self._headed, self._repeated = False, 0

    def open_row(self) -> None:
        if self._depth == 1:
            self._take_stray()
            self._rows.append([])

    def open_cell(self) -> None:
        if self._depth == 1:
            self._take_stray()
            self._columns = 1

    def span(self, attributes: Attributes) -> None:
        """The cell stands over several columns."""
        if self._depth == 1:
            columns = number(attribute(attributes, "val"), otherwise=1)
            self._columns = max(1, min(columns, _COLUMNS_MAX))

    def repeat_header(self, attributes: Attributes) -> None:
        """The row is repeated on every page. It is a header, if those above it are too."""
        if self._depth != 1 or len(self._rows) != self._repeated + 1:
            return
        if is_on(attribute(attributes, "val")):
            self._repeated += 1
        elif not self._repeated:
            self._headed = False  # whatever it looks like

    def look(self, attributes: Attributes) -> None:
        """The first row looks like a header. Old programs say so in bits, later ones by name."""
        if self._depth == 1:
            named, bits = attribute(attributes, "firstRow"), attribute(attributes, "val")
            old = bool(_BITS.fullmatch(bits)) and bool(int(bits, 16) & _FIRST_ROW_BIT)
            self._headed = is_on(named) if named else old

    def close_cell(self) -> None:
        if self._depth == 1:
            cell = squeezed(" ".join(self._texts))
            self._rows = self._rows or [[]]
            self._rows[-1] += [cell, *[""] * (self._columns - 1)]
            self._texts = []

    def close(self) -> tuple[str, str]:
        """The text of the table and its header; both "" when another table is still open."""
        self._depth -= 1
        if self._depth:
            return "", ""
        self._take_stray()
        rows, self._rows = self._rows, []
        return pipe_table(rows, header_rows=self._repeated or int(self._headed))

    def _take_stray(self) -> None:
        """A row of its own for what stands in the table but in none of its cells."""
        if self._texts:
            self._rows.append([squeezed(" ".join(self._texts))])
            self._texts = []
