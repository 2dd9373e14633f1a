"""What every door shares at its edge: request ids, tokens, page parameters, ids in paths.

Pure functions over strings, no framework and no verb. Wire shapes and error tables belong to the
doors.
"""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from secrets import token_hex
from typing import TypeVar
from uuid import UUID

import msgspec

from engine.errors import Detail, InvalidRequest, NotFound
from engine.models import Cursor

LEGACY_PREFIX = "/v1.0"
TOKEN_CHARACTERS_MAX = 512
PLACE_CHARACTERS_MAX = 8_192
LOGGED_CHARACTERS_MAX = 64  # of one segment of a path
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TOKEN = re.compile(r"(?P<micros>-?\d{1,18})?\.(?P<position>\d{1,18})", re.ASCII)
_ZONE_LOST = re.compile(r" (\d\d:?\d\d)$", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

E = TypeVar("E", bound=StrEnum)
P = TypeVar("P", bound=msgspec.Struct)

request_id: ContextVar[str] = ContextVar("request_id", default="")


def request_id_of(given: str | None) -> str:
    """The caller's own id where it is 1..64 of [A-Za-z0-9_-], else a new one."""
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given
    return token_hex(16)


def refused(field: str, issue: str) -> InvalidRequest:
    """The error for a single offending field."""
    return refusal((Detail(field=field, issue=issue),))


def refusal(details: tuple[Detail, ...]) -> InvalidRequest:
    """The error for offending fields; its message names the first, its details all of them."""
    first = details[0]
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    return InvalidRequest(f"{first.field}: {first.issue}{more}.", details=details)


def token_of(*, headers: Mapping[str, str], path: str, accesskey: str | None) -> str | None:
    """The access key a caller presents, None without any.

    A key in a URL ends in logs and histories, so the query counts under the old prefix only,
    where existing clients send it.
    """
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and credentials.strip():
        return credentials.strip()
    if key := headers.get("x-api-key", "").strip():
        return key
    return accesskey or None if is_legacy(path) else None


def without_tokens(path: str) -> str:
    """A path as logs may show it: who reads them shall not open what signed links open.

    By length, because a path may hold a token although no route takes it; ids are shorter.
    """
    parts = path.split("/")
    return "/".join("…" if len(part) > LOGGED_CHARACTERS_MAX else part for part in parts)


def is_legacy(path: str) -> bool:
    """Whether the path is one of the twins under the old prefix."""
    return path == LEGACY_PREFIX or path.startswith(LEGACY_PREFIX + "/")


def id_of(text: str, *, field: str) -> UUID:
    """A UUID from a path or a form. Raises InvalidRequest naming the field."""
    try:
        return msgspec.convert(text, UUID)
    except msgspec.ValidationError as error:
        raise refused(field, "must be a UUID") from error


def known_id(text: str, *, unknown: NotFound) -> UUID:
    """As `id_of`, for clients to whom an id that is none is one that nobody knows. Dashes belong to
    an id, as in batches, where an id is the key of its answer."""
    try:
        found = id_of(text, field="id")
    except InvalidRequest as error:
        raise unknown from error
    if str(found) != text.lower():
        raise unknown
    return found


def single(values: list[str], *, field: str) -> str | None:
    """The one value of a query parameter, None without any. Raises InvalidRequest for two."""
    if len(values) > 1:
        raise refused(field, "is given more than once")
    return values[0] if values else None


def page_size_of(
    text: str | None, *, page_size_max: int, default: int | None = None, field: str = "page_size"
) -> int:
    """1..page_size_max, the maximum unless there is a `default`. Raises InvalidRequest."""
    if text is None:
        return page_size_max if default is None else default
    size = int(text) if re.fullmatch(r"\d{1,9}", text, re.ASCII) else 0
    if not 1 <= size <= page_size_max:
        raise refused(field, f"must be a number from 1 to {page_size_max}")
    return size


def flag_of(text: str | None, *, field: str) -> bool:
    """true, 1 or an empty value; false, 0 or nothing. Raises InvalidRequest."""
    match text.lower() if text is not None else "false":
        case "true" | "1" | "":
            return True
        case "false" | "0":
            return False
    raise refused(field, "must be true or false")


def choice_of(text: str | None, kind: type[E], *, field: str) -> E | None:
    """One of an enum's values, None when not given. Raises InvalidRequest."""
    if text is None:
        return None
    try:
        return kind(text)
    except ValueError as error:
        raise refused(field, f"must be one of {', '.join(kind)}") from error


def place_token(place: msgspec.Struct | None) -> str | None:
    """The opaque form of any place in a list, None behind the last page."""
    if place is None:
        return None
    return urlsafe_b64encode(msgspec.json.encode(place)).rstrip(b"=").decode()


def place_of(token: str, kind: type[P], *, field: str) -> P:
    """What `place_token` was made of, and of nothing else: a place in another kind of list would
    pass for the first of this one. Raises InvalidRequest."""
    try:
        if len(token) > PLACE_CHARACTERS_MAX:
            raise ValueError(token)
        place = msgspec.json.decode(urlsafe_b64decode(token + "=" * (-len(token) % 4)), type=kind)
        if place_token(place) != token:
            raise ValueError(token)
    except (ValueError, RecursionError) as error:
        raise refused(field, "must come from an earlier page") from error
    return place


def page_token(cursor: Cursor | None) -> str:
    """The opaque form of a cursor, "" on the last page."""
    if cursor is None:
        return ""
    micros = "" if cursor.at is None else (cursor.at - _EPOCH) // _MICROSECOND
    return urlsafe_b64encode(f"{micros}.{cursor.position}".encode()).rstrip(b"=").decode()


def time_cursor(token: str | None) -> Cursor | None:
    """Where a page of a list by time begins, None for the first.

    Takes what `page_token` gave, and a time in the original API's form. Raises InvalidRequest.
    """
    if not token:
        return None
    cursor = _time(token) if ":" in token else _opaque(token)
    if cursor is None or cursor.at is None:
        raise refused("page_token", "must be the next_page_token of an earlier page")
    return cursor


def position_cursor(token: str | None) -> Cursor | None:
    """Where a page of a list by position begins, None for the first. Raises InvalidRequest."""
    if not token:
        return None
    cursor = _opaque(token)
    if cursor is None or cursor.at is not None:
        raise refused("page_token", "must be the next_page_token of an earlier page")
    return cursor


def _opaque(token: str) -> Cursor | None:
    if len(token) > TOKEN_CHARACTERS_MAX:
        return None
    try:
        text = urlsafe_b64decode(token.encode() + b"=" * (-len(token) % 4)).decode("ascii")
    except (Base64Error, UnicodeError, ValueError):
        return None
    match = _TOKEN.fullmatch(text)
    if match is None:
        return None
    micros = match["micros"]
    try:
        at = None if micros is None else _EPOCH + int(micros) * _MICROSECOND
    except OverflowError:
        return None
    return Cursor(at=at, position=int(match["position"]))


def _time(token: str) -> Cursor | None:
    # A "+" that a client did not escape arrives as a space in front of the zone.
    text = _ZONE_LOST.sub(r"+\1", token.strip()) if token.count(":") > 2 else token.strip()
    try:
        at = datetime.fromisoformat(text)
        return Cursor(at=at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC))
    except (ValueError, OverflowError):
        return None
