"""workers.fetch against a real server that answers, redirects, stalls, lies and bombs."""

import asyncio
import gzip
import hashlib
import socket
import threading
import time
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from fix_web import Web

from engine.addresses import AllowList
from engine.config import Limits
from engine.errors import (
    FetchBadEncoding,
    FetchForbidden,
    FetchNotFound,
    FetchRejected,
    FetchServerError,
    FetchTimeout,
    FetchTooLarge,
    FetchTooManyRedirects,
    FetchUnreachable,
    PermanentError,
    SourceError,
    StorageUnavailable,
    TransientError,
)
from workers.fetch import Fetcher
from workers.shapes import Fetched

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024


class Asking:
    """A fetcher that may reach the local web only, and the folder that it writes to."""

    def __init__(self, web: Web, folder: Path) -> None:
        self.web = web
        self.folder = folder

    async def fetch(self, url: str, **limits: float) -> Fetched:
        settings = Limits(**{"fetch_timeout_s": 5.0, **limits})  # type: ignore[arg-type]
        allow_list = AllowList.parse((self.web.host_port,))
        return await Fetcher(settings, allow_list=allow_list).fetch_url(url, folder=self.folder)

    async def refusal(self, url: str, kind: type[SourceError], **limits: float) -> SourceError:
        """The error that fetching raises; no file stays behind."""
        with pytest.raises(kind) as caught:
            await self.fetch(url, **limits)
        assert type(caught.value) is kind
        assert caught.value.message.endswith(".")
        assert list(self.folder.iterdir()) == []
        return caught.value


@pytest.fixture
def asking(web: Web, tmp_path: Path) -> Asking:
    return Asking(web, tmp_path)


