"""A case of nonsense as data, and how requests are written by hand."""

from typing import NamedTuple

NATIVE = "/rags"
DOOR = "/v1/convai/knowledge-base"
JSON = "Content-Type: application/json"
NO_ANSWER = 0  # the connection is closed, and nothing is said


class Case(NamedTuple):
    """`pieces` are sent one after the other; `codes` are the answers that are right."""

    name: str
    path: str
    pieces: tuple[bytes, ...]
    codes: frozenset[int]
    finish: bool = False


def case(name: str, request: bytes, *codes: int, path: str = NATIVE, finish: bool = False) -> Case:
    return Case(name, path, (request,), frozenset(codes), finish)


def keys(path: str) -> list[bytes]:
    """The header that lets the customer in, at the door of this path."""
    return [b"xi-api-key: @TOKEN@" if path.startswith("/v1/") else b"X-API-Key: @TOKEN@"]


def request(
    method: str, path: str, *headers: str | bytes, body: bytes = b"", length: bool = True
) -> bytes:
    """A request as it should be, apart from what it is given."""
    lines = [f"{method} {path} HTTP/1.1".encode("latin-1"), b"Host: engine", b"Connection: close"]
    lines += keys(path)
    lines += [each if isinstance(each, bytes) else each.encode("latin-1") for each in headers]
    if length and (body or method in ("POST", "PUT", "PATCH")):
        lines.append(f"Content-Length: {len(body)}".encode())
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def posted(path: str, body: bytes, *headers: str, method: str = "POST") -> bytes:
    """A request with a JSON body."""
    return request(method, path, JSON, *headers, body=body)


def form(path: str, *parts: bytes, boundary: bytes = b"X", method: str = "POST") -> bytes:
    """A request with a form of these parts, each from its Content-Disposition on."""
    body = b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts)
    kind = b"Content-Type: multipart/form-data; boundary=" + boundary
    return request(method, path, kind, body=body + b"--" + boundary + b"--\r\n")


def part(name: bytes, value: bytes = b"", *, filename: bytes | None = None) -> bytes:
    named = b"" if filename is None else b'; filename="' + filename + b'"'
    return b'Content-Disposition: form-data; name="' + name + b'"' + named + b"\r\n\r\n" + value
