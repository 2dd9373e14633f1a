"""What people see: lines, columns and JSON on stdout, notes on stderr. No colours, no decisions."""

import shutil
import sys
import textwrap
from collections.abc import Sequence

import msgspec

WIDTH_MIN, WIDTH_MAX = 40, 100


def say(text: str = "") -> None:
    """A line of the answer, shown at once even through a pipe."""
    print(text, flush=True)


def note(text: str) -> None:
    """A line about what is going on."""
    print(text, file=sys.stderr, flush=True)


def say_json(value: object) -> None:
    """The answer for a script."""
    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode(), flush=True)


def say_columns(rows: Sequence[Sequence[str]]) -> None:
    """Aligned; the first row is the head, the last column runs free."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        say("  ".join(cells).rstrip())


def wrapped(text: str, *, indent: str) -> str:
    """Paragraphs filled to the terminal's width; lines of their own stay apart."""
    width = min(WIDTH_MAX, max(WIDTH_MIN, shutil.get_terminal_size().columns))
    lines = [line for line in text.splitlines() if line.strip()]
    return "\n".join(
        textwrap.fill(
            line,
            width=width,
            initial_indent=indent,
            subsequent_indent=indent,
            break_long_words=False,
        )
        for line in lines
    )
