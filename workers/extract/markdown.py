"""Blocks of Markdown, by a light structural scan of its source. Pure.

The source itself is the canonical text, so a block is only a span of it. This is no CommonMark
parser: it finds what a chunker needs (headings, code, lists, tables, paragraphs), line by line,
each line looked at once.
"""

import re
from array import array
from bisect import bisect_right
from collections.abc import Callable
from itertools import takewhile

from engine.models import Block
from workers.extract.canonical import BEFORE_TITLE_MAX, Outline, lines_of

_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+|$)")
_FRONT_TITLE = re.compile(r"---[ \t]*\n(?:.*\n)*?title:[ \t]*([\"']?)(\S.*)\1[ \t]*$", re.MULTILINE)
# What follows backticks holds none: ```one line``` is a paragraph.
_FENCE = re.compile(r" {0,3}(`{3,}(?=[^`\n]*$)|~{3,})")
# One or two of these marks below a paragraph are what a page or a table has left there.
_SETEXT = re.compile(r" {0,3}(?:={3,}|-{3,})[ \t]*$")
_RULE = re.compile(r" {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$")
_ITEM = re.compile(r" {0,3}(?:[-*+]|\d{1,9}[.)])(?:[ \t]+|$)")
_INDENTED = re.compile(r"(?: {4}| {0,3}\t)")
_DELIMITER = re.compile(r":?-+:?")
_LINK = re.compile(r"!?\[([^\[\]\n]*)\]\([^()\n]*\)")
_STARS = re.compile(r"(?<!\w)(\*{1,3}|`+)([^\s*`](?:[^*`\n]*[^\s*`])?)\1(?!\w)")
# What a page of HTML has in it that is not Markdown, up to its end, blank lines included.
_RAW = re.compile(r" {0,3}<(?:!--|(pre|script|style|textarea)(?=[\s>]|$))", re.IGNORECASE)
_HEADING_SOURCE_MAX = 4_000
_UNDERSCORES = re.compile(r"(?<!\w)(_{1,3})([^\s_](?:[^_\n]*[^\s_])?)\1(?!\w)")


def markdown_blocks(text: str) -> tuple[Block, ...]:
    """Blocks that cover every non-blank character of canonical `text`, in order."""
    return _Scan(text).run()


def markdown_title(blocks: tuple[Block, ...], *, text: str) -> str:
    """What front matter says, else the first heading of the highest level, if it stands at the
    top: further down it is the name of what follows, and not of what comes before it. "" without.
    """
    if blocks and (said := _FRONT_TITLE.match(text, blocks[0].start, blocks[0].end)):
        return said[2].strip()
    above = takewhile(lambda block: block.start <= BEFORE_TITLE_MAX, blocks)
    top = (each for each in above if each.kind == "heading" and not each.headings)
    return next((heading_text(text[each.start : each.end]) for each in top), "")


def heading_text(source: str) -> str:
    """What a heading says, without its marks: "## A *b* [c](d) ##" says "A b c"."""
    # The patterns below take quadratic time, and the title is cut much shorter anyway.
    lines = source.strip()[:_HEADING_SOURCE_MAX].split("\n")
    if mark := _ATX.match(lines[0]):
        lines = [lines[0][mark.end() :].rstrip()]
        if closing := re.search(r"(?:^|[ \t])#+$", lines[0]):
            lines = [lines[0][: closing.start()]]
    elif len(lines) > 1 and _SETEXT.match(lines[-1]):
        lines = lines[:-1]
    said = " ".join(" ".join(lines).split())
    return _UNDERSCORES.sub(r"\2", _STARS.sub(r"\2", _LINK.sub(r"\1", said))).strip()


