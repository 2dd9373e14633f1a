"""A vocabulary of word pieces as two arrays, in which a step costs two look-ups.

What lives here: the arrays and how they are built. What does not: what a letter is, and the walk
over a text (wordpiece.py).
"""

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int32]

# At a quarter full most rows find a place within a few draws, and 30,000 pieces take 2 MiB.
SLOTS_PER_STEP = 4
# Rows of many steps are placed first, while there is room.
STEPS_AT_LEAST = (65, 17, 5, 3, 2, 1)
DRAWS_MAX = 200


class Trie(msgspec.Struct, frozen=True, kw_only=True):
    """A row stands for how a piece may begin. From it a letter, by its number, leads to the row
    `following[row + letter]` if `owner` says `row` there, and nowhere if not.

    A row from `ending` on is a piece itself. Words start at the row `first` and go on at `rest`.
    """

    following: Numbers
    owner: Numbers
    ending: int
    first: np.int32
    rest: np.int32

    def step(self, rows: Numbers, letters: npt.NDArray[np.uint16]) -> Numbers:
        """For each row and letter the next row, 0 where no piece goes on."""
        slots = rows + letters
        return np.where(self.owner[slots] == rows, self.following[slots], 0)


class _Steps(msgspec.Struct, frozen=True, kw_only=True):
    """Step i leads from node `parents[i]` by `letters[i]` to node i + 2; 0 and 1 are the roots."""

    parents: Numbers
    letters: Numbers
    ending: npt.NDArray[np.bool_]


def trie_of(pieces: Sequence[str], *, prefix: str, letters: Mapping[str, int]) -> Trie:
    """The pieces that are made of these letters, which are numbered from 1 or more on.

    Pieces that begin with `prefix`, and do not end there, go on within a word. Takes some 80 ms
    for 30,000.
    """
    within = [len(piece) > len(prefix) and piece.startswith(prefix) for piece in pieces]
    bare = [
        piece[len(prefix) :] if rest else piece for piece, rest in zip(pieces, within, strict=True)
    ]
    steps = _steps(bare, nodes=np.array(within, np.int64), letters=letters)
    return _laid_out(steps, letter_max=max(letters.values(), default=0))


def _steps(
    pieces: list[str], *, nodes: npt.NDArray[np.int64], letters: Mapping[str, int]
) -> _Steps:
    # Level by level: pieces that agree so far are at the same of the `nodes`. One with a letter
    # that is not asked for is left on the way, and ends nowhere.
    lengths = np.fromiter(map(len, pieces), np.int32, len(pieces))
    begins = np.cumsum(lengths) - lengths
    numbers = np.fromiter((letters.get(one, 0) for one in "".join(pieces)), np.int64)
    none = np.zeros(0, np.int64)
    keys, ends = [none], [none]
    count, level, going = 2, 0, np.flatnonzero(lengths)
    while len(going := going[numbers[begins[going] + level] > 0]):
        key = nodes[going] << 32 | numbers[begins[going] + level]
        found, which = np.unique(key, return_inverse=True)
        nodes[going] = count + which
        keys.append(found)
        count, level = count + len(found), level + 1
        ends.append(nodes[going[lengths[going] == level]])
        going = going[lengths[going] > level]
    ending = np.zeros(count, np.bool_)
    ending[np.concatenate(ends)] = True
    key = np.concatenate(keys)
    parents, last = (key >> 32).astype(np.int32), (key & 0xFFFFFFFF).astype(np.int32)
    return _Steps(parents=parents, letters=last, ending=ending)


def _laid_out(steps: _Steps, *, letter_max: int, slots_per_step: int = SLOTS_PER_STEP) -> Trie:
    """Rows that end a piece lie in the upper half. Pieces that none goes on from share one row
    behind all others, and beginnings that came to nothing are nowhere."""
    half = max(2 * letter_max, slots_per_step // 2 * (len(steps.parents) + 2))
    leaf = 2 * half
    owner = np.full(leaf + letter_max + 1, -1, np.int32)
    rows = _placed(steps, owner=owner, half=half)
    if not rows.all():
        return _laid_out(steps, letter_max=letter_max, slots_per_step=2 * slots_per_step)
    rows = np.where(rows > 0, rows, np.where(steps.ending, leaf, 0)).astype(np.int32)
    following = np.zeros_like(owner)
    following[rows[steps.parents] + steps.letters] = rows[2:]
    return Trie(following=following, owner=owner, ending=half, first=rows[0], rest=rows[1])


def _placed(steps: _Steps, *, owner: Numbers, half: int) -> Numbers:
    """For each node its row: -1 if nothing goes on from it, 0 if no place was found.

    Places are drawn by lot until the steps of a row fall between those of others. A row also owns
    the slot of its own number, so no two rows have the same.
    """
    sizes = np.bincount(steps.parents, minlength=len(steps.ending))
    sizes[:2] += 1  # the roots are rows even where no piece begins
    own = np.flatnonzero(sizes).astype(np.int32)
    nodes = np.concatenate((steps.parents, own))
    letters = np.concatenate((steps.letters, np.zeros_like(own)))
    rows = np.where(sizes > 0, 0, -1).astype(np.int32)
    lot = np.random.default_rng(0)
    least = iter(STEPS_AT_LEAST)
    waiting = own[:0]
    for _ in range(DRAWS_MAX):
        while not len(waiting) and (size := next(least, 0)):
            waiting = own[(rows[own] == 0) & (sizes[own] >= size)]
        if not len(waiting):
            break
        rows[waiting] = lot.integers(1, half, len(waiting)) + half * steps.ending[waiting]
        drawn = np.zeros(len(rows), np.bool_)
        drawn[waiting] = True
        mine = np.flatnonzero(drawn[nodes])
        _settle(nodes[mine], letters[mine], rows=rows, owner=owner)
        waiting = waiting[rows[waiting] == 0]
    return rows


def _settle(nodes: Numbers, letters: Numbers, *, rows: Numbers, owner: Numbers) -> None:
    """Give the slots of these steps to their rows; a row that meets another one goes back to 0."""
    slots = rows[nodes] + letters
    taken = owner[slots] >= 0
    first = np.unique(slots, return_index=True)[1]
    again = np.ones(len(slots), np.bool_)
    again[first] = False
    rows[nodes[taken | again]] = 0
    settled = rows[nodes] > 0
    owner[slots[settled]] = rows[nodes[settled]]
