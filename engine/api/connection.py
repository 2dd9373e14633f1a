"""A client's connection, as uvicorn hands it over: how long it may take, how much it may send
before it is a request, and what is said to bytes that are none.

Everything that is a request goes to the application; nothing here knows a route. Refusals have the
form of the door that the path belongs to, as far as a path could be read.
"""

import asyncio
import time
from asyncio import TimerHandle
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from engine.api.app import refusals_at
from engine.api.edge import request_id, request_id_of
from engine.api.headers import guarded

NO_HTTP = "This is no HTTP/1.1 request that can be read: check its first line, headers and lengths."
CUT_OFF = "The request ended before it was complete."
TOO_SLOW = "The head of the request did not arrive in time."
TOO_LONG = "The first line and the headers of the request are too long together."
TOO_MANY = "There are too many connections at the moment: come back soon."


class Connection(HttpToolsProtocol):
    """The limits are attributes of the class, which is made by uvicorn for each connection."""

    head_timeout_s = 10.0
    head_bytes_max = 64 * 1024
    # After its answer, what is left of a request is read for so long and thrown away: a client that
    # still sends would not see the answer otherwise.
    linger_s = 30.0
    # A client that takes nothing of its answer for so long does not want it.
    write_timeout_s = 60.0
    connections_max = 500
    retry_after_s = 2

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.since = time.monotonic()
        self._head_bytes = 0
        self._in_head = True
        self._in_body = False
        self._is_deaf = False
        self._body_bytes = 0
        self._unasked_bytes = 0
        self._deadline: TimerHandle | None = None
        self._write_deadline: TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()
        if len(self.connections) > self.connections_max and not self._make_room():
            self._refuse(503, TOO_MANY)

    def _make_room(self) -> bool:
        """Close whoever keeps a place without using it: idle ones and slow heads first, the oldest
        of them; then the slowest of the slow bodies."""
        others = (each for each in self.connections if isinstance(each, Connection))
        waiting = [each for each in others if each is not self and each.awaits_client]
        if not waiting:
            return False
        min(waiting, key=lambda each: (each._in_body, each._pace(), each.since))._abort()
        return True

    @property
    def awaits_client(self) -> bool:
        """Whether it is the client's turn."""
        return self._in_body or not self._is_answering()

    def _pace(self) -> float:
        """Bytes a second of a body that is arriving."""
        if not self._in_body:
            return 0.0
        return self._body_bytes / (time.monotonic() - self.since + 1.0)

    def connection_lost(self, exc: Exception | None) -> None:
        self._unset(self._deadline, self._write_deadline)
        super().connection_lost(exc)

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """A client may close its side when it has said all, and still gets its answer."""
        if self.transport.is_closing():
            return None
        if self._in_body or (self._head_bytes and not self._is_answering()):
            self._refuse(400, CUT_OFF)
            return True
        if self._is_answering():
            self.cycle.keep_alive = False
            return True
        return None

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing() or self.parser is None or self._is_deaf:
            return
        if self._in_head:
            self._head_bytes += len(data)
        else:
            self._unasked_bytes += len(data)
        super().data_received(data)
        # The parser keeps the beginning of a header to itself, however long it gets; also of those
        # behind a chunked body.
        if max(self._head_bytes, self._unasked_bytes) > self.head_bytes_max:
            self._refuse(431, TOO_LONG)
        elif self._in_head and self._deadline is None and not self._is_answering():
            self._await_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self.since = True, time.monotonic()

    def on_headers_complete(self) -> None:
        head_bytes = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if head_bytes > self.head_bytes_max:
            self._refuse(431, TOO_LONG)
            return
        if self.parser.get_http_version() not in ("1.0", "1.1"):
            self._refuse(400, NO_HTTP)
            return
        super().on_headers_complete()
        self._in_head, self._in_body = False, True
        self._head_bytes = self._body_bytes = self._unasked_bytes = 0
        self._set_deadline(None)

    def on_header(self, name: bytes, value: bytes) -> None:
        # Behind a chunked body come more headers, which nobody has asked for.
        if self._in_head:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._body_bytes += len(body)
        self._unasked_bytes = 0

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head, self._in_body, self._unasked_bytes = True, False, 0
        self._set_deadline(None)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._in_body and not self.transport.is_closing():
            self._set_deadline(self.loop.call_later(self.linger_s, self.transport.close))

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_deadline = self.loop.call_later(self.write_timeout_s, self._abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unset(self._write_deadline)

    def send_400_response(self, msg: str) -> None:
        """What uvicorn says to bytes that are no HTTP."""
        self._refuse(400, NO_HTTP)

    def _await_head(self) -> None:
        late = self.loop.call_later(self.head_timeout_s, self._on_late_head)
        self._set_deadline(late)

    def _on_late_head(self) -> None:
        self._deadline = None
        if self._is_answering():
            return
        if self._head_bytes:
            self._refuse(408, TOO_SLOW)
        else:
            self.transport.close()

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _set_deadline(self, deadline: TimerHandle | None) -> None:
        self._unset(self._deadline)
        self._deadline = deadline

    @staticmethod
    def _unset(*timers: TimerHandle | None) -> None:
        for timer in timers:
            if timer is not None:
                timer.cancel()

    def _abort(self) -> None:
        self.transport.abort()

    def _refuse(self, code: int, message: str) -> None:
        """Answer and close. Who has an answer coming gets that one, and nothing behind it."""
        if self.transport.is_closing():
            return
        if self._is_answering() and not self._in_body:
            self.cycle.keep_alive, self._is_deaf = False, True
            return
        is_answered = self._in_body and self.cycle.response_started
        if not (is_answered or self.pipeline):
            self.transport.write(self._refusal(code, message))
        if self._is_answering():
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()

    def _refusal(self, code: int, message: str) -> bytes:
        own_id = request_id_of(None)
        token = request_id.set(own_id)
        body = refusals_at(self._path()).unread(code, message).content
        request_id.reset(token)
        told = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            (b"x-request-id", own_id.encode()),
        ]
        if code == 503:
            told.append((b"retry-after", str(self.retry_after_s).encode()))
        lines = (name + b": " + value + b"\r\n" for name, value in guarded(told))
        self.logger.info("refused a connection: %s", message)
        return b"".join([STATUS_LINE[code], *lines, b"\r\n", body])

    def _path(self) -> str:
        """The path of the request as far as it is known."""
        url: bytes = getattr(self, "url", b"")
        try:
            return (httptools.parse_url(url).path or b"").decode("latin-1")
        except httptools.HttpParserError:
            return ""
