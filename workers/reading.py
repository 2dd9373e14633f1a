"""The model's tokenizer, asked as rarely as its kind allows.

What lives here: where the tokens of a text start, and how many a string has. What does not: where a
text is cut (workers/pieces.py) and what fits (workers/chunk.py). A tokenizer that takes the words
between blanks one by one (BERT's) is asked once for each different word; any other one reads every
text in segments, and every passage once more.
"""

import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import Protocol, TypeVar

import numpy as np

from workers.pieces import Tape

T = TypeVar("T")
Spans = list[tuple[int, int]]
Known = dict[str, tuple[int, ...]]  # where the tokens of a word start in it

# The tokenizer is asked for this much at a time, so that it never holds the interpreter for long.
BATCH_CHARACTERS = 100_000
SEGMENT_CHARACTERS = 4_000
# Words that are remembered, over all documents of a process: some 10 MB. Longer ones are no words.
KNOWN_WORDS_MAX = 50_000
KNOWN_CHARACTERS_MAX = 64


class TokenSpans(Protocol):
    """The tokenizer of the embedding model, without special tokens and without truncation."""

    @property
    def words(self) -> re.Pattern[str] | None:
        """What a text may be taken apart into without changing a token; None if nothing is sure.

        What lies between two matches has no tokens.
        """
        ...

    def __hash__(self) -> int: ...

    def spans(self, texts: Sequence[str]) -> list[Spans]:
        """For each text the offsets (start, end) of its tokens, in code points."""
        ...


class Reading(Protocol):
    """A tokenizer at work on one document."""

    def tape(self, text: str) -> Tape:
        """Where the tokens of the text start; where a segment tears a word, only nearly so."""
        ...

    def counts(self, strings: Sequence[str], *, owned_from: Sequence[int]) -> list[tuple[int, int]]:
        """For each string how many tokens it has, and how many reach behind the given position.

        The character before that position is a line break, or the string begins there.
        """
        ...


@lru_cache(maxsize=4)
def reading_of(spans: TokenSpans) -> Reading:
    """The cheapest sound way to ask this tokenizer; kept, because what it learns serves the next
    document as well."""
    if spans.words is None:
        return WholeReading(spans)
    return WordReading(spans, words=spans.words)


class WholeReading:
    """Reads everything as it stands: right for every tokenizer."""

    def __init__(self, spans: TokenSpans) -> None:
        self._spans = spans

    def tape(self, text: str) -> Tape:
        """See Reading.tape."""
        return tape_of(text, spans=self._spans)

    def counts(self, strings: Sequence[str], *, owned_from: Sequence[int]) -> list[tuple[int, int]]:
        """See Reading.counts."""
        found = self._spans.spans(strings)
        return [
            (len(tokens), sum(last > offset for _, last in tokens))
            for tokens, offset in zip(found, owned_from, strict=True)
        ]


class WordReading:
    """Knows the tokens of each word it has met, and adds them up. Safe to share between threads:
    what is known of a word never changes, and whoever works with a table keeps it to the end."""

    def __init__(self, spans: TokenSpans, *, words: re.Pattern[str]) -> None:
        self._spans = spans
        self._words = words
        self._known: Known = {}

    def tape(self, text: str) -> Tape:
        """See Reading.tape."""
        starts = array("I")
        for start, end in _slices(text):
            first = [match.start() for match in self._words.finditer(text, start, end)]
            words = self._words.findall(text, start, end)
            known, rest = self._learned(words)
            tokens = [known.get(word) or rest[word] for word in words]
            counts = np.fromiter(map(len, tokens), np.uint32, len(tokens))
            inside = np.fromiter(chain.from_iterable(tokens), np.uint32, int(counts.sum()))
            starts.frombytes((np.repeat(np.array(first, np.uint32), counts) + inside).tobytes())
        return Tape(starts=starts, end=len(text))

    def counts(self, strings: Sequence[str], *, owned_from: Sequence[int]) -> list[tuple[int, int]]:
        """See Reading.counts."""
        pairs = [
            (self._words.findall(string, 0, offset), self._words.findall(string, offset))
            for string, offset in zip(strings, owned_from, strict=True)
        ]
        known, rest = self._learned(chain.from_iterable(chain(*pair) for pair in pairs))
        found = []
        for pair in pairs:
            above, own = (sum(len(known.get(word) or rest[word]) for word in part) for part in pair)
            found.append((above + own, own))
        return found

    def _learned(self, words: Iterable[str]) -> tuple[Known, Known]:
        """What is known of these words: of most of them for good, of the rest for this once."""
        if len(self._known) > KNOWN_WORDS_MAX:
            self._known = {}
        known: Known = self._known
        rest: Known = {}
        fresh = sorted(set(words) - known.keys())
        lines = batches(fresh, size=len, most=SEGMENT_CHARACTERS)
        for batch in batches(lines, size=lambda line: sum(map(len, line))):
            found = self._spans.spans(["\n".join(line) for line in batch])
            for line, spans in zip(batch, found, strict=True):
                for word, tokens in _tokens_of(line, spans=spans):
                    keep = tokens and len(word) <= KNOWN_CHARACTERS_MAX
                    (known if keep else rest)[word] = tokens
        return known, rest


def _tokens_of(line: Sequence[str], *, spans: Spans) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Where the tokens of each word of a line start in it; `spans` are those of the line."""
    start = number = 0
    for word in line:
        end, first = start + len(word), number
        while number < len(spans) and spans[number][0] < end:
            number += 1
        yield word, tuple([token - start for token, _ in spans[first:number]])
        start = end + 1


def tape_of(text: str, *, spans: TokenSpans) -> Tape:
    """Where the tokens of the text start, counted segment by segment."""
    starts = array("I")
    for batch in batches(_segments(text), size=lambda one: one[1] - one[0]):
        found = spans.spans([text[start:end] for start, end in batch])
        for (start, _), tokens in zip(batch, found, strict=True):
            starts.extend(sorted(start + first for first, _ in tokens))
    return Tape(starts=starts, end=len(text))


def _segments(text: str) -> Iterator[tuple[int, int]]:
    yield from _cut_behind_blanks(text, size=SEGMENT_CHARACTERS)


def _slices(text: str) -> Iterator[tuple[int, int]]:
    yield from _cut_behind_blanks(text, size=BATCH_CHARACTERS)


def _cut_behind_blanks(text: str, *, size: int) -> Iterator[tuple[int, int]]:
    # Cut behind blanks where there are any: there a cut changes no token.
    start = 0
    while start < len(text):
        end, middle = start + size, start + size // 2
        if end < len(text):
            blank = max(text.rfind("\n", middle, end), text.rfind(" ", middle, end))
            end = blank + 1 if blank >= 0 else end
        end = min(end, len(text))
        yield start, end
        start = end


def batches(
    items: Iterable[T], *, size: Callable[[T], int], most: int = BATCH_CHARACTERS
) -> Iterator[list[T]]:
    """Consecutive lists of items whose sizes reach `most`, the last one perhaps less."""
    batch: list[T] = []
    total = 0
    for item in items:
        batch.append(item)
        total += size(item)
        if total >= most:
            yield batch
            batch, total = [], 0
    if batch:
        yield batch
