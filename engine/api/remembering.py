"""What was made of a noun, for as long as it is the same noun."""

from collections.abc import Callable
from typing import TypeVar

from engine.models import Noun

N = TypeVar("N", bound=Noun)
T = TypeVar("T")

KEPT_MAX = 4_096  # as many as the store remembers (engine.store.lines)


def remembering(make: Callable[[N], T], *, kept_max: int = KEPT_MAX) -> Callable[[N], T]:
    """`make`, which is not asked again for the very same object; when there are too many, all are
    forgotten. What is remembered is kept alive, so that no other object has its identity."""
    known: dict[int, tuple[N, T]] = {}

    def remembered(noun: N) -> T:
        found = known.get(id(noun))
        if found is None:
            if len(known) >= kept_max:
                known.clear()
            found = known[id(noun)] = (noun, make(noun))
        return found[1]

    return remembered
