"""What this door says about itself: each endpoint's description, and the OpenAPI document."""

from collections.abc import Iterable
from typing import Any

from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler

from engine import errors
from engine.api import openapi
from engine.api.elevenlabs import wire
from engine.api.elevenlabs.call import PAGE_SIZE, PAGE_SIZE_MAX, DoorCall, Vendor
from engine.api.elevenlabs.errors import TABLE
from engine.api.openapi import OPERATION, Face, Json, Operation, Parameter
from engine.entries import EntryKind, EntrySort, SortDirection

KB = "/knowledge-base"
ID = KB + "/{document_id:str}"
Call = NamedDependency[DoorCall]
_TEXT: Json = {"type": "string"}
_FLAG: Json = {"type": "boolean"}
_SCHEMAS: dict[str, Json] = {
    "page_size": {"type": "integer", "minimum": 1, "maximum": PAGE_SIZE_MAX, "default": PAGE_SIZE},
    "force": _FLAG,
    "folders_first": _FLAG,
    "show_only_owned_documents": _FLAG,
    "types": {"type": "array", "items": {"type": "string", "enum": [*EntryKind]}},
    "document_ids": {"type": "array", "items": _TEXT},
    "sort_by": {"type": "string", "enum": [*EntrySort], "default": EntrySort.CREATED_AT},
    "sort_direction": {"type": "string", "enum": [*SortDirection], "default": SortDirection.DESC},
}


def told(summary: str, *, query: str = "", **more: Any) -> dict[str, Any]:
    """The keywords of a handler's decorator; `query` names its parameters."""
    parameters = tuple(Parameter(each, "", _SCHEMAS.get(each, _TEXT)) for each in query.split())
    operation = Operation(summary=summary, tag="knowledge base", parameters=parameters, **more)
    return {"status_code": 200, "opt": {OPERATION: operation}}


def document(vendor: Vendor, handlers: Iterable[HTTPRouteHandler]) -> Json:
    """The OpenAPI document of one vendor's routes."""
    schemes = {name: {"type": "apiKey", "in": "header", "name": name} for name in vendor.headers}
    if "authorization" in schemes:
        schemes["authorization"] = {"type": "http", "scheme": "bearer"}
    face = Face(
        title=f"rag-engine for clients of {vendor.name}",
        description="Their knowledge base API. What differs stands in the door's README.",
        security=[{name: []} for name in schemes],
        security_schemes=schemes,
        failures=lambda operation: _FAILURES,
        error_shapes=(wire.Error, wire.ValidationError),
        path_schema=_TEXT,
    )
    return openapi.document(face, handlers, prefix=vendor.prefix)


def _failure(code: int) -> Json:
    shape = wire.ValidationError if code == TABLE[errors.InvalidRequest].code else wire.Error
    reference = {"$ref": openapi.REF.format(name=shape.__name__)}
    statuses = sorted({row.status for row in TABLE.values() if row.code == code})
    content = {"application/json": {"schema": reference}}
    return {"description": ", ".join(statuses) or "internal_error", "content": content}


_FAILURES = {str(code): _failure(code) for code in sorted({*(r.code for r in TABLE.values()), 500})}
