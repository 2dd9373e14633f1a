"""How strings go to Postgres: through the sanitiser, whatever the statement and the column.

What a request or a document says is cleaned where it comes in, before offsets are counted and
lengths are checked; there nothing is left for this to do. It is the net under a path that forgets.
Not here: text inside of JSON and msgpack, which is cleaned by who makes it.
"""

from typing import Any

import psycopg
from psycopg.types.string import StrBinaryDumper, StrDumper, StrDumperUnknown

from engine.text import clean_text


class CleanBinaryDumper(StrBinaryDumper):
    def dump(self, obj: str) -> Any:
        return super().dump(clean_text(obj))


class CleanTextDumper(StrDumper):
    def dump(self, obj: str) -> Any:
        return super().dump(clean_text(obj))


class CleanDumper(StrDumperUnknown):
    def dump(self, obj: str) -> Any:
        return super().dump(clean_text(obj))


def clean_strings(connection: psycopg.AsyncConnection[Any]) -> None:
    """Have every string parameter of this connection cleaned, those in lists as well."""
    for dumper in (CleanBinaryDumper, CleanTextDumper, CleanDumper):
        connection.adapters.register_dumper(str, dumper)