def zeros(count: int) -> bytes:
    """An endless-looking deflate body: `count` MiB of zeros in about a kilobyte each."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = stream.compress(bytes(MIB)) + stream.flush(zlib.Z_FULL_FLUSH)
    return block * count


async def test_a_page_arrives_whole_with_its_hash_and_what_the_server_claimed(
    asking: Asking, web: Web
) -> None:
    body = bytes(range(256)) * 4_000
    url = web.add("/papers/a%20b.PDF", body=body, media_type="Application/PDF; charset=UTF-8")
    fetched = await asking.fetch(url + "?version=2")
    assert fetched.path.read_bytes() == body
    assert fetched.path.parent == asking.folder
    assert fetched == Fetched(
        path=fetched.path,
        byte_count=len(body),
        sha256=hashlib.sha256(body).digest(),
        filename="a b.PDF",
        media_type="application/pdf",
        charset="utf-8",
        final_url=url + "?version=2",
    )


async def test_the_server_is_asked_for_plain_gzip_or_deflate_and_learns_who_asks(
    asking: Asking, web: Web
) -> None:
    await asking.fetch(web.add("/", body="x"))
    headers = web.requests[0].headers
    assert headers["accept-encoding"] == "gzip, deflate"
    assert headers["user-agent"].startswith("rag-engine/")
    assert headers["host"] == web.host_port
    assert set(headers) == {"host", "user-agent", "accept", "accept-encoding"}


async def test_an_empty_answer_is_a_fetched_file_without_bytes(asking: Asking, web: Web) -> None:
    web.add("/empty", body=b"")
    web.raw("/204", b"HTTP/1.1 204 No Content\r\n\r\n")
    web.add("/gzip", body=b"", headers={"Content-Encoding": "gzip"})
    for path in ("/empty", "/204", "/gzip"):
        assert (await asking.fetch(web.url(path))).byte_count == 0


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (404, FetchNotFound),
        (410, FetchNotFound),
        (401, FetchForbidden),
        (403, FetchForbidden),
        (407, FetchForbidden),
        (408, FetchServerError),
        (425, FetchServerError),
        (429, FetchServerError),
        (500, FetchServerError),
        (502, FetchServerError),
        (503, FetchServerError),
        (504, FetchServerError),
        (400, FetchRejected),
        (405, FetchRejected),
        (418, FetchRejected),
        (451, FetchRejected),
        (206, FetchRejected),
        (300, FetchRejected),
        (304, FetchRejected),
        (302, FetchRejected),
        (999, FetchRejected),
    ],
)
async def test_a_status_that_carries_no_document_is_its_own_error(
    status: int, kind: type[SourceError], asking: Asking, web: Web
) -> None:
    error = await asking.refusal(web.add("/", body="sorry", status=status), kind)
    assert str(status) in error.message
    assert isinstance(error, TransientError if kind is FetchServerError else PermanentError)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_followed_to_the_document_and_its_last_address_is_kept(
    status: int, asking: Asking, web: Web
) -> None:
    web.add("/docs/start", status=status, headers={"Location": "../end place.txt?x#part"})
    web.add("/end%20place.txt", body="the end", media_type="text/plain")
    fetched = await asking.fetch(web.url("/docs/start"))
    assert fetched.path.read_text() == "the end"
    assert fetched.filename == "end place.txt"
    assert fetched.final_url == web.url("/end%20place.txt?x#part")


async def test_as_many_redirects_as_the_limit_are_followed_and_one_more_is_not(
    asking: Asking, web: Web
) -> None:
    for hop in range(3):
        web.add(f"/{hop}", status=302, headers={"Location": f"/{hop + 1}"})
    web.add("/3", body="arrived")
    assert (await asking.fetch(web.url("/0"), fetch_redirects_max=3)).byte_count == 7
    for path in asking.folder.iterdir():
        path.unlink()
    await asking.refusal(web.url("/0"), FetchTooManyRedirects, fetch_redirects_max=2)


async def test_a_redirect_loop_ends_after_the_limit(asking: Asking, web: Web) -> None:
    web.add("/loop", status=307, headers={"Location": "/loop"})
    await asking.refusal(web.url("/loop"), FetchTooManyRedirects)
    assert web.hits["/loop"] == Limits().fetch_redirects_max + 1


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "javascript:alert(1)",
        "http://user:password@127.0.0.1/",
        "http://[::1",
        "http://256.1.1.1/",
        "http://example.com:99999/",
        "/" + "x" * 3_000,
    ],
)
async def test_a_redirect_to_what_is_no_web_page_is_rejected(
    location: str, asking: Asking, web: Web
) -> None:
    web.add("/", status=302, headers={"Location": location})
    error = await asking.refusal(web.url("/"), FetchRejected)
    assert error.message.startswith("The target of the redirect must ")


async def test_a_cookie_of_one_hop_is_not_sent_to_the_next(asking: Asking, web: Web) -> None:
    web.add("/", status=302, headers={"Location": "/next", "Set-Cookie": "id=1; Path=/"})
    web.add("/next", body="x")
    await asking.fetch(web.url("/"))
    assert [set(request.headers) & {"cookie", "referer"} for request in web.requests] == [set()] * 2


@pytest.mark.parametrize(
    "encode",
    [
        pytest.param(("gzip", gzip.compress), id="gzip"),
        pytest.param(("X-GZIP", gzip.compress), id="x-gzip"),
        pytest.param(("identity, gzip", gzip.compress), id="identity and gzip"),
        pytest.param(("deflate", zlib.compress), id="deflate with header"),
        pytest.param(("deflate", lambda b: zlib.compress(b, wbits=-15)), id="bare deflate"),
        pytest.param(
            ("gzip", lambda b: gzip.compress(b[:70_000]) + gzip.compress(b[70_000:])), id="members"
        ),
        pytest.param(("gzip", lambda b: gzip.compress(b) + b"\0" * 9), id="padding"),
        pytest.param(("identity", bytes), id="identity"),
        pytest.param(("", bytes), id="empty header"),
    ],
)
async def test_an_encoded_answer_is_inflated_before_it_is_counted_and_hashed(
    encode: tuple[str, Callable[[bytes], bytes]], asking: Asking, web: Web
) -> None:
    body = b"some text, again and again. " * 20_000
    url = web.add("/", body=encode[1](body), headers={"Content-Encoding": encode[0]})
    fetched = await asking.fetch(url)
    assert fetched.path.read_bytes() == body
    assert (fetched.byte_count, fetched.sha256) == (len(body), hashlib.sha256(body).digest())


@pytest.mark.parametrize(
    "encoding", ["br", "zstd", "compress", "gzip, gzip", "deflate, gzip", "br, gzip", "a b", "*"]
)
async def test_an_encoding_that_was_not_asked_for_is_refused(
    encoding: str, asking: Asking, web: Web
) -> None:
    url = web.add("/", body=gzip.compress(b"x"), headers={"Content-Encoding": encoding})
    await asking.refusal(url, FetchBadEncoding)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_bytes_that_are_not_what_the_encoding_says_are_refused(
    encoding: str, asking: Asking, web: Web
) -> None:
    url = web.add("/", body=b"\xff<html>plain</html>", headers={"Content-Encoding": encoding})
    await asking.refusal(url, FetchBadEncoding)


@pytest.mark.parametrize("kept", [1, 9, 40, -1])
async def test_an_encoded_answer_that_stops_in_the_middle_is_cut_off_and_not_a_document(
    kept: int, asking: Asking, web: Web
) -> None:
    body = gzip.compress(b"some text that matters" * 90)[:kept]
    url = web.add("/", body=body, headers={"Content-Encoding": "gzip"})
    await asking.refusal(url, FetchUnreachable)


async def test_a_document_may_have_as_many_bytes_as_the_limit_and_no_more(
    asking: Asking, web: Web
) -> None:
    for headers, body in (({}, bytes(1_000)), ({"Content-Encoding": "gzip"}, bytes(1_000))):
        coded = gzip.compress(body) if headers else body
        fetched = await asking.fetch(web.add("/", body=coded, headers=headers), fetch_bytes_max=1e3)
        fetched.path.unlink()
        await asking.refusal(web.url("/"), FetchTooLarge, fetch_bytes_max=999)


async def test_a_length_over_the_limit_is_refused_before_the_body_comes(
    asking: Asking, web: Web
) -> None:
    def announce(connection: socket.socket, closing: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")
        closing.wait(5)

    started = time.monotonic()
    await asking.refusal(web.script("/", announce), FetchTooLarge)
    assert time.monotonic() - started < 1


async def test_an_endless_body_ends_at_the_limit(asking: Asking, web: Web) -> None:
    sent = 0

    def pour(connection: socket.socket, closing: threading.Event) -> None:
        nonlocal sent
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
        while not closing.is_set():
            connection.sendall(b"x" * 65_536)
            sent += 65_536

    await asking.refusal(web.script("/", pour), FetchTooLarge, fetch_bytes_max=MIB)
    assert sent < 16 * MIB


async def test_a_gzip_bomb_ends_at_the_limit_early_and_in_little_memory(
    asking: Asking, web: Web
) -> None:
    bomb = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" + zeros(4_000)
    url = web.add("/", body=bomb, headers={"Content-Encoding": "gzip"})
    tracemalloc.start()
    try:
        await asking.refusal(url, FetchTooLarge, fetch_bytes_max=20 * MIB)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(bomb) < 20 * MIB
    assert peak_bytes < 4 * MIB


async def test_others_get_their_turn_between_two_steps_of_inflating(
    asking: Asking, web: Web
) -> None:
    url = web.add("/", body=zeros(200), headers={"Content-Encoding": "deflate"})
    fetching = asyncio.ensure_future(asking.fetch(url, fetch_bytes_max=100 * MIB))
    sizes: set[int] = set()
    while not fetching.done():
        sizes.update(path.stat().st_size for path in asking.folder.iterdir())
        await asyncio.sleep(0)
    with pytest.raises(FetchTooLarge):
        await fetching
    # 100 MiB are 1,600 steps; a fetch that inflates a whole read at once is seen a few times.
    assert len(sizes) > 800


async def test_bytes_on_the_wire_are_limited_although_they_inflate_to_nothing(
    asking: Asking, web: Web
) -> None:
    sent = 0

    def pad(connection: socket.socket, closing: threading.Event) -> None:
        nonlocal sent
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n")
        connection.sendall(gzip.compress(b"short"))
        while not closing.is_set():
            connection.sendall(bytes(65_536))
            sent += 65_536

    await asking.refusal(web.script("/", pad), FetchTooLarge, fetch_bytes_max=MIB)
    assert sent < 16 * MIB


async def test_a_lying_content_length_is_never_taken_for_a_whole_document(
    asking: Asking, web: Web
) -> None:
    url = web.raw("/", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
    await asking.refusal(url, FetchUnreachable)


async def test_a_chunked_body_that_breaks_off_is_never_taken_for_a_whole_document(
    asking: Asking, web: Web
) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    await asking.refusal(web.raw("/", head + b"5\r\nhello\r\n"), FetchUnreachable)
    fetched = await asking.fetch(web.raw("/", head + b"5\r\nhello\r\n0\r\n\r\n"))
    assert fetched.path.read_text() == "hello"


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"\x00\x01\x02",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"<html>no status line</html>\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nxx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 300_000,
    ],
)
async def test_what_is_no_http_is_unreachable(junk: bytes, asking: Asking, web: Web) -> None:
    await asking.refusal(web.raw("/", junk), FetchUnreachable)


async def test_a_server_that_is_not_there_is_unreachable(asking: Asking, web: Web) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    fetching = Fetcher(Limits(), allow_list=AllowList.parse((f"127.0.0.1:{port}",)))
    with pytest.raises(FetchUnreachable):
        await fetching.fetch_url(f"http://127.0.0.1:{port}/", folder=asking.folder)


def silent(connection: socket.socket, closing: threading.Event) -> None:
    closing.wait(10)


def slow_headers(connection: socket.socket, closing: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    while not closing.wait(0.05):
        connection.sendall(b"a")


def slow_body(connection: socket.socket, closing: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while not closing.wait(0.05):
        connection.sendall(b"a")


def endless_hints(connection: socket.socket, closing: threading.Event) -> None:
    while not closing.is_set():
        connection.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 100)


def stalled_body(connection: socket.socket, closing: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
    closing.wait(10)


@pytest.mark.parametrize("script", [silent, slow_headers, slow_body, endless_hints, stalled_body])
async def test_a_server_that_never_finishes_ends_at_the_deadline(
    script: Callable[[socket.socket, threading.Event], None], asking: Asking, web: Web
) -> None:
    started = time.monotonic()
    await asking.refusal(web.script("/", script), FetchTimeout, fetch_timeout_s=0.4)
    assert 0.35 < time.monotonic() - started < 2


async def test_the_deadline_counts_all_hops_together(asking: Asking, web: Web) -> None:
    for hop in range(5):
        web.add(f"/{hop}", status=302, headers={"Location": f"/{hop + 1}"}, delay_s=0.15)
    web.add("/5", body="too late")
    error = await asking.refusal(web.url("/0"), FetchTimeout, fetch_timeout_s=0.4)
    assert error.message == "The server did not finish within 0.4 seconds."


async def test_a_slow_resolver_ends_at_the_deadline_too(tmp_path: Path) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        await asyncio.sleep(10)
        return []

    fetching = Fetcher(Limits(fetch_timeout_s=0.2), allow_list=AllowList(), resolve=resolve)
    with pytest.raises(FetchTimeout):
        await fetching.fetch_url("http://slow.example/", folder=tmp_path)


async def test_a_cancelled_fetch_leaves_no_file_and_closes_its_connection(
    asking: Asking, web: Web
) -> None:
    begun, gone = threading.Event(), threading.Event()

    def trickle(connection: socket.socket, closing: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\nhello")
        begun.set()
        if connection.recv(1) == b"":
            gone.set()

    fetching = asyncio.ensure_future(asking.fetch(web.script("/", trickle)))
    while not (begun.is_set() and list(asking.folder.iterdir())):
        await asyncio.sleep(0.01)
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    assert list(asking.folder.iterdir()) == []
    assert await asyncio.to_thread(gone.wait, 2)


async def test_a_folder_that_cannot_be_written_is_storage_away_and_no_fault_of_the_source(
    asking: Asking, web: Web
) -> None:
    url = web.add("/", body="x")
    asking.folder = asking.folder / "missing"
    with pytest.raises(StorageUnavailable):
        await asking.fetch(url)


@pytest.mark.parametrize(
    ("header", "media_type", "charset"),
    [
        ("text/HTML", "text/html", ""),
        ("text/html;charset=ISO-8859-1", "text/html", "iso-8859-1"),
        ('text/plain; format=flowed; charset="utf-8"', "text/plain", "utf-8"),
        ("application/vnd.a+xml ; q=1", "application/vnd.a+xml", ""),
        ("nonsense", "", ""),
        ("", "", ""),
        ("text/html junk", "", ""),
        ("; charset=utf-8", "", "utf-8"),
    ],
)
async def test_media_type_and_charset_are_read_from_the_content_type(
    header: str, media_type: str, charset: str, asking: Asking, web: Web
) -> None:
    fetched = await asking.fetch(web.add("/", body="x", headers={"Content-Type": header}))
    assert (fetched.media_type, fetched.charset) == (media_type, charset)


async def chunks_of(*parts: bytes, error: Exception | None = None) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
    if error is not None:
        raise error


async def test_a_stored_upload_is_copied_with_its_hash_and_names(tmp_path: Path) -> None:
    fetched = await Fetcher.fetch_blob(
        chunks_of(b"one ", b"", b"two"),
        folder=tmp_path,
        filename="notes.md",
        media_type="text/markdown",
    )
    assert fetched.path.read_bytes() == b"one two"
    assert fetched == Fetched(
        path=fetched.path,
        byte_count=7,
        sha256=hashlib.sha256(b"one two").digest(),
        filename="notes.md",
        media_type="text/markdown",
    )


async def test_a_stored_upload_that_fails_midway_leaves_no_file(tmp_path: Path) -> None:
    away = StorageUnavailable("The storage is away.")
    with pytest.raises(StorageUnavailable) as caught:
        await Fetcher.fetch_blob(chunks_of(b"one", error=away), folder=tmp_path, filename="a")
    assert caught.value is away
    assert list(tmp_path.iterdir()) == []
