import re
from collections.abc import Iterator
from typing import Any

import pytest

from engine.api import elevenlabs
from engine.api.elevenlabs.call import VENDORS
from engine.api.elevenlabs.knowledge_base import crawl, download_source_file
from engine.api.elevenlabs.schema import document

DOCUMENTS = {vendor.name: document(vendor, elevenlabs.HANDLERS) for vendor in VENDORS}
UNDESCRIBED = (crawl, download_source_file)


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for each in node.values():
            yield from references(each)
    elif isinstance(node, list):
        for each in node:
            yield from references(each)


def operations(name: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in DOCUMENTS[name]["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


@pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.name)
def test_every_route_is_described_under_the_vendors_prefix(vendor):
    routes = {
        (method, vendor.prefix + path.replace(":str}", "}"))
        for handler in elevenlabs.HANDLERS
        if handler not in UNDESCRIBED
        for path in handler.paths
        for method in handler.http_methods
    }
    assert {(method, path) for method, path, _ in operations(vendor.name)} == routes


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_reference_leads_somewhere(name):
    names = {reference.rpartition("/")[2] for reference in references(DOCUMENTS[name])}
    components = DOCUMENTS[name]["components"]
    assert names <= {*components["schemas"], *components["headers"]}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_an_operation_has_a_shape_for_every_error(name):
    for _, _, operation in operations(name):
        answers = operation["responses"]
        assert {"200", "400", "401", "404", "413", "422", "429", "500", "503"} == set(answers)
        shapes = {
            code: answer["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
            for code, answer in answers.items()
            if code != "200"
        }
        assert shapes.pop("422") == "ValidationError"
        assert set(shapes.values()) == {"Error"}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_path_parameters_are_those_of_the_path(name):
    for _, path, operation in operations(name):
        named = [each["name"] for each in operation["parameters"] if each["in"] == "path"]
        assert named == re.findall(r"{(\w+)}", path)


def test_the_two_vendors_differ_in_prefix_and_credentials_alone():
    first, second = DOCUMENTS.values()
    assert first["components"]["schemas"] == second["components"]["schemas"]
    assert list(first["components"]["securitySchemes"]) == ["xi-api-key"]
    assert list(second["components"]["securitySchemes"]) == ["x-api-key", "authorization"]


@pytest.mark.parametrize(
    ("path", "here"),
    [
        ("/v1/convai", True),
        ("/v1/convai/nowhere", True),
        ("/v1/voiceai/knowledge-base", True),
        ("/v1/convaix", False),
        ("/v1", False),
        ("/rags", False),
    ],
)
def test_unknown_routes_belong_to_the_door_that_they_lie_behind(path, here):
    assert elevenlabs.is_here(path) is here
