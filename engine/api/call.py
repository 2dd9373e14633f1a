"""One authenticated request as handlers see it: who calls, the verbs, and the decoded parts.

Everything a handler decodes goes through here; what the values mean is checked by the verbs.
"""

import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlencode
from uuid import UUID

import msgspec
from litestar import Request
from litestar.datastructures import State as AppState

from engine.access import Access, Presumed
from engine.api import edge
from engine.api.body import (
    arriving,
    from_form,
    from_json,
    limited,
    placed_json,
    read_limited,
    require_json,
)
from engine.api.form import Form, FormRules, is_form, read_form
from engine.api.headers import Headers, tell
from engine.api.ratelimit import admitted, headers_of, identified, seen_right
from engine.config import Limits, Settings
from engine.documents import Documents
from engine.errors import DatabaseUnavailable, Detail, EngineError, Overloaded, RateLimited
from engine.files import Files
from engine.health import Health
from engine.idempotency import Idempotency, Keep, Keyed, Replay
from engine.indexes import Indexes
from engine.library import Library
from engine.models import Cursor, CustomerId, Page, Upload
from engine.rags import Rags
from engine.search import Search
from engine.sources import Sources
from engine.throttle import Throttle

IDEMPOTENCY_KEY = "Idempotency-Key"
REPLAYED = (b"idempotent-replayed", b"true")
# A body that does not go on for so long holds a connection for nothing.
BODY_IDLE_S = 60.0
BODY_BYTES_PER_S_MIN = 1_000

_KEY = re.compile(r"[\x20-\x7e]{1,255}")

HttpRequest = Request[Any, Any, AppState]
N = TypeVar("N")
T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)


class Verbs(msgspec.Struct, frozen=True, kw_only=True):
    """What the doors may call; made once by the composition root."""

    access: Access
    files: Files
    rags: Rags
    sources: Sources
    documents: Documents
    library: Library
    indexes: Indexes
    search: Search
    health: Health
    throttle: Throttle
    idempotency: Idempotency


class Presumption(NamedTuple):
    """By what a caller is presumed, and what is told of the customer's rate once that is seen."""

    by: Presumed
    told: Headers


