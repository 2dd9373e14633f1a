"""Every request that the API answers to somebody who is known, with all places an id can stand in.

`{id:rag}` in a path: the route's parameter `id`, to be filled with the id of a RAG. `{rag}` in a
body or a parameter likewise. The order is one in which a single owner can send them all.
"""

import itertools
import json
import os
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import httpx
import msgspec
from fix_tenants import MODEL

NATIVE = ("", "/v1.0")
DOOR = ("/v1/convai", "/v1/voiceai")
_PARAMETER = re.compile(r"\{(\w+):(\w+)\}")
_KIND = re.compile(r"\{(\w+)\}")
ANYTHING = "anything"  # of things that there are none of: any word will do
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """`right`: the status of the answer to the owner; `unknown`: where an id in the body or in a
    parameter is nobody's. In a path such an id is a 404."""

    method: str
    template: str
    body: Any = None
    params: Mapping[str, str] = _NOTHING
    files: Mapping[str, Any] = _NOTHING
    unknown: int = 404
    right: int = 200

    @property
    def route(self) -> str:
        """As the application names it."""
        return _PARAMETER.sub(r"{\1}", self.template)

    @property
    def path_kinds(self) -> list[str]:
        return [kind for _, kind in _PARAMETER.findall(self.template) if kind != ANYTHING]

    @property
    def kinds(self) -> list[str]:
        """Of the ids in it, wherever they stand."""
        rest = json.dumps([self.body, dict(self.params)])
        return [*self.path_kinds, *dict.fromkeys(_KIND.findall(rest))]

    def status(self, foreign: set[str]) -> int:
        """Of the answer when these ids are nobody's."""
        return 404 if foreign & {*self.path_kinds} else self.unknown

    def send(
        self,
        client: httpx.Client,
        *,
        prefix: str,
        ids: Mapping[str, str],
        headers: Mapping[str, str],
    ) -> httpx.Response:
        """With these ids in all its places."""
        path = _PARAMETER.sub(lambda m: ids.get(m[2], m[2]), self.template)
        more: dict[str, Any] = {"params": _filled(dict(self.params), ids=ids)}
        if self.files:
            more["files"] = dict(self.files)
        elif self.body is not None:
            more["json"] = _filled(self.body, ids=ids)
        # The same id in each request, so that answers can be compared to the byte.
        told = {**headers, "x-request-id": "same"}
        return client.request(self.method, prefix + path, headers=told, **more)


def _filled(value: Any, *, ids: Mapping[str, str]) -> Any:
    return json.loads(_KIND.sub(lambda m: json.dumps(ids[m[1]])[1:-1], json.dumps(value)))


def _case(method: str, template: str, body: Any = None, **more: Any) -> Case:
    return Case(method=method, template=template, body=body, **more)


