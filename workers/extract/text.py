"""Blocks of text that is kept as it stands: prose, tables of values, code and data. Pure."""

import csv
import re

from engine.models import Block
from workers.extract.canonical import paragraph_spans
from workers.extract.sniff import Format

_NUMBER = re.compile(r"[-+.,:/ %\d]*")
_HEADER_CHARACTERS = 4_096


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
    first = _record_end(text, start=start, end=end)
    header_end = first if _names_columns(text[start:first][:_HEADER_CHARACTERS]) else start
    return (Block(kind="table", start=start, end=end, header_end=header_end),)


def _record_end(text: str, *, start: int, end: int) -> int:
    """Where the second record begins: a newline between quotes does not end the first."""
    at = start
    while True:
        newline = text.find("\n", at, end)
        if newline < 0 or newline - start > _HEADER_CHARACTERS:
            return end if newline < 0 else start
        if text.count('"', start, newline) % 2 == 0:
            return newline + 1
        at = newline + 1


def _names_columns(record: str) -> bool:
    delimiter = max(",;\t|", key=record.count)
    try:
        cells = next(csv.reader([record.rstrip("\n")], delimiter=delimiter), [])
    except csv.Error:
        return False
    return bool(cells) and not any(_is_number(cell) for cell in cells)


def _is_number(cell: str) -> bool:
    """Or a date, a time, a share: what stands in the cells below a header."""
    return bool(_NUMBER.fullmatch(cell)) and any(letter.isdigit() for letter in cell)