class Call:
    """A request whose caller is known; `presumed`: by a key that has yet to be looked for."""

    def __init__(
        self,
        *,
        request: HttpRequest,
        customer_id: CustomerId,
        verbs: Verbs,
        settings: Settings,
        presumed: Presumption | None = None,
    ) -> None:
        self.request = request
        self.customer_id = customer_id
        self._presumed = presumed
        self.verbs = verbs
        self.limits: Limits = settings.limits
        self.base_url = settings.base_url
        self._arrived = hashlib.sha256(f"{request.method} {_canonical(request)}\n".encode())

    @property
    def token_hash(self) -> bytes:
        """Of the key by which the caller is presumed, empty where it was asked for."""
        return self._presumed.by.token_hash if self._presumed else b""

    @asynccontextmanager
    async def confirmed(self) -> AsyncIterator[None]:
        """Around what looks for the key of a presumed caller. Until it was found, nobody is told
        anything of the customer: who is known no more is refused for that alone."""
        try:
            yield
        except (DatabaseUnavailable, Overloaded):
            raise  # there is nobody to ask
        except EngineError:
            if self._presumed:
                await self._ask_again(self._presumed)
            raise
        if self._presumed:
            self.verbs.access.confirm(self._presumed.by)
            seen_right(self.request, throttle=self.verbs.throttle)
            tell(self.request.scope, *self._presumed.told)

    async def _ask_again(self, presumed: Presumption) -> None:
        """Raises Unauthenticated when the key speaks for nobody any more."""
        self.verbs.access.forget(presumed.by.token_hash)
        await identified(
            self.request,
            throttle=self.verbs.throttle,
            authenticate=lambda: _by_access_key(self.request, self.verbs.access),
        )
        tell(self.request.scope, *presumed.told)

    def query(self, name: str) -> str | None:
        """A query parameter. Raises InvalidRequest when it is given more than once."""
        return edge.single(self.request.query_params.getall(name, []), field=name)

    def page_size(self) -> int:
        return edge.page_size_of(self.query("page_size"), page_size_max=self.limits.page_size_max)

    def time_cursor(self) -> Cursor | None:
        return edge.time_cursor(self.query("page_token"))

    def position_cursor(self) -> Cursor | None:
        return edge.position_cursor(self.query("page_token"))

    def next_page_token(self, page: Page[Any]) -> str:
        return edge.page_token(page.next)

    def header(self, name: str) -> str:
        return self.request.headers.get(name, "")

    def id(self, name: str) -> UUID:
        """A path parameter as a UUID. Raises InvalidRequest naming it."""
        return edge.id_of(self.request.path_params[name], field=name)

    def keyed(self) -> Keyed | None:
        """The request under its Idempotency-Key, None without one; ask when the body was read.
        Raises InvalidRequest."""
        key = edge.single(self.request.headers.getall(IDEMPOTENCY_KEY, []), field=IDEMPOTENCY_KEY)
        if key is None:
            return None
        if not _KEY.fullmatch(key.strip()):
            raise edge.refused(IDEMPOTENCY_KEY, "must be 1 to 255 printable ASCII characters")
        return Keyed(
            customer_id=self.customer_id, key=key.strip(), request_hash=self._arrived.digest()
        )

    async def once(
        self, make: Callable[[Keep[N] | None], Awaitable[T]], *, kept: Callable[[N], msgspec.Struct]
    ) -> T | Replay:
        """What `make` makes. With an Idempotency-Key its answer is kept in the form of `kept`, and
        the same request gets that again."""
        keyed = self.keyed()
        if keyed is None:
            return await make(None)
        made = await self.verbs.idempotency.once(
            keyed, make, encode=lambda noun: msgspec.json.encode(kept(noun))
        )
        if isinstance(made, Replay):
            tell(self.request.scope, REPLAYED)
        return made

    @property
    def content_type(self) -> str:
        return self.header("content-type")

    async def json(self, kind: type[S], *, or_form: bool = False) -> S:
        """The JSON body. Raises InvalidRequest, BodyTooLarge."""
        require_json(self.content_type, or_form=or_form)
        body = await read_limited(self._chunks(), bytes_max=self.limits.json_bytes_max)
        self._arrived.update(body)
        return from_json(body, kind)

    async def placed_json(self, kind: type[S]) -> S:
        """The JSON body of a lenient door, whatever it is announced as; see body.placed_json."""
        text = await read_limited(self._chunks(), bytes_max=self.limits.json_bytes_max)
        self._arrived.update(text)
        return placed_json(text, kind)

    async def form_with_file(self, file_field: str) -> tuple[dict[str, str], Upload]:
        """A form's text parts, the last of a name, and its one file. Unknown parts are ignored."""
        texts, upload = await self.form_or_file(file_field)
        if upload is None:
            raise edge.refused(file_field, "is required")
        return texts, upload

    async def form_or_file(self, file_field: str) -> tuple[dict[str, str], Upload | None]:
        """As form_with_file, where the file may be missing."""
        form = await self.parts(file_field=file_field, files_max=1)
        if form.details:
            raise edge.refusal(tuple(form.details))
        texts = {name: values[-1] for name, values in form.texts.items()}
        return texts, form.uploads[0] if form.uploads else None

    async def json_or_form(self, kind: type[S]) -> tuple[S, tuple[Upload, ...]]:
        """A JSON body, or a form with any number of `files`, which go to storage as they arrive."""
        if not is_form(self.content_type):
            return await self.json(kind, or_form=True), ()
        return await self.form(
            kind, file_field="files", files_max=self.limits.request_sources_max, required=False
        )

    async def form(
        self, kind: type[S], *, file_field: str, files_max: int, required: bool
    ) -> tuple[S, tuple[Upload, ...]]:
        """A form's text fields and files. Raises InvalidRequest and the errors of limits."""
        form = await self.parts(file_field=file_field, files_max=files_max)
        missing = required and not form.uploads and not form.details
        if missing:
            form.details.append(Detail(field=file_field, issue="is required"))
        return from_form(form.texts, kind, details=tuple(form.details)), tuple(form.uploads)

    async def parts(self, *, file_field: str, files_max: int) -> Form:
        """All parts of a form; files go to storage as they arrive. Raises as `form`."""
        if not is_form(self.content_type):
            raise edge.refused("Content-Type", "must be multipart/form-data")
        with self.verbs.files.receiving():
            form = await read_form(
                limited(self._chunks(), bytes_max=self.limits.request_bytes_max),
                content_type=self.content_type,
                rules=FormRules(
                    file_field=file_field,
                    files_max=files_max,
                    text_bytes_max=self.limits.json_bytes_max,
                ),
                receive=self._receive,
            )
        self._arrived.update(_in_short(form))
        return form

    async def _receive(
        self, filename: str, media_type: str, chunks: AsyncIterator[bytes]
    ) -> Upload:
        return await self.verbs.files.receive(
            self.customer_id, chunks, filename=filename, media_type=media_type
        )

    def _chunks(self) -> AsyncIterator[bytes]:
        if self.header("content-encoding").strip().lower() not in ("", "identity"):
            raise edge.refused("Content-Encoding", "is not taken: send the body as it is")
        return arriving(
            self.request.receive, idle_s=BODY_IDLE_S, bytes_per_s_min=BODY_BYTES_PER_S_MIN
        )


