"""What was made of a noun, for as long as it is the same noun."""

from collections.abc import Callable
from typing import TypeVar

from engine.models import Noun

N = TypeVar("N", bound=Noun)
T = TypeVar("T")

KEPT_MAX = 4_096  # as many as the store remembers (engine.store.lines)


def memoised(make: Callable[[N], T], *, kept_max: int = KEPT_MAX) -> Callable[[N], T]:
    """`make`, memoised by identity: not asked again for the very same object. When there are too
    many, all are forgotten. What is known is kept alive, so that no other object gets its
    identity."""
    known: dict[int, tuple[N, T]] = {}

    def known_or_made(noun: N) -> T:
        found = known.get(id(noun))
        if found is None:
            if len(known) >= kept_max:
                known.clear()
            found = known[id(noun)] = (noun, make(noun))
        return found[1]

    return known_or_made
