"""The raw answers of both doors, call by call, against golden files.

A golden file holds one call of one door, request and answer, with what differs from run to run
replaced by placeholders in angle brackets. After a wanted change write them anew, and read the
difference:

    RAG_ENGINE_TEST_GOLDEN=write python -m pytest tests/e2e/test_door_wire.py
"""

import json
import os
import re
import time
from pathlib import Path
from typing import Any, NamedTuple

import fix_sdk
import httpx
import pytest
from fix_sdk import DOORS, MISTRAL, MULTILINGUAL, Door, client_of, item
from fix_web import Web

from engine.config import Settings

engine = fix_sdk.engine
web = fix_sdk.web

GOLDEN = Path(__file__).parent / "golden"
WRITE = os.environ.get("RAG_ENGINE_TEST_GOLDEN") == "write"
UUID_TEXT = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
NOBODY = "00000000-0000-4000-8000-000000000000"
TEXT = " ".join(f"Lock number {n} of the canal is opened at {n} in the morning." for n in range(20))
PAGE = f"<html><head><title>Locks</title></head><body><main><p>{TEXT}</p></main></body></html>"

# By door and by step: what the golden file has to say.
Records = dict[str, dict[str, dict[str, Any]]]

# By door and by step: what the golden file has to say.
Records = dict[str, dict[str, dict[str, Any]]]

# By door and by step: what the golden file has to say.
Records = dict[str, dict[str, dict[str, Any]]]


class Step(NamedTuple):
    """One call. `{name}` stands for the id that an earlier step with `keep` was answered with."""

    name: str
    call: str  # method and path
    json: Any = None
    params: dict[str, Any] | None = None
    files: dict[str, Any] | None = None
    keep: str = ""
    until: tuple[str, ...] = ()  # repeated until these words are in the answer


FILE = {"file": ("locks.txt", TEXT.encode(), "text/plain")}
NEW_TEXT = {"text": TEXT, "name": "Locks", "parent_folder_id": "{folder}"}
BY_NAME = {"sort_by": "name", "sort_direction": "asc"}
TWO_KINDS = {"page_size": 2, "types": ["text", "folder"], **BY_NAME}
BATCH = {"items": [item("{text}"), item(NOBODY), item("{folder}"), item("{small}")]}
MISSING = {"items": [item("{text}", create=False)]}
BAD_MODEL = {"items": [item("{text}"), item("{text}", model="qwen3_embedding_4b")]}
FIRST_CHUNK = {"embedding_model": MISTRAL, "page_size": 1}
QUESTION = {"query": "What is small?", "types": "text", "page_size": 1}
TO_DELETE = {"document_ids": ["{url}", "{folder}", NOBODY]}
STEPS = (
    Step("create_folder", "POST /folder", {"name": "Canal"}, keep="folder"),
    Step("create_text", "POST /text", NEW_TEXT, keep="text"),
    Step("create_url", "POST /url", {"url": "{web}", "name": "Page"}, keep="url"),
    Step("create_file", "POST /file", files=FILE, keep="file"),
    Step("create_small", "POST /text", {"text": "Small.", "name": None}, keep="small"),
    Step("content", "GET /{text}/content"),
    Step("content_of_url", "GET /{url}/content"),
    Step("content_of_file", "GET /{file}/content"),
    Step("content_of_folder", "GET /{folder}/content"),
    Step("get_text", "GET /{text}"),
    Step("get_url", "GET /{url}"),
    Step("get_file", "GET /{file}"),
    Step("get_folder", "GET /{folder}"),
    Step("get_unknown", f"GET /{NOBODY}"),
    Step("list", "GET ", params=BY_NAME),
    Step("list_page", "GET ", params=TWO_KINDS),
    Step("list_refused", "GET ", params={"page_size": 101}),
    Step("summaries", "GET /summaries", params={"document_ids": ["{text}", NOBODY]}),
    Step("indexes_before", "GET /{text}/rag-index"),
    Step("rag_index_missing", "POST /rag-index", MISSING),
    Step("rag_index", "POST /rag-index", BATCH, until=("succeeded", "document_too_small")),
    Step("rag_index_refused", "POST /rag-index", {"items": []}),
    Step("rag_index_without_items", "POST /rag-index", {}),
    Step("rag_index_model_refused", "POST /rag-index", BAD_MODEL),
    Step("compute", "POST /{text}/rag-index", {"model": MULTILINGUAL}, until=("succeeded",)),
    Step("indexes", "GET /{text}/rag-index"),
    Step("overview", "GET /rag-index"),
    Step("chunks", "GET /{text}/chunks", params=FIRST_CHUNK, keep="chunk"),
    Step("chunks_refused", "GET /{text}/chunks"),
    Step("chunk", "GET /{text}/chunk/{chunk}"),
    Step("chunk_unknown", f"GET /{{text}}/chunk/{NOBODY}"),
    Step("search", "GET /search", params=QUESTION, until=("is_hit",)),
    Step("dependent_agents", "GET /{text}/dependent-agents"),
    Step("bulk_dependent_agents", "POST /dependent-agents", {"document_ids": ["{text}"]}),
    Step("source_file_url", "GET /{file}/source-file-url"),
    Step("source_file_url_refused", "GET /{url}/source-file-url"),
    Step("update", "PATCH /{file}", {"name": "Renamed", "content": None}),
    Step("update_file", "PATCH /{file}/update-file", files=FILE),
    Step("refresh", "POST /{url}/refresh"),
    Step("move", "POST /{file}/move", {"move_to": "{folder}"}),
    Step("move_to_root", "POST /{file}/move", {}),
    Step("bulk_move", "POST /bulk-move", {"document_ids": ["{file}"], "move_to": None}),
    Step("crawl", "POST /crawl", {"url": "https://example.org"}),
    Step("no_such_path", "GET /{text}/nothing"),
    Step("no_such_method", "PUT /{text}"),
    Step("delete_folder_refused", "DELETE /{folder}"),
    Step("delete", "DELETE /{small}"),
    Step("delete_unknown", "DELETE /{small}"),
    Step("bulk_delete", "POST /bulk-delete", TO_DELETE),
    Step("delete_folder", "DELETE /{folder}", params={"force": "true"}),
    Step("list_after", "GET ", params={"show_only_owned_documents": "true"}),
)
NAMES = [step.name for step in STEPS]


