"""Stage 1, fetch: the bytes of a source into a temporary file, with their hash.

Redirects, the deadline, both caps (bytes on the wire, bytes after inflating) and the translation
of whatever a server may do into the error tree live here. Which addresses may be reached is
workers.guard, how encodings are undone is workers.inflate, and who may take long while others wait
is workers.lanes; what the bytes mean is workers.extract.
"""

import asyncio
import hashlib
import re
import ssl
import tempfile
from collections.abc import AsyncIterable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from urllib.parse import unquote

import httpcore
import httpx

from engine.addresses import AddressError, AllowList, UrlError, check_url, split_url
from engine.config import Limits
from engine.errors import (
    FetchForbidden,
    FetchNotFound,
    FetchRefusedAddress,
    FetchRejected,
    FetchServerError,
    FetchTimeout,
    FetchTooLarge,
    FetchTooManyRedirects,
    FetchUnreachable,
    SourceError,
    StorageUnavailable,
)
from engine.models import CustomerId
from workers.guard import REFUSED_MESSAGE, Resolve, guarded_pool, resolve_name
from workers.inflate import inflater_of
from workers.lanes import FetchLanes
from workers.shapes import Fetched

FILENAME_CHARACTERS_MAX = 255
REDIRECTS = frozenset({301, 302, 303, 307, 308})
ACCEPT = "text/html,application/xhtml+xml,application/pdf,text/*;q=0.9,*/*;q=0.8"

_MEDIA_TYPE = re.compile(r"\s*([\w.+-]+/[\w.+-]+)\s*(?:;|$)", re.ASCII)
_CHARSET = re.compile(r";\s*charset\s*=\s*[\"']?([\w.:+-]{1,40})", re.ASCII | re.IGNORECASE)
_FILENAME_ENCODED = re.compile(
    r"(?:^|;)\s*filename\*\s*=\s*(utf-8|iso-8859-1)'[^']*'([^;\s]+)", re.IGNORECASE
)
_FILENAME = re.compile(
    r"(?:^|;)\s*filename\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^;\s\"]+))", re.IGNORECASE
)


