"""JSON bodies and form fields into structs, with every offending field named.

A struct decoder stops at the first fault; here each field is decoded by itself, so that one answer
tells a caller all that is wrong. What the fields mean is checked by the verbs.
"""

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Set
from enum import StrEnum
from functools import cache
from itertools import chain
from time import monotonic
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import msgspec
from litestar.types import Receive
from msgspec.structs import FieldInfo

from engine.api.edge import refusal, refused
from engine.errors import BodyTooLarge, Detail, InvalidRequest, TooManySources

S = TypeVar("S", bound=msgspec.Struct)
DETAILS_MAX = 100
FIELDS_MAX = 100
LIST_ITEMS_MAX = 10_000
_FAULT = re.compile(r"(?P<issue>.+?)(?: - at `\$(?P<place>.*)`)?", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<name>.+)`")
_FAULTS = (msgspec.DecodeError, json.JSONDecodeError, UnicodeDecodeError, RecursionError)


async def arriving(
    receive: Receive, *, idle_s: float, bytes_per_s_min: int = 0
) -> AsyncIterator[bytes]:
    """A request's body as it arrives. Raises InvalidRequest when it breaks off, stands still, or
    after `idle_s` of waiting has been slower than `bytes_per_s_min`."""
    waited_s, byte_count = 0.0, 0
    while True:
        begun_s = monotonic()
        try:
            async with asyncio.timeout(idle_s):
                event = await receive()
        except TimeoutError as error:
            raise refused("body", f"did not go on for {idle_s:g} s") from error
        if event["type"] != "http.request":
            raise refused("body", "ended before it was complete")
        waited_s += monotonic() - begun_s
        byte_count += len(event["body"])
        if event["more_body"] and waited_s > idle_s and byte_count < bytes_per_s_min * waited_s:
            raise refused("body", f"came slower than {bytes_per_s_min} bytes a second")
        if event["body"]:
            yield event["body"]
        if not event["more_body"]:
            return


async def read_limited(chunks: AsyncIterator[bytes], *, bytes_max: int) -> bytes:
    """The whole of a small body. Raises BodyTooLarge as soon as it is over."""
    body = bytearray()
    async for chunk in limited(chunks, bytes_max=bytes_max):
        body += chunk
    return bytes(body)


async def limited(chunks: AsyncIterator[bytes], *, bytes_max: int) -> AsyncIterator[bytes]:
    """The same chunks. Raises BodyTooLarge as soon as they are over, whatever was announced."""
    byte_count = 0
    async for chunk in chunks:
        byte_count += len(chunk)
        if byte_count > bytes_max:
            raise BodyTooLarge(f"The request body is larger than {bytes_max} bytes.")
        yield chunk


def from_json(body: bytes, kind: type[S]) -> S:
    """A struct from a JSON object; an empty body counts as {}.

    Raises InvalidRequest with one detail per unknown, missing, repeated or wrong field.
    """
    try:
        text = body.decode() or "{}"
        fields = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        if len(fields) > FIELDS_MAX:
            raise refused("body", f"has more than {FIELDS_MAX} fields")
        repeated = _repeated_keys(text, inside=_objects(kind))
    except _FAULTS as error:
        raise refused("body", f"must be a JSON object: {_reason(error)}") from error
    return _checked(fields, kind, repeated=repeated)


def placed_json(body: bytes, kind: type[S]) -> S:
    """A struct from JSON, nested shapes and all; unknown fields are ignored.

    Raises InvalidRequest naming the first fault by its place: "body.items[0].model".
    """
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except msgspec.ValidationError as error:
        raise _misplaced(str(error)) from error
    except _FAULTS as error:
        raise refused("body", "is not valid JSON") from error


def _misplaced(message: str) -> InvalidRequest:
    fault = _FAULT.fullmatch(message)
    assert fault is not None
    place, issue = fault["place"] or "", fault["issue"].replace("`", "")
    # For lenient clients null is the same as nothing at all.
    if place and issue.endswith("got null"):
        return refused(f"body{place}", "is required")
    if missing := _MISSING.fullmatch(fault["issue"]):
        return refused(f"body{place}.{missing['name']}", "is required")
    return refused(f"body{place}", issue[0].lower() + issue[1:])


def from_form(
    fields: Mapping[str, list[str]], kind: type[S], *, details: tuple[Detail, ...] = ()
) -> S:
    """A struct from form fields, numbers given as text; `details` is what was found before.

    A list field may be repeated, hold one item a line, or a JSON array; what is an object is JSON.
    Raises InvalidRequest, as from_json.
    """
    lists = {name for name, field in _fields(kind).items() if _item_kind(field.type)}
    objects = _objects(kind)
    values = {
        k: _listed(v) if k in lists else msgspec.Raw(v[0].encode()) if k in objects else v[0]
        for k, v in fields.items()
    }
    repeated = tuple(k for k, v in fields.items() if k not in lists and len(v) > 1)
    for name in objects & {*fields}:
        try:
            repeated += tuple(_repeats(_read(fields[name][0]), place=name))
        except _FAULTS:
            continue  # what is wrong with it is told with its field
    return _checked(values, kind, repeated=repeated, details=details)


def _listed(texts: list[str]) -> list[str] | str:
    items: list[str] = []
    for text in texts:
        if text.lstrip().startswith("["):
            try:
                items += msgspec.json.decode(text, type=list[str])
            except _FAULTS:
                return text
        else:
            _check_length("source_urls", text.count("\n"))
            items += [line.strip() for line in text.splitlines() if line.strip()]
    return items


