"""A stored file as a download: never shown by a browser, whatever its owner called it."""

import re
from collections.abc import AsyncIterator
from urllib.parse import quote

from litestar.response import Stream

from engine.models import File

_MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+", re.ASCII)


async def attachment(file: File, pieces: AsyncIterator[bytes]) -> Stream:
    """The bytes as they arrive, under the file's own name."""
    known = _MEDIA_TYPE.fullmatch(file.media_type)
    return Stream(
        await _begun(pieces),
        headers={
            # As a header, because the framework would add a charset that the bytes may not have.
            "Content-Type": file.media_type if known else "application/octet-stream",
            "Content-Length": str(file.file_bytes),
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(file.filename, safe='')}",
            "X-Content-Type-Options": "nosniff",
            # Should a browser show it all the same, then as a page of nobody that can do nothing.
            "Content-Security-Policy": "default-src 'none'; sandbox",
            # A copy that outlives its document, or its link, would answer for a deleted file.
            "Cache-Control": "private, no-store",
        },
    )


async def _begun(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same pieces, the first of them read: what fails fails while a status can be sent."""
    first = await anext(pieces, b"")

    async def whole() -> AsyncIterator[bytes]:
        yield first
        async for piece in pieces:
            yield piece

    return whole()
