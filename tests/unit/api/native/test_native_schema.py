import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from engine.api import native
from engine.api.native import wire
from engine.api.native.examples import EXAMPLES
from engine.api.native.page import render
from engine.api.native.schema import document
from engine.api.openapi import OPERATION

DOCUMENT = document(native.HANDLERS)
OPERATIONS = [
    (method.upper(), path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for each in node.values():
            yield from references(each)
    elif isinstance(node, list):
        for each in node:
            yield from references(each)


def test_every_route_of_the_door_is_described_under_its_canonical_path_only():
    routes = {
        (method, path.replace(":str}", "}"))
        for handler in native.HANDLERS
        for path in handler.paths
        for method in handler.http_methods
    }
    assert {(method, path) for method, path, _ in OPERATIONS} == routes
    assert not [path for _, path, _ in OPERATIONS if path.startswith("/v1.0")]


def test_every_reference_leads_somewhere():
    names = {reference.rpartition("/")[2] for reference in references(DOCUMENT)}
    components = DOCUMENT["components"]
    assert names <= {*components["schemas"], *components["headers"]}
    assert {"Error", "Retry-After"} <= names


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS)
def test_an_operation_has_examples_and_every_error_answer(method, path, operation):
    answers = operation["responses"]
    assert {"200", "400", "401", "500", "503"} <= set(answers)
    for code, answer in answers.items():
        if code < "400":
            continue
        content = answer["content"]["application/json"]
        assert content["schema"] == {"$ref": "#/components/schemas/Error"}
        for reason, example in content["examples"].items():
            assert msgspec.convert(example["value"], wire.Error).error.reason == reason
    if "{id}" in path:
        assert "404" in answers
    json_answer = answers["200"]["content"].get("application/json")
    assert json_answer is None or json_answer["example"]


def test_path_parameters_are_those_of_the_path():
    for _, path, operation in OPERATIONS:
        named = [each["name"] for each in operation["parameters"] if each["in"] == "path"]
        assert named == re.findall(r"{(\w+)}", path)


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_an_example_is_what_its_shape_says(name):
    decoded = msgspec.convert(EXAMPLES[name], getattr(wire, name))
    # What a request may leave out comes back with its default.
    encoded = json.loads(msgspec.json.encode(decoded))
    assert {**encoded, **EXAMPLES[name]} == encoded


def test_creates_take_an_idempotency_key_and_nothing_else_does():
    taking = {
        (method, path)
        for method, path, operation in OPERATIONS
        if any(each["name"] == "Idempotency-Key" for each in operation["parameters"])
    }
    creating = ("/rags", "/rags/{id}/sources", "/storage_files", "/accesskeys")
    assert taking == {("POST", path) for path in creating}


def test_what_came_too_fast_is_told_when_to_come_back():
    answer = DOCUMENT["paths"]["/rags"]["get"]["responses"]["429"]
    assert "Retry-After" in answer["headers"]


def test_bodies_refuse_unknown_fields_and_answers_do_not_promise_that():
    schemas = DOCUMENT["components"]["schemas"]
    assert schemas["NewRag"]["additionalProperties"] is False
    assert "additionalProperties" not in schemas["Rag"]


def test_uploads_are_described_as_forms():
    content = DOCUMENT["paths"]["/storage_files"]["post"]["requestBody"]["content"]
    assert list(content) == ["multipart/form-data"]
    assert content["multipart/form-data"]["schema"]["required"] == ["file"]
    content = DOCUMENT["paths"]["/rags"]["post"]["requestBody"]["content"]
    assert list(content) == ["application/json", "multipart/form-data"]
    assert "files" in content["multipart/form-data"]["schema"]["properties"]


def test_every_handler_says_what_it_is():
    assert all(OPERATION in handler.opt for handler in native.HANDLERS)


def test_the_page_shows_every_operation_and_loads_nothing():
    page = render(DOCUMENT)
    for _, _, operation in OPERATIONS:
        assert f'id="{operation["operationId"]}"' in page
    assert "<script" not in page
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)


def test_the_page_escapes_what_it_shows():
    hostile = json.loads(json.dumps(DOCUMENT))
    hostile["paths"]["/rags"]["get"]["summary"] = "<b>x</b>"
    assert "<b>x</b>" not in render(hostile)
