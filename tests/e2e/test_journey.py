"""The whole way over HTTP: files and URLs in, passages with their places out, truth in between."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fix_engine import Caller, api_child, new_customer, worker_process
from fix_web import Web, open_web
from msgspec.structs import replace

from engine.config import Settings

KETTLE = """# Kettles

## Descaling

Fill the kettle with one part of vinegar and two parts of water, let it boil once and stand for an
hour. Pour it out, rinse it three times and boil clear water before you make tea again. Where the
water is hard, do so every month; where it is soft, twice a year will do.

## Warranty

The warranty of a kettle lasts for five years from the day on the bill. It covers the heating
plate, the switch and the lid. It does not cover lime, dents, or a cord that was cut. Keep the bill,
because without it nobody can tell how old a kettle is.
"""

PAGE = """<html><head><title>The harbour</title></head><body><main><h1>The harbour</h1>
<h2>Ferries</h2><p>The ferry to the island leaves the harbour at seven in the morning and at three
in the afternoon. In winter only the morning ferry runs. Bicycles travel free of charge, cars have
to be booked a day ahead at the counter beside the lighthouse.</p>
<h2>Fish</h2><p>The market hall opens when the boats are back, which is seldom before nine. Herring
is sold by the crate, mackerel by the piece, and what is left at noon goes to the cannery.</p>
</main></body></html>"""


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    with open_web() as server:
        yield server


@pytest.fixture(scope="module")
def engine(
    module_settings: Settings, web: Web, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Settings]:
    """One API and one worker for the module; every test is a customer of its own."""
    limits = replace(module_settings.limits, poll_s=0.3, sweep_s=0.2, retry_base_s=0.2)
    settings = replace(module_settings, limits=limits, allow_networks=(web.host_port,))
    logs = tmp_path_factory.mktemp("logs")
    with (
        api_child(settings, log=logs / "api.log"),
        worker_process(settings, log=logs / "worker.log"),
    ):
        yield settings


@pytest.fixture
def callers(engine: Settings) -> Iterator[Callable[[str], Caller]]:
    made: list[Caller] = []

    def make(name: str) -> Caller:
        made.append(Caller(engine.base_url, token=new_customer(engine, name)))
        return made[-1]

    yield make
    for caller in made:
        caller.close()


@pytest.fixture
def caller(callers: Callable[[str], Caller]) -> Caller:
    return callers("first")


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    made = threading.Event()
    yield made
    made.set()


def until(rag: Callable[[], Any], done: Callable[[Any], bool], *, timeout_s: float = 30.0) -> Any:
    """Poll until `done` says so; returns what was seen last."""
    deadline = time.monotonic() + timeout_s
    while not done(seen := rag()):
        assert time.monotonic() < deadline, seen
        time.sleep(0.05)
    return seen


def ask(caller: Caller, rag_id: str, question: str) -> list[dict[str, Any]]:
    body = {"query": question, "top_k": 3}
    hits: list[dict[str, Any]] = caller.ok("POST", f"/rags/{rag_id}/query", json=body)["results"]
    return hits


def text_of(caller: Caller, rag_id: str, source_id: str) -> str:
    return caller.get(f"/rags/{rag_id}/sources/{source_id}/text").text


def test_files_and_urls_become_passages_that_say_where_they_stand(caller: Caller, web: Web) -> None:
    url = web.add("/harbour", body=PAGE)
    rag = caller.ok(
        "POST",
        "/rags",
        data={"name": "House and harbour", "source_urls": [url]},
        files=[("files", ("kettle.md", KETTLE.encode(), "text/markdown"))],
    )
    assert rag["status"] == "processing"
    rag = caller.until_done(rag["id"])
    assert rag["status"] == "ready", rag
    by_kind = {"url" if "source_url" in s else "file": s for s in rag["sources"]}
    for question, kind, words, heading in (
        ("How long is the guarantee?", "file", "five years", "Warranty"),
        ("When does the ship leave?", "url", "seven in the morning", "Ferries"),
    ):
        best = ask(caller, rag["id"], question)[0]
        assert best["source_id"] == by_kind[kind]["id"]
        assert words in " ".join(best["text"].split())
        assert best["headings"][-1] == heading
        text = text_of(caller, rag["id"], best["source_id"])
        assert text[best["start"] : best["end"]] == best["text"]


def test_the_status_of_a_rag_follows_its_sources_through_every_row_of_the_table(
    caller: Caller, web: Web, gate: threading.Event
) -> None:
    good, missing = web.add("/good", body=PAGE, gate=gate), web.url("/missing")
    rag = caller.ok("POST", "/rags", json={"name": "none yet"})
    path = f"/rags/{rag['id']}"

    def seen() -> Any:
        return caller.ok("GET", path)

    def counts() -> dict[str, int]:
        counted: dict[str, int] = seen()["source_counts"]
        return {name: count for name, count in counted.items() if count}

    assert (rag["status"], rag["sources"]) == ("pending", [])

    added = caller.ok("POST", f"{path}/sources", json={"source_urls": [good, missing]})
    assert added["status"] == "processing"
    until(counts, lambda c: c == {"processing": 1, "error": 1, "total": 2})
    assert seen()["status"] == "processing", "one is terminal, the other is not"

    gate.set()
    until(counts, lambda c: c == {"ready": 1, "error": 1, "total": 2})
    assert seen()["status"] == "ready", "one ready source is enough"

    by_url = {source["source_url"]: source["id"] for source in seen()["sources"]}
    after = caller.ok("DELETE", f"{path}/sources/{by_url[good]}")
    assert (after["status"], after["source_counts"]["error"]) == ("error", 1)
    assert caller.post(f"{path}/query", json={"query": "ferry"}).status_code == 409

    refreshed = caller.ok("POST", f"{path}/sources/{by_url[missing]}/refresh")
    assert refreshed["status"] in {"pending", "processing"}
    until(seen, lambda rag: rag["status"] == "error")
    assert caller.ok("DELETE", f"{path}/sources/{by_url[missing]}")["status"] == "pending"


def test_sources_that_wait_make_their_rag_processing(
    caller: Caller, web: Web, gate: threading.Event
) -> None:
    """More sources than the worker has hands, and none of them can get on."""
    urls = [web.add(f"/waiting/{n}", body=PAGE, gate=gate) for n in range(12)]
    rag = caller.ok("POST", "/rags", json={"name": "r", "source_urls": urls})
    assert rag["status"] == "processing"
    assert {source["status"] for source in rag["sources"]} <= {"pending", "processing"}
    seen = until(
        lambda: caller.ok("GET", f"/rags/{rag['id']}"),
        lambda rag: rag["source_counts"]["processing"] == 4,
    )
    assert (seen["status"], seen["source_counts"]["pending"]) == ("processing", 8)
    waiting = next(source for source in seen["sources"] if source["status"] == "pending")
    source = caller.ok("GET", f"/rags/{rag['id']}/sources/{waiting['id']}")
    assert source["progress"]["queue_position"] >= 1
    gate.set()
    assert caller.until_done(rag["id"])["source_counts"]["ready"] == 12


def test_the_old_text_answers_until_the_new_one_is_ready(
    caller: Caller, web: Web, gate: threading.Event
) -> None:
    url = web.add("/renewed", body=PAGE)
    rag = caller.ok("POST", "/rags", json={"name": "r", "source_urls": [url]})
    rag = caller.until_done(rag["id"])
    source_id = rag["sources"][0]["id"]
    web.add("/renewed", body=PAGE.replace("seven in the morning", "ten at night"), gate=gate)
    caller.ok("POST", f"/rags/{rag['id']}/sources/{source_id}/refresh")
    until(lambda: web.hits["/renewed"], lambda hits: hits >= 2)
    assert "seven" in ask(caller, rag["id"], "When does the ferry leave?")[0]["text"]
    gate.set()
    best = until(
        lambda: ask(caller, rag["id"], "When does the ferry leave?")[0]["text"],
        lambda text: "seven" not in text,
    )
    assert "ten at" in " ".join(best.split())


def test_a_refresh_that_fails_leaves_the_old_text_answering_with_a_warning(
    caller: Caller, web: Web
) -> None:
    url = web.add("/page", body=PAGE)
    rag = caller.until_done(
        caller.ok("POST", "/rags", json={"name": "r", "source_urls": [url]})["id"]
    )
    path = f"/rags/{rag['id']}/sources/{rag['sources'][0]['id']}"
    del web.routes["/page"]
    caller.ok("POST", f"{path}/refresh")
    source = until(lambda: caller.ok("GET", path), lambda s: s["status"] == "ready")
    assert [warning["code"] for warning in source["coverage"]["warnings"]] == ["refresh_failed"]
    assert "seven" in ask(caller, rag["id"], "When does the ferry leave?")[0]["text"]


def test_no_query_after_a_deletion_returns_a_byte_of_it(caller: Caller) -> None:
    files = [
        ("files", (f"{name}.md", f"# {name}\n\n{KETTLE}".encode(), "text/markdown"))
        for name in ("one", "two")
    ]
    rag = caller.ok("POST", "/rags", data={"name": "r"}, files=files)
    rag = caller.until_done(rag["id"])
    gone, kept = (source["id"] for source in rag["sources"])
    assert {hit["source_id"] for hit in ask(caller, rag["id"], "warranty")} == {gone, kept}
    caller.ok("DELETE", f"/rags/{rag['id']}/sources/{gone}")
    assert {hit["source_id"] for hit in ask(caller, rag["id"], "warranty")} == {kept}
    for part in ("", "/text", "/chunks"):
        assert caller.get(f"/rags/{rag['id']}/sources/{gone}{part}").status_code == 404
    caller.ok("DELETE", f"/rags/{rag['id']}")
    assert caller.post(f"/rags/{rag['id']}/query", json={"query": "warranty"}).status_code == 404


def test_two_customers_never_meet(callers: Callable[[str], Caller]) -> None:
    mine, other = callers("mine"), callers("other")
    rags = {}
    for caller in (mine, other):
        files = [("files", ("kettle.md", KETTLE.encode(), "text/markdown"))]
        rag = caller.ok("POST", "/rags", data={"name": "the same"}, files=files)
        rags[caller] = caller.until_done(rag["id"])
    for caller, stranger in ((mine, other), (other, mine)):
        own, foreign = rags[caller], rags[stranger]
        assert [rag["id"] for rag in caller.ok("GET", "/rags")["result"]] == [own["id"]]
        hits = ask(caller, own["id"], "warranty")
        assert {hit["source_id"] for hit in hits} == {own["sources"][0]["id"]}
        source = f"/rags/{foreign['id']}/sources/{foreign['sources'][0]['id']}"
        file = f"/storage_files/{foreign['sources'][0]['storage_file_id']}"
        for method, path in (
            ("GET", f"/rags/{foreign['id']}"),
            ("DELETE", f"/rags/{foreign['id']}"),
            ("GET", f"{source}/chunks"),
            ("GET", f"{source}/text"),
            ("POST", f"{source}/refresh"),
            ("DELETE", source),
            ("GET", f"{file}/file"),
            ("DELETE", file),
        ):
            assert caller.request(method, path).status_code == 404, (method, path)
        query = {"query": "warranty", "source_ids": [foreign["sources"][0]["id"]]}
        assert caller.post(f"/rags/{own['id']}/query", json=query).status_code == 404
        take = {"storage_file_ids": [foreign["sources"][0]["storage_file_id"]]}
        assert caller.post(f"/rags/{own['id']}/sources", json=take).status_code == 404
    for caller in (mine, other):
        assert caller.ok("GET", f"/rags/{rags[caller]['id']}")["status"] == "ready"


def test_an_address_of_this_machine_that_is_not_allowed_is_refused(
    caller: Caller, other_web: Web
) -> None:
    other_web.add("/secret", body=PAGE)
    answer = caller.post("/rags", json={"name": "r", "source_urls": [other_web.url("/secret")]})
    assert answer.status_code == 400
    rag = caller.ok(
        "POST", "/rags", json={"name": "r", "source_urls": [other_web.url("/", host="localhost")]}
    )
    source = caller.until_done(rag["id"])["sources"][0]
    assert source["error"]["code"] == "fetch_refused_address"
    assert other_web.requests == []
