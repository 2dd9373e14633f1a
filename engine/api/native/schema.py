"""What this door says about itself in its OpenAPI document, and the routes of /schema.

Only canonical paths are in it. page.py renders the same document for people.
"""

from collections.abc import Iterable, Sequence
from functools import cache

import msgspec
from litestar import MediaType, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.types import ControllerRouterHandler

from engine.api import openapi
from engine.api.native import wire
from engine.api.native.errors import INTERNAL, TABLE, Row
from engine.api.native.examples import EXAMPLES
from engine.api.native.page import render
from engine.api.openapi import Face, Json, Operation

DESCRIPTION = """\
Files and URLs in, passages with exact citations out. Every success is 200 with a JSON body. Send
your access key as `Authorization: Bearer re_…` or `X-API-Key: re_…`. Errors have one shape, with a
request id that is also in the header X-Request-Id."""
REASONS = {
    400: "Malformed or out of range; `details` names every offending field.",
    401: "No access key, or one that is unknown, revoked or expired.",
    404: "Unknown, deleted, or another customer's.",
    409: "Not in this state.",
    413: "Over a limit.",
    429: "Too fast, or too much at once; see Retry-After.",
    500: "Something went wrong inside.",
    503: "Something the engine stands on is away; see Retry-After.",
}


def _failures(operation: Operation) -> Json:
    responses: Json = {}
    for row in sorted({TABLE[kind] for kind in operation.raises} | {INTERNAL}):
        responses.setdefault(str(row.code), _error_response(row.code))
        examples = responses[str(row.code)]["content"]["application/json"]["examples"]
        examples[row.reason] = {"value": _error_example(row)}
    return responses


def _error_response(code: int) -> Json:
    reference = {"$ref": openapi.REF.format(name=wire.Error.__name__)}
    content = {"application/json": {"schema": reference, "examples": {}}}
    return {"description": REASONS[code], "content": content}


def _error_example(row: Row) -> Json:
    error: Json = {
        "status": row.status,
        "reason": row.reason,
        "message": REASONS[row.code],
        "request_id": "0d9c1f5e7a2b4c6d8e0f1a2b3c4d5e6f",
    }
    if row.reason == "INVALID_ARGUMENT":
        error["details"] = [{"field": "name", "issue": "is required"}]
    return {"error": error}


FACE = Face(
    title="rag-engine",
    description=DESCRIPTION,
    security=[{"bearer": []}, {"key": []}],
    security_schemes={
        "bearer": {"type": "http", "scheme": "bearer", "description": "Your access key."},
        "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    },
    failures=_failures,
    error_shapes=(wire.Error,),
    path_schema={"type": "string", "format": "uuid"},
    examples=EXAMPLES,
    closed=frozenset(
        {
            *(wire.NewRag, wire.NewSources, wire.NewFile, wire.NewAccessKey),
            *(wire.RagUpdate, wire.SourceUpdate, wire.Query),
        }
    ),
)


def document(handlers: Iterable[HTTPRouteHandler]) -> Json:
    """The document of this door."""
    return openapi.document(FACE, handlers)


def schema_handlers(
    handlers: Sequence[HTTPRouteHandler],
) -> tuple[ControllerRouterHandler, ControllerRouterHandler]:
    """The routes that serve the document of these handlers; it is made once, when first asked."""

    @cache
    def made() -> Json:
        return document(handlers)

    @get("/schema/openapi.json", status_code=200, sync_to_thread=False)
    def openapi_json() -> Response[bytes]:
        return Response(msgspec.json.encode(made()), media_type=MediaType.JSON)

    @get("/schema", status_code=200, sync_to_thread=False)
    def schema_page() -> Response[str]:
        policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
        return Response(
            render(made()),
            media_type=MediaType.HTML,
            headers={"Content-Security-Policy": policy},
        )

    return openapi_json, schema_page