def _canonical(request: HttpRequest) -> str:
    """The path without the old prefix: a route and its twin do the same. With what the query asks
    for, which is not who asks."""
    path: str = request.scope["path"]
    path = path.removeprefix(edge.LEGACY_PREFIX) if edge.is_legacy(path) else path
    asked = sorted(each for each in request.query_params.multi_items() if each[0] != "accesskey")
    return f"{path}?{urlencode(asked)}" if asked else path


def _in_short(form: Form) -> bytes:
    """The same for the same form, whatever boundary and order of fields a client chose."""
    files = [(each.filename, each.media_type, each.sha256) for each in form.uploads]
    return msgspec.msgpack.encode([sorted(form.texts.items()), files])


async def identify(
    request: HttpRequest, authenticate: Callable[[HttpRequest, Access], Awaitable[CustomerId]]
) -> CustomerId:
    """Who calls, when address and customer may go on. Raises RateLimited, Unauthenticated."""
    verbs: Verbs = request.app.state.verbs
    customer_id = await identified(
        request,
        throttle=verbs.throttle,
        authenticate=lambda: authenticate(request, verbs.access),
    )
    await admitted(request, throttle=verbs.throttle, customer_id=customer_id)
    return customer_id


async def called(request: HttpRequest) -> Call:
    """Make out the caller. Raises RateLimited, Unauthenticated, InvalidRequest."""
    return Call(
        request=request,
        customer_id=await identify(request, _by_access_key),
        verbs=request.app.state.verbs,
        settings=request.app.state.settings,
    )


async def presumed(request: HttpRequest) -> Call:
    """As `called`, but a key that was right lately is not asked for: the verb looks for it together
    with what it answers. To be used with `Call.confirmed`."""
    verbs: Verbs = request.app.state.verbs
    found = verbs.access.presumed(_token(request))
    if found is None:
        return await called(request)
    try:
        left = await verbs.throttle.customer(found.customer_id)
    except RateLimited:
        return await called(request)  # which asks first whose rate that is
    return Call(
        request=request,
        customer_id=found.customer_id,
        verbs=verbs,
        settings=request.app.state.settings,
        presumed=Presumption(by=found, told=headers_of(left)),
    )


async def _by_access_key(request: HttpRequest, access: Access) -> CustomerId:
    return await access.authenticate(_token(request))


def _token(request: HttpRequest) -> str | None:
    """Raises InvalidRequest when there are several."""
    path = request.scope["path"]
    accesskey = None
    if edge.is_legacy(path):
        accesskey = edge.single(request.query_params.getall("accesskey", []), field="accesskey")
    return edge.token_of(headers=request.headers, path=path, accesskey=accesskey)
