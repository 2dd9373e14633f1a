"""What every endpoint of this door has: its description for /schema, and the form of success.

A handler carries its `Operation` in `opt`, next to its code; engine.api.openapi collects them.
"""

from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from typing import Any, TypeVar

import msgspec
from litestar import MediaType, Response

from engine import errors
from engine.api.call import IDEMPOTENCY_KEY, Call
from engine.api.openapi import OPERATION, Operation, Parameter
from engine.idempotency import Keep, Replay

N = TypeVar("N")
T = TypeVar("T")

_EVERYWHERE = (
    errors.InvalidRequest,
    errors.AuthenticationRequired,
    errors.InvalidCredentials,
    errors.RateLimited,
    errors.DatabaseUnavailable,
    errors.Overloaded,
)
KEYED = (
    Parameter(
        IDEMPOTENCY_KEY,
        "1 to 255 printable ASCII characters of your choice. The same request with the same key "
        "does nothing more and gets the first answer again, for 24 hours.",
        {"type": "string", "minLength": 1, "maxLength": 255},
        place="header",
    ),
)
CREATING = (errors.IdempotencyKeyReused, errors.TooManyIdempotencyKeys)

PAGE = (
    Parameter(
        "page_size",
        "How many to return; the maximum by default.",
        {"type": "integer", "minimum": 1, "maximum": 100, "default": 100},
    ),
    Parameter(
        "page_token",
        "next_page_token of an earlier page, or a time: what lies beyond it.",
        {"type": "string"},
    ),
)


def described(
    summary: str,
    *,
    tag: str,
    raises: tuple[type[errors.EngineError], ...] = (),
    **more: Any,
) -> Mapping[str, Operation]:
    """The `opt` of a handler; the errors that any endpoint may give are added."""
    return {OPERATION: Operation(summary=summary, tag=tag, raises=(*_EVERYWHERE, *raises), **more)}


def ok(shape: msgspec.Struct) -> Response[bytes]:
    """200 with a JSON body: the one form of success."""
    return Response(msgspec.json.encode(shape), status_code=200, media_type=MediaType.JSON)


async def ok_once(
    call: Call,
    make: Callable[[Keep[N] | None], Awaitable[T]],
    *,
    shape: Callable[[T], msgspec.Struct],
    kept: Callable[[N], msgspec.Struct],
) -> Response[bytes]:
    """As `ok`, for what `make` makes; `kept` is the form of the answer that a replay gives."""
    made = await call.once(make, kept=kept)
    if isinstance(made, Replay):
        return Response(made.answer, status_code=200, media_type=MediaType.JSON)
    return ok(shape(made))


def ok_unless_known(shape: msgspec.Struct, *, if_none_match: str) -> Response[bytes]:
    """As `ok`, with an ETag; 304 without a body when the caller has this very answer."""
    body = msgspec.json.encode(shape)
    etag = f'"{sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    if _matches(if_none_match, etag=etag):
        return Response(b"", status_code=304, headers=headers, media_type=MediaType.JSON)
    return Response(body, status_code=200, headers=headers, media_type=MediaType.JSON)


def _matches(if_none_match: str, *, etag: str) -> bool:
    known = {each.strip().removeprefix("W/") for each in if_none_match.split(",")}
    return etag in known or "*" in known
