"""Where the tokens of a text start to a tokenizer of BERT's kind, found without asking it.

What lives here: what each character is to the tokenizer, and the walk over the words of a text, all
at once. What does not: the tokenizer itself, and the vocabulary as arrays (trie.py).
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.embedding.trie import trie_of

Starts = npt.NDArray[np.uint32]
Positions = npt.NDArray[np.int32]
Kinds = npt.NDArray[np.uint16]
Marks = npt.NDArray[np.bool_]

# What a character is. From UNKNOWN on it belongs to a word.
UNASKED = 0
BLANK = 1
ALONE = 2  # a token by itself
MANY = 3  # is made into several letters, or into none
UNKNOWN = 4  # in no piece, and neither is a word that holds it
ODD = 5  # only the tokenizer knows, from the whole word
LETTER = 6  # and everything above: letters by their numbers
CODE_POINTS = 0x110000
EDGE = np.array([BLANK], np.uint16)
# So few words are cheaper one by one: a step for all of them costs a dozen calls of numpy.
FEW = 48


class Characters:
    """What each character is, asked of the tokenizer when it is first met. Safe to share between
    threads: the answer is always the same."""

    def __init__(
        self, pieces: Iterable[str], *, prefix: str, made_of: Callable[[str], Sequence[str]]
    ) -> None:
        """`made_of` gives the words that are looked up for a text."""
        pieces = set(pieces)
        whole = sorted(one for one in pieces if len(one) == 1 and prefix + one in pieces)
        self.letters = {letter: number for number, letter in enumerate(whole, LETTER)}
        self._numbers = dict.fromkeys("".join(pieces), ODD) | self.letters
        self._made_of = made_of
        self._kinds = np.zeros(CODE_POINTS, np.uint16)
        self._spelt: dict[int, list[int]] = {}

    def kinds(self, text: str) -> Kinds:
        """The kind of each character."""
        if text.isascii():
            found = self._kinds[np.frombuffer(text.encode(), np.uint8)]
        else:
            found = self._kinds[_codes(text)]
        if not found.all():
            for character in sorted(set(text)):
                if self._kinds[ord(character)] == UNASKED:
                    self._kinds[ord(character)] = self._kind(character)
            return self.kinds(text)
        return found

    def spelt(self, text: str, kinds: Kinds) -> tuple[Kinds, Positions]:
        """`kinds` with letters in place of MANY, and the position in the text of each."""
        many = np.flatnonzero(kinds == MANY)
        codes, which = np.unique(_codes(text)[many], return_inverse=True)
        letters = [self._spelt[code] for code in codes.tolist()]
        lengths = np.ones(len(kinds), np.int32)
        lengths[many] = np.array([len(one) for one in letters], np.int32)[which]
        positions = np.repeat(np.arange(len(kinds), dtype=np.int32), lengths)
        found = kinds[positions]
        found[found == MANY] = [one for index in which.tolist() for one in letters[index]]
        return found, positions

    def _kind(self, character: str) -> int:
        match self._made_of(f"a{character}a"):
            case ["a", "a"]:
                return BLANK
            case ["a", one, "a"] if len(one) == 1:
                return ALONE
            case [word]:
                return self._within(character, letters=word[1:-1])
        return ODD

    def _within(self, character: str, *, letters: str) -> int:
        # Marks that are kept may change places with others beside them.
        if any(map(unicodedata.combining, letters)):
            return ODD
        numbers = [self._numbers.get(letter, UNKNOWN) for letter in letters]
        if len(numbers) == 1:
            return numbers[0]
        self._spelt[ord(character)] = numbers
        return MANY


def _codes(text: str) -> npt.NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


class WordPieces:
    """Greedy longest match over a vocabulary. Safe to share between threads."""

    def __init__(
        self,
        pieces: Sequence[str],
        *,
        prefix: str,
        letters_max: int,
        made_of: Callable[[str], Sequence[str]],
        added: Iterable[str],
        ask: Callable[[Sequence[str]], list[list[tuple[int, int]]]],
    ) -> None:
        """`made_of`: the words that the tokenizer looks up for a text. Longer ones than
        `letters_max` are one token. `added`: texts that are a token wherever they stand. `ask`:
        for each text the (start, end) of its tokens."""
        self._characters = Characters(pieces, prefix=prefix, made_of=made_of)
        self._trie = trie_of(pieces, prefix=prefix, letters=self._characters.letters)
        self._letters_max = letters_max
        choices = "|".join(map(re.escape, sorted(added, key=len, reverse=True)))
        self._added = re.compile(choices or "(?!)")
        self._ask = ask

    def starts(self, text: str) -> Starts:
        """Where the tokens of a text start, ascending, in code points."""
        kinds = self._characters.kinds(text)
        for start, end in self._added_in(text):
            kinds[start:end] = ODD
        if not (kinds == MANY).any():
            marks, odd = self._marked(kinds)
            return self._with_odd(text, np.flatnonzero(marks), odd)
        kinds, positions = self._characters.spelt(text, kinds)
        marks, odd = self._marked(kinds)
        # Marks that come to nothing at the ends of a word belong to it: they may change places.
        bounds = [-1, *positions.tolist(), len(text)] if odd else []
        odd = [(bounds[start] + 1, bounds[end + 1]) for start, end in odd]
        return self._with_odd(text, positions[marks], odd)

    def _added_in(self, text: str) -> Iterator[tuple[int, int]]:
        # Also where one begins within another: which of them counts is the tokenizer's to say.
        at = 0
        while match := self._added.search(text, at):
            yield match.span()
            at = match.start() + 1

    def _with_odd(
        self, text: str, found: npt.NDArray[np.integer[Any]], odd: list[tuple[int, int]]
    ) -> Starts:
        starts = found.astype(np.uint32)
        if not odd:
            return starts
        words = [text[start:end] for start, end in odd]
        each = list(dict.fromkeys(words))
        known = dict(zip(each, self._ask(each), strict=True))
        more = [
            begin + start
            for (begin, _), word in zip(odd, words, strict=True)
            for start, _ in known[word]
        ]
        return np.sort(np.concatenate((starts, np.array(more, np.uint32))), kind="stable")

    def _marked(self, kinds: Kinds) -> tuple[Marks, list[tuple[int, int]]]:
        """Whether a token starts at each character, and the words (start, end) left out of that."""
        padded = np.concatenate((EDGE, kinds, EDGE))
        edges = np.flatnonzero(np.diff(padded >= UNKNOWN)).astype(np.int32)
        starts, ends = edges[0::2], edges[1::2]
        odd = _holding(ODD, kinds, starts=starts)
        marks = kinds == ALONE
        marks[np.delete(starts, odd)] = True
        walked = ends - starts <= self._letters_max
        walked[odd] = False
        walked[_holding(UNKNOWN, kinds, starts=starts)] = False
        self._walk(starts[walked], kinds=padded[1:], marks=marks)
        return marks, list(zip(starts[odd].tolist(), ends[odd].tolist(), strict=True))

    def _walk(self, at: Positions, *, kinds: Kinds, marks: Marks) -> None:
        """Mark the tokens within the words that begin `at`. Every letter is a piece by itself, so
        a word never comes to nothing."""
        trie = self._trie
        rows = trie.following[trie.first + kinds[at]]
        at = best = at + 1
        while len(at) > FEW:
            rows = trie.step(rows, kinds[at])
            at = at + 1
            best = np.where(rows >= trie.ending, at, best)
            dead = np.flatnonzero(rows == 0)
            if not len(dead):
                continue
            begin = best[dead]
            letters = kinds[begin]
            on = letters >= LETTER
            rows[dead] = np.where(on, trie.following[trie.rest + letters], 0)
            at[dead] = best[dead] = begin + 1
            marks[begin[on]] = True
            if not on.all():
                left = np.flatnonzero(rows)
                rows, at, best = rows[left], at[left], best[left]
        for one in zip(rows.tolist(), at.tolist(), best.tolist(), strict=True):
            self._walk_one(*one, kinds=kinds.data, marks=marks.data)

    def _walk_one(
        self, row: int, at: int, best: int, *, kinds: memoryview, marks: memoryview
    ) -> None:
        trie = self._trie
        following, owner, ending = trie.following.data, trie.owner.data, trie.ending
        rest = int(trie.rest)
        while True:
            slot = row + kinds[at]
            row = following[slot] if owner[slot] == row else 0
            at += 1
            if row >= ending:
                best = at
            elif not row:
                letter = kinds[best]
                if letter < LETTER:
                    return
                marks[best] = True
                row = following[rest + letter]
                at = best = best + 1


def _holding(kind: int, kinds: Kinds, *, starts: Positions) -> npt.NDArray[np.intp]:
    """The words, by their indexes, that hold a character of this kind."""
    where = np.flatnonzero(kinds == kind)
    return np.unique(np.searchsorted(starts, where, side="right") - 1)
