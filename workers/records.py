"""Where the records of a table of values begin: a line break between quotes ends none. Pure."""

import csv
import re
from array import array
from collections.abc import Iterator

DELIMITERS = ",;\t|"
# Of so much of the first line the delimiter is read.
SAMPLE_CHARACTERS = 4_096
_QUOTED = re.compile(r'"[^"]*"?')


def records(text: str, *, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Each record of [start, end) as (start, end), with the line break behind it.

    Raises csv.Error for a quote that is not closed, or only after 131,072 characters: then it was
    none, and lines are as good as anything.
    """
    begin = read = start

    def lines() -> Iterator[str]:
        nonlocal read
        while read < end:
            line = read
            read = text.find("\n", line, end) + 1 or end
            yield text[line:read]

    delimiter = delimiter_of(text[start : min(end, start + SAMPLE_CHARACTERS)].partition("\n")[0])
    for _ in csv.reader(lines(), delimiter=delimiter, skipinitialspace=True):
        if read == end and _left_open(text[begin:read]):
            raise csv.Error("a quote is not closed")
        yield begin, read
        begin = read


def delimiter_of(line: str) -> str:
    """What most likely stands between the cells of this line."""
    return max(DELIMITERS, key=_QUOTED.sub("", line).count)


def record_starts(text: str, *, start: int, end: int) -> "array[int] | None":
    """Where each record begins; None where the lines are the records."""
    if text.find('"', start, end) < 0:
        return None
    try:
        found = array("I", (begin for begin, _ in records(text, start=start, end=end)))
    except csv.Error:
        return None
    lines = text.count("\n", start, end - 1) + 1
    return found if len(found) < lines else None


def _left_open(record: str) -> bool:
    return "\n" in record.rstrip("\n") and record.count('"') % 2 == 1
