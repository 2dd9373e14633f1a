"""Both doors against the OpenAPI texts that the vendors publish, and what is Threetone's own.

The texts are in seed_openapi/, word for word.
"""

import json
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import fix_sdk
import httpx
import jwt
import pytest
import yaml
from fix_engine import Caller, new_customer
from fix_sdk import (
    DOORS,
    GEMINI,
    JWT_AUDIENCE,
    JWT_KEY,
    MISTRAL,
    Door,
    client_of,
    item,
    plain_client,
)
from jsonschema import Draft202012Validator

from engine.config import Settings

engine = fix_sdk.engine
web = fix_sdk.web

SEEDS = Path(__file__).parent / "seed_openapi"
NOBODY = "00000000-0000-4000-8000-000000000000"
TEXT = " ".join(f"Lock number {n} of the canal is opened at {n} in the morning." for n in range(20))
FILE = {"file": ("locks.txt", TEXT.encode(), "text/plain")}


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest) -> Door:
    return DOORS[request.param]


@pytest.fixture
def http(door: Door, engine: Settings) -> Iterator[httpx.Client]:
    with client_of(door, engine) as client:
        yield client


# --- the vendors' schemas ---------------------------------------------------------------------


@cache
def seed(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((SEEDS / f"{name}.yaml").read_text("utf-8"))
    return document


def inlined(node: Any, document: dict[str, Any]) -> Any:
    """The schema with what its references point to in their place; the seeds have no circles."""
    if isinstance(node, list):
        return [inlined(each, document) for each in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        # A name may have a slash in it, which the vendor does not escape.
        name = node["$ref"].removeprefix("#/components/schemas/")
        return inlined(document["components"]["schemas"][name], document)
    return {key: inlined(each, document) for key, each in node.items()}


def schema_of(name: str, *, path: str, method: str, code: int) -> dict[str, Any]:
    """What a vendor says that this call answers."""
    document = seed(name)
    answer = document["paths"][path][method]["responses"][str(code)]
    schema: dict[str, Any] = inlined(answer["content"]["application/json"]["schema"], document)
    Draft202012Validator.check_schema(schema)
    return schema


def holds(answer: httpx.Response, schema: dict[str, Any], *, code: int) -> Any:
    """The JSON of an answer that must have this code and be as the vendor says."""
    assert answer.status_code == code, answer.text
    errors = list(Draft202012Validator(schema).iter_errors(answer.json()))
    assert errors == [], answer.text
    return answer.json()


def rag_index_schema(door: Door, *, code: int) -> dict[str, Any]:
    path = f"{door.prefix}/rag-index"
    return schema_of(f"{door.name}_rag_index", path=path, method="post", code=code)


def chunks_schema(*, code: int) -> dict[str, Any]:
    """Threetone has not published one of its own; the answer is ElevenLabs'."""
    path = f"{fix_sdk.ELEVENLABS}/{{documentation_id}}/chunks"
    return schema_of("elevenlabs_chunks", path=path, method="get", code=code)


def made(http: httpx.Client) -> str:
    answer = http.post("/text", json={"text": TEXT})
    assert answer.status_code == 200, answer.text
    id_: str = answer.json()["id"]
    return id_


def test_every_answer_of_a_batch_is_as_the_vendor_says(http: httpx.Client, door: Door) -> None:
    schema = rag_index_schema(door, code=200)
    text = made(http)
    small = http.post("/text", json={"text": "Small."}).json()["id"]
    folder = http.post("/folder", json={"name": "Folder"}).json()["id"]
    asked = [item(text), item(small), item(folder), item(NOBODY), item("no-uuid")]
    deadline = time.monotonic() + 40
    seen: set[str] = set()
    while "succeeded" not in seen or "document_too_small" not in seen:
        body = holds(http.post("/rag-index", json={"items": asked}), schema, code=200)
        assert set(body) == {text, small, folder, NOBODY, "no-uuid"}
        seen |= {value["data"]["status"] for value in body.values() if "data" in value}
        assert time.monotonic() < deadline, body
    assert "new" not in seen
    assert {value["status"] for value in body.values()} == {"success", "failure"}
    unknown = item(made(http), create=False)
    missing = holds(http.post("/rag-index", json={"items": [unknown]}), schema, code=200)
    assert [value["error_code"] for value in missing.values()] == [404]


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        None,
        {"items": None},
        {"items": []},
        {"items": {}},
        {"items": [item(NOBODY)] * 101},
        {"items": [{"document_id": NOBODY, "create_if_missing": True}]},
        {"items": [{"create_if_missing": True, "model": MISTRAL}]},
        {"items": [{"document_id": NOBODY, "model": MISTRAL}]},
        {"items": [item(NOBODY) | {"document_id": 7}]},
        {"items": [item(NOBODY) | {"create_if_missing": "yes"}]},
        {"items": [item(NOBODY), item(NOBODY, model="text-embedding-3-large")]},
        {"items": [item(NOBODY, model="")]},
    ],
    ids=lambda body: json.dumps(body)[:70],
)
def test_a_batch_that_cannot_be_is_a_422_as_the_vendor_says(
    http: httpx.Client, door: Door, body: Any
) -> None:
    answer = holds(http.post("/rag-index", json=body), rag_index_schema(door, code=422), code=422)
    assert answer["detail"]
    assert all(problem["loc"][0] == "body" for problem in answer["detail"])