def filled(value: Any, ids: dict[str, str]) -> Any:
    """The value with ids in the place of `{name}`."""
    if isinstance(value, str):
        return re.sub(r"\{(\w+)\}", lambda found: ids[found[1]], value)
    if isinstance(value, list):
        return [filled(each, ids) for each in value]
    if isinstance(value, dict):
        return {key: filled(each, ids) for key, each in value.items()}
    return value


def taken(http: httpx.Client, step: Step, ids: dict[str, str]) -> httpx.Response:
    """The answer to one step, or to its last repetition."""
    method, path = filled(step.call, ids).split(" ")
    more = {"json": step.json, "params": step.params, "files": step.files}
    deadline = time.monotonic() + 40
    while True:
        answer = http.request(method, path, **filled(more, ids))
        assert answer.status_code < 500, answer.text
        if all(f'"{word}"' in answer.text for word in step.until):
            break
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.1)
    if step.keep:
        body = answer.json()
        ids[step.keep] = (body["chunks"][0] if step.keep == "chunk" else body)["id"]
    return answer


class Mask:
    """Puts placeholders where runs differ."""

    VALUES = {  # noqa: RUF012 - never changed
        "created_at_unix_secs": "<seconds>",
        "last_updated_at_unix_secs": "<seconds>",
        "request_id": "<request id>",
        "signed_url": "<signed url>",
        "next_cursor": "<cursor>",
        "score": "<score>",
    }

    def __init__(self, ids: dict[str, str]) -> None:
        self._names = {id_: f"<{name}>" for name, id_ in ids.items()} | {NOBODY: "<nobody>"}

    def of(self, value: Any, *, key: str = "") -> Any:
        if isinstance(value, dict):
            return {self._text(k): self.of(v, key=k) for k, v in value.items()}
        if isinstance(value, list):
            return [self.of(each) for each in value]
        if value is not None and key in self.VALUES:
            return self.VALUES[key]
        return self._text(value) if isinstance(value, str) else value

    def _text(self, text: str) -> str:
        for id_, name in self._names.items():
            text = text.replace(id_, name)
        return UUID_TEXT.sub("<id>", text)


def recorded(step: Step, answer: httpx.Response, *, door: Door, mask: Mask) -> dict[str, Any]:
    """What the golden file of this step has to say."""
    is_json = answer.headers["content-type"].startswith("application/json")
    method, path = step.call.split(" ")
    parts = {
        "params": step.params,
        "json": step.json,
        "files": {name: file[0] for name, file in (step.files or {}).items()} or None,
    }
    return {
        "request": mask.of(
            {"method": method, "path": door.prefix + path}
            | {part: value for part, value in parts.items() if value is not None}
        ),
        "status": answer.status_code,
        "content_type": answer.headers["content-type"],
        "body": mask.of(answer.json() if is_json else answer.text),
    }


@pytest.fixture(scope="module")
def records(engine: Settings, web: Web) -> Records:
    """Every step through every door."""
    found: Records = {}
    for door in DOORS.values():
        with client_of(door, engine) as http:
            ids = {"web": web.add("/locks", body=PAGE)}
            answers = [(step, taken(http, step, ids)) for step in STEPS]
        mask = Mask(ids)
        found[door.name] = {
            step.name: recorded(step, answer, door=door, mask=mask) for step, answer in answers
        }
    return found


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", NAMES)
def test_an_answer_is_the_one_of_its_golden_file(records: Records, door: str, name: str) -> None:
    record = json.dumps(records[door][name], indent=2, ensure_ascii=False) + "\n"
    path = GOLDEN / f"{door}.{name}.json"
    if WRITE:
        path.write_text(record, "utf-8")
    assert path.exists(), f"no golden file {path.name}; see the docstring of this module"
    assert record == path.read_text("utf-8")


def test_every_golden_file_belongs_to_a_step() -> None:
    stems = {path.name.removesuffix(".json") for path in GOLDEN.glob("*.json")}
    assert stems == {f"{door}.{name}" for door in DOORS for name in NAMES}


def test_both_doors_answer_alike(records: Records) -> None:
    different = {"rag_index_model_refused", "chunks_refused"}
    first, second = (
        {name: {**record, "request": None} for name, record in records[door].items()}
        for door in DOORS
    )
    assert {name for name in NAMES if first[name] != second[name]} <= different
