"""The model's tokenizer, asked as rarely as its kind allows.

What lives here: where the tokens of a text start, and how many a string has. What does not: where a
text is cut (workers/pieces.py) and what fits (workers/chunk.py). A tokenizer that takes the words
between blanks one by one (BERT's) is not asked at all, because its vocabulary can be walked; any
other one reads every text in segments, and every passage once more.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from workers.pieces import Tape

T = TypeVar("T")
Spans = list[tuple[int, int]]

# The tokenizer is asked for this much at a time, so that it never holds the interpreter for long.
BATCH_CHARACTERS = 100_000
SEGMENT_CHARACTERS = 4_000


class WordPieces(Protocol):
    """A tokenizer's vocabulary, to which words are what counts."""

    def starts(self, text: str) -> npt.NDArray[np.uint32]:
        """Where the tokens of the text start, ascending, in code points."""
        ...


class TokenSpans(Protocol):
    """The tokenizer of the embedding model, without special tokens and without truncation."""

    @property
    def pieces(self) -> WordPieces | None:
        """Finds tokens without the tokenizer, and by blanks texts may be taken apart and put
        together; None where that is not sure."""
        ...

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

    def owned(self, string: str, *, owned_from: int) -> "array[int]":
        """Where those tokens start in the string that reach behind the given position."""
        ...


def reading_of(spans: TokenSpans) -> Reading:
    """The cheapest sound way to read with this tokenizer."""
    return WholeReading(spans) if spans.pieces is None else WordReading(spans.pieces)


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

    def owned(self, string: str, *, owned_from: int) -> "array[int]":
        """See Reading.owned."""
        (found,) = self._spans.spans([string])
        return array(
            "I", sorted(max(start, owned_from) for start, end in found if end > owned_from)
        )


class WordReading:
    """Reads words, wherever they stand."""

    def __init__(self, pieces: WordPieces) -> None:
        self._pieces = pieces

    def tape(self, text: str) -> Tape:
        """See Reading.tape."""
        starts = array("I")
        for start, end in _slices(text):
            found = self._pieces.starts(text[start:end]) + np.uint32(start)
            starts.frombytes(found.tobytes())
        return Tape(starts=starts, end=len(text))

    def counts(self, strings: Sequence[str], *, owned_from: Sequence[int]) -> list[tuple[int, int]]:
        """See Reading.counts."""
        starts = self._pieces.starts("\n".join(strings))
        lengths = np.array([len(string) + 1 for string in strings], np.int64)
        ends = np.cumsum(lengths)
        begins = ends - lengths
        owned = begins + np.array(owned_from, np.int64)
        first, own, last = np.searchsorted(starts, (begins, owned, ends))
        return list(zip((last - first).tolist(), (last - own).tolist(), strict=True))

    def owned(self, string: str, *, owned_from: int) -> "array[int]":
        """See Reading.owned."""
        starts = self._pieces.starts(string)
        return array("I", starts[np.searchsorted(starts, owned_from) :].tobytes())


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