def test_json_that_is_none_is_a_422_as_the_vendor_says(http: httpx.Client, door: Door) -> None:
    schema = rag_index_schema(door, code=422)
    for content in (b"", b"{", b"\xff\xfe", b'{"items": [' + b"[" * 10_000):
        kind = {"content-type": "application/json"}
        holds(http.post("/rag-index", content=content, headers=kind), schema, code=422)


def test_a_null_and_an_unknown_field_change_nothing(http: httpx.Client, door: Door) -> None:
    text = made(http)
    asked = {"items": [{**item(text), "usage_mode": None}], "colour": "blue"}
    body = holds(
        http.post("/rag-index?verbose=1", json=asked), rag_index_schema(door, code=200), code=200
    )
    assert body[text]["status"] == "success"


def test_chunks_are_as_the_vendor_says_page_by_page(http: httpx.Client, door: Door) -> None:
    text = made(http)
    schema = chunks_schema(code=200)
    for model in door.models:
        deadline = time.monotonic() + 40
        path = f"/{text}/rag-index"
        while http.post(path, json={"model": model}).json()["status"] != "succeeded":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        params: dict[str, Any] = {"embedding_model": model, "page_size": 1}
        seen: list[str] = []
        while True:
            answer = http.request("GET", f"/{text}/chunks", params=params, json={})
            page = holds(answer, schema, code=200)
            assert set(page) == {"chunks", "next_cursor"}
            seen += [chunk["content"] for chunk in page["chunks"]]
            if page["next_cursor"] is None:
                break
            params["cursor"] = page["next_cursor"]
        assert fix_sdk.uncovered(TEXT, parts=seen) == ""
        assert len(seen) > 1


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"embedding_model": "qwen3_embedding_4b"},
        {"embedding_model": MISTRAL, "page_size": "0"},
        {"embedding_model": MISTRAL, "page_size": "many"},
        {"embedding_model": MISTRAL, "cursor": "%%%"},
    ],
    ids=str,
)
def test_chunks_that_cannot_be_asked_for_are_a_422_as_the_vendor_says(
    http: httpx.Client, params: dict[str, str]
) -> None:
    text = made(http)
    http.post(f"/{text}/rag-index", json={"model": MISTRAL})
    answer = http.get(f"/{text}/chunks", params=params)
    body = holds(answer, chunks_schema(code=422), code=422)
    assert body["detail"][0]["loc"][0] == "query"


def test_an_unknown_document_is_a_404_with_a_body(http: httpx.Client) -> None:
    answers = [
        http.get(f"/{NOBODY}/chunks", params={"embedding_model": MISTRAL}),
        http.post(f"/{NOBODY}/rag-index", json={"model": MISTRAL}),
        http.delete(f"/{NOBODY}"),
        http.delete(f"/{NOBODY}/rag-index/{NOBODY}"),
        http.get("/no-uuid"),
    ]
    for answer in answers:
        assert answer.status_code == 404
        detail = answer.json()["detail"]
        assert detail["status"] == fix_sdk.UNKNOWN
        assert detail["message"]


def test_a_retried_upload_that_lost_its_text_parts_is_no_disaster(engine: Settings) -> None:
    with client_of(DOORS["elevenlabs"], engine) as http:
        folder = http.post("/folder", json={"name": "Folder"}).json()["id"]
        answer = http.post("/file", files=FILE, data={"name": "A", "parent_folder_id": folder})
        assert answer.json()["name"] == "A"
        again = http.post("/file", files=FILE)
        assert (again.status_code, again.json()["name"]) == (200, "locks.txt")
        assert http.post("/url", json={"url": "not a url"}).status_code == 422
        for refused in (http.post("/file", data={"name": "A"}), http.post("/file", json={})):
            assert refused.status_code == 422
            assert refused.json()["detail"][0]["loc"][0] == "body"


# --- Threetone's own --------------------------------------------------------------------------


@pytest.fixture
def threetone(engine: Settings) -> Iterator[httpx.Client]:
    with client_of(DOORS["threetone"], engine) as client:
        yield client


def test_threetone_takes_name_and_folder_of_a_file_as_query_parameters(
    threetone: httpx.Client,
) -> None:
    folder = threetone.post("/folder", json={"name": "Folder"}).json()["id"]
    params = {"name": "Locks", "parent_folder_id": folder}
    added = threetone.post("/file", params=params, files=FILE).json()
    assert added["name"] == "Locks"
    assert added["folder_path"] == [{"id": folder, "name": "Folder"}]
    assert threetone.get(f"/{added['id']}").json()["folder_parent_id"] == folder


