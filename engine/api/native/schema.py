"""The OpenAPI document of this door, made from its handlers and shapes, and the routes of /schema.

Only canonical paths are in it. page.py renders the same document for people.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import msgspec
from litestar import MediaType, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.types import ControllerRouterHandler

from engine import errors
from engine.api.native import wire
from engine.api.native.endpoint import OPERATION, Operation, Parameter
from engine.api.native.errors import INTERNAL, TABLE, Row
from engine.api.native.examples import EXAMPLES
from engine.api.native.page import render

Json = dict[str, Any]
API_VERSION = "1.0.0"
REF = "#/components/schemas/{name}"
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
    500: "Something went wrong inside.",
    503: "Something the engine stands on is away; see Retry-After.",
}


def document(handlers: Iterable[HTTPRouteHandler]) -> Json:
    """The whole document, OpenAPI 3.1, as plain dicts."""
    paths: dict[str, Json] = {}
    shapes: set[type[msgspec.Struct]] = {wire.Error}
    for handler in handlers:
        operation: Operation = handler.opt[OPERATION]
        shapes |= {shape for shape in (operation.answer, operation.body) if shape}
        for path in handler.paths:
            plain = path.replace(":str}", "}")
            for method in handler.http_methods:
                described = _operation(operation, path=plain, name=handler.handler_name)
                paths.setdefault(plain, {})[method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "rag-engine",
            "version": API_VERSION,
            "description": DESCRIPTION,
        },
        "security": [{"bearer": []}, {"key": []}],
        "paths": paths,
        "components": {"schemas": _schemas(shapes), "securitySchemes": SECURITY},
    }


SECURITY: Json = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "Your access key."},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def _schemas(shapes: Iterable[type[msgspec.Struct]]) -> Json:
    ordered = sorted(shapes, key=lambda shape: shape.__name__)
    _, schemas = msgspec.json.schema_components(ordered, ref_template=REF)
    for shape in ordered:
        # Bodies are refused for unknown fields; the document says so.
        if shape.__name__.startswith("New") or shape in {wire.RagUpdate, wire.Query}:
            schemas[shape.__name__]["additionalProperties"] = False
    return schemas


def _operation(operation: Operation, *, path: str, name: str) -> Json:
    found: Json = {
        "operationId": name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": [*_in_path(path), *map(_parameter, operation.parameters)],
        "responses": _responses(operation),
    }
    if operation.body:
        found["requestBody"] = _request_body(operation, shape=operation.body)
    return found


def _in_path(path: str) -> list[Json]:
    return [
        {
            "name": part[1:-1],
            "in": "path",
            "required": True,
            "schema": {"type": "string", "format": "uuid"},
        }
        for part in path.split("/")
        if part.startswith("{")
    ]


def _parameter(parameter: Parameter) -> Json:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.description,
        "schema": parameter.schema,
    }


def _request_body(operation: Operation, *, shape: type[msgspec.Struct]) -> Json:
    content: Json = {}
    if not operation.form_only:
        content["application/json"] = _content(shape)
    if operation.form:
        content["multipart/form-data"] = _form(operation, shape=shape)
    return {"required": True, "content": content}


def _form(operation: Operation, *, shape: type[msgspec.Struct]) -> Json:
    """The shape's fields and, next to them, the parts that carry files."""
    schema = msgspec.json.schema_components([shape], ref_template=REF)[1][shape.__name__]
    binary: Json = {"type": "string", "contentMediaType": "application/octet-stream"}
    files = binary if operation.form_only else {"type": "array", "items": binary}
    required = [operation.form] if operation.form_only else []
    return {
        "schema": {
            "type": "object",
            "properties": {operation.form: files, **schema["properties"]},
            "required": [*required, *schema["required"]],
            "additionalProperties": False,
        }
    }


def _responses(operation: Operation) -> Json:
    if operation.answer:
        content = {"application/json": _content(operation.answer)}
    else:
        content = {operation.media_type: {"schema": {"type": "string"}}}
    responses: Json = {"200": {"description": "Done.", "content": content}}
    if operation.not_modified:
        responses["304"] = {"description": "As the caller knows it: nothing has changed."}
    for row in _rows(operation.raises):
        responses.setdefault(str(row.code), _error_response(row.code))
        examples = responses[str(row.code)]["content"]["application/json"]["examples"]
        examples[row.reason] = {"value": _error_example(row)}
    return responses


def _rows(kinds: Sequence[type[errors.EngineError]]) -> list[Row]:
    rows = {TABLE[kind] for kind in kinds} | {INTERNAL}
    return sorted(rows)


def _error_response(code: int) -> Json:
    reference = _reference(wire.Error)
    content = {"application/json": {"schema": reference, "examples": {}}}
    answer: Json = {"description": REASONS[code], "content": content}
    if code == 503:
        seconds = {"type": "integer", "description": "Seconds."}
        answer["headers"] = {"Retry-After": {"schema": seconds}}
    return answer


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


def _content(shape: type[msgspec.Struct]) -> Json:
    return {"schema": _reference(shape), "example": EXAMPLES[shape.__name__]}


def _reference(shape: type[msgspec.Struct]) -> Json:
    return {"$ref": REF.format(name=shape.__name__)}


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
        policy = "default-src 'none'; style-src 'unsafe-inline'"
        return Response(
            render(made()),
            media_type=MediaType.HTML,
            headers={"Content-Security-Policy": policy},
        )

    return openapi_json, schema_page
