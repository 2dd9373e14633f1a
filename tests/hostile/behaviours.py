"""What a hostile server is in the tables beside this: what it sends, and how fetching must end.

The tables are the servers_* modules. What runs them is test_hostile_servers.py.
"""

from collections.abc import Callable

import msgspec

READY = "ready"
WORDS = b"Words of a hostile server."
DEADLINE_S = 2.0
BYTES_MAX = 1024 * 1024


class Behaviour(msgspec.Struct, frozen=True, kw_only=True):
    """One server. `play` is what it sends, or a function of (socket, closing) that sends it.

    `{web}` and `{other}` in what it sends become the addresses of the two local servers, of which
    the second must never be reached. A fetched file must have exactly the bytes `body`.
    """

    name: str
    play: bytes | Callable
    outcome: str
    body: bytes = WORDS
    filename: str | None = None
    charset: str | None = None
    tls: bool = False


def answer(body=WORDS, *, status="200 OK", head="", length=None):
    """A whole answer; `head` is further header lines, `length` lies (a text is sent as it is)."""
    told = len(body) if length is None else length
    lines = [f"HTTP/1.1 {status}"]
    lines += [] if told == "" else [f"Content-Length: {told}"]
    lines += [head] if head else []
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def ready(name, play, *, body=WORDS, **more):
    """A server that must be fetched from, with this result."""
    return Behaviour(name=name, play=play, outcome=READY, body=body, **more)


def error(name, play, code, **more):
    """A server that must end in the error of that code."""
    return Behaviour(name=name, play=play, outcome=code, **more)


def moved(name, location, code, *, status="302 Found", **more):
    """A server that redirects to `location`."""
    line = b"Location: " + (location.encode() if isinstance(location, str) else location)
    head = f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n".encode() + line + b"\r\n\r\n"
    return error(name, head, code, **more)


def chunked(*parts, end=b"0\r\n\r\n", head=""):
    lines = f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{head}\r\n".encode()
    return lines + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + end
