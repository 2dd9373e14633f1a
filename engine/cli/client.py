"""The HTTP API from the caller's side: a method for each request, answers as structs.

httpx is used in this module of the engine's and no other of the command line. What to ask, and in
which order, is the verbs' matter.
"""

import mimetypes
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import httpx
import msgspec

from engine.cli import answers
from engine.cli.exits import CliError, Exit
from engine.cli.place import Where, address_of, key_of
from engine.text import clean_line

T = TypeVar("T")
Page = TypeVar("Page", answers.RagPage, answers.SourcePage, answers.FilePage)

CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 120.0
PAGE_SIZE = 100
LOOPBACK = ("127.0.0.1", "::1", "localhost")
CHECKS_TIMEOUT_S = 2.0
# A busy engine says when to come back. What may be sent twice is sent again until it has been tried
# for so long; a little later than told, and not by all callers at the same moment.
AGAIN = (429, 503)
AGAIN_TOTAL_S = 120.0
AGAIN_WAIT_S = 1.0  # where nothing is said
AGAIN_JITTER = 0.25
HOPELESS = ("TOO_MANY_IDEMPOTENCY_KEYS",)  # for hours


class ApiError(CliError):
    """The engine refused a request. `reason` is the stable word of its error."""

    def __init__(self, message: str, *, reason: str, exit_code: Exit = Exit.FAILED) -> None:
        super().__init__(message, exit_code=exit_code)
        self.reason = reason


