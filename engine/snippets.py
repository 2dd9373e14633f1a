"""Where a text speaks about a question: an excerpt of it, cut into what was asked for and the rest.

Pure, and about words only: which text answers at all is decided elsewhere, by vectors as well, so a
text may well have none of the words.
"""

import re
from collections import Counter
from collections.abc import Iterator

from engine.models import Noun

# Combining marks belong to their word; without them the vowel signs of Indic scripts would cut it.
_LETTER = re.compile(r"[\w\u0300-\u036f\u0900-\u0963\u0966-\u0dff\u0e31-\u0e4e\u200c\u200d]")
_WORD = re.compile(f"{_LETTER.pattern}+")
# Words that begin alike for so long count as forms of one another: refund, refunds, refunding.
STEM_CHARACTERS = 5
SHORT_CHARACTERS = 2

Span = tuple[int, int]


class Segment(Noun, frozen=True, kw_only=True):
    """A run of the excerpt: a word that the question asked for, or what stands between them."""

    value: str
    is_hit: bool


def segments(text: str, *, query: str, characters_max: int) -> tuple[Segment, ...]:
    """At most `characters_max` of `text` around the place where most words of `query` stand.

    The values joined are a piece of `text` that ends between words, unless one word is longer than
    all that is asked for; hits and the rest take turns. Without any hit: how the text begins.
    """
    stems = _stems(query)
    hits = [(stem, span) for stem, span in _words(text) if stem in stems]
    near = _densest(hits, characters_max=characters_max)
    start, end = _excerpt(text, around=near, characters_max=characters_max)
    inside = [(max(a, start), min(b, end)) for _, (a, b) in hits if a < end and b > start]
    return tuple(_cut(text, hits=inside, start=start, end=end))


def _words(text: str) -> Iterator[tuple[str, Span]]:
    for found in _WORD.finditer(text):
        start, end = found.span()
        yield _stem(text[start : min(end, start + STEM_CHARACTERS)]), (start, end)


def _stem(word: str) -> str:
    """How a word begins; a shorter one is its own stem, and never equals that of a longer one."""
    return word.casefold()[:STEM_CHARACTERS]


def _stems(query: str) -> frozenset[str]:
    words = [found.group() for found in _WORD.finditer(query)]
    telling = [w for w in words if len(w) > SHORT_CHARACTERS or any(map(str.isdigit, w))]
    # A question of short words only, like "AI", has nothing better to look for.
    return frozenset(_stem(word[:STEM_CHARACTERS]) for word in telling or words)


def _densest(hits: list[tuple[str, Span]], *, characters_max: int) -> Span:
    """The first stretch with the most different hits, then the most of them; (0, 0) without any."""
    best, most = (0, 0), (0, 0)
    counts: Counter[str] = Counter()
    first = 0
    for last, (stem, (_, end)) in enumerate(hits):
        counts[stem] += 1
        while first < last and end - hits[first][1][0] > characters_max:
            left = hits[first][0]
            counts[left] -= 1
            if not counts[left]:
                del counts[left]
            first += 1
        found = (len(counts), last - first + 1)
        if found > most:
            best, most = (hits[first][1][0], end), found
    return best


def _excerpt(text: str, *, around: Span, characters_max: int) -> Span:
    """`around` with as much before as after it, both ends between words."""
    first, last = around
    before = max(0, characters_max - (last - first)) // 2
    start = max(0, min(first - before, len(text) - characters_max))
    end = min(len(text), start + characters_max)
    start = _forward(text, start=start, limit=first) if last else start
    end = _backward(text, end=end, limit=min(last, end))
    return _stripped(text, start=start, end=end)


def _forward(text: str, *, start: int, limit: int) -> int:
    """Out of the word that `start` stands in, onto the next, at most to `limit`."""
    while 0 < start < limit and _inside_word(text, at=start):
        start += 1
    return start


def _backward(text: str, *, end: int, limit: int) -> int:
    """Out of the word that `end` stands in, unless that is all there would be."""
    cut = end
    while limit < cut < len(text) and _inside_word(text, at=cut):
        cut -= 1
    return cut if cut > limit else end


def _inside_word(text: str, *, at: int) -> bool:
    return bool(_LETTER.match(text, at - 1) and _LETTER.match(text, at))


def _stripped(text: str, *, start: int, end: int) -> Span:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def _cut(text: str, *, hits: list[Span], start: int, end: int) -> Iterator[Segment]:
    at = start
    for first, last in hits:
        if at < first:
            yield Segment(value=text[at:first], is_hit=False)
        yield Segment(value=text[first:last], is_hit=True)
        at = last
    if at < end:
        yield Segment(value=text[at:end], is_hit=False)
