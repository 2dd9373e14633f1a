"""Attributes over HTTP: set at creation and later, kept over a refresh, and filtered by."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fix_engine import Caller, api_child, new_customer, worker_process
from msgspec.structs import replace

from engine.config import Settings

CITIES = {
    "lisbon": {"country": "pt", "people": 545_000, "capital": True, "tags": ["sea", "river"]},
    "porto": {"country": "pt", "people": 231_800.5, "capital": False, "tags": ["sea"]},
    "madrid": {"country": "es", "people": 3_332_000, "capital": True, "tags": ["river"]},
    "nowhere": {},
}
URL = "https://a.example/x"


@pytest.fixture(scope="module")
def caller(module_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    limits = replace(module_settings.limits, poll_s=0.3, sweep_s=0.2)
    settings = replace(module_settings, limits=limits)
    logs = tmp_path_factory.mktemp("logs")
    with (
        api_child(settings, log=logs / "api.log"),
        worker_process(settings, log=logs / "worker.log"),
        Caller(settings.base_url, token=new_customer(settings, "first")) as made,
    ):
        yield made


@pytest.fixture(scope="module")
def cities(caller: Caller) -> Any:
    """A RAG of four texts, by form: three with attributes of their own."""
    files = [
        ("files", (f"{name}.txt", f"The trams of {name} leave every ten minutes.", "text/plain"))
        for name in CITIES
    ]
    own = {f"{name}.txt": given for name, given in CITIES.items() if given}
    data = {"name": "cities", "source_attributes": json.dumps(own)}
    rag = caller.ok("POST", "/rags", data=data, files=files)
    return caller.until_done(rag["id"])


def found(caller: Caller, rag: Any, wanted: Any, **more: Any) -> list[str]:
    """The names of the sources that a filtered query finds, each with one passage."""
    body = {"query": "When do the trams leave?", "top_k": 10, "filter": wanted, **more}
    hits = caller.ok("POST", f"/rags/{rag['id']}/query", json=body)["results"]
    return sorted(hit["source"]["name"].removesuffix(".txt") for hit in hits)


def comparing(operator: str, key: str, value: Any) -> dict[str, Any]:
    return {operator: {"key": key, "value": value}}


def test_a_source_shows_its_attributes_wherever_it_is_shown(caller: Caller, cities: Any) -> None:
    shown = {each["name"].removesuffix(".txt"): each["attributes"] for each in cities["sources"]}
    assert shown == CITIES
    listed = caller.ok("GET", f"/rags/{cities['id']}/sources")["result"]
    assert [each["attributes"] for each in listed] == [*CITIES.values()]
    path = f"/rags/{cities['id']}/sources/{listed[0]['id']}"
    assert caller.ok("GET", path)["attributes"] == CITIES["lisbon"]


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (comparing("eq", "country", "pt"), ["lisbon", "porto"]),
        (comparing("eq", "country", "PT"), []),
        (comparing("eq", "tags", "river"), ["lisbon", "madrid"]),
        (comparing("ne", "country", "pt"), ["madrid", "nowhere"]),
        (comparing("ne", "tags", "sea"), ["madrid", "nowhere"]),
        (comparing("in", "country", ["es", "fr"]), ["madrid"]),
        (comparing("eq", "capital", True), ["lisbon", "madrid"]),
        (comparing("eq", "capital", 1), []),
        (comparing("eq", "people", "545000"), []),
        (comparing("eq", "people", 545_000.0), ["lisbon"]),
        (comparing("gt", "people", 231_800.4), ["lisbon", "madrid", "porto"]),
        (comparing("lte", "people", 545_000), ["lisbon", "porto"]),
        (comparing("lt", "country", "f"), ["madrid"]),
        ({"and": [comparing("eq", "country", "pt"), comparing("eq", "capital", True)]}, ["lisbon"]),
        ({"or": [comparing("eq", "country", "es"), comparing("gte", "people", 545_000)]},
         ["lisbon", "madrid"]),
    ],
    ids=str,
)  # fmt: skip
def test_a_query_finds_passages_of_matching_sources_only(
    caller: Caller, cities: Any, wanted: Any, names: list[str]
) -> None:
    assert found(caller, cities, wanted) == names


def test_top_k_is_filled_from_the_sources_that_match(caller: Caller, cities: Any) -> None:
    assert len(found(caller, cities, comparing("eq", "country", "pt"), top_k=2)) == 2
    assert len(found(caller, cities, comparing("eq", "country", "pt"), top_k=1)) == 1


def test_a_filter_narrows_the_sources_that_are_given(caller: Caller, cities: Any) -> None:
    ids = {each["name"]: each["id"] for each in cities["sources"]}
    given = [ids["lisbon.txt"], ids["madrid.txt"]]
    assert found(caller, cities, comparing("eq", "country", "pt"), source_ids=given) == ["lisbon"]
    assert found(caller, cities, comparing("eq", "country", "fr"), source_ids=given) == []


def test_every_offence_of_a_filter_and_of_the_query_is_named(caller: Caller, cities: Any) -> None:
    parts = [{"eq": {"key": 1}}, {"like": {}}, comparing("gt", "a", True)]
    body = {"query": " ", "filter": {"and": parts}}
    answer = caller.post(f"/rags/{cities['id']}/query", json=body)
    assert answer.status_code == 400
    assert {each["field"] for each in answer.json()["error"]["details"]} == {
        "query",
        "filter.and[0].eq.key",
        "filter.and[0].eq.value",
        "filter.and[1].like",
        "filter.and[2].gt.value",
    }
    for wrong in (None, [], "x", {}):
        answer = caller.post(f"/rags/{cities['id']}/query", json={"query": "x", "filter": wrong})
        assert (answer.status_code, answer.json()["error"]["details"][0]["field"]) == (
            400,
            "filter",
        )


def test_a_key_that_is_given_twice_is_refused_at_any_depth(caller: Caller, cities: Any) -> None:
    pair = '{"key": "a", "key": "b", "value": 1}'
    content = '{"query": "x", "filter": {"and": [{"eq": ' + pair + "}]}}"
    headers = {"content-type": "application/json"}
    answer = caller.post(f"/rags/{cities['id']}/query", content=content, headers=headers)
    assert answer.json()["error"]["details"] == [
        {"field": "filter.and[0].eq.key", "issue": "is given more than once"}
    ]
    form = {"name": "x", "attributes": '{"a": 1, "a": 2}'}
    answer = caller.post("/rags", data=form, files={"files": ("a.txt", b"Text.")})
    assert answer.json()["error"]["details"] == [
        {"field": "attributes.a", "issue": "is given more than once"}
    ]


def test_attributes_of_all_and_of_single_sources_are_set_at_creation(caller: Caller) -> None:
    text = ("a.txt", b"Some plain text.", "text/plain")
    file_id = caller.ok("POST", "/storage_files", files={"file": text})["id"]
    rag = caller.ok("POST", "/rags", json={"name": "empty"})
    body = {
        "storage_file_ids": [file_id],
        "source_urls": [URL],
        "attributes": {"year": 2026, "team": "a"},
        "source_attributes": {file_id: {"team": "b"}, URL: {"odd": ["x"]}},
    }
    rag = caller.ok("POST", f"/rags/{rag['id']}/sources", json=body)
    assert [each["attributes"] for each in rag["sources"]] == [
        {"year": 2026, "team": "b"},
        {"year": 2026, "team": "a", "odd": ["x"]},
    ]


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"attributes": {"a b": 1, "c": None}}, ["attributes.a b", "attributes.c"]),
        ({"attributes": {f"k{n}": n for n in range(17)}}, ["attributes"]),
        ({"attributes": []}, ["attributes"]),
        ({"attributes": None}, ["attributes"]),
        ({"source_attributes": {URL: 1}}, ["source_attributes"]),
        ({"source_attributes": {URL: {"a": {}}, "b": {}}},
         [f"source_attributes.{URL}.a", "source_attributes.b"]),
    ],
    ids=str,
)  # fmt: skip
def test_attributes_that_break_a_rule_are_named_and_nothing_is_made(
    caller: Caller, body: Any, fields: list[str]
) -> None:
    before = len(caller.ok("GET", "/rags")["result"])
    answer = caller.post("/rags", json={"name": "x", "source_urls": [URL], **body})
    assert answer.status_code == 400
    assert [each["field"] for each in answer.json()["error"]["details"]] == fields
    assert len(caller.ok("GET", "/rags")["result"]) == before


def test_an_idempotency_key_stands_for_its_attributes_too(caller: Caller) -> None:
    body = {"name": "once", "source_urls": [URL], "attributes": {"a": 1}}
    headers = {"Idempotency-Key": "attributes"}
    first = caller.ok("POST", "/rags", json=body, headers=headers)
    assert caller.ok("POST", "/rags", json=body, headers=headers) == first
    other = caller.post("/rags", json={**body, "attributes": {"a": 2}}, headers=headers)
    assert other.status_code == 409
    form = {"name": "once", "source_urls": URL, "attributes": '{"a": 1}'}
    file = {"files": ("a.txt", b"Some plain text.")}
    headers = {"Idempotency-Key": "attributes by form"}
    first = caller.ok("POST", "/rags", data=form, files=file, headers=headers)
    assert caller.ok("POST", "/rags", data=form, files=file, headers=headers) == first
    form["attributes"] = '{"a": 2}'
    assert caller.post("/rags", data=form, files=file, headers=headers).status_code == 409


def test_put_replaces_the_attributes_and_a_refresh_keeps_them(caller: Caller) -> None:
    file = {"files": ("a.txt", b"# A title\n\nSome plain text.")}
    rag = caller.ok("POST", "/rags", data={"name": "x", "attributes": '{"a": 1}'}, files=file)
    path = f"/rags/{rag['id']}/sources/{rag['sources'][0]['id']}"
    before = caller.until_done(rag["id"])["sources"][0]
    source = caller.ok("PUT", path, json={"attributes": {"b": "2"}})
    assert (source["attributes"], source["name"]) == ({"b": "2"}, before["name"])
    assert source["tm_update"] > before["tm_update"]
    source = caller.ok("PUT", path, json={"name": " Mine "})
    assert (source["attributes"], source["name"]) == ({"b": "2"}, "Mine")
    caller.ok("POST", path + "/refresh")
    source = caller.until_done(rag["id"])["sources"][0]
    assert (source["attributes"], source["name"], source["status"]) == ({"b": "2"}, "Mine", "ready")
    assert caller.ok("PUT", path, json={"attributes": {}})["attributes"] == {}
    caller.ok("DELETE", path)
    assert caller.put(path, json={"name": "x"}).status_code == 404


def test_put_refuses_what_is_wrong_and_changes_nothing(caller: Caller, cities: Any) -> None:
    source = cities["sources"][0]
    path = f"/rags/{cities['id']}/sources/{source['id']}"
    for body, fields in (
        ({}, ["attributes"]),
        ({"name": " ", "attributes": {"1": 1}}, ["attributes.1", "name"]),
        ({"name": None}, ["name"]),
        ({"tags": []}, ["tags"]),
    ):
        answer = caller.put(path, json=body)
        assert answer.status_code == 400
        assert [each["field"] for each in answer.json()["error"]["details"]] == fields
    assert caller.ok("GET", path)["attributes"] == source["attributes"]
    assert (
        caller.put(path.replace(source["id"], cities["id"]), json={"name": "x"}).status_code == 404
    )
