"""Questions by rule, each with the range of a text that answers it, whatever the passages are.

Kinds, reported apart, because each measures something else:
title   a heading that stands in the text and in the embedded path: are headings read?
held    a heading that was taken out of the text: the question's words need not be in the answer
first   the first sentence of a section without the words of its heading
fact    a sentence from anywhere, with every third telling word left out: an excerpt to be found
term    a term of the manual's index, and where the index sends the reader
link    a sentence that refers to a section elsewhere; where it stands itself does not count
excerpt one to four neighbouring sentences, asked for in other words: bench/excerpts.py
`term` and `link` need the links of HTML: bench/links.py.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from bench.manuals import Manual, Section, excerpt, is_telling

KIND_QUESTIONS_MAX = 120
SENTENCE_WORDS = range(10, 45)
_SENTENCE = re.compile(r"(?<=[.?!])\s+(?=[A-Z])|\n\n+")
_STOP_WORDS = """
a about all also an and any are as at be been but by can do does each for from has have how if in
into is it its may more most no not of on one only or other same should so some such than that the
their them then there these they this those to use used using was what when where which who why
will with would you your
"""
_STOP = frozenset(_STOP_WORDS.split())


class Question(NamedTuple):
    """`manual`, `start` and `end` say where the answer is. `origin` (manual, start, end) is where
    the question's own words stand, if that is elsewhere: what is found there does not count."""

    kind: str
    text: str
    manual: int
    start: int
    end: int
    origin: tuple[int, int, int] | None = None


def by_rule(manuals: Sequence[Manual]) -> list[Question]:
    """The kinds that every corpus has, each at most KIND_QUESTIONS_MAX."""
    found = [
        question
        for number, manual in enumerate(manuals)
        for section in manual.sections
        for question in _of_section(manual, number=number, section=section)
    ]
    return chosen(found)


def chosen(questions: Iterable[Question], *, most: int = KIND_QUESTIONS_MAX) -> list[Question]:
    """So many of each kind, evenly by their hash; of two with the same words neither."""
    kinds: dict[str, dict[str, list[Question]]] = {}
    for question in questions:
        kinds.setdefault(question.kind, {}).setdefault(question.text, []).append(question)
    return [
        alike[0]
        for kind in sorted(kinds)
        for _, alike in sorted(kinds[kind].items(), key=lambda item: _place(item[0]))[:most]
        if len(alike) == 1
    ]


def telling(text: str) -> list[str]:
    """The words of a text that say something, as they are written."""
    return [word for word in re.findall(r"\w[\w.\-]*\w|\w", text) if word.lower() not in _STOP]


def asked(name: str) -> str:
    """A heading as somebody would ask for it; one that is a question already stays."""
    if name.endswith("?"):
        return name
    ways = ("What is said about {}?", "How does {} work?", "{}", "I need help with {}.")
    return ways[_place(name)[0] % len(ways)].format(name)


def _of_section(manual: Manual, *, number: int, section: Section) -> Iterator[Question]:
    start, end = excerpt(manual.document, start=section.start, end=section.end)
    if end - start < 80:
        return
    if is_telling(section.name):
        kind = "held" if section.held else "title"
        yield Question(kind, asked(section.name), number, start, end)
    found = list(sentences(manual.document.text, start=section.start, end=section.end))
    if found and not section.held:
        yield from _first(found[0], manual=manual, number=number, name=section.name)
    if len(found) > 2:
        place = _place(manual.name + section.name)
        yield _fact(found[1 + place[0] % (len(found) - 1)], manual=manual, number=number)


def _first(
    sentence: tuple[int, int], *, manual: Manual, number: int, name: str
) -> Iterator[Question]:
    start, end = sentence
    gone = {word.lower() for word in telling(name)}
    text = manual.document.text[start:end]
    words = [word for word in text.split() if not gone & {one.lower() for one in telling(word)}]
    if len(telling(" ".join(words))) >= 5:
        yield Question("first", " ".join(words), number, start, end)


def _fact(sentence: tuple[int, int], *, manual: Manual, number: int) -> Question:
    start, end = sentence
    kept, seen = [], 0
    for word in manual.document.text[start:end].split():
        seen += bool(telling(word))
        if not telling(word) or seen % 3:
            kept.append(word)
    return Question("fact", " ".join(kept), number, start, end)


def sentences(text: str, *, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Those of a range that are running text, and neither short nor long."""
    edges = [start, *(match.end() for match in _SENTENCE.finditer(text, start, end)), end]
    for first, last in pairwise(edges):
        found = text[first:last].rstrip()
        plain = not re.search(r"[|{}<>=$]|```|::|^\s*[>.\-*]", found)
        if plain and len(found.split()) in SENTENCE_WORDS and found.endswith((".", "?", "!")):
            yield first, first + len(found)


def _place(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
