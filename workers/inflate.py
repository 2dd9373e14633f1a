"""Content encodings undone in bounded steps, so that a small answer never becomes a large block.

How many bytes there may be in all is the fetch's to count.
"""

import zlib
from collections.abc import Iterator

from engine.errors import FetchBadEncoding, FetchUnreachable

STEP_BYTES = 64 * 1024


class Plain:
    """No encoding: what comes in goes out."""

    def feed(self, raw: bytes) -> Iterator[bytes]:
        yield raw

    def check_end(self) -> None: ...


class Inflater:
    """gzip (one or several members) or deflate, in steps of at most STEP_BYTES."""

    def __init__(self, *, is_gzip: bool) -> None:
        self._is_gzip = is_gzip
        self._head = b""
        self._stream: zlib._Decompress | None = None

    def feed(self, raw: bytes) -> Iterator[bytes]:
        """Raises FetchBadEncoding when the bytes are not what the server announced."""
        if self._stream is None:
            # The first two bytes tell a deflate stream with a zlib header from a bare one.
            self._head += raw
            if len(self._head) < 2:
                return
            raw = self._head
            self._stream = self._opened(raw)
        # The stream may hold back output although its input is used up: a full step says so.
        is_more = True
        while raw or is_more:
            try:
                data, raw = self._step(self._stream, raw)
            except zlib.error as error:
                raise FetchBadEncoding(
                    "The document is not encoded the way the server says it is."
                ) from error
            is_more = len(data) == STEP_BYTES
            yield data

    def check_end(self) -> None:
        """Raises FetchUnreachable when the encoded bytes stop in the middle."""
        if self._head and (self._stream is None or not self._stream.eof):
            raise FetchUnreachable("The server stopped in the middle of the document.")

    def _step(self, stream: "zlib._Decompress", raw: bytes) -> tuple[bytes, bytes]:
        if stream.eof:
            # Another member may follow; anything else after the end is padding, as for browsers.
            if not self._is_gzip or not raw.startswith(b"\x1f"):
                return b"", b""
            stream = self._stream = self._opened(raw)
        data = stream.decompress(raw, STEP_BYTES)
        return data, stream.unused_data if stream.eof else stream.unconsumed_tail

    def _opened(self, head: bytes) -> "zlib._Decompress":
        if self._is_gzip:
            return zlib.decompressobj(zlib.MAX_WBITS | 16)
        has_header = head[0] & 0x0F == 8 and (head[0] << 8 | head[1]) % 31 == 0
        return zlib.decompressobj(zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS)


def inflater_of(encodings: str) -> Plain | Inflater:
    """What undoes a Content-Encoding. Raises FetchBadEncoding for one that was not asked for."""
    names = [name.strip().lower() for name in encodings.split(",")]
    match [name for name in names if name not in {"", "identity"}]:
        case []:
            return Plain()
        case ["gzip" | "x-gzip"]:
            return Inflater(is_gzip=True)
        case ["deflate"]:
            return Inflater(is_gzip=False)
    raise FetchBadEncoding("The server sent the document in an encoding that was not asked for.")