FILE = {"file": ("another.txt", "Another text, of a file.", "text/plain")}
RAG, SOURCE = "/rags/{id:rag}", "/rags/{id:rag}/sources/{source_id:source}"
NATIVE_CASES = (
    _case("GET", "/customer"),
    _case("GET", "/accesskeys"),
    _case("POST", "/accesskeys", {"name": "another"}),
    _case("DELETE", "/accesskeys/{id:key}"),
    _case("POST", "/storage_files", files=FILE),
    _case("GET", "/storage_files"),
    _case("GET", "/storage_files/{id:file}"),
    _case("GET", "/storage_files/{id:file}/file"),
    _case("POST", "/rags", {"name": "another", "storage_file_ids": ["{file}"]}),
    _case("GET", "/rags"),
    _case("GET", RAG),
    _case("PUT", RAG, {"name": "renamed"}),
    _case("POST", RAG + "/query", {"query": "Where does it grow?"}),
    _case(
        "POST",
        RAG + "/query",
        {"query": "Where does heliotropetheirs grow?", "source_ids": ["{source}"]},
    ),
    _case("GET", RAG + "/sources"),
    _case("GET", SOURCE),
    _case("PUT", SOURCE, {"name": "renamed", "attributes": {"owner": "another"}}),
    _case("GET", SOURCE + "/text"),
    _case("GET", SOURCE + "/chunks"),
    _case("POST", SOURCE + "/refresh"),
    _case("POST", RAG + "/sources", {"source_urls": ["https://example.org/another"]}),
    _case("POST", RAG + "/sources", {"storage_file_ids": ["{file}"]}, right=409),
    _case("DELETE", SOURCE),
    _case("DELETE", "/storage_files/{id:file}", params={"force": "true"}),
    _case("DELETE", RAG),
)
KB = "/knowledge-base"
ID = KB + "/{document_id:document}"
PAPER = KB + "/{document_id:paper}"
FOLDER = KB + "/{document_id:folder}"
ITEMS = {"items": [{"document_id": "{document}", "model": MODEL, "create_if_missing": True}]}
ONE_OF_MODEL = {"embedding_model": MODEL}
DOOR_CASES = (
    _case("GET", KB),
    _case("GET", KB, params={"parent_folder_id": "{folder}"}),
    _case("GET", KB, params={"ancestor_folder_id": "{folder}"}),
    _case("GET", KB, params={"search": "heliotropetheirs"}),
    _case("GET", KB + "/search", params={"query": "heliotropetheirs"}),
    _case("GET", KB + "/summaries", params={"document_ids": "{document}"}, unknown=200),
    _case("GET", KB + "/rag-index"),
    _case("GET", "/agent/{agent_id:anything}/knowledge-base/size"),
    _case("GET", KB + "/crawl", right=400),
    _case("POST", KB + "/crawl", {"url": "https://example.org/"}, right=400),
    _case("GET", KB + "/crawl/{job_id:anything}", right=400),
    _case("POST", KB + "/crawl/{job_id:anything}", right=400),
    _case("GET", KB + "/crawl/{job_id:anything}/cancel", right=400),
    _case("POST", KB + "/crawl/{job_id:anything}/cancel", right=400),
    _case("POST", KB + "/dependent-agents", {"document_ids": ["{document}"]}, unknown=200),
    _case("GET", ID),
    _case("GET", FOLDER),
    _case("GET", ID + "/content"),
    _case("GET", ID + "/dependent-agents"),
    _case("GET", PAPER + "/source-file-url"),
    _case("GET", ID + "/chunks", params=ONE_OF_MODEL),
    _case("GET", ID + "/chunk/{chunk_id:chunk}", params=ONE_OF_MODEL),
    _case("GET", ID + "/rag-index"),
    _case("POST", ID + "/rag-index", {"model": MODEL}),
    _case("POST", KB + "/rag-index", ITEMS, unknown=200),
    _case("POST", KB, files=FILE),
    _case("POST", KB + "/file", files=FILE, params={"parent_folder_id": "{folder}"}),
    _case("POST", KB + "/text", {"text": "A text.", "parent_folder_id": "{folder}"}),
    _case("POST", KB + "/url", {"url": "https://example.org/", "parent_folder_id": "{folder}"}),
    _case("POST", KB + "/folder", {"name": "another", "parent_folder_id": "{folder}"}),
    _case("POST", ID + "/move", {"move_to": "{parent}"}),
    _case("POST", FOLDER + "/move", {"move_to": "{parent}"}),
    _case("POST", KB + "/bulk-move", {"document_ids": ["{paper}"], "move_to": "{folder}"}),
    _case("PATCH", ID, {"name": "renamed"}),
    _case("PATCH", PAPER, {"content": "Other words."}),
    _case("PATCH", PAPER + "/update-file", files=FILE),
    _case("POST", ID + "/refresh"),
    _case("DELETE", ID + "/rag-index/{index_id:index}"),
    _case("DELETE", ID),
    _case("DELETE", FOLDER, params={"force": "true"}),
    _case("POST", KB + "/bulk-delete", {"document_ids": ["{parent}"], "force": True}, unknown=200),
)
EVERY = [
    (prefix, case)
    for prefixes, cases in ((NATIVE, NATIVE_CASES), (DOOR, DOOR_CASES))
    for prefix in prefixes
    for case in cases
]
# The prefixes of a door have the same handlers: in a short run they take turns.
TURNS = [
    (prefixes[number % 2], case)
    for prefixes, cases in ((NATIVE, NATIVE_CASES), (DOOR, DOOR_CASES))
    for number, case in enumerate(cases)
]
CHOSEN = EVERY if os.environ.get("TENANTS") == "all" else TURNS
# Nobody needs to be known for these; the link's token is a credential of its own.
OPEN = {
    *itertools.product(
        ("GET",), (p + r for p in NATIVE for r in ("/healthz", "/readyz", "/metrics"))
    ),
    *itertools.product(
        ("GET",), (p + r for p in NATIVE for r in ("/schema", "/schema/openapi.json"))
    ),
    *itertools.product(("GET",), (p + KB + "/openapi.json" for p in DOOR)),
    *itertools.product(("GET",), (p + KB + "/source-file/{token}" for p in DOOR)),
}


def mixtures(kinds: list[str]) -> Iterator[set[str]]:
    """Which of the ids are somebody else's: each alone, and together in every way."""
    for count in range(1, len(kinds) + 1):
        yield from (set(chosen) for chosen in itertools.combinations(kinds, count))
