"""The second door: the knowledge base API of ElevenLabs and Threetone, for their own clients.

The same handlers answer under both vendors' prefixes. What is supported, and how, is in README.md.
"""

from litestar import Router, get
from litestar.di import Provide
from litestar.handlers import HTTPRouteHandler

from engine.api.elevenlabs import knowledge_base
from engine.api.elevenlabs.call import VENDORS, Vendor, called_by
from engine.api.elevenlabs.schema import KB, document
from engine.api.openapi import Json

HANDLERS = [each for each in vars(knowledge_base).values() if isinstance(each, HTTPRouteHandler)]


def routers() -> list[Router]:
    """One for each vendor."""
    return [_router(vendor) for vendor in VENDORS]


def is_here(path: str) -> bool:
    """Whether a path belongs to this door, known route or not."""
    return any(f"{path}/".startswith(vendor.prefix + "/") for vendor in VENDORS)


def _router(vendor: Vendor) -> Router:
    @get(KB + "/openapi.json", status_code=200, sync_to_thread=False)
    def openapi_json() -> Json:
        return document(vendor, HANDLERS)

    dependencies = {"call": Provide(called_by(vendor))}
    handlers = [*HANDLERS, openapi_json]
    return Router(path=vendor.prefix, route_handlers=handlers, dependencies=dependencies)
