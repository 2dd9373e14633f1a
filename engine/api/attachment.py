"""A stored file as a download: never shown by a browser, whatever its owner called it."""

import re
from collections.abc import AsyncIterator
from urllib.parse import quote

from litestar.response import Stream

from engine.models import File

_MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+", re.ASCII)
# What a browser would run, if it were made to show it.
_ACTIVE = re.compile(r".*(html|xml|svg|script|flash|multipart|message).*", re.IGNORECASE)
# What no file system has in a name; what deceives the eye was taken out when it was stored.
_NOT_IN_NAMES = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"/\\|?*]')
BYTES = "application/octet-stream"


async def attachment(file: File, pieces: AsyncIterator[bytes]) -> Stream:
    """The bytes as they arrive, under the file's own name."""
    return Stream(
        await _begun(pieces),
        headers={
            # As a header, because the framework would add a charset that the bytes may not have.
            "Content-Type": _passive(file.media_type),
            "Content-Length": str(file.file_bytes),
            "Content-Disposition": f"attachment; filename*=UTF-8''{_quoted(file.filename)}",
            # Should a browser show it all the same, then as a page of nobody that can do nothing.
            "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
        },
    )


def _passive(media_type: str) -> str:
    """The type as its owner told it, where it is one and a browser does no more than save it."""
    is_told = _MEDIA_TYPE.fullmatch(media_type) and not _ACTIVE.fullmatch(media_type)
    return media_type if is_told else BYTES


def _quoted(filename: str) -> str:
    return quote(_NOT_IN_NAMES.sub("_", filename).lstrip(".") or "file", safe="")


async def _begun(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same pieces, the first of them read: what fails fails while a status can be sent."""
    first = await anext(pieces, b"")

    async def whole() -> AsyncIterator[bytes]:
        yield first
        async for piece in pieces:
            yield piece

    return whole()
