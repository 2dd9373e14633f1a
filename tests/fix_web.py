"""A small web of our own: real HTTP servers on 127.0.0.1 that answer, or misbehave, as scripted.

`web` is one server; `other_web` is a second one, on another port. Every path counts its hits.
"""

import contextlib
import socket
import ssl
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import NamedTuple

import pytest

Script = Callable[[socket.socket, threading.Event], None]


class Route(NamedTuple):
    """What one path answers. With `script`, the request's socket is its own to misuse."""

    body: bytes = b""
    media_type: str = ""
    status: int = 200
    headers: Mapping[str, str] = MappingProxyType({})
    delay_s: float = 0.0
    gate: threading.Event | None = None
    script: Script | None = None


class Request(NamedTuple):
    """One request as it arrived; header names are lower case."""

    path: str
    headers: dict[str, str]


class Web:
    """One server. Routes may be added and replaced while it runs; unknown paths answer 404."""

    def __init__(self, *, ssl_context: ssl.SSLContext | None = None) -> None:
        self.hits: Counter[str] = Counter()
        self.requests: list[Request] = []
        self.faults: list[BaseException] = []
        self.routes: dict[str, Route] = {}
        self.closing = threading.Event()
        self._scheme = "https" if ssl_context else "http"
        self._server = _Server(self, ssl_context=ssl_context)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def host_port(self) -> str:
        return f"127.0.0.1:{self.port}"

    def url(self, path: str = "/", *, host: str = "127.0.0.1") -> str:
        return f"{self._scheme}://{host}:{self.port}{path}"

    def add(
        self,
        path: str,
        *,
        body: bytes | str = b"",
        media_type: str = "text/html; charset=utf-8",
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        delay_s: float = 0.0,
        gate: threading.Event | None = None,
    ) -> str:
        """Answer `path` with this, after `delay_s` and once `gate` is set. Returns the URL."""
        content = body.encode() if isinstance(body, str) else body
        self.routes[path] = Route(
            content, media_type, status, headers or {}, delay_s=delay_s, gate=gate
        )
        return self.url(path)

    def script(self, path: str, script: Script) -> str:
        """Hand the socket to `script` once the request has been read. Returns the URL."""
        self.routes[path] = Route(script=script)
        return self.url(path)

    def raw(self, path: str, answer: bytes) -> str:
        """Answer with exactly these bytes, then close. Returns the URL."""
        return self.script(path, lambda connection, _: connection.sendall(answer))

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = True
    request_queue_size = 128

    def __init__(self, web: Web, *, ssl_context: ssl.SSLContext | None) -> None:
        self.web = web
        self.ssl_context = ssl_context
        super().__init__(("127.0.0.1", 0), _Handler)

    def finish_request(self, request: socket.socket, client_address: object) -> None:
        request.settimeout(10)
        if self.ssl_context is not None:
            # The handshake runs in the request's own thread, so a client that breaks it off
            # does not stop the server.
            request = self.ssl_context.wrap_socket(request, server_side=True)
        with contextlib.closing(request) if self.ssl_context else contextlib.nullcontext():
            _Handler(request, client_address, self)

    def handle_error(self, request: object, client_address: object) -> None:
        error = sys.exception()
        # A client that goes away in the middle is what many tests are about.
        if error is not None and not isinstance(
            error, (ConnectionError, TimeoutError, ssl.SSLError)
        ):
            self.web.faults.append(error)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        web = self.server.web
        path = self.path.partition("?")[0]
        web.hits[path] += 1
        names = {name.lower(): value for name, value in self.headers.items()}
        web.requests.append(Request(self.path, names))
        route = web.routes.get(path, Route(b"no such page", "text/plain", 404))
        self.close_connection = True
        if route.script is not None:
            route.script(self.connection, web.closing)
        elif self._waited(route):
            self._answer(route)

    def _waited(self, route: Route) -> bool:
        """Whether it is still worth answering, after the delay and the gate."""
        if route.delay_s and self.server.web.closing.wait(route.delay_s):
            return False
        while route.gate is not None and not route.gate.wait(0.02):
            if self.server.web.closing.is_set():
                return False
        return True

    def _answer(self, route: Route) -> None:
        self.send_response(route.status)
        names = {name.lower() for name in route.headers}
        if route.media_type and "content-type" not in names:
            self.send_header("Content-Type", route.media_type)
        if "content-length" not in names:
            self.send_header("Content-Length", str(len(route.body)))
        self.send_header("Connection", "close")
        for name, value in route.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(route.body)

    def log_message(self, format: str, *args: object) -> None:
        return


@contextlib.contextmanager
def open_web(*, ssl_context: ssl.SSLContext | None = None) -> Iterator[Web]:
    """A server for the time of the block; a fault of its own fails the test."""
    web = Web(ssl_context=ssl_context)
    try:
        yield web
    finally:
        web.close()
    assert web.faults == []


@pytest.fixture
def web() -> Iterator[Web]:
    with open_web() as server:
        yield server


@pytest.fixture
def other_web() -> Iterator[Web]:
    with open_web() as server:
        yield server
