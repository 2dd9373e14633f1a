"""A thousand rows as one text, a line each: what a line says is read once, and remembered for as
long as the row says the same (docs/decisions/0014)."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Generic, TypeVar

import msgspec

S = TypeVar("S", bound=msgspec.Struct)

KEPT_MAX = 4_096  # lines, with what was read of them: some 10 MiB of usual ones
KEPT_CHARACTERS_MAX = 2_000  # of a line: longer ones are read each time, so that few cannot fill it


class Lines(Generic[S]):
    """Reads rows of `kind` from a query that gives all its fields, under their names. `finished`:
    what is still to be done to each. A row that has not changed is the same object each time. Not
    for bytes, which JSON has no way to write."""

    def __init__(self, kind: type[S], *, finished: Callable[[S], S]) -> None:
        fields = msgspec.structs.fields(kind)
        types = tuple(field.type for field in fields)
        read_as: Any = tuple[types]  # type: ignore[valid-type]
        self._decoder = msgspec.json.Decoder(read_as)
        self._names = tuple(field.name for field in fields)
        self._kind = kind
        self._finished = finished
        self._known = lru_cache(KEPT_MAX)(self._read)

    def of(self, query: str) -> bytes:
        """The statement that gathers the rows of `query`, in their order, as one text."""
        row = ", ".join(f"row.{name}" for name in self._names)
        lines = f"string_agg(json_build_array({row})::text, E'\\n')"
        return f"SELECT {lines} AS lines FROM ({query}) row".encode()

    def rows(self, lines: str | None) -> list[S]:
        """What that text says; of no row at all it is null."""
        return [
            self._known(line) if len(line) <= KEPT_CHARACTERS_MAX else self._read(line)
            for line in (lines.split("\n") if lines else ())
        ]

    def _read(self, line: str) -> S:
        fields = zip(self._names, self._decoder.decode(line), strict=True)
        return self._finished(self._kind(**dict(fields)))
