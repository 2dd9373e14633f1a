"""OpenAPI documents, made from handlers and shapes: what is the same for every door.

A handler carries its `Operation` in `opt`, next to its code. How a door's errors look and what it
says about itself stand in its `Face`.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_origin, get_type_hints

import msgspec
from litestar import Response
from litestar.handlers import HTTPRouteHandler

from engine import errors

Json = dict[str, Any]
OPERATION = "operation"
API_VERSION = "1.0.0"
REF = "#/components/schemas/{name}"
ID = "/id"
# What answers carry besides their bodies.
HEADERS: Mapping[str, Json] = {
    "X-Request-Id": {
        "description": "The caller's own, or a new one: name it when you report something.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"},
    },
    "RateLimit-Limit": {
        "description": "How many requests may come at once.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "RateLimit-Remaining": {
        "description": "How many of them are left now.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "RateLimit-Reset": {
        "description": "Seconds until all of them are there again.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "Retry-After": {
        "description": "Seconds to wait before the request is sent again.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "ETag": {"description": "Of this very answer.", "schema": {"type": "string"}},
    "Idempotent-Replayed": {
        "description": "This is the first answer to this Idempotency-Key, given again.",
        "schema": {"type": "string", "enum": ["true"]},
    },
}
_ALWAYS = ("X-Request-Id", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")


class Parameter(msgspec.Struct, frozen=True):
    """A query parameter or header; `schema` is a JSON schema."""

    name: str
    description: str
    schema: Json
    place: str = "query"


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint for readers of the document. `form` names the file part of its multipart form;
    `made` is where its answer has the id of what it made."""

    summary: str
    tag: str
    answer: Any = None
    media_type: str = "application/json"
    body: type[msgspec.Struct] | None = None
    form: str = ""
    form_only: bool = False
    form_required: bool = True
    parameters: tuple[Parameter, ...] = ()
    raises: tuple[type[errors.EngineError], ...] = ()
    not_modified: bool = False
    made: str = ID


class _NoFields(msgspec.Struct):
    """Of a form that has a file and nothing else."""


class Face(msgspec.Struct, frozen=True, kw_only=True):
    """How a door shows itself. `failures` gives an operation's error answers by status code;
    `closed` are the bodies that are refused for unknown fields."""

    title: str
    description: str
    security: list[Json]
    security_schemes: Json
    failures: Callable[[Operation], Json]
    error_shapes: tuple[type[msgspec.Struct], ...]
    path_schema: Json
    examples: Mapping[str, Any] = {}
    closed: frozenset[type[msgspec.Struct]] = frozenset()


def document(face: Face, handlers: Iterable[HTTPRouteHandler], *, prefix: str = "") -> Json:
    """The whole document, OpenAPI 3.1. Handlers without an Operation are left out."""
    paths: dict[str, Json] = {}
    makers: dict[str, Operation] = {}
    shapes: list[Any] = [*face.error_shapes]
    for handler in handlers:
        if OPERATION not in handler.opt:
            continue
        operation = _with_answer(handler.opt[OPERATION], handler=handler)
        shapes += [shape for shape in (operation.answer, operation.body) if shape]
        for path in handler.paths:
            plain = prefix + path.replace(":str}", "}")
            for method in handler.http_methods:
                described = _operation(face, operation, path=plain, name=handler.handler_name)
                paths.setdefault(plain, {})[method.lower()] = described
                if method == "POST" and "id" in getattr(operation.answer, "__struct_fields__", ()):
                    makers[plain] = operation
    for path, operation in makers.items():
        if links := _links(paths, path, made=operation.made):
            paths[path]["post"]["responses"]["200"]["links"] = links
    return {
        "openapi": "3.1.0",
        "info": {"title": face.title, "version": API_VERSION, "description": face.description},
        "security": face.security,
        "paths": paths,
        "components": {
            "schemas": _schemas(face, shapes),
            "headers": dict(HEADERS),
            "securitySchemes": face.security_schemes,
        },
    }


def _with_answer(operation: Operation, *, handler: HTTPRouteHandler) -> Operation:
    """A handler that returns a shape need not say so twice."""
    returned = get_type_hints(handler.fn).get("return")
    plain = get_origin(returned) or returned
    if operation.answer or (isinstance(plain, type) and issubclass(plain, Response)):
        return operation
    return msgspec.structs.replace(operation, answer=returned)


