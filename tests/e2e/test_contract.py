"""The contract of the native API, row by row: what goes in, what comes out, in which shape.

One engine for the module; every test is a customer of its own.
"""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import contract_shapes as shapes
import httpx
import pytest
from contract_shapes import matches, page_of
from fix_engine import Caller, api_child, new_customer, worker_process
from fix_web import Route, Web, open_web
from msgspec.structs import replace

from engine.config import Settings

KNOB = b"# Oven\n\nTurn the red knob to the left to stop the gas.\n\n## Door\n\nOpen it slowly.\n"
LAMP = b"The lamp needs a bulb of five watts. " * 3


@pytest.fixture(scope="module")
def web_open() -> Iterator[Web]:
    with open_web() as server:
        yield server


@pytest.fixture(scope="module")
def api(
    module_settings: Settings, web_open: Web, api_log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    settings = replace(module_settings, allow_networks=(web_open.host_port,))
    with (
        api_child(settings, log=api_log) as child,
        worker_process(settings, log=api_log.with_name("worker.log")),
    ):
        yield child


@pytest.fixture
def base_url(api: subprocess.Popen[bytes], module_settings: Settings) -> str:
    return module_settings.base_url


@pytest.fixture
def caller(base_url: str, module_settings: Settings) -> Iterator[Caller]:
    with Caller(base_url, token=new_customer(module_settings, "contract")) as made:
        yield made


@pytest.fixture
def ready(caller: Caller) -> dict:
    """A RAG of two files, ready."""
    files = [
        ("files", ("oven.md", KNOB, "text/markdown")),
        ("files", ("lamp.txt", LAMP, "text/plain")),
    ]
    rag = caller.ok("POST", "/rags", data={"name": "House"}, files=files)
    return caller.until_done(rag["id"])


def upload(caller: Caller, data: bytes = LAMP, **fields: str) -> dict:
    return caller.ok(
        "POST", "/storage_files", files={"file": ("lamp.txt", data, "text/plain")}, data=fields
    )


# Files


def test_an_upload_is_told_as_a_file(caller, base_url):
    file = upload(caller, name="Lamp", type="rag")
    assert matches(shapes.FILE, file)
    assert (file["name"], file["filename"], file["type"]) == ("Lamp", "lamp.txt", "rag")
    assert (file["filesize"], file["media_type"]) == (len(LAMP), "text/plain")
    assert file["uri_download"] == f"{base_url}/storage_files/{file['id']}/file"
    assert caller.ok("GET", f"/storage_files/{file['id']}") == file


def test_an_upload_without_a_name_goes_by_its_filename(caller):
    assert upload(caller)["name"] == "lamp.txt"


def test_the_name_of_an_upload_is_one_printable_line_of_limited_length(caller):
    file = upload(caller, name="\x1b[31mred\n" + "x" * 10_000)
    assert file["name"] == ("[31mred " + "x" * 10_000)[:255]
    assert upload(caller, name="   ")["name"] == "lamp.txt"


def test_the_bytes_come_back_as_an_attachment(caller):
    file = upload(caller, bytes(range(256)) * 3_000)
    answer = caller.get(file["uri_download"])
    assert answer.status_code == 200
    assert answer.content == bytes(range(256)) * 3_000
    assert answer.headers["Content-Disposition"] == "attachment; filename*=UTF-8''lamp.txt"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Type"] == "text/plain"
    assert answer.headers["Content-Length"] == str(256 * 3_000)


def test_an_empty_file_can_be_uploaded_and_read(caller):
    file = upload(caller, b"")
    assert file["filesize"] == 0
    assert caller.get(file["uri_download"]).content == b""


def test_a_hostile_filename_and_media_type_stay_harmless(caller):
    sent = {"file": ('../../"x\r\ny";.txt', b"x", "text/html; charset=utf-8")}
    file = caller.ok("POST", "/storage_files", files=sent)
    assert "/" not in file["filename"]
    answer = caller.get(file["uri_download"])
    assert answer.status_code == 200
    assert answer.headers["Content-Disposition"].startswith("attachment; filename*=UTF-8''")


def test_files_are_listed_newest_first_in_pages_without_gaps_or_repeats(caller):
    made = [upload(caller, b"%d" % number)["id"] for number in range(5)]
    seen, token = [], ""
    for size in (2, 2, 1):
        params = {"page_size": str(size), "page_token": token}
        page = caller.ok("GET", "/storage_files", params=params)
        assert matches(page_of(shapes.FILE), page)
        seen += [each["id"] for each in page["result"]]
        token = page["next_page_token"]
    assert seen == made[::-1]
    assert token == ""


def test_a_deleted_file_is_told_once_more_and_then_unknown(caller):
    file = upload(caller)
    assert caller.ok("DELETE", f"/storage_files/{file['id']}") == file
    assert caller.get(f"/storage_files/{file['id']}").status_code == 404
    assert caller.ok("GET", "/storage_files")["result"] == []


def test_force_removes_the_sources_that_use_a_file(caller):
    file = upload(caller)
    rag = caller.ok("POST", "/rags", json={"name": "a", "storage_file_ids": [file["id"]]})
    caller.ok("DELETE", f"/storage_files/{file['id']}", params={"force": "true"})
    assert caller.ok("GET", f"/rags/{rag['id']}")["sources"] == []


# RAGs


def test_a_rag_can_be_made_without_any_source(caller):
    rag = caller.ok("POST", "/rags", json={"name": "Empty"})
    assert matches(shapes.RAG, rag)
    assert (rag["status"], rag["sources"], rag["description"]) == ("pending", [], "")
    assert rag["source_counts"] == dict.fromkeys(rag["source_counts"], 0)


def test_a_rag_of_files_and_urls_is_processing_and_then_ready(caller, web_open):
    web_open.routes["/faq"] = Route(b"<h1>FAQ</h1><p>The shop opens at nine.</p>", "text/html")
    url = f"http://{web_open.host_port}/faq"
    file = upload(caller)
    body = {"name": "Both", "storage_file_ids": [file["id"]], "source_urls": [url]}
    rag = caller.ok("POST", "/rags", json=body)
    assert matches(shapes.RAG, rag)
    assert rag["status"] == "processing"
    assert [each["status"] for each in rag["sources"]] == ["pending", "pending"]
    assert rag["sources"][0]["storage_file_id"] == file["id"]
    assert rag["sources"][1]["source_url"] == url
    done = caller.until_done(rag["id"])
    assert matches(shapes.RAG, done)
    assert done["status"] == "ready"
    assert [each["status_message"] for each in done["sources"]] == ["1 chunk created"] * 2
    assert done["source_counts"]["ready"] == done["source_counts"]["total"] == 2
    assert done["tm_update"] > rag["tm_create"]


def test_a_form_uploads_and_creates_in_one_call(caller, ready):
    assert matches(shapes.RAG, ready)
    assert ready["name"] == "House"
    assert [each["name"] for each in ready["sources"]] == ["oven.md", "lamp.txt"]
    assert all(each["coverage"]["characters"] > 0 for each in ready["sources"])


def test_a_form_takes_the_other_fields_too(caller):
    file = upload(caller)
    form = {
        "name": "Form",
        "description": "by form",
        "storage_file_ids": file["id"],
        "source_urls": ["https://a.example/1\nhttps://a.example/2", '["https://a.example/3"]'],
        "chunk_tokens": "64",
    }
    files = [("files", ("a.txt", b"text", "text/plain"))]
    rag = caller.ok("POST", "/rags", data=form, files=files)
    assert (rag["description"], rag["chunk_tokens"]) == ("by form", 64)
    assert rag["source_counts"]["total"] == 5
    caller.ok("DELETE", f"/rags/{rag['id']}")


def test_a_failed_source_carries_its_error(caller, web_open):
    url = f"http://{web_open.host_port}/nowhere"
    rag = caller.ok("POST", "/rags", json={"name": "Bad", "source_urls": [url]})
    done = caller.until_done(rag["id"])
    (source,) = done["sources"]
    assert matches(shapes.RAG, done)
    assert done["status"] == source["status"] == "error"
    assert source["error"]["code"] == "fetch_not_found"
    assert source["error"]["retryable"] is False
    assert source["status_message"] == f"{source['error']['message']} {source['error']['remedy']}"


def test_rags_are_listed_newest_first_in_pages(caller):
    made = [caller.ok("POST", "/rags", json={"name": str(n)})["id"] for n in range(3)]
    first = caller.ok("GET", "/rags", params={"page_size": 2})
    assert matches(page_of(shapes.RAG), first)
    assert [each["id"] for each in first["result"]] == [made[2], made[1]]
    second = caller.ok("GET", "/rags", params={"page_token": first["next_page_token"]})
    assert [each["id"] for each in second["result"]] == [made[0]]
    assert second["next_page_token"] == ""


@pytest.mark.parametrize("spelling", ["{}", "T{}", "zone {}"])
def test_a_time_in_the_form_of_the_original_is_a_page_token(caller, spelling):
    caller.ok("POST", "/rags", json={"name": "old"})
    time.sleep(0.01)
    new = caller.ok("POST", "/rags", json={"name": "new"})
    at = new["tm_create"].removesuffix("Z")
    token = {"{}": at.replace("T", " "), "T{}": at, "zone {}": at + "+00:00"}[spelling]
    page = caller.ok("GET", "/rags", params={"page_token": token})
    assert [each["name"] for each in page["result"]] == ["old"]


def test_a_poll_that_knows_the_answer_gets_304(caller):
    rag = caller.ok("POST", "/rags", json={"name": "a"})
    etag = caller.get(f"/rags/{rag['id']}").headers["ETag"]
    known = caller.get(f"/rags/{rag['id']}", headers={"If-None-Match": etag})
    assert (known.status_code, known.content) == (304, b"")
    caller.ok("PUT", f"/rags/{rag['id']}", json={"name": "b"})
    assert caller.get(f"/rags/{rag['id']}", headers={"If-None-Match": etag}).status_code == 200


def test_name_and_description_change_one_by_one(caller):
    rag = caller.ok("POST", "/rags", json={"name": "a", "description": "x"})
    named = caller.ok("PUT", f"/rags/{rag['id']}", json={"name": "b"})
    assert matches(shapes.RAG, named)
    assert (named["name"], named["description"]) == ("b", "x")
    described = caller.ok("PUT", f"/rags/{rag['id']}", json={"description": ""})
    assert (described["name"], described["description"]) == ("b", "")
    assert described["tm_update"] > rag["tm_update"]


def test_a_deleted_rag_is_told_as_it_was_and_then_unknown(caller, ready):
    assert caller.ok("DELETE", f"/rags/{ready['id']}") == ready
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/sources")):
        assert caller.request(method, f"/rags/{ready['id']}{path}").status_code == 404
    query = caller.post(f"/rags/{ready['id']}/query", json={"query": "knob"})
    assert query.json()["error"]["reason"] == "RAG_NOT_FOUND"


@pytest.mark.parametrize("name", ["{}", '{{"name": {}}}'])
def test_json_100_000_deep_is_refused(caller, name):
    body = name.format("[" * 100_000 + "]" * 100_000)
    answer = caller.post("/rags", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert matches(shapes.ERROR, answer.json())


# Sources


def test_sources_are_added_by_json_and_by_form(caller):
    rag = caller.ok("POST", "/rags", json={"name": "a"})
    path = f"/rags/{rag['id']}/sources"
    by_json = caller.ok("POST", path, json={"storage_file_ids": [upload(caller)["id"]]})
    assert matches(shapes.RAG, by_json)
    files = [("files", ("a.txt", b"alpha beta", "text/plain"))]
    by_form = caller.ok("POST", path, files=files)
    assert [each["name"] for each in by_form["sources"]] == ["lamp.txt", "a.txt"]


def test_sources_are_listed_in_the_order_of_creation_and_filtered_by_status(caller, ready):
    path = f"/rags/{ready['id']}/sources"
    page = caller.ok("GET", path, params={"page_size": 1})
    assert matches(page_of(shapes.SOURCE), page)
    rest = caller.ok("GET", path, params={"page_token": page["next_page_token"]})
    assert page["result"] + rest["result"] == ready["sources"]
    assert rest["next_page_token"] == ""
    assert caller.ok("GET", path, params={"status": "ready"})["result"] == ready["sources"]
    assert caller.ok("GET", path, params={"status": "error"})["result"] == []


def test_a_time_is_a_page_token_of_sources_and_goes_on_behind_it(caller):
    urls = [f"https://a.example/{number}" for number in range(3)]
    rag = caller.ok("POST", "/rags", json={"name": "a", "source_urls": urls})
    path, seen, token = f"/rags/{rag['id']}/sources", [], "2000-01-01T00:00:00Z"
    for _ in range(len(urls)):
        (source,) = caller.ok("GET", path, params={"page_size": 1, "page_token": token})["result"]
        seen.append(source["source_url"])
        token = source["tm_create"]
    assert seen == urls
    assert caller.ok("GET", path, params={"page_token": token})["result"] == []


def test_a_single_source_is_what_the_rag_says_of_it(caller, ready):
    source = ready["sources"][0]
    path = f"/rags/{ready['id']}/sources/{source['id']}"
    assert caller.ok("GET", path) == source


def test_a_removed_source_is_gone_from_the_answer_and_from_queries(caller, ready):
    oven, lamp = ready["sources"]
    rag = caller.ok("DELETE", f"/rags/{ready['id']}/sources/{oven['id']}")
    assert matches(shapes.RAG, rag)
    assert [each["id"] for each in rag["sources"]] == [lamp["id"]]
    assert rag["tm_update"] > ready["tm_update"]
    found = caller.ok("POST", f"/rags/{rag['id']}/query", json={"query": "red knob"})
    assert {each["source_id"] for each in found["results"]} == {lamp["id"]}


def test_a_refreshed_url_is_fetched_again(caller, web_open):
    web_open.routes["/news"] = Route(b"The first news.", "text/plain")
    url = f"http://{web_open.host_port}/news"
    rag = caller.ok("POST", "/rags", json={"name": "News", "source_urls": [url]})
    (source,) = caller.until_done(rag["id"])["sources"]
    web_open.routes["/news"] = Route(b"The second news.", "text/plain")
    path = f"/rags/{rag['id']}/sources/{source['id']}"
    assert matches(shapes.SOURCE, caller.ok("POST", f"{path}/refresh"))
    deadline = time.monotonic() + 30
    while "second" not in caller.get(f"{path}/text").text:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_chunks_point_into_the_text(caller, ready):
    path = f"/rags/{ready['id']}/sources/{ready['sources'][0]['id']}"
    answer = caller.get(f"{path}/text")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    page = caller.ok("GET", f"{path}/chunks")
    assert matches(page_of(shapes.CHUNK), page)
    assert len(page["result"]) == ready["sources"][0]["chunk_count"]
    for chunk in page["result"]:
        assert answer.text[chunk["start"] : chunk["end"]] == chunk["text"]


def test_chunks_come_in_pages_in_document_order(caller):
    text = "\n\n".join(f"Paragraph {n}. " + "words and more words " * 30 for n in range(6))
    files = [("files", ("long.txt", text.encode(), "text/plain"))]
    rag = caller.ok("POST", "/rags", data={"name": "Long", "chunk_tokens": "64"}, files=files)
    (source,) = caller.until_done(rag["id"])["sources"]
    path = f"/rags/{rag['id']}/sources/{source['id']}/chunks"
    ordinals, token = [], ""
    while True:
        page = caller.ok("GET", path, params={"page_size": 4, "page_token": token})
        ordinals += [each["ordinal"] for each in page["result"]]
        token = page["next_page_token"]
        if not token:
            break
    assert len(ordinals) == source["chunk_count"] > 4
    assert ordinals == sorted(set(ordinals))


# Query


def test_a_query_finds_the_passage_with_its_citation(caller, ready):
    path = f"/rags/{ready['id']}/query"
    found = caller.ok("POST", path, json={"query": "How do I stop the gas?", "top_k": 1})
    assert set(found) == {"results"}
    (hit,) = found["results"]
    assert matches(shapes.HIT, hit)
    assert "red knob" in hit["text"]
    oven = ready["sources"][0]
    assert hit["source_id"] == oven["id"]
    expected = {"name": "oven.md", "storage_file_id": oven["storage_file_id"]}
    assert hit["source"] == expected
    text = caller.get(f"/rags/{ready['id']}/sources/{oven['id']}/text").text
    assert text[hit["start"] : hit["end"]] == hit["text"]


def test_a_query_can_be_kept_to_some_sources(caller, ready):
    lamp = ready["sources"][1]["id"]
    body = {"query": "How do I stop the gas?", "source_ids": [lamp]}
    found = caller.ok("POST", f"/rags/{ready['id']}/query", json=body)
    assert {each["source_id"] for each in found["results"]} == {lamp}
    scores = [each["score"] for each in found["results"]]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
def test_a_query_says_which_side_its_scores_come_from(caller, ready, mode):
    body = {"query": "How do I stop the gas?", "mode": mode}
    found = caller.ok("POST", f"/rags/{ready['id']}/query", json=body)["results"]
    assert all(matches(shapes.HIT, hit) for hit in found)
    said = {frozenset(hit["scores"]) for hit in found}
    both = {frozenset({"dense"}), frozenset({"dense", "lexical"})}
    assert said <= {"hybrid": both, "dense": {frozenset({"dense"})}}.get(
        mode, {frozenset({"lexical"})}
    )
    assert "red knob" in found[0]["text"]


def test_a_query_leaves_out_what_scores_too_little(caller, ready):
    body = {"query": "How do I stop the gas?"}
    path = f"/rags/{ready['id']}/query"
    every = caller.ok("POST", path, json=body)["results"]
    middle = (every[0]["score"] + every[-1]["score"]) / 2
    some = caller.ok("POST", path, json={**body, "min_score": middle})["results"]
    assert 0 < len(some) < len(every)
    assert some == [hit for hit in every if hit["score"] >= middle]


def test_neighbours_are_the_passages_before_and_after_in_the_text(caller):
    text = "\n\n".join(f"Lamp {n}. " + f"The {n}th lamp was mended. " * 12 for n in range(6))
    files = [("files", ("long.txt", text.encode(), "text/plain"))]
    rag = caller.ok("POST", "/rags", data={"name": "Lamps", "chunk_tokens": "64"}, files=files)
    (source,) = caller.until_done(rag["id"])["sources"]
    body = {"query": "Who mended the lamp?", "with_neighbours": True, "top_k": 100}
    found = caller.ok("POST", f"/rags/{rag['id']}/query", json=body)["results"]
    path = f"/rags/{rag['id']}/sources/{source['id']}"
    order = [chunk["start"] for chunk in caller.ok("GET", f"{path}/chunks")["result"]]
    text = caller.get(f"{path}/text").text
    assert len(order) >= len(found) > 4
    for hit in found:
        assert matches(shapes.HIT, hit)
        place = order.index(hit["start"])
        assert ("before" in hit, "after" in hit) == (place > 0, place < len(order) - 1)
        for side, step in (("before", -1), ("after", 1)):
            if beside := hit.get(side):
                assert beside["start"] == order[place + step]
                assert text[beside["start"] : beside["end"]] == beside["text"]


# Who calls


def test_the_customer_is_told_with_limits_and_usage(caller, ready):
    customer = caller.ok("GET", "/customer")
    assert matches(shapes.CUSTOMER, customer)
    assert customer["id"] == ready["customer_id"]
    assert (customer["usage"]["rags"], customer["usage"]["sources"]) == (1, 2)


def test_an_access_key_works_until_it_is_deleted(caller, base_url):
    key = caller.ok("POST", "/accesskeys", json={"name": "ci", "expire_s": 3600})
    assert matches(shapes.ACCESS_KEY, key)
    assert key["token"].startswith(key["prefix"])
    headers = {"X-API-Key": key["token"]}
    assert httpx.get(f"{base_url}/customer", headers=headers).status_code == 200
    page = caller.ok("GET", "/accesskeys")
    assert matches(page_of(shapes.ACCESS_KEY), page)
    assert len(page["result"]) == 2
    assert not any("token" in each for each in page["result"])
    deleted = caller.ok("DELETE", f"/accesskeys/{key['id']}")
    assert deleted == {name: value for name, value in key.items() if name != "token"}
    assert httpx.get(f"{base_url}/customer", headers=headers).status_code == 401


def test_every_native_route_answers_under_the_old_prefix_too(caller, base_url):
    rag = caller.ok("POST", "/v1.0/rags", json={"name": "a"})
    assert caller.ok("GET", f"/v1.0/rags/{rag['id']}") == caller.ok("GET", f"/rags/{rag['id']}")
    by_query = httpx.get(f"{base_url}/v1.0/rags", params={"accesskey": caller.token})
    assert by_query.json() == caller.ok("GET", "/rags")
    assert httpx.get(f"{base_url}/rags", params={"accesskey": caller.token}).status_code == 401


# Probes and documentation


def test_head_is_get_without_the_body(base_url):
    for path in ("/healthz", "/v1.0/healthz", "/schema"):
        got, head = httpx.get(f"{base_url}{path}"), httpx.head(f"{base_url}{path}")
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["Content-Length"] == got.headers["Content-Length"]


def test_probes_and_metrics_answer_without_a_key(base_url):
    assert httpx.get(f"{base_url}/healthz").json() == {"status": "ok"}
    ready = httpx.get(f"{base_url}/readyz")
    assert ready.json() == {
        "status": "ok",
        "checks": {"database": "ok", "storage": "ok", "model": "ok"},
    }
    metrics = httpx.get(f"{base_url}/metrics")
    assert metrics.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    for name in ("queue_depth", "queue_age_seconds", "sources", "worker_running"):
        assert f"\nrag_engine_{name}" in metrics.text


def peak_bytes(process: subprocess.Popen[bytes]) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_a_large_form_is_not_held_in_memory(caller, api):
    upload(caller, b"warm" * 100_000)
    before = peak_bytes(api)
    data = bytes(90 * 1024 * 1024)
    # The last part is refused, so that all is received and nothing has to be ingested.
    parts = [*(("files", (str(n), data)) for n in range(3)), ("cover", ("c", b"x"))]
    answer = caller.post("/rags", data={"name": "large"}, files=parts)
    assert answer.json()["error"]["details"][0]["field"] == "cover"
    assert peak_bytes(api) - before < 135 * 1024 * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_a_large_download_is_not_held_in_memory(caller, api):
    data = bytes(90 * 1024 * 1024)
    file = upload(caller, data)
    before = peak_bytes(api)
    with caller.stream("GET", file["uri_download"]) as answer:
        assert sum(len(piece) for piece in answer.iter_raw()) == len(data)
    assert peak_bytes(api) - before < 30 * 1024 * 1024
    caller.ok("DELETE", f"/storage_files/{file['id']}")


def test_the_schema_is_served_for_machines_and_for_people(base_url):
    document = httpx.get(f"{base_url}/schema/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    page = httpx.get(f"{base_url}/schema")
    assert page.headers["Content-Type"].startswith("text/html")
    assert all(path in page.text for path in document["paths"])


def test_the_key_of_a_query_is_in_no_log(base_url, api_log):
    marker = f"re_{uuid4().hex}"
    httpx.get(f"{base_url}/v1.0/rags", params={"accesskey": marker})
    lines = api_log.read_text()
    assert "/v1.0/rags" in lines
    assert marker not in lines
