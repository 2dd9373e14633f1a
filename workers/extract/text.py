"""Blocks of text that is kept as it stands: prose, tables of values, code and data. Pure."""

import csv
import re

from engine.models import Block
from workers.extract.canonical import paragraph_spans
from workers.extract.sniff import Format
from workers.records import delimiter_of, records

_NUMBER = re.compile(r"[-+.,:/ %\d]*")
_HEADER_CHARACTERS = 16_384
_SEPARATOR_LINE = re.compile(
    r"sep=.\n", re.IGNORECASE
)  # of spreadsheet programs, for their own use


def text_blocks(text: str, *, kind: Format) -> tuple[Block, ...]:
    """Blocks that cover every non-blank character of canonical `text`, in order."""
    match kind:
        case Format.CSV | Format.TSV:
            return _table(text)
        case Format.PLAIN:
            return _split(text, kind="paragraph")
        case _:
            return _split(text, kind="code")


def _split(text: str, *, kind: str) -> tuple[Block, ...]:
    return tuple(Block(kind=kind, start=start, end=end) for start, end in paragraph_spans(text))


def _table(text: str) -> tuple[Block, ...]:
    """One table. Its header is the first record, unless a number stands in it."""
    start = len(text) - len(text.lstrip("\n"))
    end = len(text.rstrip())
    if start >= end:
        return ()
    said = _SEPARATOR_LINE.match(text, start, end)
    names = said.end() if said else start
    first = _record_end(text, start=names, end=end)
    header_end = first if _names_columns(text[names:first]) else start
    return (Block(kind="table", start=start, end=end, header_end=header_end),)


def _record_end(text: str, *, start: int, end: int) -> int:
    """Where the second record begins; `start` where the first is too long to name columns."""
    try:
        _, found = next(records(text, start=start, end=min(end, start + _HEADER_CHARACTERS + 1)))
    except (csv.Error, StopIteration):
        return start
    return found if found - start <= _HEADER_CHARACTERS else start


def _names_columns(record: str) -> bool:
    delimiter = delimiter_of(record.partition("\n")[0])
    try:
        cells = next(csv.reader([record.rstrip("\n")], delimiter=delimiter), [])
    except csv.Error:
        return False
    return bool(cells) and not any(_is_number(cell) for cell in cells)


def _is_number(cell: str) -> bool:
    """Or a date, a time, a share: what stands in the cells below a header."""
    return bool(_NUMBER.fullmatch(cell)) and any(letter.isdigit() for letter in cell)
