"""A small embeddings server on 127.0.0.1 that answers as OpenAI does, or misbehaves as planned.

`served` is one server, `other_served` a second one. What comes in is kept in `requests`; the first
items of `plan` decide how the next requests are answered, and after them all are answered well.
"""

import contextlib
import hashlib
import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import numpy as np
import pytest

DIMENSIONS = 16


class Request(NamedTuple):
    """One request as it arrived, `at` on the monotonic clock; header names are lower case."""

    path: str
    headers: dict[str, str]
    model: str
    texts: list[str]
    at: float


def vector_of(text: str) -> np.ndarray:
    """What the server makes of a text, brought to length 1."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    vector = np.random.default_rng(seed).normal(size=DIMENSIONS)
    return vector / np.linalg.norm(vector)


def items_of(texts: list[str]) -> list[dict[str, Any]]:
    """The good answer's list. The vectors are three times as long as they are given on."""
    return [
        {"object": "embedding", "index": number, "embedding": (3 * vector_of(text)).tolist()}
        for number, text in enumerate(texts)
    ]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def do_POST(self) -> None:
        served = self.server.served
        length = int(self.headers["content-length"])
        sent = self.rfile.read(length)
        if len(sent) < length:  # whoever asked has broken off
            self.close_connection = True
            return
        body = json.loads(sent)
        headers = {name.lower(): value for name, value in self.headers.items()}
        with served.changing:
            request = Request(self.path, headers, body["model"], body["input"], at=time.monotonic())
            served.requests.append(request)
            act = served.plan.pop(0) if served.plan else served.usual
            served.running += 1
            served.running_max = max(served.running_max, served.running)
        try:
            act(self, body["input"])
        finally:
            with served.changing:
                served.running -= 1

    def do_GET(self) -> None:
        self.server.served.requests.append(Request(self.path, {}, "GET", [], at=time.monotonic()))
        self.answer(404, b"")

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        return


Act = Callable[[Handler, list[str]], None]


def answers(items: Any) -> bytes:
    return json.dumps({"object": "list", "model": "m", "data": items}).encode()


def well(handler: Handler, texts: list[str]) -> None:
    handler.answer(200, answers(items_of(texts)))


def shuffled(handler: Handler, texts: list[str]) -> None:
    handler.answer(200, answers(items_of(texts)[::-1]))


def status(number: int, body: bytes = b"{}", **headers: str) -> Act:
    """Answer with this status, this body and these headers."""
    return lambda handler, _: handler.answer(number, body, **headers)


def body(content: bytes) -> Act:
    """Answer 200 with exactly this body."""
    return lambda handler, _: handler.answer(200, content)


def items(change: Callable[[list[dict[str, Any]]], Any]) -> Act:
    """Answer 200 with what `change` makes of the good list."""
    return lambda handler, texts: handler.answer(200, answers(change(items_of(texts))))


def slow(delay_s: float) -> Act:
    """Answer well, after a while."""

    def act(handler: Handler, texts: list[str]) -> None:
        if not handler.server.served.closing.wait(delay_s):
            well(handler, texts)

    return act


def hangs(handler: Handler, _: list[str]) -> None:
    handler.server.served.closing.wait(30)
    handler.close_connection = True


def closes(handler: Handler, _: list[str]) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def breaks_off(handler: Handler, texts: list[str]) -> None:
    """Promises more than it sends."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    handler.wfile.write(answers(items_of(texts))[:100])
    handler.wfile.flush()
    closes(handler, texts)


def endless(handler: Handler, _: list[str]) -> None:
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.close_connection = True
    with contextlib.suppress(OSError):
        while not handler.server.served.closing.is_set():
            handler.wfile.write(b" " * 65536)
            handler.server.served.bytes_sent += 65536


def trickles(handler: Handler, _: list[str]) -> None:
    """Never idle for long, and never done."""
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.close_connection = True
    with contextlib.suppress(OSError):
        while not handler.server.served.closing.wait(0.02):
            handler.wfile.write(b" ")


def takes(*, characters_max: int, refusal: Mapping[str, Any]) -> Act:
    """Answer well unless the texts have more characters together than that."""

    def act(handler: Handler, texts: list[str]) -> None:
        if sum(map(len, texts)) > characters_max:
            handler.answer(refusal["status"], json.dumps(refusal["body"]).encode())
        else:
            well(handler, texts)

    return act


class Served:
    """The server and what it saw."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.plan: list[Act] = []
        self.usual: Act = well
        self.running = self.running_max = self.bytes_sent = 0
        self.changing = threading.Lock()
        self.closing = threading.Event()
        self.faults: list[BaseException] = []
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, served: Served) -> None:
        self.served = served
        super().__init__(("127.0.0.1", 0), Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        error = sys.exception()
        # A client that goes away in the middle is what many tests are about.
        if error is not None and not isinstance(error, ConnectionError | TimeoutError):
            self.served.faults.append(error)


@contextlib.contextmanager
def open_served() -> Iterator[Served]:
    """A server for the time of the block; a fault of its own fails the test."""
    server = Served()
    try:
        yield server
    finally:
        server.close()
    assert server.faults == [], server.faults


@pytest.fixture
def served() -> Iterator[Served]:
    with open_served() as server:
        yield server


@pytest.fixture
def other_served() -> Iterator[Served]:
    with open_served() as server:
        yield server
