"""Every route that creates takes an Idempotency-Key: one by one, as the application lists them."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import httpx
import pytest
from fix_engine import Caller, new_customer
from litestar.routes import HTTPRoute

from engine.api.app import create_app
from engine.api.edge import LEGACY_PREFIX
from engine.config import Settings

DOORS = ("/v1/convai", "/v1/voiceai")
KB = "/knowledge-base"
URL = "https://a.example/x"
AT_ONCE = 4

# Routes that create nothing, or nothing more when they are asked again.
NOT_CREATING = {
    "/rags/{id}/query": "reads",
    "/rags/{id}/sources/{source_id}/refresh": "reads the source once more, whichever request asked",
    KB + "/{document_id}/refresh": "reads the document once more, whichever request asked",
    KB + "/bulk-delete": "what is deleted stays deleted",
    KB + "/{document_id}/move": "what lies there already stays there",
    KB + "/bulk-move": "what lies there already stays there",
    KB + "/dependent-agents": "reads",
    KB + "/rag-index": "finds the index that is there already",
    KB + "/{document_id}/rag-index": "finds the index that is there already",
    KB + "/crawl": "is refused always",
    KB + "/crawl/{job_id}": "is refused always",
    KB + "/crawl/{job_id}/cancel": "is refused always",
}


class Create(NamedTuple):
    """A request of a route that creates, with something in it that can be another."""

    path: str
    request: Callable[[str], dict[str, Any]]


def as_json(**fields: Any) -> Callable[[str], dict[str, Any]]:
    return lambda name: {"json": {"name": name, **fields}}


def as_form(name: str) -> dict[str, Any]:
    return {"data": {"name": name}, "files": {"file": ("a.txt", b"Some plain text.")}}


def in_query(name: str) -> dict[str, Any]:
    """One of the vendors names a file in the query."""
    return {"params": {"name": name}, "files": {"file": ("a.txt", b"Some plain text.")}}


NATIVE = (
    Create("/rags", as_json(source_urls=[URL])),
    Create("/rags/{id}/sources", lambda name: {"json": {"source_urls": [f"{URL}/{name}"]}}),
    Create("/storage_files", as_form),
    Create("/accesskeys", as_json()),
)
DOOR = (
    Create(KB + "/text", as_json(text="Some plain text.")),
    Create(KB + "/url", as_json(url=URL)),
    Create(KB + "/file", as_form),
    Create(KB + "/file", in_query),
    Create(KB, as_form),
    Create(KB, lambda name: {"files": {"name": (None, name), "url": (None, URL)}}),
    Create(KB + "/folder", as_json()),
)
CREATES = [*NATIVE, *(each._replace(path=DOORS[0] + each.path) for each in DOOR)]
EVERY = pytest.mark.parametrize("create", CREATES, ids=lambda each: each.path)


@pytest.fixture
def caller(base_url: str, module_settings: Settings) -> Iterator[Caller]:
    token = new_customer(module_settings, "keyed")
    with Caller(base_url, token=token) as made:
        made.headers["xi-api-key"] = token
        yield made


def send(caller: Caller, create: Create, name: str, *, key: str) -> httpx.Response:
    """Sent with a connection of its own, because several are under way at a time."""
    path = create.path
    if "{id}" in path:
        path = path.replace("{id}", host_of(caller))
    return httpx.post(
        f"{str(caller.base_url).rstrip('/')}{path}",
        headers={**dict(caller.headers), "Idempotency-Key": key},
        timeout=20,
        verify=False,  # nothing here speaks TLS, and loading certificates takes 50 ms
        **create.request(name),
    )


def prepare(caller: Caller, create: Create) -> None:
    if "{id}" in create.path:
        host_of(caller)


def host_of(caller: Caller) -> str:
    """The RAG that sources are added to."""
    found = caller.ok("GET", "/rags")["result"]
    made = found[-1] if found else caller.ok("POST", "/rags", json={"name": "host"})
    return str(made["id"])


def held(caller: Caller) -> int:
    """All that the customer has, but for its default knowledge base and its first key."""
    rags = caller.ok("GET", "/rags")["result"]
    entries = caller.ok("GET", f"{DOORS[0]}{KB}", params={"page_size": 100})["documents"]
    files = caller.ok("GET", "/storage_files")["result"]
    keys = caller.ok("GET", "/accesskeys")["result"]
    named = [rag for rag in rags if rag["name"] not in ("host", "Knowledge base")]
    return len(named) + len(entries) + len(files) + len(keys) - 1


def is_replay(answer: httpx.Response) -> bool:
    return answer.headers.get("Idempotent-Replayed") == "true"


@pytest.mark.filterwarnings("ignore:.*Inferred dependency field")
def test_every_route_that_takes_a_post_is_a_create_here_or_creates_nothing() -> None:
    posted = {
        route.path_format
        for route in create_app(Settings()).routes
        if isinstance(route, HTTPRoute) and "POST" in route.methods
        if not route.path_format.startswith(LEGACY_PREFIX)
    }
    creating = {each.path for each in NATIVE} | {d + each.path for d in DOORS for each in DOOR}
    not_creating = {
        door + path for path in NOT_CREATING for door in (DOORS if path.startswith(KB) else [""])
    }
    assert posted == creating | not_creating
    assert not creating & not_creating


@EVERY
def test_a_key_belongs_to_one_request_which_creates_once_and_is_answered_the_same(caller, create):
    prepare(caller, create)
    first = send(caller, create, "a", key="one")
    made = held(caller)
    again = send(caller, create, "a", key="one")
    assert (first.status_code, again.status_code) == (200, 200), again.text
    assert (is_replay(first), is_replay(again)) == (False, True)
    assert again.json() == {name: told for name, told in first.json().items() if name != "token"}
    other = send(caller, create, "b", key="one")
    assert reused(other) == (400 if create.path.startswith(DOORS) else 409)
    assert held(caller) == made
    # Without the key it would have been another one; but a RAG has a URL once.
    anew = send(caller, create, "a", key="two")
    assert anew.status_code == (409 if "{id}" in create.path else 200)
    assert not is_replay(anew)


def reused(answer: httpx.Response) -> int | None:
    """The code of a refusal for a key that came with another request."""
    said = answer.json()
    reason = said["detail"]["status"] if "detail" in said else said["error"]["reason"]
    return answer.status_code if reason.lower() == "idempotency_key_reused" else None


@EVERY
def test_several_at_the_same_moment_create_once(caller, create):
    prepare(caller, create)
    counts = [held(caller)]
    assert send(caller, create, "control", key="control").status_code == 200
    counts.append(held(caller))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(lambda _: send(caller, create, "a", key="race"), range(AT_ONCE)))
    counts.append(held(caller))
    assert {each.status_code for each in answers} == {200}, [each.text for each in answers]
    assert sum(not is_replay(each) for each in answers) == 1
    assert len({each.json()["id"] for each in answers}) == 1
    assert counts[2] - counts[1] == counts[1] - counts[0] > 0


def test_a_key_that_is_none_is_refused_in_the_second_door_as_well(caller):
    create = Create(DOORS[0] + KB + "/text", as_json(text="Some plain text."))
    answer = send(caller, create, "a", key="k" * 256)
    assert answer.status_code == 422
    assert "Idempotency-Key" in answer.text
    assert held(caller) == 0
