"""The sanitiser that stands in front of every insert: what Postgres or a terminal cannot take."""

import re

_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_SPACES = re.compile(r"\s+")


def clean_text(value: str) -> str:
    """Without NUL, other control characters (tab, line feed and carriage return stay) and
    unpaired surrogates."""
    return _FORBIDDEN.sub("", value)


def is_clean(value: str) -> bool:
    """Whether clean_text would leave it as it is."""
    return _FORBIDDEN.search(value) is None


def clean_line(value: str, *, limit: int) -> str:
    """As clean_text, on one line, stripped, at most `limit` code points."""
    return _SPACES.sub(" ", clean_text(value)).strip()[:limit]
