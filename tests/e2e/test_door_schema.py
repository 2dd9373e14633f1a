"""Our own OpenAPI text of both doors, walked by schemathesis: odd requests, documented answers.

Every operation gets a bounded number of generated requests, the same ones in every run, once as
they were generated and once about a document that is there. No worker runs meanwhile, so that no
generated URL is fetched.
"""

import re
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from fix_engine import api_child, worker_process
from fix_sdk import DOORS, MISTRAL, Door, client_of
from hypothesis import HealthCheck, Phase, given, settings
from msgspec.structs import replace
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from engine.config import Settings

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
BOUNDED = settings(
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
TEXT = " ".join(f"Rope number {n} is {n} metres long and made of hemp." for n in range(20))
CALLS = {
    "": "get post",
    "/text": "post",
    "/url": "post",
    "/file": "post",
    "/folder": "post",
    "/{}": "get patch delete",
    "/{}/content": "get",
    "/{}/source-file-url": "get",
    "/{}/dependent-agents": "get",
    "/dependent-agents": "post",
    "/{}/move": "post",
    "/bulk-move": "post",
    "/bulk-delete": "post",
    "/summaries": "get",
    "/{}/chunks": "get",
    "/{}/chunk/{}": "get",
    "/{}/refresh": "post",
    "/{}/update-file": "patch",
    "/rag-index": "get post",
    "/{}/rag-index": "get post",
    "/{}/rag-index/{}": "delete",
    "/search": "get",
    "/agent/{}/knowledge-base/size": "get",
}

EACH = [(path, method) for path, methods in CALLS.items() for method in methods.split()]
WALKS = [
    ("elevenlabs", GenerationMode.POSITIVE, 15),
    ("elevenlabs", GenerationMode.NEGATIVE, 8),
    # The same handlers once more, with other credentials and models.
    ("threetone", GenerationMode.POSITIVE, 4),
]


class Place:
    """A customer's library behind one door: a document with an index, made anew when deleted."""

    def __init__(self, door: Door, engine: Settings) -> None:
        self.http = client_of(door, engine)
        self.headers = {door.header: self.http.headers[door.header]}
        self.session = requests.Session()  # what schemathesis sends with
        self.ids: dict[str, str] = {}

    def fill(self) -> None:
        """Needs a worker."""
        self.document()
        path = f"/{self.ids['document_id']}"
        deadline = time.monotonic() + 40
        model = {"model": MISTRAL}
        while (index := self._json("POST", f"{path}/rag-index", json=model))[
            "status"
        ] != "succeeded":
            assert time.monotonic() < deadline, index
            time.sleep(0.1)
        chunks = self._json("GET", f"{path}/chunks", params={"embedding_model": MISTRAL})["chunks"]
        self.ids |= {"chunk_id": chunks[0]["id"], "index_id": index["id"]}

    def document(self) -> None:
        """Have a document again if it is gone. `ids` are named as the path parameters are."""
        known = self.ids.get("document_id", "none")
        if self.http.get(f"/{known}").status_code != 200:
            self.ids["document_id"] = self._json("POST", "/text", json={"text": TEXT})["id"]

    def _json(self, method: str, path: str, **more: Any) -> Any:
        answer = self.http.request(method, path, **more)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def engine(
    module_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Settings]:
    limits = replace(module_settings.limits, poll_s=0.3, text_wait_s=0.02)
    made = replace(module_settings, limits=limits)
    with api_child(made, log=tmp_path_factory.mktemp("logs") / "api.log"):
        yield made


@pytest.fixture(scope="module")
def places(
    engine: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Place]]:
    found = {name: Place(door, engine) for name, door in DOORS.items()}
    with worker_process(engine, log=tmp_path_factory.mktemp("logs") / "worker.log"):
        for place in found.values():
            place.fill()
    yield found
    for place in found.values():
        place.http.close()
        place.session.close()


def text_of(door: Door, engine: Settings) -> dict[str, Any]:
    """The OpenAPI text that a door serves, to anybody."""
    answer = httpx.get(f"{engine.base_url}{door.prefix}/openapi.json")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def normal(path: str, *, door: Door) -> str:
    """A path as CALLS has it: without the door's prefix, parameters without their names."""
    vendor = door.prefix.removesuffix("/knowledge-base")
    short = path.removeprefix(vendor).removeprefix("/knowledge-base")
    return re.sub(r"\{\w+\}", "{}", short)


@pytest.fixture(scope="module")
def operations(engine: Settings) -> dict[tuple[str, str, str], schemathesis.APIOperation]:
    """What schemathesis makes of each door's text, by door, path and method."""
    found = {}
    for name, door in DOORS.items():
        schema = schemathesis.openapi.from_dict(text_of(door, engine))
        schema.config.update(base_url=engine.base_url)
        for each in schema.get_all_operations():
            operation = each.ok()
            key = (name, normal(operation.path, door=door), operation.method.lower())
            found[key] = operation
    return found


def holds(case: schemathesis.Case, place: Place) -> None:
    """Send a case as it is, and about a document that is there; both answers must be documented."""
    case.call_and_validate(headers=place.headers, checks=CHECKS, session=place.session)
    if case.path_parameters:
        there = {k: v for k, v in place.ids.items() if k in case.path_parameters}
        case.path_parameters = {**case.path_parameters, **there}
        case.headers = place.headers
        case.call_and_validate(checks=CHECKS, session=place.session)
    if case.method == "DELETE":
        place.document()


@pytest.mark.parametrize(("door_name", "mode", "examples"), WALKS)
@pytest.mark.parametrize(("path", "method"), EACH)
def test_every_answer_is_one_that_the_text_names(
    operations: dict[tuple[str, str, str], schemathesis.APIOperation],
    places: dict[str, Place],
    door_name: str,
    path: str,
    method: str,
    mode: GenerationMode,
    examples: int,
) -> None:
    operation = operations[door_name, path, method]

    @settings(BOUNDED, max_examples=examples)
    @given(case=operation.as_strategy(generation_mode=mode))
    def walked(case: schemathesis.Case) -> None:
        holds(case, places[door_name])

    walked()


@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
def test_the_text_names_all_calls_of_the_contract_and_no_other(
    engine: Settings, door: Door
) -> None:
    named = {
        (normal(path, door=door), method)
        for path, methods in text_of(door, engine)["paths"].items()
        for method in methods
    }
    assert set(EACH) == named