def test_gemini_is_a_model_of_threetone_and_of_threetone_only(engine: Settings) -> None:
    token = new_customer(engine, "gemini")
    with plain_client(engine.base_url) as http:
        theirs, ours = {"x-api-key": token}, {"xi-api-key": token}
        added = http.post(f"{fix_sdk.THREETONE}/text", json={"text": TEXT}, headers=theirs)
        text = added.json()["id"]
        asked = {"items": [item(text, model=GEMINI)]}
        deadline = time.monotonic() + 40
        while True:
            answer = http.post(f"{fix_sdk.THREETONE}/rag-index", json=asked, headers=theirs)
            index = answer.json()[text]["data"]
            assert (answer.status_code, index["model"]) == (200, GEMINI)
            if index["status"] == "succeeded":
                break
            assert time.monotonic() < deadline, index
            time.sleep(0.1)
        refused = http.post(f"{fix_sdk.ELEVENLABS}/rag-index", json=asked, headers=ours)
        assert refused.status_code == 422
        assert refused.json()["detail"][0]["loc"] == ["body", "items", 0, "model"]
        path = f"/{text}/rag-index"
        theirs_of = http.get(fix_sdk.THREETONE + path, headers=theirs).json()["indexes"]
        assert [index["model"] for index in theirs_of] == [GEMINI]
        assert http.get(fix_sdk.ELEVENLABS + path, headers=ours).json() == {"indexes": []}
        overview = http.get(f"{fix_sdk.ELEVENLABS}/rag-index", headers=ours).json()
        assert (overview["models"], overview["total_used_bytes"] > 0) == ([], True)


def customer_of(engine: Settings) -> str:
    """The id of a new customer, as the native door tells it."""
    with Caller(engine.base_url, token=new_customer(engine, "jwt")) as native:
        found: str = native.ok("GET", "/customer")["id"]
    assert UUID(found)
    return found


def token_of(
    customer_id: str | None, *, key: str = JWT_KEY, algorithm: str = "HS256", **more: Any
) -> str:
    """A signed token; a claim that is None is left out."""
    claims = {"customer_id": customer_id, "aud": JWT_AUDIENCE, "exp": int(time.time()) + 60}
    kept = {name: value for name, value in (claims | more).items() if value is not None}
    return jwt.encode(kept, key, algorithm=algorithm)


def test_threetone_takes_a_token_that_names_the_customer(engine: Settings) -> None:
    customer_id = customer_of(engine)
    bearer = {"Authorization": f"Bearer {token_of(customer_id)}"}
    with plain_client(engine.base_url + fix_sdk.THREETONE, **bearer) as http:
        text = made(http)
        assert [d["id"] for d in http.get("").json()["documents"]] == [text]


def bad_tokens(customer_id: str) -> dict[str, str]:
    return {
        "another secret": token_of(customer_id, key="another secret that is long enough as well"),
        "expired": token_of(customer_id, exp=int(time.time()) - 120),
        "without expiry": token_of(customer_id, exp=None),
        "another audience": token_of(customer_id, aud="somebody else"),
        "without audience": token_of(customer_id, aud=None),
        "another algorithm": token_of(customer_id, key=JWT_KEY * 2, algorithm="HS512"),
        "an algorithm of none": token_of(customer_id, key="", algorithm="none"),
        "nobody": token_of(str(uuid4())),
        "no customer": token_of(None),
        "a customer that is no id": token_of("first"),
        "no token": "abc.def.ghi",
    }


@pytest.mark.parametrize("kind", bad_tokens(NOBODY))
def test_threetone_refuses_a_token_that_is_not_good_with_a_401(engine: Settings, kind: str) -> None:
    bearer = {"Authorization": f"Bearer {bad_tokens(customer_of(engine))[kind]}"}
    with plain_client(engine.base_url, **bearer) as http:
        answer = http.get(fix_sdk.THREETONE)
    assert answer.status_code == 401
    assert answer.json()["detail"]["status"]


def test_each_door_takes_its_own_credentials_only(engine: Settings) -> None:
    token = new_customer(engine, "headers")
    customer = token_of(customer_of(engine))
    for prefix, headers, code in (
        (fix_sdk.ELEVENLABS, {"xi-api-key": token}, 200),
        (fix_sdk.ELEVENLABS, {"x-api-key": token}, 401),
        (fix_sdk.ELEVENLABS, {"Authorization": f"Bearer {token}"}, 401),
        (fix_sdk.ELEVENLABS, {"Authorization": f"Bearer {customer}"}, 401),
        (fix_sdk.THREETONE, {"x-api-key": token}, 200),
        (fix_sdk.THREETONE, {"xi-api-key": token}, 401),
        (fix_sdk.THREETONE, {"Authorization": f"Bearer {customer}"}, 200),
        (fix_sdk.THREETONE, {"Authorization": f"Bearer {token}"}, 401),
        (fix_sdk.THREETONE, {}, 401),
    ):
        with plain_client(engine.base_url, **headers) as http:
            answer = http.get(prefix)
        assert answer.status_code == code, (prefix, list(headers), answer.text)
