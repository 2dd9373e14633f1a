"""HTTP by hand: bytes out, answers in, and what every answer must be like.

Clients of HTTP refuse to send most of what is sent here.
"""

import json
import re
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

ANSWER_TIMEOUT_S = 20.0
SECOND_DOOR = ("/v1/convai", "/v1/voiceai")
# What only somebody who writes this engine can know.
INTERNALS = re.compile(
    r"Traceback|File \"|site-packages|\.py\b|psycopg|litestar|msgspec|uvicorn|httptools|asyncio"
    r"|\b[A-Z][A-Za-z]+(Error|Exception)\b|SELECT |INSERT |UPDATE |\brow-level\b|relation \""
    r"|0x[0-9a-f]{6,}|object at |/(work|tmp|usr|home|root|var)/|errno"
)
GUARDS = (
    "x-content-type-options",
    "content-security-policy",
    "x-frame-options",
    "referrer-policy",
    "cache-control",
    "x-request-id",
)


class Answer(NamedTuple):
    code: int
    headers: dict[str, str]
    body: bytes

    @property
    def message(self) -> str:
        """What a refusal says, whichever door it comes from."""
        told = json.loads(self.body)
        if "error" in told:
            return str(told["error"]["message"])
        detail = told["detail"]
        return str(detail["message"] if isinstance(detail, dict) else detail[0]["msg"])


class Wire:
    """A connection on which anything can be sent. Interim answers (100) are kept apart."""

    def __init__(self, where: tuple[str, int], *, timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        self.socket = socket.create_connection(where, timeout=timeout_s)
        self._timeout_s = timeout_s
        self._arrived = b""
        self.interim: list[int] = []

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *pieces: bytes, pause_s: float = 0.0) -> None:
        """Send pieces until the other side closes, which is no failure."""
        for piece in pieces:
            try:
                self.socket.sendall(piece)
            except (ConnectionError, BrokenPipeError):
                return
            time.sleep(pause_s)

    def finish(self) -> None:
        """Close this side only."""
        with suppress(OSError):  # the other side may have closed before
            self.socket.shutdown(socket.SHUT_WR)

    def answer(self, *, to_head: bool = False) -> Answer | None:
        """The next answer, None when the connection was closed without one."""
        head, found, _ = self._until(b"\r\n\r\n")
        if not found:
            assert head == b"", head[:2_000]
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        code = int(first.split(" ")[1])
        headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines)}
        if code == 100:
            self.interim.append(code)
            return self.answer(to_head=to_head)
        return Answer(code, headers, self._body(code, headers, to_head=to_head))

    def _body(self, code: int, headers: dict[str, str], *, to_head: bool) -> bytes:
        if to_head or code in (204, 304):
            return b""
        if "chunked" in headers.get("transfer-encoding", ""):
            body = b""
            while size := int(self._until(b"\r\n")[0], 16):
                body += self._exactly(size)
                self._exactly(2)
            self._exactly(2)
            return body
        return self._exactly(int(headers["content-length"]))

    def _until(self, mark: bytes) -> tuple[bytes, bytes, bytes]:
        while mark not in self._arrived and self._more():
            pass
        parts = self._arrived.partition(mark)
        self._arrived = parts[2]
        return parts

    def _exactly(self, count: int) -> bytes:
        while len(self._arrived) < count:
            assert self._more(), "the answer ended before it was complete"
        found, self._arrived = self._arrived[:count], self._arrived[count:]
        return found

    def _more(self) -> bool:
        try:
            piece = self.socket.recv(1 << 16)
        except ConnectionError:
            return False
        self._arrived += piece
        return bool(piece)

    def is_closed(self, *, within_s: float) -> bool:
        """Whether the other side closes, whatever it still says."""
        self.socket.settimeout(within_s)
        try:
            while self.socket.recv(1 << 16):
                pass
        except TimeoutError:
            return False
        except ConnectionError:
            return True
        finally:
            self.socket.settimeout(self._timeout_s)
        return True


def exchange(where: tuple[str, int], pieces: Sequence[bytes], *, finish: bool) -> Answer | None:
    """Send a request in pieces, and perhaps no more after it; the answer to it."""
    with Wire(where) as wire:
        wire.send(*pieces, pause_s=0.05 if len(pieces) > 1 else 0.0)
        if finish:
            wire.finish()
        return wire.answer(to_head=pieces[0].startswith(b"HEAD "))


def expect_plain(answer: Answer, *, path: str, to_head: bool = False) -> None:
    """Guarded, never an accident; a refusal is the door's own, useful, and tells no internals."""
    assert not 500 <= answer.code < 600 or answer.code == 503, answer
    for name in GUARDS:
        assert answer.headers.get(name), (name, answer)
    assert "server" not in answer.headers, answer
    assert answer.headers["x-content-type-options"] == "nosniff"
    if answer.code == 503:
        assert int(answer.headers["retry-after"]) > 0
    if answer.code < 400 or to_head:
        return
    assert answer.headers["content-type"].startswith("application/json"), answer
    told = json.loads(answer.body)
    if path.startswith(SECOND_DOOR):
        assert set(told) == {"detail"}, told
        if isinstance(told["detail"], dict):
            assert told["detail"]["request_id"] == answer.headers["x-request-id"]
    else:
        assert set(told) == {"error"}, told
        assert told["error"]["request_id"] == answer.headers["x-request-id"]
    assert 10 <= len(answer.message) <= 1_000, answer.message
    leaked = INTERNALS.search(answer.body.decode())
    assert leaked is None, (leaked, answer.body[:2_000])
