"""The sanitiser that stands in front of every insert: what Postgres or a terminal cannot take."""

import re

_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_SPACES = re.compile(r"\s+")
# The control characters beyond ASCII, which steer a terminal as well; and the marks that turn the
# direction of what is shown, so that a name looks like another one. In texts both may stay.
_FORBIDDEN_IN_LINES = re.compile("[\x80-\x9f\u202a-\u202e\u2066-\u2069]")


def clean_text(value: str) -> str:
    """Without NUL, other control characters (tab, line feed and carriage return stay) and
    unpaired surrogates."""
    return _FORBIDDEN.sub("", value)


def is_clean(value: str) -> bool:
    """Whether clean_text would leave it as it is."""
    return _FORBIDDEN.search(value) is None


def clean_line(value: str, *, limit: int) -> str:
    """As clean_text, on one line that shows what it is, stripped, at most `limit` code points."""
    # Once before, because some of what goes ends a line; once more for what then stands together.
    kept = _FORBIDDEN_IN_LINES.sub("", clean_text(_SPACES.sub(" ", value)))
    return _SPACES.sub(" ", kept).strip()[:limit]
