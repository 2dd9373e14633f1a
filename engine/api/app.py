"""The composition root of the API: what is opened, what the doors may call, which routes there are.

Nothing else in the API makes a connection. The process starts and answers 503 while a service is
away.
"""

import gc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

from litestar import Litestar, Response, Router
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException
from litestar.types import (
    ASGIApp,
    HTTPScope,
    LifeSpanReceive,
    LifeSpanScope,
    LifeSpanSend,
    Message,
    Receive,
    Scope,
    Send,
)

from engine.access import Access, JwtRules
from engine.api import elevenlabs, health, native
from engine.api.call import HttpRequest, Verbs
from engine.api.edge import LEGACY_PREFIX
from engine.api.elevenlabs.errors import REFUSALS as ELEVENLABS_REFUSALS
from engine.api.native.errors import REFUSALS as NATIVE_REFUSALS
from engine.api.native.schema import schema_handlers
from engine.api.observe import RequestMeter, observed
from engine.api.refusals import Refusals
from engine.blobs import Blobs
from engine.buckets import Rate
from engine.config import Settings
from engine.documents import Documents
from engine.embedding import Models, Registry
from engine.files import Files
from engine.health import Health
from engine.idempotency import Idempotency
from engine.indexes import Indexes
from engine.jobs import Bell
from engine.library import Library
from engine.logs import configure
from engine.rags import Rags
from engine.rates import Rates
from engine.search import Search
from engine.sources import Sources
from engine.store import Database
from engine.throttle import Throttle

DATABASE_TIMEOUT_S = 5.0  # then a request is told to come back
OPERATOR_CONNECTIONS = 2
OPERATOR_TIMEOUT_S = 3.0  # probes do not wait longer


class Application(Litestar):
    """Litestar, with every request observed, also those that reach no route."""

    async def __call__(
        self,
        scope: Scope | LifeSpanScope,
        receive: Receive | LifeSpanReceive,
        send: Send | LifeSpanSend,
    ) -> None:
        inner = cast(ASGIApp, super().__call__)
        if scope["type"] != ScopeType.HTTP:
            await inner(cast(Scope, scope), cast(Receive, receive), cast(Send, send))
            return
        await observed(
            inner,
            *_as_get(cast(HTTPScope, scope), cast(Receive, receive), cast(Send, send)),
            meter=self.state.meter,
        )


def _as_get(scope: HTTPScope, receive: Receive, send: Send) -> tuple[HTTPScope, Receive, Send]:
    """HEAD is answered as GET without the body: probes use it."""
    if scope["method"] != "HEAD":
        return scope, receive, send

    async def send_head(message: Message) -> None:
        if message["type"] == "http.response.body":
            message["body"] = b""
        await send(message)

    return cast(HTTPScope, {**scope, "method": "GET"}), receive, send_head


def from_env() -> Litestar:
    """The factory that uvicorn calls in each of its processes."""
    settings = Settings.from_env()
    configure(settings.log_level)
    app = create_app(settings)
    # What is loaded by now stays. Else the collector looks through all of it every few requests,
    # and whoever asks then waits for that.
    gc.collect()
    gc.freeze()
    return app


def create_app(settings: Settings) -> Litestar:
    """The application. Services are opened when it starts, not here."""
    open_handlers = [*health.HANDLERS, *schema_handlers(native.HANDLERS)]
    app = Application(
        route_handlers=[
            *native.routers(),
            *elevenlabs.routers(),
            *open_handlers,
            Router(LEGACY_PREFIX, route_handlers=open_handlers),
        ],
        lifespan=[opened],
        exception_handlers={Exception: _refuse, HTTPException: _refuse},
        openapi_config=None,
        logging_config=None,
        # Said here, because the framework would take both from variables of its own.
        debug=False,
        pdb_on_exception=False,
        # Bodies are limited where they are read, each kind by its own setting.
        request_max_body_size=None,
    )
    app.state.settings = settings
    app.state.meter = RequestMeter()
    return app


def _refuse(request: HttpRequest, error: Exception) -> Response[bytes]:
    """Each door answers for the paths below it, also for routes that it does not have."""
    return refusals_at(request.scope["path"]).on_error(request, error)


def refusals_at(path: str) -> Refusals[Any]:
    """How the door that a path belongs to refuses."""
    return ELEVENLABS_REFUSALS if elevenlabs.is_here(path) else NATIVE_REFUSALS


@asynccontextmanager
async def opened(app: Litestar) -> AsyncIterator[None]:
    """Open what the verbs stand on, and close it in the opposite order."""
    settings: Settings = app.state.settings
    async with AsyncExitStack() as stack:
        app.state.verbs = await _verbs(settings, stack=stack)
        yield


async def _verbs(settings: Settings, *, stack: AsyncExitStack) -> Verbs:
    registry = Registry.from_settings(settings)
    models = Models(registry=registry, settings=settings)
    stack.callback(models.close)
    await models.warm_up()
    database = await Database(
        settings.database_url,
        role="rag_api",
        connections=settings.database_connections,
        timeout_s=DATABASE_TIMEOUT_S,
        waiting_max=settings.limits.database_waiting_max,
    ).open()
    stack.push_async_callback(database.close)
    operator = await Database(
        settings.database_url,
        role="rag_operator",
        connections=OPERATOR_CONNECTIONS,
        timeout_s=OPERATOR_TIMEOUT_S,
        waiting_max=settings.limits.database_waiting_max,
    ).open()
    stack.push_async_callback(operator.close)
    bell = Bell(settings.redis_url)
    stack.push_async_callback(bell.close)
    blobs = Blobs(settings.blobs_url)
    files = Files(
        database=database,
        blobs=blobs,
        limits=settings.limits,
        spool_dir=settings.data_dir / "spool",
    )
    return Verbs(
        access=Access(
            database=database,
            operator=operator,
            bootstrap_key=settings.bootstrap_key,
            jwt=JwtRules.from_settings(settings),
        ),
        files=files,
        rags=Rags(database=database, bell=bell, registry=registry, settings=settings),
        sources=Sources(database=database, limits=settings.limits),
        documents=Documents(
            database=database, bell=bell, files=files, registry=registry, settings=settings
        ),
        library=Library(database=database, limits=settings.limits),
        indexes=Indexes(database=database, bell=bell, registry=registry, limits=settings.limits),
        search=Search(database=database, models=models, limits=settings.limits),
        health=Health(database=operator, blobs=blobs, bell=bell, models=models),
        throttle=Throttle(rates=await _rates(settings, stack=stack), limits=settings.limits),
        idempotency=Idempotency(database=database, limits=settings.limits),
    )


async def _rates(settings: Settings, *, stack: AsyncExitStack) -> Rates:
    limits = settings.limits
    rate = Rate(per_s=limits.customer_requests_per_s, burst=limits.customer_requests_burst)
    rates = await Rates(settings.redis_url, rate=rate).open()
    stack.push_async_callback(rates.close)
    return rates
