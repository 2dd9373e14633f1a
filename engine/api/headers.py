"""What every answer tells a browser: believe the type, run nothing, show it in no frame, keep no
copy. Answers that need something else say so themselves.
"""

from collections.abc import Iterable

Headers = list[tuple[bytes, bytes]]

GUARDS: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    # A copy that outlives what it was made of, or its link, would answer for what was deleted.
    (b"cache-control", b"private, no-store"),
]


def guarded(given: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The same headers, and those of the guards that are not among them."""
    own = list(given)
    named = {name.lower() for name, _ in own}
    return [*own, *(each for each in GUARDS if each[0] not in named)]