class Client:
    """One engine, one access key. Every method raises ApiError, or CliError when out of reach.

    `again_s`: for how long it comes back to an engine that is busy.
    """

    def __init__(self, url: str, *, key: str = "", again_s: float = AGAIN_TOTAL_S) -> None:
        self.url = url
        self._again_s = again_s
        wrong = CliError(f"{url!r} is not the address of an engine.", exit_code=Exit.USAGE)
        try:
            host, address = urlsplit(url).hostname, httpx.URL(url)
        except (ValueError, httpx.InvalidURL) as error:
            raise wrong from error
        if host is None or not url.startswith(("http://", "https://")):
            raise wrong
        self._http = httpx.Client(
            base_url=address,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            # A proxy of the environment leads nowhere for an engine on this machine; reading the
            # certificate authorities takes longer than most answers.
            trust_env=host not in LOOPBACK,
            verify=url.startswith("https://"),
        )

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def rags(self) -> Iterator[answers.Rag]:
        """All of them, newest first."""
        for page in self._pages("/rags", answers.RagPage):
            yield from page.result

    def rag(self, name_or_id: str) -> answers.Rag:
        """By id, else the newest of that name. Raises CliError when there is none."""
        found = self._rag_by_id(name_or_id) if _is_id(name_or_id) else None
        found = found or self._rag_named(name_or_id)
        if found is None:
            raise CliError(
                f"There is no RAG with the name or id {name_or_id!r}: "
                "`rag-engine status` lists them."
            )
        return found

    def rag_or_new(self, name_or_id: str) -> answers.Rag:
        """As `rag`, or a new one of that name. Raises CliError for an id that is nobody's."""
        if _is_id(name_or_id):
            return self.rag(name_or_id)
        return self._rag_named(name_or_id) or self.create_rag(name_or_id)

    def _rag_named(self, name: str) -> answers.Rag | None:
        """The newest of that name."""
        return next((rag for rag in self.rags() if rag.name == name), None)

    def create_rag(self, name: str) -> answers.Rag:
        return self._create("/rags", answers.Rag, json={"name": name})

    def delete_rag(self, rag_id: str) -> answers.Rag:
        return self._ask("DELETE", f"/rags/{rag_id}", answers.Rag)

    def sources(self, rag_id: str) -> Iterator[answers.Source]:
        """All sources of a RAG, in the order of their creation."""
        for page in self._pages(f"/rags/{rag_id}/sources", answers.SourcePage):
            yield from page.result

    def add_files(
        self,
        rag_id: str,
        file_ids: list[str],
        *,
        attributes: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """`attributes`: by file id, of those that have any."""
        body = {"storage_file_ids": file_ids, "source_attributes": attributes or {}}
        self._create(f"/rags/{rag_id}/sources", answers.Rag, json=body)

    def add_url(self, rag_id: str, url: str) -> None:
        body = {"source_urls": [url]}
        self._create(f"/rags/{rag_id}/sources", answers.Rag, json=body)

    def refresh_source(self, rag_id: str, source_id: str) -> answers.Source:
        path = f"/rags/{rag_id}/sources/{source_id}/refresh"
        return self._ask("POST", path, answers.Source, again=True)

    def delete_source(self, rag_id: str, source_id: str) -> None:
        self._ask("DELETE", f"/rags/{rag_id}/sources/{source_id}", answers.Rag)

    def files(self) -> Iterator[answers.File]:
        """All uploads, newest first."""
        for page in self._pages("/storage_files", answers.FilePage):
            yield from page.result

    def upload(self, path: Path, *, name: str) -> answers.File:
        """Streams the file; nothing is held whole in memory. Raises OSError when unreadable."""
        media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        with path.open("rb") as file:
            return self._create(
                "/storage_files",
                answers.File,
                files={"file": (clean_line(path.name, limit=255) or "file", file, media_type)},
                data={"name": name},
            )

    def delete_file(self, file_id: str) -> None:
        """Raises ApiError with FILE_IN_USE while a source is made of it."""
        self._ask("DELETE", f"/storage_files/{file_id}", answers.File)

    def query(
        self,
        rag_id: str,
        question: str,
        *,
        top_k: int,
        mode: str = "",
        more: Mapping[str, object] | None = None,
    ) -> tuple[answers.Hit, ...]:
        """`mode`: the engine's default if empty; `more`: further fields of the request."""
        body = {"query": question, "top_k": top_k, **({"mode": mode} if mode else {})}
        body |= more or {}
        path = f"/rags/{rag_id}/query"
        return self._ask("POST", path, answers.Hits, again=True, json=body).results

    def readiness(self) -> answers.Readiness:
        """What the engine stands on. Raises ApiError, naming what is away."""
        return self._ask("GET", "/readyz", answers.Readiness, again=False, timeout=CHECKS_TIMEOUT_S)

    def metrics(self) -> str:
        """Prometheus text."""
        return self._response("GET", "/metrics", again=False, timeout=CHECKS_TIMEOUT_S).text

    def _rag_by_id(self, rag_id: str) -> answers.Rag | None:
        try:
            return self._ask("GET", f"/rags/{rag_id}", answers.Rag)
        except ApiError as error:
            if error.reason != "RAG_NOT_FOUND":
                raise
            return None

    def _pages(self, path: str, kind: type[Page]) -> Iterator[Page]:
        token = ""
        while True:
            params: dict[str, str | int] = {"page_size": PAGE_SIZE}
            if token:
                params["page_token"] = token
            page = self._ask("GET", path, kind, params=params)
            yield page
            token = page.next_page_token
            if not token:
                return

    def _create(self, path: str, kind: type[T], **options: Any) -> T:
        """Once, however often it has to be sent. Who has used up all keys goes on without one."""
        headers = {"Idempotency-Key": str(uuid4())}
        try:
            return self._ask("POST", path, kind, again=True, headers=headers, **options)
        except ApiError as error:
            if error.reason != "TOO_MANY_IDEMPOTENCY_KEYS":
                raise
        return self._ask("POST", path, kind, **options)

    def _ask(
        self, method: str, path: str, kind: type[T], *, again: bool | None = None, **options: Any
    ) -> T:
        response = self._response(method, path, again=again, **options)
        try:
            return msgspec.json.decode(response.content, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise CliError(f"What answers at {self.url} is not a rag-engine.") from error

    def _response(
        self, method: str, path: str, *, again: bool | None = None, **options: Any
    ) -> httpx.Response:
        """`again`: whether the request may be sent twice; by default one that only reads."""
        send: Callable[..., httpx.Response] = self._http.request
        may_repeat = method == "GET" if again is None else again
        ends_s = monotonic() + (self._again_s if may_repeat else 0)
        while True:
            with self._reached():
                response = send(method, path, **options)
            if response.is_success:
                return response
            wait_s = _wait_s(response)
            refused = _refused(response)
            if wait_s is None or refused.reason in HOPELESS or monotonic() + wait_s > ends_s:
                raise refused
            sleep(wait_s)

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except httpx.TimeoutException as error:
            raise CliError(
                f"The engine at {self.url} did not answer in time: try again.",
                exit_code=Exit.UNREACHABLE,
            ) from error
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise CliError(
                f"No engine answers at {self.url}: start one with `rag-engine up`, "
                "or name another one with --url.",
                exit_code=Exit.UNREACHABLE,
            ) from error


def connected(where: Where) -> Client:
    """A client of the engine that `where` leads to, with its key."""
    return Client(address_of(where), key=key_of(where))


def _wait_s(response: httpx.Response) -> float | None:
    """Until the same request may do, None for one that it will not help."""
    if response.status_code not in AGAIN:
        return None
    told = response.headers.get("Retry-After", "")
    # Not a date, which no engine sends but something in between may.
    told_s = float(told) if told.isascii() and told.isdecimal() else AGAIN_WAIT_S
    return told_s + random.uniform(0, max(told_s, AGAIN_WAIT_S) * AGAIN_JITTER)  # noqa: S311


def _refused(response: httpx.Response) -> ApiError:
    exit_code = {401: Exit.UNAUTHORISED, 400: Exit.USAGE, 503: Exit.UNREACHABLE}.get(
        response.status_code, Exit.FAILED
    )
    try:
        refusal = msgspec.json.decode(response.content, type=answers.Refused).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ApiError(
            f"The engine answered with status {response.status_code}.",
            reason="",
            exit_code=exit_code,
        )
    issues = "; ".join(f"{each.field} {each.issue}" for each in refusal.details)
    message = f"{refusal.message} ({issues})" if issues else refusal.message
    return ApiError(message, reason=refusal.reason, exit_code=exit_code)


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
