"""What callers see while something the engine stands on is away, and when it is back."""

import time
from collections.abc import Iterator

import contract_shapes as shapes
import httpx
import pytest
from contract_shapes import matches
from fix_engine import Caller, api_process, new_customer
from fix_services import copy_database, drop_database, on_database
from msgspec.structs import replace

from engine.local import Services


def unavailable(answer: httpx.Response, reason: str) -> None:
    assert answer.status_code == 503, answer.text
    body = answer.json()
    assert matches(shapes.ERROR, body)
    assert (body["error"]["status"], body["error"]["reason"]) == ("UNAVAILABLE", reason)
    assert int(answer.headers["Retry-After"]) > 0


@pytest.fixture
def late_database(services: Services) -> Iterator[str]:
    """The name of a database that a test creates itself."""
    yield "rag_late"
    drop_database(services, name="rag_late")


def test_the_api_starts_without_its_database_and_serves_when_it_comes(
    services, template_database, late_database, module_settings, tmp_path
):
    url = on_database(services.database_url, database=late_database)
    settings = replace(module_settings, database_url=url)
    with (
        api_process(settings, log=tmp_path / "api.log") as base_url,
        httpx.Client(base_url=base_url, headers={"X-API-Key": "re_any"}, timeout=30) as client,
    ):
        assert client.get("/healthz").status_code == 200
        unavailable(client.get("/readyz"), "DATABASE_UNAVAILABLE")
        unavailable(client.get("/rags"), "DATABASE_UNAVAILABLE")
        assert "rag_engine_database_up 0.0" in client.get("/metrics").text
        copy_database(services, template=template_database, name=late_database)
        deadline = time.monotonic() + 30
        while client.get("/readyz").status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        with Caller(base_url, token=new_customer(settings, "late")) as caller:
            assert caller.ok("GET", "/rags")["result"] == []


def test_the_api_starts_without_redis_and_takes_sources(module_settings, tmp_path):
    settings = replace(module_settings, redis_url=f"unix://{tmp_path}/nowhere.sock")
    with (
        api_process(settings, log=tmp_path / "api.log") as base_url,
        Caller(base_url, token=new_customer(settings, "no bell")) as caller,
    ):
        assert caller.get("/readyz").status_code == 200
        rag = caller.ok("POST", "/rags", json={"name": "a", "source_urls": ["https://a.example"]})
        assert rag["status"] == "processing"


def test_without_its_model_the_api_answers_all_but_queries(module_settings, tmp_path):
    settings = replace(module_settings, models_dir=tmp_path / "models")
    with (
        api_process(settings, log=tmp_path / "api.log") as base_url,
        Caller(base_url, token=new_customer(settings, "no model")) as caller,
    ):
        unavailable(caller.get("/readyz"), "MODEL_UNAVAILABLE")
        assert caller.ok("POST", "/rags", json={"name": "a"})["status"] == "pending"


def test_without_its_storage_uploads_are_refused_and_nothing_is_half_done(
    module_settings, tmp_path
):
    settings = replace(module_settings, storage_url="s3://nowhere/prefix")
    with (
        api_process(settings, log=tmp_path / "api.log") as base_url,
        Caller(base_url, token=new_customer(settings, "no storage"), timeout_s=60) as caller,
    ):
        answer = caller.post("/rags", data={"name": "a"}, files=[("files", ("a.txt", b"x"))])
        unavailable(answer, "STORAGE_UNAVAILABLE")
        assert caller.ok("GET", "/rags")["result"] == []
