"""Lists are read by keyset: (created_at, position), so that ties and inserts lose no row."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol, TypeVar

from engine.models import Cursor, Page


class Placed(Protocol):
    """A row that knows its place in a list."""

    @property
    def created_at(self) -> datetime: ...
    @property
    def position(self) -> int: ...


P = TypeVar("P", bound=Placed)


def bounds(after: Cursor | None) -> dict[str, datetime | int | None]:
    """The parameters `at` and `position` of a list statement; `at` is None on the first page."""
    if after is None:
        return {"at": None, "position": 0}
    return {"at": after.at, "position": after.position}


def to_page(rows: Sequence[P], *, page_size: int) -> Page[P]:
    """`rows` were read with one more than `page_size`: that one says whether a page follows."""
    items = tuple(rows[:page_size])
    if len(rows) <= page_size:
        return Page(items=items)
    return Page(items=items, next=Cursor(at=items[-1].created_at, position=items[-1].position))