def _schemas(face: Face, shapes: Iterable[Any]) -> Json:
    ordered = sorted(dict.fromkeys(shapes), key=str)
    _, schemas = msgspec.json.schema_components(ordered, ref_template=REF)
    for shape in face.closed & set(ordered):
        schemas[shape.__name__]["additionalProperties"] = False
    return dict(sorted(schemas.items()))


def _operation(face: Face, operation: Operation, *, path: str, name: str) -> Json:
    found: Json = {
        "operationId": name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": [*_in_path(face, path), *map(_parameter, operation.parameters)],
        "responses": _with_headers(
            {**_success(face, operation), **face.failures(operation)}, operation
        ),
    }
    if operation.body or operation.form:
        found["requestBody"] = _request_body(face, operation)
    return found


def _with_headers(responses: Json, operation: Operation) -> Json:
    """The same responses; shapes that are shared by operations stay as they are."""
    keyed = any(each.name == "Idempotency-Key" for each in operation.parameters)
    found: Json = {}
    for code, response in responses.items():
        names = [*_ALWAYS]
        names += ["Retry-After"] if code in ("429", "503") else []
        names += ["ETag"] if operation.not_modified and code in ("200", "304") else []
        names += ["Idempotent-Replayed"] if keyed and code == "200" else []
        headers = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
        found[code] = {**response, "headers": headers}
    return found


def _links(paths: Mapping[str, Json], maker: str, *, made: str) -> Json:
    """Which operations take the id of what a POST to `maker` made: those one parameter below it, or
    below the path that it stands beside."""
    known = _parameters_of(maker)
    beside = maker.rpartition("/")[0]
    links: Json = {}
    for path, methods in paths.items():
        new = [name for name in _parameters_of(path) if name not in known]
        if len(new) != 1 or not path.startswith((f"{maker}/{{", f"{beside}/{{")):
            continue
        parameters = {name: f"$request.path.{name}" for name in known}
        parameters[new[0]] = f"$response.body#{made}"
        for operation in methods.values():
            name = operation["operationId"]
            links[name] = {"operationId": name, "parameters": parameters}
    return links


def _parameters_of(path: str) -> list[str]:
    return [part[1:-1] for part in path.split("/") if part.startswith("{")]


def _in_path(face: Face, path: str) -> list[Json]:
    return [
        {"name": name, "in": "path", "required": True, "schema": face.path_schema}
        for name in _parameters_of(path)
    ]


def _parameter(parameter: Parameter) -> Json:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.description,
        "schema": parameter.schema,
    }


def _request_body(face: Face, operation: Operation) -> Json:
    content: Json = {}
    if operation.body and not operation.form_only:
        content["application/json"] = content_of(face, operation.body)
    if operation.form:
        content["multipart/form-data"] = _form(face, operation)
    return {"required": True, "content": content}


def _form(face: Face, operation: Operation) -> Json:
    """The body's fields and, next to them, the parts that carry files."""
    shape = operation.body or _NoFields
    schema = msgspec.json.schema_components([shape], ref_template=REF)[1][shape.__name__]
    binary: Json = {"type": "string", "contentMediaType": "application/octet-stream"}
    files = binary if operation.form_only else {"type": "array", "items": binary}
    required = [operation.form] if operation.form_only and operation.form_required else []
    form: Json = {
        "type": "object",
        "properties": {operation.form: files, **schema["properties"]},
        "required": [*required, *schema["required"]],
    }
    if shape in face.closed:
        form["additionalProperties"] = False
    return {"schema": form}


def _success(face: Face, operation: Operation) -> Json:
    if operation.answer:
        content = {"application/json": content_of(face, operation.answer)}
    else:
        content = {operation.media_type: {"schema": {"type": "string"}}}
    responses: Json = {"200": {"description": "Done.", "content": content}}
    if operation.not_modified:
        responses["304"] = {"description": "As the caller knows it: nothing has changed."}
    return responses


def content_of(face: Face, shape: Any) -> Json:
    """A shape by reference, with its example where the door has one."""
    schema, _ = msgspec.json.schema_components([shape], ref_template=REF)
    found: Json = {"schema": schema[0]}
    if example := face.examples.get(getattr(shape, "__name__", "")):
        found["example"] = example
    return found
