"""A TCP proxy before a real server: it can fall silent, refuse, cut, and lose answers to COMMIT.

It knows nothing of what passes but one message of PostgreSQL's protocol. Threads, so that it works
while a test's event loop waits.
"""

import contextlib
import random
import socket
import threading
from collections.abc import Callable, Iterator
from urllib.parse import parse_qs, unquote, urlsplit

READ_BYTES = 1 << 16
COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"

Address = str | tuple[str, int]


class _Link:
    """One client's connection and ours to the server, with a thread for each direction."""

    def __init__(self, proxy: "Proxy", client: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server: socket.socket | None = None
        self._lost = False
        self._marked = False
        self.open = threading.Event()
        self.open.set()
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        """Both ends see it: shutting down wakes the threads that read."""
        ends = [end for end in (self._client, self._server) if end is not None]
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for end in ends:
            end.close()
        self.open.set()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            self._wait()
            self._server = server = self._proxy.dial()
            backward = threading.Thread(target=self._backward, args=(server,), daemon=True)
            backward.start()
            self._forward(server)
            backward.join()
        self.close()
        self._proxy.forget(self)

    def _forward(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := self._client.recv(READ_BYTES):
                self._wait()
                self._marked |= self._proxy.marker in piece
                if COMMIT in piece and self._marked and self._proxy.loses():
                    self._lost = True
                server.sendall(piece)
        self.close()

    def _backward(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while (piece := server.recv(READ_BYTES)) and not self._lost:
                self._wait()
                self._client.sendall(piece)
        self.close()

    def _wait(self) -> None:
        self._proxy.open.wait()
        self.open.wait()


class Proxy:
    """Listens on 127.0.0.1 at a port of its own, before one server."""

    def __init__(self, upstream: Address) -> None:
        self._upstream = upstream
        self._links: set[_Link] = set()
        self._lock = threading.Lock()
        self.open = threading.Event()
        self.open.set()
        self.loses: Callable[[], bool] = lambda: False
        self.marker = b""
        self.port = 0
        self._listener: socket.socket | None = None
        self.accept()

    def silence(self) -> None:
        """Forward nothing more; connections stay open and new ones are accepted."""
        self.open.clear()

    def speak(self) -> None:
        """Go on, with all that was held back."""
        self.open.set()

    def abandon(self) -> None:
        """The connections of now stay open and silent for ever; new ones are served."""
        with self._lock:
            for link in self._links:
                link.open.clear()
        self.open.set()

    def cut(self) -> None:
        """Close every connection of now."""
        with self._lock:
            links = list(self._links)
        for link in links:
            link.close()

    def refuse(self) -> None:
        """Nobody listens any more."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        self.cut()

    def accept(self) -> None:
        """Listen, at the same port as before."""
        listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._serve, args=(listener,), daemon=True).start()

    def lose_commits(self, *, share: float, seed: int) -> None:
        """Of so many commits the server's answer never arrives: the connection ends instead."""
        dice = random.Random(seed)
        self.loses = lambda: dice.random() < share

    def lose_next_commit(self, *, after: bytes) -> None:
        """The answer to one commit is lost: of the first connection that has sent these bytes."""
        once = iter([True])
        self.marker = after
        self.loses = lambda: next(once, False)

    def lose_nothing(self) -> None:
        self.loses = lambda: False

    def close(self) -> None:
        self.refuse()
        self.speak()
        self.cut()

    def dial(self) -> socket.socket:
        """A new connection to the server."""
        if isinstance(self._upstream, tuple):
            return socket.create_connection(self._upstream)
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(self._upstream)
        except OSError:
            server.close()
            raise
        return server

    def forget(self, link: _Link) -> None:
        with self._lock:
            self._links.discard(link)

    def _serve(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:
                    self._links.add(_Link(self, client))


@contextlib.contextmanager
def postgres_proxy(database_url: str) -> Iterator[tuple[Proxy, str]]:
    """A proxy before the server of this URL, and the URL that leads through it."""
    parts = urlsplit(database_url)
    query = parse_qs(parts.query)
    folder, port = unquote(query["host"][0]), query["port"][0]
    with contextlib.closing(Proxy(f"{folder}/.s.PGSQL.{port}")) as proxy:
        where = f"127.0.0.1:{proxy.port}{parts.path}"
        yield proxy, f"postgresql://{parts.username}@{where}?sslmode=disable&gssencmode=disable"


@contextlib.contextmanager
def redis_proxy(redis_url: str) -> Iterator[tuple[Proxy, str]]:
    """As postgres_proxy, for the bell."""
    parts = urlsplit(redis_url)
    number = parse_qs(parts.query).get("db", ["0"])[0]
    with contextlib.closing(Proxy(unquote(parts.path))) as proxy:
        yield proxy, f"redis://127.0.0.1:{proxy.port}/{number}"
