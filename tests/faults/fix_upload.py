"""Uploads over HTTP, whole and half, as a customer of its own sends them."""

import socket
from urllib.parse import urlsplit

import httpx
from fix_corpus import CHUNK_TOKENS, SHORT
from fix_engine import Caller

from engine.config import Settings

HALF = 1 << 20


def upload(settings: Settings, *, token: str) -> httpx.Response:
    """Make a RAG of two documents of the corpus."""
    files = [("files", ("a.md", text.encode(), "text/markdown")) for text in SHORT[:2]]
    with Caller(settings.base_url, token=token, timeout_s=60.0) as caller:
        data = {"name": "r", "chunk_tokens": str(CHUNK_TOKENS)}
        return caller.post("/rags", data=data, files=files)


def half_sent(base_url: str, *, token: str) -> socket.socket:
    """An upload of which half has arrived."""
    where = urlsplit(base_url)
    body = (
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.md"\r\n'
        b"Content-Type: text/markdown\r\n\r\n" + b"a" * HALF
    )
    head = (
        f"POST /rags HTTP/1.1\r\nHost: {where.netloc}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {2 * HALF}\r\n\r\n"
    )
    connection = socket.create_connection((str(where.hostname), where.port or 80))
    connection.sendall(head.encode() + body)
    return connection