def _check_length(name: str, length: int) -> None:
    """Before anybody looks at the items: millions of them would hold up every other request."""
    if length > LIST_ITEMS_MAX:
        raise TooManySources(f"{name} has more than {LIST_ITEMS_MAX} items: send fewer at a time.")


class _Object(dict[str, object]):
    """As it was written: with the keys that came more than once."""

    repeated: tuple[str, ...] = ()


def _repeated_keys(text: str, *, inside: Set[str]) -> tuple[str, ...]:
    """Of the outermost object, and at any depth of its fields named in `inside`, by their place."""
    outermost = _read(text)
    assert isinstance(outermost, _Object)
    nested = (_repeats(outermost[name], place=name) for name in outermost if name in inside)
    return (*outermost.repeated, *chain.from_iterable(nested))


def _read(text: str) -> object:
    # The standard decoder is the one that shows repeated keys; "last one wins" hides mistakes. It
    # reads what the other one has accepted, so that only depth can still stop it.
    read: object = json.loads(text, object_pairs_hook=_kept, parse_int=str, parse_float=str)
    return read


def _kept(pairs: list[tuple[str, object]]) -> _Object:
    kept = _Object(pairs)
    if len(kept) < len(pairs):
        times = Counter(key for key, _ in pairs)
        kept.repeated = tuple(key for key in times if times[key] > 1)
    return kept


def _repeats(value: object, *, place: str) -> Iterator[str]:
    if isinstance(value, _Object):
        yield from (f"{place}.{key}" for key in value.repeated)
        for key, each in value.items():
            yield from _repeats(each, place=f"{place}.{key}")
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _repeats(each, place=f"{place}[{number}]")


@cache
def _objects(kind: type[msgspec.Struct]) -> frozenset[str]:
    """The fields that are objects themselves, whatever is in them."""
    return frozenset(name for name, field in _fields(kind).items() if _is_object(field.type))


@cache
def _fields(kind: type[msgspec.Struct]) -> Mapping[str, FieldInfo]:
    """By the names that they have in JSON. Reading the annotations takes longer than a body."""
    return {field.encode_name: field for field in msgspec.structs.fields(kind)}


def _is_object(kind: Any) -> bool:
    return get_origin(kind) is dict or any(map(_is_object, get_args(kind)))


def _checked(
    fields: Mapping[str, Any],
    kind: type[S],
    *,
    repeated: tuple[str, ...],
    details: tuple[Detail, ...] = (),
) -> S:
    found = [*details]
    found += [Detail(field=key[:100], issue="is given more than once") for key in repeated]
    named = {detail.field for detail in details}
    values: dict[str, object] = {}
    known = _fields(kind)
    for name, given in fields.items():
        if name in known:
            values[known[name].name], faults = _value(name, given, known[name].type)
            found += faults
        else:
            found.append(Detail(field=name[:100], issue="is not a field of this request"))
    found += [
        Detail(field=name, issue="is required")
        for name, field in known.items()
        if field.required and name not in fields and name not in named
    ]
    if found:
        raise refusal(tuple(found[:DETAILS_MAX]))
    return kind(**values)


def _value(name: str, given: Any, kind: Any) -> tuple[object, list[Detail]]:
    """The value of a field and what is wrong with it; each item of a list is looked at."""
    item_kind = _item_kind(kind)
    if item_kind is None:
        return _scalar(name, given, kind)
    try:
        items = _decoded(given, list[msgspec.Raw] if isinstance(given, msgspec.Raw) else list[Any])
    except _FAULTS as error:
        return None, [Detail(field=name, issue=_reason(error))]
    _check_length(name, len(items))
    values: list[object] = []
    details: list[Detail] = []
    for index, item in enumerate(items):
        value, faults = _scalar(f"{name}[{index}]", item, item_kind)
        values.append(value)
        details += faults
        if len(details) == DETAILS_MAX:
            break
    return tuple(values), details


def _item_kind(kind: Any) -> Any:
    if get_origin(kind) is tuple:
        return get_args(kind)[0]
    parts = get_args(kind) if get_origin(kind) in (Annotated, Union, UnionType) else ()
    return next((found for found in map(_item_kind, parts) if found is not None), None)


def _scalar(name: str, given: Any, kind: Any) -> tuple[object, list[Detail]]:
    try:
        value = _decoded(given, kind)
    except _FAULTS as error:
        choices = ", ".join(_choices(kind))
        issue = f"must be one of {choices}" if choices else _reason(error)
        return None, [Detail(field=name, issue=issue)]
    if isinstance(value, str) and "\0" in value:
        return None, [Detail(field=name, issue="must not contain NUL characters")]
    return value, []


@cache
def _choices(kind: Any) -> tuple[str, ...]:
    """What a field takes that takes only certain words."""
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return tuple(kind)
    return tuple(chain.from_iterable(map(_choices, get_args(kind))))


def _decoded(given: Any, kind: Any) -> Any:
    if isinstance(given, msgspec.Raw):
        return msgspec.json.decode(given, type=kind)
    return msgspec.convert(given, kind, strict=False)


def _reason(error: Exception) -> str:
    """What a decoder found wrong, without its own notation for places and types."""
    if isinstance(error, RecursionError):
        return "is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "is not valid UTF-8"
    return str(error).replace("`", "").split(" - at ")[0]


def is_json(content_type: str) -> bool:
    """Whether a Content-Type is a JSON one; none at all counts, as small clients send none."""
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type in {"", "application/json"} or media_type.endswith("+json")


def require_json(content_type: str, *, or_form: bool) -> None:
    """Raises InvalidRequest where the body is announced as something else than JSON."""
    if not is_json(content_type):
        also = " or multipart/form-data" if or_form else ""
        raise refused("Content-Type", f"must be application/json{also}")
