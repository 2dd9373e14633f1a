"""Signed links: the token that opens the source file of one document, without a key, for a while.

Pure but for the clock. Not here: the key (store.signing_keys), whether the document still lives
(documents), and the tokens that callers present (access).
"""

import time
from datetime import UTC, datetime

import jwt
import msgspec

from engine.errors import LinkNotValid
from engine.models import CustomerId, Noun, SourceId

ALGORITHM = "HS256"
AUDIENCE = "source-file"  # so that no token made for another purpose opens a file
TOKEN_CHARACTERS_MAX = 1_024  # ours have about 300; parsing more would only cost


class Link(Noun, frozen=True, kw_only=True):
    """What a token opens."""

    customer_id: CustomerId
    source_id: SourceId


class _Claims(Noun, frozen=True, kw_only=True):
    customer: CustomerId
    source: SourceId


def sign(link: Link, *, key: bytes, expire_s: float) -> str:
    """A token that opens `link` for `expire_s` seconds from now. Letters, digits, `.-_` only."""
    claims = {
        "aud": AUDIENCE,
        "customer": str(link.customer_id),
        "source": str(link.source_id),
        "exp": datetime.fromtimestamp(time.time() + expire_s, tz=UTC),
    }
    return jwt.encode(claims, key, algorithm=ALGORITHM)


def verify(token: str, *, key: bytes) -> Link:
    """What the token opens. Raises LinkNotValid, and nothing else, for whatever else it is."""
    if len(token) > TOKEN_CHARACTERS_MAX:
        raise not_valid()
    try:
        payload = jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            audience=AUDIENCE,
            options={"require": ["exp", "aud"]},
        )
        claims = msgspec.convert(payload, _Claims)
    # The header is parsed before the signature is looked at: it may be any JSON, of any depth.
    except (
        jwt.PyJWTError,
        msgspec.ValidationError,
        ValueError,
        TypeError,
        RecursionError,
    ) as error:
        raise not_valid() from error
    return Link(customer_id=claims.customer, source_id=claims.source)


def not_valid() -> LinkNotValid:
    """The answer to every link that opens nothing; which of the reasons it is, it tells nobody."""
    return LinkNotValid("This link has expired, was altered, or its document is gone.")
