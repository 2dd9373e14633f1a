"""Headers that no handler writes: those that guard every answer, and what was found out on the way
to this one.

The guards tell a browser: believe the type, run nothing, show it in no frame, keep no copy. Answers
that need something else say so themselves.
"""

from collections.abc import Iterable, Mapping
from typing import Any

Headers = list[tuple[bytes, bytes]]

GUARDS: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    # A copy that outlives what it was made of, or its link, would answer for what was deleted.
    (b"cache-control", b"private, no-store"),
]


_TOLD = "told"  # in the state of a request


def tell(scope: Mapping[str, Any], *headers: tuple[bytes, bytes]) -> None:
    """Have the answer to this request carry these as well."""
    scope["state"].setdefault(_TOLD, []).extend(headers)


def told(scope: Mapping[str, Any]) -> Headers:
    """What its answer carries as well."""
    found: Headers = scope.get("state", {}).get(_TOLD, [])
    return found


def guarded(given: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The same headers, and those of the guards that are not among them."""
    own = list(given)
    named = {name.lower() for name, _ in own}
    return [*own, *(each for each in GUARDS if each[0] not in named)]
