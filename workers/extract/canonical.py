"""Canonical text, and how blocks come to stand in it. Pure: no bytes, no formats, no files.

Every reader ends here: a format whose source is kept (Markdown, plain text, code) scans the
canonical text for spans; a format that is rendered (HTML, PDF) lays its blocks down one by one.
"""

import re
from collections.abc import Iterator

from engine.models import Block

_NEWLINES = re.compile(r"\r\n?|[\x0b\x0c]")
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_PAIR = re.compile(r"[\ud800-\udbff][\udc00-\udfff]")
_BYTE_ORDER_MARK = "\ufeff"
# Every block below repeats its path, so one endless heading must not be multiplied by them.
HEADING_CHARACTERS_MAX = 200
# A heading that comes after more than this does not name the document, and is read with none of it.
BEFORE_TITLE_MAX = 1_000

Span = tuple[int, int]


def canonical(text: str) -> str:
    """The text that offsets count in: newlines as \\n, nothing that a database refuses.

    NUL, C0 controls except tab and newline, and unpaired surrogates are removed; vertical tab and
    form feed end a line. Idempotent; Unicode is otherwise untouched.
    """
    text = _CONTROLS.sub("", _NEWLINES.sub("\n", text)).lstrip(_BYTE_ORDER_MARK)
    if _SURROGATE.search(text):
        text = _SURROGATE.sub("", _PAIR.sub(_joined, text))
    return text.lstrip(_BYTE_ORDER_MARK)


def _joined(pair: re.Match[str]) -> str:
    return pair.group().encode("utf-16-le", "surrogatepass").decode("utf-16-le")


def lines_of(text: str) -> Iterator[Span]:
    """The span of every line, without its newline. An empty text has one empty line."""
    start = 0
    while (end := text.find("\n", start)) >= 0:
        yield start, end
        start = end + 1
    yield start, len(text)


def paragraph_spans(text: str) -> Iterator[Span]:
    """Runs of non-blank lines, from the first line's start to the last one's last character."""
    start = end = -1
    for line_start, line_end in lines_of(text):
        filled = len(text[line_start:line_end].rstrip())
        if filled:
            start = line_start if start < 0 else start
            end = line_start + filled
        elif start >= 0:
            yield start, end
            start = -1
    if start >= 0:
        yield start, end


class Outline:
    """The path of headings above the current place. Levels count from 1, at the top."""

    def __init__(self) -> None:
        self._path: list[tuple[int, str]] = []

    @property
    def path(self) -> tuple[str, ...]:
        """The headings above what comes next, the outermost first."""
        return tuple(title for _, title in self._path)

    def enter(self, title: str, *, level: int) -> tuple[str, ...]:
        """Open a section and return the path above its own heading."""
        while self._path and self._path[-1][0] >= level:
            self._path.pop()
        above = self.path
        if title:
            self._path.append((level, title[:HEADING_CHARACTERS_MAX]))
        return above


class Layout:
    """Lays rendered blocks one below the other, a blank line between, and counts the offsets."""

    def __init__(self) -> None:
        self.outline = Outline()
        self.blocks: list[Block] = []
        self._parts: list[str] = []
        self._length = 0

    @property
    def text(self) -> str:
        """All that was laid down so far."""
        return "".join(self._parts)

    @property
    def characters(self) -> int:
        """The length of `text`, in code points."""
        return self._length

    def heading(self, title: str, *, level: int, shown: str = "", page: int | None = None) -> None:
        """A heading block; `shown` is its text where that is more than the title ("## Title")."""
        title = " ".join(canonical(title).split())
        above = self.outline.enter(title, level=level)
        self._add(shown or title, kind="heading", headings=above, page=page)

    def block(self, text: str, *, kind: str, header: str = "", page: int | None = None) -> None:
        """A block of any other kind. `header` is the beginning of a table that repeats."""
        path = self.outline.path
        self._add(text, kind=kind, headings=path, page=page, header=len(canonical(header)))

    def _add(
        self, text: str, *, kind: str, headings: tuple[str, ...], page: int | None, header: int = 0
    ) -> None:
        text = canonical(text).rstrip()
        if not text.strip():
            return
        if self._parts:
            self._parts.append("\n\n")
            self._length += 2
        start, end = self._length, self._length + len(text)
        self._parts.append(text)
        self._length = end
        header_end = min(start + header, end) if kind == "table" else None
        self.blocks.append(
            Block(
                kind=kind,
                start=start,
                end=end,
                headings=headings,
                page=page,
                header_end=header_end,
            )
        )
