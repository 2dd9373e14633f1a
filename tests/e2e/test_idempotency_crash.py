"""Answers that were lost because the API died behind its commit: asked again, they are the same."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx
import psycopg
import pytest
from fix_engine import Caller, api_child, new_customer
from fix_services import free_port
from msgspec.structs import replace

from engine.config import Settings

KB = "/v1/convai/knowledge-base"
CREATES = {
    "rag": ("/rags", {"name": "a", "source_urls": ["https://a.example/x"]}),
    "sources": ("/rags/{id}/sources", {"source_urls": ["https://a.example/y"]}),
    "page": (KB + "/url", {"url": "https://a.example/z"}),
    "text": (KB + "/text", {"text": "Some plain text."}),
}


@pytest.fixture
def silent_redis() -> Iterator[str]:
    """Takes connections and says nothing: who rings waits a second, behind the commit."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


def send(base_url: str, token: str, name: str, *, rag_id: str) -> httpx.Response:
    path, body = CREATES[name]
    return httpx.post(
        base_url + path.replace("{id}", rag_id),
        json=body,
        headers={"Authorization": f"Bearer {token}", "xi-api-key": token, "Idempotency-Key": name},
        timeout=20,
        verify=False,
    )


def until_kept(settings: Settings, *, count: int) -> None:
    """Until so many answers are committed."""
    deadline = time.monotonic() + 20
    with psycopg.connect(settings.database_url, autocommit=True) as connection:
        connection.execute("SET ROLE rag_operator")
        query = "SELECT count(*) FROM idempotency_keys WHERE answer <> ''"
        while (row := connection.execute(query).fetchone()) != (count,):
            assert time.monotonic() < deadline, row
            time.sleep(0.005)


def lost(answer: "Future[httpx.Response]") -> bool:
    return isinstance(answer.exception(timeout=20), httpx.TransportError)


def test_a_request_whose_answer_died_with_the_api_finds_what_it_made(
    settings: Settings, silent_redis: str, tmp_path: Path
) -> None:
    token = new_customer(settings, "crash")
    deaf = replace(settings, redis_url=silent_redis)
    log = tmp_path / "api.log"
    with (
        api_child(deaf, log=log) as child,
        Caller(deaf.base_url, token=token) as caller,
        ThreadPoolExecutor(len(CREATES)) as pool,
    ):
        host = caller.ok("POST", "/rags", json={"name": "host"})["id"]
        answers = [pool.submit(send, deaf.base_url, token, name, rag_id=host) for name in CREATES]
        until_kept(settings, count=len(CREATES))
        child.kill()
        assert all(map(lost, answers)), "the API was to die before it answered"
    again = replace(settings, port=free_port())
    with api_child(again, log=log), Caller(again.base_url, token=token) as caller:
        kept = {name: send(again.base_url, token, name, rag_id=host) for name in CREATES}
        documents = caller.get(KB, headers={"xi-api-key": token}).json()["documents"]
        rags = {rag["id"]: rag for rag in caller.ok("GET", "/rags")["result"]}
    assert {each.status_code for each in kept.values()} == {200}
    assert all(each.headers.get("Idempotent-Replayed") == "true" for each in kept.values())
    told = {name: answer.json() for name, answer in kept.items()}
    assert {told["page"]["id"], told["text"]["id"]} <= {each["id"] for each in documents}
    assert len(documents) == len(CREATES)
    assert len(rags) == 3, "the host, the one that was made, the default knowledge base"
    assert rags[told["rag"]["id"]]["name"] == "a"
    sources = rags[host]["sources"]
    assert told["sources"]["id"] == host
    assert [each["id"] for each in told["sources"]["sources"]] == [each["id"] for each in sources]