class Fetcher:
    """Fetches URLs and stored uploads. One per process; every fetch opens its own connections.

    `resolve` and `ssl_context` are the system's resolver and the bundled authorities unless given;
    without `lanes` every fetch may take as long as its deadline lets it.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        allow_list: AllowList,
        resolve: Resolve = resolve_name,
        ssl_context: ssl.SSLContext | None = None,
        lanes: FetchLanes | None = None,
    ) -> None:
        self._limits = limits
        self._lanes = lanes
        self._allow_list = allow_list
        self._resolve = resolve
        # Made once, because reading the authorities takes tens of milliseconds.
        self._ssl_context = ssl_context or httpx.create_ssl_context(trust_env=False)

    async def fetch_url(
        self, url: str, *, folder: Path, customer_id: CustomerId | None = None
    ) -> Fetched:
        """Fetch `url` into a new file in `folder`, which the caller deletes.

        Ends within `fetch_timeout_s`, whatever the server does. Raises one of the fetch errors,
        StorageUnavailable when the file cannot be written, or Overloaded when this customer has
        many slow ones and others wait; then, and when cancelled, no file stays behind.
        """
        try:
            with _translated():
                async with asyncio.timeout(self._limits.fetch_timeout_s):
                    following = self._follow(url, folder=folder)
                    if self._lanes is None or customer_id is None:
                        return await following
                    return await self._lanes.run(following, customer_id=customer_id)
        except TimeoutError as error:
            seconds = f"{self._limits.fetch_timeout_s:g}"
            raise FetchTimeout(f"The server did not finish within {seconds} seconds.") from error

    @staticmethod
    async def fetch_blob(
        chunks: AsyncIterable[bytes],
        *,
        folder: Path,
        filename: str,
        media_type: str = "",
        charset: str = "",
    ) -> Fetched:
        """Copy a stored upload into a new file in `folder`, which the caller deletes.

        Errors of `chunks` pass through; StorageUnavailable when the file cannot be written. Then,
        and when cancelled, no file stays behind. Its size was limited when it was uploaded.
        """
        with _TemporaryFile(folder) as file:
            async for chunk in chunks:
                file.write(chunk)
            return file.finish(filename=filename, media_type=media_type, charset=charset)

    async def _follow(self, url: str, *, folder: Path) -> Fetched:
        async with guarded_pool(
            allow_list=self._allow_list, resolve=self._resolve, ssl_context=self._ssl_context
        ) as pool:
            here = self._checked(url)
            for _ in range(self._limits.fetch_redirects_max + 1):
                answer = await self._answer(pool, here, folder=folder)
                if isinstance(answer, Fetched):
                    return answer
                here = self._checked(answer, base=here)
        raise FetchTooManyRedirects(
            f"The URL redirects more than {self._limits.fetch_redirects_max} times."
        )

    def _checked(self, location: str, *, base: httpx.URL | None = None) -> httpx.URL:
        """The URL of the next hop, judged by the same rules as the first."""
        subject = "The target of the redirect" if base else "The URL"
        url = _read_url(location, base=base)
        try:
            check_url(
                location if url is None else str(url),
                characters_max=self._limits.url_characters_max,
                allow_list=self._allow_list,
            )
        except AddressError as error:
            raise FetchRefusedAddress(REFUSED_MESSAGE) from error
        except UrlError as error:
            raise FetchRejected(f"{subject} {error}.") from error
        if url is None:
            raise FetchRejected(f"{subject} must be a valid URL.")
        return url

    async def _answer(
        self, pool: httpcore.AsyncConnectionPool, url: httpx.URL, *, folder: Path
    ) -> Fetched | str:
        """Ask once: the fetched file, or the location that a redirect names."""
        target = split_url(str(url))
        async with pool.stream(
            "GET",
            httpcore.URL(
                scheme=target.scheme, host=target.host, port=target.port, target=url.raw_path
            ),
            headers=_request_headers(url),
        ) as response:
            headers = httpx.Headers(response.headers)
            if response.status in REDIRECTS and headers.get("location"):
                return headers["location"]
            if refusal := _refusal(response.status):
                raise refusal
            return await self._save(response, url, headers=headers, folder=folder)

    async def _save(
        self, response: httpcore.Response, url: httpx.URL, *, headers: httpx.Headers, folder: Path
    ) -> Fetched:
        bytes_max = self._limits.fetch_bytes_max
        inflater = inflater_of(headers.get("content-encoding", ""))
        if int(headers.get("content-length") or 0) > bytes_max:
            raise _too_large(bytes_max)
        wire_count = 0
        with _TemporaryFile(folder, bytes_max=bytes_max) as file:
            async for raw in response.aiter_stream():
                wire_count += len(raw)
                if wire_count > bytes_max:
                    raise _too_large(bytes_max)
                for data in inflater.feed(raw):
                    file.write(data)
                    # A small answer may inflate to millions of bytes: let the deadline and the
                    # other sources in between two steps.
                    await asyncio.sleep(0)
            inflater.check_end()
            media_type, charset = _content_type(headers)
            return file.finish(
                filename=_filename(headers.get("content-disposition", ""), path=url.path),
                media_type=media_type,
                charset=charset,
                final_url=str(url),
            )


class _TemporaryFile:
    """A file that counts and hashes what is written, and deletes itself unless finished."""

    def __init__(self, folder: Path, *, bytes_max: int | None = None) -> None:
        self._bytes_max = bytes_max
        self._byte_count = 0
        self._hash = hashlib.sha256()
        self._is_finished = False
        with _disk():
            self._file = tempfile.NamedTemporaryFile(  # noqa: SIM115 - closed in __exit__
                dir=folder, prefix="fetched-", delete=False
            )
        self._path = Path(self._file.name)

    def __enter__(self) -> "_TemporaryFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._is_finished:
            with _disk():
                self._file.close()
            self._path.unlink(missing_ok=True)

    def write(self, data: bytes) -> None:
        self._byte_count += len(data)
        if self._bytes_max is not None and self._byte_count > self._bytes_max:
            raise _too_large(self._bytes_max)
        self._hash.update(data)
        with _disk():
            self._file.write(data)

    def finish(
        self, *, filename: str, media_type: str, charset: str, final_url: str = ""
    ) -> Fetched:
        with _disk():
            self._file.close()
        self._is_finished = True
        return Fetched(
            path=self._path,
            byte_count=self._byte_count,
            sha256=self._hash.digest(),
            filename=filename,
            media_type=media_type,
            charset=charset,
            final_url=final_url,
        )


@contextmanager
def _translated() -> Iterator[None]:
    """The HTTP library's errors as ours; what it says of them stays in the chain."""
    try:
        yield
    except httpcore.TimeoutException as error:
        raise FetchTimeout("The server did not accept a connection in time.") from error
    except httpcore.ConnectError as error:
        raise FetchUnreachable("No connection to the server could be made.") from error
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:
        raise FetchUnreachable("The server broke off or did not speak proper HTTP.") from error


@contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageUnavailable("A temporary file could not be written.") from error


def _read_url(location: str, *, base: httpx.URL | None) -> httpx.URL | None:
    try:
        return base.join(location) if base else httpx.URL(location)
    except (httpx.InvalidURL, ValueError):
        return None


def _request_headers(url: httpx.URL) -> list[tuple[bytes, bytes]]:
    return [
        (b"Host", url.netloc),
        (b"User-Agent", f"rag-engine/{_version()}".encode("ascii")),
        (b"Accept", ACCEPT.encode("ascii")),
        (b"Accept-Encoding", b"gzip, deflate"),
    ]


def _version() -> str:
    try:
        return version("rag-engine")
    except PackageNotFoundError:
        return "dev"


def _refusal(status: int) -> SourceError | None:
    """The error that an answer with this status is, None when it carries the document."""
    if status in {404, 410}:
        return FetchNotFound(f"The server says that there is no such page ({status}).")
    if status in {401, 403, 407}:
        return FetchForbidden(f"The server does not let the engine read this page ({status}).")
    if status in {408, 425, 429} or 500 <= status <= 599:
        return FetchServerError(f"The server could not answer now ({status}).")
    # A part of a document (206) was not asked for, and to take it for the whole would be a lie.
    if not 200 <= status <= 299 or status == 206:
        return FetchRejected(f"The server answered with status {status}.")
    return None


def _too_large(bytes_max: int) -> FetchTooLarge:
    return FetchTooLarge(f"The document has more than {bytes_max:,} bytes.")


def _content_type(headers: httpx.Headers) -> tuple[str, str]:
    """Media type and charset, lower case; "" for what is missing or malformed."""
    value = headers.get("content-type", "")
    media_type = _MEDIA_TYPE.match(value)
    charset = _CHARSET.search(value)
    return media_type[1].lower() if media_type else "", charset[1].lower() if charset else ""


def _filename(disposition: str, *, path: str) -> str:
    """The name that the server gives, else the last segment of the path, without any folder.

    "" when neither has one: the host is no name of a file.
    """
    if encoded := _FILENAME_ENCODED.search(disposition):
        name = unquote(encoded[2], encoding=encoded[1], errors="replace")
    elif plain := _FILENAME.search(disposition):
        name = re.sub(r"\\(.)", r"\1", plain[1]) if plain[1] is not None else plain[2]
    else:
        name = path
    last = re.split(r"[/\\]", name)[-1]
    printable = "".join(character for character in last if character.isprintable()).strip()
    return "" if printable in {".", ".."} else printable[-FILENAME_CHARACTERS_MAX:]