class _Scan:
    """One pass over the lines. A reader of a kind takes lines from `at` on and moves it."""

    def __init__(self, text: str) -> None:
        self.text = text
        # Numbers side by side: a list of spans would take ten times the memory of the text.
        self.starts = array("q", (start for start, _ in lines_of(text)))
        self.at = 0
        self.blocks: list[Block] = []
        self.outline = Outline()
        self._unclosed: set[str] = set()

    def run(self) -> tuple[Block, ...]:
        self._front_matter()
        readers: tuple[Callable[[str], bool], ...] = (
            self._atx,
            self._fence,
            self._raw,
            self._rule,
            self._indented,
            self._table,
            self._list,
            self._paragraph,
        )
        while self.at < len(self.starts):
            line = self._line(self.at)
            if not line.strip():
                self.at += 1
                continue
            for reader in readers:
                if reader(line):
                    break
        return tuple(self.blocks)

    def _line(self, number: int) -> str:
        if number >= len(self.starts):
            return ""
        return self.text[self.starts[number] : self._end(number)]

    def _end(self, number: int) -> int:
        """Where the line ends, before its newline."""
        following = number + 1
        return self.starts[following] - 1 if following < len(self.starts) else len(self.text)

    def _take(self, kind: str, *, to: int, header_lines: int = 0) -> None:
        """A block of the lines from `at` up to `to`, without the blank lines at its end."""
        last = to - 1
        while last > self.at and not self._line(last).strip():
            last -= 1
        start = self.starts[self.at]
        end = self.starts[last] + len(self._line(last).rstrip())
        path = self.outline.path
        if kind == "heading":
            source = self.text[start:end]
            atx = _ATX.match(source)
            level = len(atx[1]) if atx else (1 if source[-1] == "=" else 2)
            path = self.outline.enter(heading_text(source), level=level)
        header = None
        if kind == "table":
            header = min(self._end(self.at + header_lines - 1) + 1, end)
        self.blocks.append(Block(kind=kind, start=start, end=end, headings=path, header_end=header))
        self.at = to

    def _front_matter(self) -> None:
        if self._line(0).rstrip() != "---" or len(self.starts) < 2 or not self._line(1).strip():
            return
        for number in range(1, len(self.starts)):
            if self._line(number).rstrip() in ("---", "..."):
                self._take("code", to=number + 1)
                return

    def _atx(self, line: str) -> bool:
        if not _ATX.match(line):
            return False
        self._take("heading", to=self.at + 1)
        return True

    def _fence(self, line: str) -> bool:
        opened = _FENCE.match(line)
        if not opened:
            return False
        mark = opened[1]
        number = self.at + 1
        while number < len(self.starts):
            closing = self._line(number).strip()
            number += 1
            if len(closing) >= len(mark) and not closing.strip(mark[0]):
                break
        self._take("code", to=number)
        return True

    def _raw(self, line: str) -> bool:
        """A comment or a `<pre>`: what looks like a heading in it is none."""
        opened = _RAW.match(line)
        if not opened:
            return False
        mark = f"</{opened[1].lower()}>" if opened[1] else "-->"
        end = self._closed(mark, after=self.starts[self.at] + opened.end())
        if end is None:
            return False
        self._take("code" if opened[1] else "paragraph", to=bisect_right(self.starts, end))
        return True

    def _closed(self, mark: str, *, after: int) -> int | None:
        """Where a mark stands next. None is looked for but once: everything is read once."""
        if mark in self._unclosed:
            return None
        found = re.compile(re.escape(mark), re.IGNORECASE).search(self.text, after)
        if found is None:
            self._unclosed.add(mark)
        return found.start() if found else None

    def _rule(self, line: str) -> bool:
        if not _RULE.match(line):
            return False
        self._take("paragraph", to=self.at + 1)
        return True

    def _indented(self, line: str) -> bool:
        if not _INDENTED.match(line):
            return False
        number = self.at + 1
        while number < len(self.starts):
            following = self._line(number)
            if following.strip() and not _INDENTED.match(following):
                break
            number += 1
        self._take("code", to=number)
        return True

    def _table(self, line: str) -> bool:
        below = self._line(self.at + 1)
        if "|" not in line or not _is_delimiter_row(below):
            return False
        number = self.at + 2
        while "|" in self._line(number):
            number += 1
        self._take("table", to=number, header_lines=2)
        return True

    def _list(self, line: str) -> bool:
        if not _ITEM.match(line):
            return False
        number = self.at + 1
        blank = False
        while number < len(self.starts):
            following = self._line(number)
            if not following.strip():
                blank = True
            elif self._ends_list(following, after_blank=blank):
                break
            else:
                blank = False
            number += 1
        self._take("list", to=number)
        return True

    def _ends_list(self, line: str, *, after_blank: bool) -> bool:
        if _ATX.match(line) or _FENCE.match(line) or _RULE.match(line):
            return True
        return after_blank and not _ITEM.match(line) and not line[:1].isspace()

    def _paragraph(self, line: str) -> bool:
        number = self.at + 1
        while number < len(self.starts):
            following = self._line(number)
            if _SETEXT.match(following):
                self._take("heading", to=number + 1)
                return True
            if not following.strip() or self._interrupts(following, number=number):
                break
            number += 1
        self._take("paragraph", to=number)
        return True

    def _interrupts(self, line: str, *, number: int) -> bool:
        if _ATX.match(line) or _FENCE.match(line) or _RULE.match(line):
            return True
        if _ITEM.match(line):
            return not line.lstrip()[:1].isdigit() or line.lstrip()[:2] in ("1.", "1)")
        return "|" in line and _is_delimiter_row(self._line(number + 1))


def _is_delimiter_row(line: str) -> bool:
    row = line.strip()
    if "|" not in row or row.strip("|-: \t"):
        return False
    return all(_DELIMITER.fullmatch(cell.strip()) for cell in row.strip("|").split("|"))
