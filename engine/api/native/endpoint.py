"""What every endpoint of this door has: its description for /schema, and the form of success.

A handler carries its `Operation` in `opt`, next to its code; engine.api.openapi collects them.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import msgspec
from litestar import MediaType, Response

from engine import errors
from engine.api.openapi import OPERATION, Operation, Parameter

_EVERYWHERE = (
    errors.InvalidRequest,
    errors.AuthenticationRequired,
    errors.InvalidCredentials,
    errors.DatabaseUnavailable,
)


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
