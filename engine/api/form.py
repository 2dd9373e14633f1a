"""multipart/form-data, read as a stream: file parts go to storage while they arrive.

Text fields are small and kept; which of them exist is engine.api.body's matter. Nothing here knows
an endpoint.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import TypeAlias

import msgspec
from multipart import (  # type: ignore[import-untyped]
    MultipartSegment,
    ParserError,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)

from engine.api.edge import refused
from engine.errors import BodyTooLarge, Detail, TooManySources
from engine.models import Upload

TEXT_PARTS_MAX = 2_000
MEDIA_TYPE = "multipart/form-data"

# What the parser yields: a segment, bytes, or None. The library has no types of its own.
Event: TypeAlias = object
Receive = Callable[[str, str, AsyncIterator[bytes]], Awaitable[Upload]]


class FormRules(msgspec.Struct, frozen=True, kw_only=True):
    """`file_field` is the name of the parts that carry files, of which there may be `files_max`."""

    file_field: str
    files_max: int
    text_bytes_max: int


class Form(msgspec.Struct, kw_only=True):
    """What a form carried. `details` is what was wrong with its parts."""

    texts: dict[str, list[str]]
    uploads: list[Upload]
    details: list[Detail]


def is_form(content_type: str) -> bool:
    """Whether a Content-Type announces a form with parts."""
    return content_type.partition(";")[0].strip().lower() == MEDIA_TYPE


async def read_form(
    chunks: AsyncIterator[bytes], *, content_type: str, rules: FormRules, receive: Receive
) -> Form:
    """Read all parts; `receive` takes filename, media type and the bytes of each file part.

    Raises InvalidRequest when it is not a form, BodyTooLarge, TooManySources, and whatever
    `receive` raises.
    """
    reader = _FormReader(rules=rules, receive=receive)
    segments_max = rules.files_max + TEXT_PARTS_MAX
    parser = _parser(content_type, segments_max=segments_max)
    async with aclosing(_events(chunks, parser=parser)) as events:
        async for event in events:
            if isinstance(event, MultipartSegment):
                await reader.read(event, _body(events))
    return reader.form


def _parser(content_type: str, *, segments_max: int) -> PushMultipartParser:
    boundary = parse_options_header(content_type)[1].get("boundary", "")
    try:
        return PushMultipartParser(boundary, max_segment_count=segments_max)
    except (ParserError, UnicodeError) as error:
        raise refused("Content-Type", "must name a valid boundary") from error


async def _events(
    chunks: AsyncIterator[bytes], *, parser: PushMultipartParser
) -> AsyncGenerator[Event, None]:
    """A segment's head, its bytes in pieces, None at its end; then the next segment."""
    try:
        with parser:
            async for chunk in chunks:
                for event in parser.parse(chunk):
                    yield event
    except ParserLimitReached as error:
        raise BodyTooLarge("The form has too many parts, or a part with long headers.") from error
    except ParserError as error:
        raise refused("body", f"must be a complete {MEDIA_TYPE}: {_cause(error)}") from error


async def _body(events: AsyncIterator[Event]) -> AsyncIterator[bytes]:
    """The bytes of the part that the events are in, up to its end."""
    async for event in events:
        if not isinstance(event, bytes):
            return
        yield event


class _FormReader:
    def __init__(self, *, rules: FormRules, receive: Receive) -> None:
        self.form = Form(texts={}, uploads=[], details=[])
        self._rules = rules
        self._receive = receive
        self._text_bytes = 0

    async def read(self, segment: MultipartSegment, body: AsyncIterator[bytes]) -> None:
        """Read a part to its end, so that the next one can begin."""
        name, filename = segment.name or "", segment.filename
        if name == self._rules.file_field:
            await self._file(filename, segment.content_type or "", body)
        elif filename is not None:
            await self._refuse(name, "is not a file field of this request", body)
        else:
            await self._text(name, body)

    async def _file(
        self, filename: str | None, media_type: str, body: AsyncIterator[bytes]
    ) -> None:
        name = self._rules.file_field
        if filename is None:
            await self._refuse(name, "must be a file part, with a filename", body)
        elif filename == "":
            await _drain(body)  # what a browser sends for a file input that was left empty
        elif "\0" in filename:
            await self._refuse(name, "must not have NUL characters in its filename", body)
        elif len(self.form.uploads) == self._rules.files_max == 1:
            await self._refuse(name, "is given more than once", body)
        elif len(self.form.uploads) == self._rules.files_max:
            raise TooManySources(f"A request carries at most {self._rules.files_max} files.")
        elif self.form.details:
            await _drain(body)  # nothing will be made of it
        else:
            self.form.uploads.append(await self._receive(filename, media_type, body))

    async def _text(self, name: str, body: AsyncIterator[bytes]) -> None:
        value = bytearray()
        async for piece in body:
            self._text_bytes += len(piece)
            if self._text_bytes > self._rules.text_bytes_max:
                limit = self._rules.text_bytes_max
                raise BodyTooLarge(f"The text fields of the form are larger than {limit} bytes.")
            value += piece
        try:
            text = value.decode()
        except UnicodeDecodeError:
            self.form.details.append(Detail(field=name[:100], issue="is not valid UTF-8"))
        else:
            self.form.texts.setdefault(name, []).append(text)

    async def _refuse(self, name: str, issue: str, body: AsyncIterator[bytes]) -> None:
        self.form.details.append(Detail(field=name[:100], issue=issue))
        await _drain(body)


async def _drain(body: AsyncIterator[bytes]) -> None:
    async for _ in body:
        pass


def _cause(error: Exception) -> str:
    """The parser's own sentence, without what it chains behind it."""
    return str(error.args[0]) if error.args else "it cannot be read"
