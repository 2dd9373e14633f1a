"""Query parameters read with the leniency of foreign clients: an empty value is not given, of
several the last one counts, unknown ones are ignored. What is wrong is named "query.<name>"."""

from enum import StrEnum
from typing import TypeVar

import msgspec
from litestar.datastructures import MultiDict

from engine.api import edge
from engine.api.edge import refused
from engine.text import is_clean

E = TypeVar("E", bound=StrEnum)
P = TypeVar("P", bound=msgspec.Struct)


class Query:
    """The parameters of one request."""

    def __init__(self, parameters: MultiDict[str]) -> None:
        self._parameters = parameters

    def texts(self, name: str) -> list[str]:
        return [value for value in self._parameters.getall(name, []) if value]

    def text(self, name: str, *, default: str = "") -> str:
        return (self.texts(name) or [default])[-1]

    def page_size(self, *, default: int, page_size_max: int) -> int:
        return edge.page_size_of(
            self.text("page_size") or None,
            page_size_max=page_size_max,
            default=default,
            field="query.page_size",
        )

    def flag(self, name: str) -> bool:
        return edge.flag_of(self.text(name) or None, field=f"query.{name}")

    def choices(self, name: str, kind: type[E]) -> tuple[E, ...]:
        found = (edge.choice_of(value, kind, field=f"query.{name}") for value in self.texts(name))
        return tuple(choice for choice in found if choice is not None)

    def cursor(self, kind: type[P]) -> P | None:
        """Where a page begins, None for the first one; texts in it are fit for the database."""
        token = self.text("cursor")
        place = edge.place_of(token, kind, field="query.cursor") if token else None
        if not is_clean(getattr(place, "key", "")):
            raise refused("query.cursor", "must come from an earlier page")
        return place
