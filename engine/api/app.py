"""The composition root of the API: what is opened, what the doors may call, which routes there are.

Nothing else in the API makes a connection. The process starts and answers 503 while a service is
away.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import cast

from litestar import Litestar
from litestar.enums import ScopeType
from litestar.types import (
    ASGIApp,
    HTTPScope,
    LifeSpanReceive,
    LifeSpanScope,
    LifeSpanSend,
    Receive,
    Scope,
    Send,
)

from engine.access import Access
from engine.api import health, native
from engine.api.call import Verbs
from engine.api.native.errors import EXCEPTION_HANDLERS
from engine.api.native.schema import schema_handlers
from engine.api.observe import RequestMeter, observed
from engine.blobs import Blobs
from engine.config import Settings
from engine.documents import Documents
from engine.embedding import AsyncEmbedder, Registry, open_embedder
from engine.errors import InvalidRequest, ModelUnavailable
from engine.files import Files
from engine.health import Health
from engine.jobs import Bell
from engine.logs import configure
from engine.rags import Rags
from engine.search import Search
from engine.store import Database

log = logging.getLogger(__name__)
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
            cast(HTTPScope, scope),
            cast(Receive, receive),
            cast(Send, send),
            meter=self.state.meter,
        )


def from_env() -> Litestar:
    """The factory that uvicorn calls in each of its processes."""
    settings = Settings.from_env()
    configure(settings.log_level)
    return create_app(settings)


def create_app(settings: Settings) -> Litestar:
    """The application. Services are opened when it starts, not here."""
    app = Application(
        route_handlers=[*native.routers(), *health.HANDLERS, *schema_handlers(native.HANDLERS)],
        lifespan=[opened],
        exception_handlers=EXCEPTION_HANDLERS,
        openapi_config=None,
        logging_config=None,
        # Bodies are limited where they are read, each kind by its own setting.
        request_max_body_size=None,
    )
    app.state.settings = settings
    app.state.meter = RequestMeter()
    return app


@asynccontextmanager
async def opened(app: Litestar) -> AsyncIterator[None]:
    """Open what the verbs stand on, and close it in the opposite order."""
    settings: Settings = app.state.settings
    async with AsyncExitStack() as stack:
        registry = Registry.from_settings(settings)
        app.state.embedders = await _embedders(settings, registry=registry, stack=stack)
        app.state.verbs = await _verbs(
            settings, registry=registry, embedders=app.state.embedders, stack=stack
        )
        yield


async def _embedders(
    settings: Settings, *, registry: Registry, stack: AsyncExitStack
) -> dict[str, AsyncEmbedder]:
    """The default model by its name; while it is missing, nothing, and it is looked for again."""
    embedders: dict[str, AsyncEmbedder] = {}
    stack.callback(_close, embedders)
    if not await _load(settings, registry=registry, into=embedders):
        waiting = asyncio.create_task(_load_later(settings, registry=registry, into=embedders))
        stack.callback(waiting.cancel)
    return embedders


def _close(embedders: dict[str, AsyncEmbedder]) -> None:
    for embedder in embedders.values():
        embedder.close()


async def _load(settings: Settings, *, registry: Registry, into: dict[str, AsyncEmbedder]) -> bool:
    try:
        spec = registry.default
        embedder = AsyncEmbedder(
            await asyncio.to_thread(
                open_embedder,
                spec,
                models_path=settings.models_path,
                batch_tokens=settings.embed_batch_tokens,
            )
        )
        await embedder.warm_up()
    except (ModelUnavailable, InvalidRequest) as error:
        log.warning("model not loaded", extra={"model": settings.embedding_model}, exc_info=error)
        return False
    into[spec.name] = embedder
    return True


async def _load_later(
    settings: Settings, *, registry: Registry, into: dict[str, AsyncEmbedder]
) -> None:
    while not into:
        await asyncio.sleep(ModelUnavailable.retry_after_s)
        await _load(settings, registry=registry, into=into)


async def _verbs(
    settings: Settings,
    *,
    registry: Registry,
    embedders: dict[str, AsyncEmbedder],
    stack: AsyncExitStack,
) -> Verbs:
    database = await Database(
        settings.database_url,
        role="rag_api",
        connections=settings.database_connections,
        timeout_s=DATABASE_TIMEOUT_S,
    ).open()
    stack.push_async_callback(database.close)
    operator = await Database(
        settings.database_url,
        role="rag_operator",
        connections=OPERATOR_CONNECTIONS,
        timeout_s=OPERATOR_TIMEOUT_S,
    ).open()
    stack.push_async_callback(operator.close)
    bell = Bell(settings.redis_url)
    stack.push_async_callback(bell.close)
    blobs = Blobs(settings.blobs_url)
    return Verbs(
        access=Access(database=database, operator=operator, bootstrap_key=settings.bootstrap_key),
        files=Files(
            database=database,
            blobs=blobs,
            limits=settings.limits,
            spool_dir=settings.data_dir / "spool",
        ),
        rags=Rags(database=database, bell=bell, registry=registry, settings=settings),
        documents=Documents(database=database),
        search=Search(database=database, embedders=embedders, limits=settings.limits),
        health=Health(database=operator, blobs=blobs, bell=bell),
    )
