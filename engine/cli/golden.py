"""Golden questions: one JSON object a line, each a question with what should be found for it.

    {"question": "How long is the warranty?", "find": [{"source": "a.pdf", "text": "five years"}]}

`find` names one or several places: a source by its id, name or URL, an excerpt, or both; or a
source with `start` and `end`, character offsets into its text. `name` tells questions apart in
reports; it is the question itself unless given.

What does not live here: when a place counts as found (scoring).
"""

from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from engine.cli.exits import CliError, Exit

LINES_SHOWN_MAX = 20
CHARACTERS_SHOWN = 60


class Place(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """What should be found."""

    source: str = ""
    text: str = ""
    start: int | None = None
    end: int | None = None

    @property
    def fault(self) -> str:
        """What is wrong with it, "" if nothing is."""
        has_offsets = self.start is not None or self.end is not None
        if not has_offsets:
            return "" if self.source or self.text.strip() else "needs a source or a text"
        if not self.source or self.text:
            return "offsets go with a source and without a text"
        if self.start is None or self.end is None or not 0 <= self.start < self.end:
            return "start and end must be offsets, start before end"
        return ""

    def __str__(self) -> str:
        offsets = "" if self.start is None else f"characters {self.start}-{self.end}"
        text = shortened(self.text)
        return " · ".join(filter(None, [self.source, offsets, text and f"“{text}”"]))


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the file."""

    line: int
    name: str
    question: str
    find: tuple[Place, ...]


class _Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    question: str
    find: tuple[Place, ...]
    name: str = ""


def read_questions(path: Path) -> list[Question]:
    """All of them, in order. Raises CliError naming every bad line, OSError."""
    found: dict[str, Question] = {}
    faults = []
    for number, text in _lines(path):
        try:
            question = _question(text, line=number)
        except ValueError as error:
            faults.append(f"line {number}: {error}")
            continue
        earlier = found.setdefault(question.name, question)
        if earlier is not question:
            faults.append(f"line {number}: is called like line {earlier.line}, give it a `name`")
    if faults:
        raise CliError(f"{path}: {_listed(faults)}", exit_code=Exit.USAGE)
    if not found:
        raise CliError(f"{path} has no questions.", exit_code=Exit.USAGE)
    return [*found.values()]


def shortened(text: str) -> str:
    """A text on one line, with its end cut off where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= CHARACTERS_SHOWN else line[: CHARACTERS_SHOWN - 1] + "…"


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        for number, text in enumerate(file, start=1):
            if number == 1:
                text = text.removeprefix(BOM_UTF8)  # noqa: PLW2901 - some editors begin a file so
            if text.strip():
                yield number, text


def _question(text: bytes, *, line: int) -> Question:
    """Raises ValueError with what is wrong with it."""
    try:
        read = msgspec.json.decode(text, type=_Line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(str(error).replace("`", "")) from error
    if fault := _fault(read.question):
        raise ValueError(fault)
    if not read.find:
        raise ValueError("find names nothing")
    for number, place in enumerate(read.find):
        if place.fault:
            raise ValueError(f"find[{number}] {place.fault}")
    return Question(
        line=line, name=read.name or read.question, question=read.question, find=read.find
    )


def _fault(question: str) -> str:
    """What no engine takes, told before the first question is asked; "" if nothing is wrong."""
    if not question.strip():
        return "the question is blank"
    if "\0" in question:
        return "the question has a NUL character"
    return ""


def _listed(faults: Iterable[str]) -> str:
    shown = [*faults]
    more = len(shown) - LINES_SHOWN_MAX
    rest = [f"and {more} more"] if more > 0 else []
    return "; ".join([*shown[:LINES_SHOWN_MAX], *rest])
