"""The native door: our own contract, one module per URL noun.

Every route answers under its canonical path and again under the old prefix.
"""

from litestar import Router
from litestar.di import Provide
from litestar.handlers import HTTPRouteHandler

from engine.api.call import called
from engine.api.edge import LEGACY_PREFIX
from engine.api.native import accesskeys, customer, query, rags, sources, storage_files

HANDLERS: tuple[HTTPRouteHandler, ...] = (
    *storage_files.HANDLERS,
    *rags.HANDLERS,
    *sources.HANDLERS,
    *query.HANDLERS,
    *customer.HANDLERS,
    *accesskeys.HANDLERS,
)


def routers() -> tuple[Router, Router]:
    """The canonical routes and their twins."""
    return _router("/"), _router(LEGACY_PREFIX)


def _router(path: str) -> Router:
    return Router(path=path, route_handlers=list(HANDLERS), dependencies={"call": Provide(called)})
