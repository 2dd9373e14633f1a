"""Which hits of an answer say the same: of those the best one stays. Pure."""

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

from engine.models import SourceId

OVERLAP_MIN = 0.8  # of the shorter one: chunkers that overlap on purpose do so by less


class Placed(Protocol):
    """A passage and where it stands."""

    @property
    def source_id(self) -> SourceId: ...
    @property
    def text(self) -> str: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...


P = TypeVar("P", bound=Placed)


def folded(passages: Iterable[P]) -> Iterator[P]:
    """Those that are no repetition of an earlier one, in their order.

    Only within a source: that two sources say the same is worth to know.
    """
    kept: dict[SourceId, list[Placed]] = {}
    seen: set[tuple[SourceId, str]] = set()
    for passage in passages:
        beside = kept.setdefault(passage.source_id, [])
        words = (passage.source_id, " ".join(passage.text.casefold().split()))
        if words in seen or any(_overlap(passage, other) >= OVERLAP_MIN for other in beside):
            continue
        seen.add(words)
        beside.append(passage)
        yield passage


def _overlap(one: Placed, other: Placed) -> float:
    """The share of the shorter one that both have."""
    shared = min(one.end, other.end) - max(one.start, other.start)
    return shared / max(1, min(one.end - one.start, other.end - other.start))
