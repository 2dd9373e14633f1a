"""A request to this door as its handlers see it: who calls, and the decoded parts.

The same handlers serve two vendors, which differ in prefix, credentials and model names. Fields are
named by where they stand ("query.page_size", "body.items[0].model"): errors.py tells it so.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar
from uuid import UUID

import msgspec

from engine.api import credentials, edge
from engine.api.call import Call, HttpRequest, identify
from engine.api.credentials import Authenticate
from engine.api.edge import refused
from engine.api.elevenlabs import translate, wire
from engine.api.query import Query
from engine.entries import Entry
from engine.errors import FolderNotFound, NotFound, SourceNotFound
from engine.models import FolderId, Noun

Synced = TypeVar("Synced", bound=wire.Synced)
PAGE_SIZE = 30
PAGE_SIZE_MAX = 100


class Vendor(Noun, frozen=True, kw_only=True):
    """One of the two APIs. `models` is its own enum, `headers` carry its credentials."""

    name: str
    prefix: str
    models: tuple[str, ...]
    headers: tuple[str, ...]
    authenticate: Authenticate


_BOTH = ("e5_mistral_7b_instruct", "multilingual_e5_large_instruct")
VENDORS = (
    Vendor(
        name="ElevenLabs",
        prefix="/v1/convai",
        models=_BOTH,
        headers=("xi-api-key",),
        authenticate=credentials.by_xi_api_key,
    ),
    Vendor(
        name="Threetone",
        prefix="/v1/voiceai",
        models=(*_BOTH, "gemini-embedding-001"),
        headers=("x-api-key", "authorization"),
        authenticate=credentials.by_key_or_token,
    ),
)


class DoorCall(Call):
    """A request whose caller is known."""

    vendor: Vendor
    parameters: Query

    def page_size(self) -> int:
        return self.parameters.page_size(default=PAGE_SIZE, page_size_max=PAGE_SIZE_MAX)

    def model(self, value: str, *, field: str) -> str:
        """One of this vendor's own names."""
        if not value:
            raise refused(field, "is required")
        if value not in self.vendor.models:
            raise refused(field, f"must be one of {', '.join(self.vendor.models)}")
        return value

    def entry_id(self, text: str) -> UUID:
        """The id of a document or a folder. One that is no id is an unknown document."""
        return edge.known_id(text, unknown=SourceNotFound("There is no such document."))

    def path_id(self, name: str = "document_id", kind: type[NotFound] = SourceNotFound) -> UUID:
        text = self.request.path_params[name]
        return edge.known_id(text, unknown=kind("There is nothing with this id."))

    def folder_id(self, text: str | None) -> FolderId | None:
        """The folder that a request names, None for the root."""
        unknown = FolderNotFound("There is no such folder.")
        return FolderId(edge.known_id(text, unknown=unknown)) if text else None

    async def unsynced(self, kind: type[Synced]) -> Synced:
        """Nothing is refreshed by itself here, and nobody shall believe that it is."""
        body = await self.placed_json(kind)
        if body.enable_auto_sync:
            raise refused("body.enable_auto_sync", "must be false: refresh documents by request")
        return body

    async def added(self, make: Callable[..., Awaitable[Entry]]) -> wire.Added:
        """What `make` makes for the caller, or made before under the same Idempotency-Key."""
        customer_id = self.customer_id
        made = await self.once(lambda keep: make(customer_id, keep=keep), kept=translate.added)
        if isinstance(made, Entry):
            return translate.added(made)
        return msgspec.json.decode(made.answer, type=wire.Added)

    async def owner(self) -> str:
        """The name that documents show as their creator's."""
        return (await self.verbs.access.customer(self.customer_id)).name


def called_by(vendor: Vendor) -> Callable[[HttpRequest], Awaitable[DoorCall]]:
    """The dependency that makes out the caller of one vendor's API."""

    async def called(request: HttpRequest) -> DoorCall:
        app, caller = request.app.state, await identify(request, vendor.authenticate)
        call = DoorCall(request=request, customer_id=caller, verbs=app.verbs, settings=app.settings)
        call.vendor, call.parameters = vendor, Query(request.query_params)
        return call

    return called
