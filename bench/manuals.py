"""The documents of bench quality: extracted as the engine does, with some headings taken out.

A heading stands in its text and in the path that is embedded above every passage, so a question
made of it finds its own words. Half of the headings are therefore held out: they are removed from
the text and from the paths, and only the question knows them. Not here: the questions
(bench/questions.py).
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from engine.config import Limits
from engine.models import Block, Document
from workers.extract.parse import document_of
from workers.shapes import Fetched

# What a manual of HTML pages repeats on each of them: the names of the pages before and after.
_NAVIGATION = re.compile(
    rb'<div class="nav(?:header|footer)">.*?</table>(?:<hr />)?</div>', re.DOTALL
)
_UNDERLINED = re.compile(
    r"^(?:([=\-~*^\"'#+])\1{2,}\n)?(\S[^\n]{2,120})\n([=\-~*^\"'#+])\3{2,}[ ]*$\n?", re.MULTILINE
)
_NUMBER = re.compile(r"^(?:Chapter|Appendix|Part)?\s*(?:[A-Z\d]+(?:\.\d+)*\.)\s+")
EXCERPT_CHARACTERS_MIN = 250
EXCERPT_CHARACTERS_MAX = 700


class Heading(NamedTuple):
    """Where a heading stands in the text, and its name without number and marks."""

    name: str
    start: int
    end: int


class Section(NamedTuple):
    """The text directly under one heading."""

    name: str
    held: bool
    start: int
    end: int


class Manual(NamedTuple):
    """One file: what is chunked, and which sections it has."""

    name: str
    document: Document
    sections: tuple[Section, ...]


def manuals(paths: Iterable[Path]) -> list[Manual]:
    """All of them, in order. A heading that several sections have is never held out."""
    documents = [(path.name, _document(path)) for path in paths]
    found = [(name, document, _headings(document)) for name, document in documents]
    names = Counter(heading.name for *_, headings in found for heading in headings)
    once = frozenset(name for name, count in names.items() if count == 1 and is_telling(name))
    return [
        _without(name, document=document, headings=headings, once=once)
        for name, document, headings in found
    ]


def is_telling(name: str) -> bool:
    """Whether somebody who reads only this knows what is asked for."""
    return len(re.findall(r"[A-Za-z]{3,}", name)) >= 2


def drawn(text: str, *, share: int) -> bool:
    """One of `share` texts, always the same ones."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") % share == 0


def excerpt(document: Document, *, start: int, end: int) -> tuple[int, int]:
    """The first paragraphs of a range, until there is something to read."""
    upto = min(end, start + EXCERPT_CHARACTERS_MAX)
    for block in document.blocks:
        if start + EXCERPT_CHARACTERS_MIN <= block.end <= upto:
            upto = block.end
            break
    text = document.text[start:upto]
    return start + len(text) - len(text.lstrip()), start + len(text.rstrip())


def _document(path: Path) -> Document:
    data = _NAVIGATION.sub(b"", path.read_bytes())
    fetched = Fetched(path=path, byte_count=len(data), sha256=b"", filename=path.name)
    return document_of(data, fetched=fetched, limits=Limits())


def _headings(document: Document) -> list[Heading]:
    text = document.text
    marked = [
        Heading(plain_name(text[block.start : block.end]), block.start, block.end)
        for block in document.blocks
        if block.kind == "heading"
    ]
    return marked or [
        Heading(plain_name(match[2]), match.start(), match.end())
        for match in _UNDERLINED.finditer(text)
    ]


def plain_name(text: str) -> str:
    """A heading without its number and without the marks of Markdown."""
    words = " ".join(re.sub(r"[#*`_]+", " ", text).replace("\xa0", " ").split())
    return _NUMBER.sub("", words)


def _without(
    name: str, *, document: Document, headings: Sequence[Heading], once: frozenset[str]
) -> Manual:
    held = [one for one in headings if one.name in once and drawn(one.name, share=2)]
    kept = _Kept(held)
    text = "".join(document.text[start:end] for start, end in kept.ranges(len(document.text)))
    gone = {one.name for one in held}
    blocks = [_moved(block, kept=kept, gone=gone) for block in document.blocks]
    title = "" if plain_name(document.title) in gone else document.title
    changed = msgspec.structs.replace(
        document, text=text, title=title, blocks=tuple(one for one in blocks if one.start < one.end)
    )
    return Manual(name, changed, tuple(_sections(headings, kept=kept, gone=gone, end=len(text))))


def _moved(block: Block, *, kept: "_Kept", gone: set[str]) -> Block:
    return msgspec.structs.replace(
        block,
        start=kept.moved(block.start),
        end=kept.moved(block.end),
        headings=tuple(one for one in block.headings if plain_name(one) not in gone),
        header_end=None if block.header_end is None else kept.moved(block.header_end),
    )


def _sections(
    headings: Sequence[Heading], *, kept: "_Kept", gone: set[str], end: int
) -> Iterator[Section]:
    for index, heading in enumerate(headings):
        upto = kept.moved(headings[index + 1].start) if index + 1 < len(headings) else end
        start = kept.moved(heading.end)
        if start < upto:
            yield Section(heading.name, heading.name in gone, start, upto)


class _Kept:
    """Positions of a text after ranges of it have been taken out."""

    def __init__(self, held: Sequence[Heading]) -> None:
        self._held = held

    def ranges(self, length: int) -> Iterator[tuple[int, int]]:
        start = 0
        for one in self._held:
            yield start, one.start
            start = one.end
        yield start, length

    def moved(self, position: int) -> int:
        before = sum(min(position, one.end) - min(position, one.start) for one in self._held)
        return position - before
