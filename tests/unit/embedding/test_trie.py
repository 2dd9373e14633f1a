"""The arrays hold the vocabulary, all of it and nothing else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.embedding.trie import Trie, trie_of

LETTERS = {letter: number for number, letter in enumerate("abcdef", 6)}


def row_of(trie: Trie, piece: str, *, root: int, letters: dict[str, int]) -> int:
    """The row that the letters of a piece lead to, 0 where they do not."""
    row = np.array([root], np.int32)
    for letter in piece:
        row = trie.step(row, np.array([letters[letter]], np.uint16))
        if not row.any():
            break
    return int(row[0])


def held(trie: Trie, piece: str, *, letters: dict[str, int] = LETTERS) -> tuple[bool, bool]:
    """Whether it is a piece at the beginning of a word, and within one."""
    rows = (row_of(trie, piece, root=root, letters=letters) for root in (trie.first, trie.rest))
    first, rest = (row >= trie.ending for row in rows)
    return first, rest


@given(
    pieces=st.sets(st.text("abc", min_size=1, max_size=5)),
    others=st.sets(st.text("abc", min_size=1, max_size=6)),
)
def test_it_holds_what_it_was_given_and_nothing_else(pieces, others):
    within = {piece for piece in pieces if "a" in piece}
    trie = trie_of([*pieces, *("##" + piece for piece in within)], prefix="##", letters=LETTERS)
    for piece in pieces | others:
        assert held(trie, piece) == (piece in pieces, piece in within)


def test_pieces_with_other_letters_are_left_out_and_their_beginnings_are_no_pieces():
    trie = trie_of(["abx", "##xa", "c", "##", ""], prefix="##", letters=LETTERS)
    assert held(trie, "ab") == held(trie, "a") == (False, False)
    assert held(trie, "c") == (True, False)


def test_an_empty_vocabulary_leads_nowhere():
    trie = trie_of([], prefix="##", letters=LETTERS)
    assert trie.first != trie.rest
    assert not trie.step(np.array([trie.first, trie.rest]), np.array([6, 6], np.uint16)).any()


@pytest.mark.parametrize("width", [60, 300])
def test_rows_of_very_many_steps_find_a_place(width):
    letters = {chr(0x4E00 + number): number + 6 for number in range(width)}
    pieces = [one + other for one in letters for other in letters]
    trie = trie_of(pieces, prefix="##", letters=letters)
    assert all(
        held(trie, piece, letters=letters) == (True, False) for piece in pieces[:: width - 1]
    )
    assert held(trie, pieces[0][0], letters=letters) == (False, False)
