"""One page of a customer behind the thousands of another, on one real worker."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fix_engine import Caller, api_process, new_customer, worker_process
from fix_web import Web
from msgspec.structs import replace

from engine.config import Settings

DOCUMENTS = 5_000
REQUEST_SOURCES = 1_000
READY_S = 10.0
TARPITS = 200
JOBS = 4


@pytest.mark.timeout(180)
def test_one_page_behind_five_thousand_documents_of_another_customer_is_ready_in_seconds(
    settings: Settings, tmp_path: Path, web: Web, measured: list[str]
) -> None:
    web.add("/page", body="<p>Hold the button for five seconds to reset the kettle.</p>")
    for number in range(DOCUMENTS):
        web.add(f"/{number}", body=f"<p>Document {number} tells of kettle {number}.</p>")
    settings = replace(settings, allow_networks=(web.host_port,), worker_jobs=4)
    with (
        api_process(settings, log=tmp_path / "api.log") as url,
        Caller(url, token=new_customer(settings, "large"), timeout_s=60) as large,
        Caller(url, token=new_customer(settings, "small")) as small,
    ):
        rag = large.ok("POST", "/rags", json={"name": "thousands"})
        for first in range(0, DOCUMENTS, REQUEST_SOURCES):
            urls = [web.url(f"/{first + number}") for number in range(REQUEST_SOURCES)]
            large.ok("POST", f"/rags/{rag['id']}/sources", json={"source_urls": urls})
        with worker_process(settings, log=tmp_path / "worker.log"):
            until_ready(large, rag["id"], count=20)
            begun_s = time.monotonic()
            one = small.ok("POST", "/rags", json={"name": "one", "source_urls": [web.url("/page")]})
            assert small.until_done(one["id"])["status"] == "ready"
            took_s = time.monotonic() - begun_s
            counts = large.ok("GET", f"/rags/{rag['id']}")["source_counts"]
    assert counts["pending"] > DOCUMENTS / 2, "the backlog was to be there all the time"
    measured.append(f"a page behind {counts['pending']} documents of another: {took_s:.1f} s")
    assert took_s < READY_S


def until_ready(caller: Caller, rag_id: str, *, count: int) -> None:
    deadline = time.monotonic() + 60
    while caller.ok("GET", f"/rags/{rag_id}")["source_counts"]["ready"] < count:
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.timeout(120)
def test_one_page_behind_hundreds_of_another_customers_that_never_end_is_ready_in_seconds(
    settings: Settings, tmp_path: Path, web: Web, measured: list[str]
) -> None:
    """A site that takes every connection and says nothing holds each fetch until its deadline."""
    never = threading.Event()
    web.add("/tarpit", body="<p>Nobody will read this.</p>", gate=never)
    web.add("/page", body="<p>Hold the button for five seconds to reset the kettle.</p>")
    settings = replace(settings, allow_networks=(web.host_port,), worker_jobs=JOBS)
    with (
        api_process(settings, log=tmp_path / "api.log") as url,
        Caller(url, token=new_customer(settings, "stuck"), timeout_s=60) as stuck,
        Caller(url, token=new_customer(settings, "small")) as small,
        worker_process(settings, log=tmp_path / "worker.log"),
    ):
        until_warm(small, web)
        tarpits = [web.url(f"/tarpit?{number}") for number in range(TARPITS)]
        rag = stuck.ok("POST", "/rags", json={"name": "tarpits", "source_urls": tarpits})
        until(lambda: web.hits["/tarpit"] >= JOBS)
        begun_s = time.monotonic()
        one = small.ok("POST", "/rags", json={"name": "one", "source_urls": [web.url("/page?2")]})
        assert small.until_done(one["id"])["status"] == "ready"
        took_s = time.monotonic() - begun_s
        counts = stuck.ok("GET", f"/rags/{rag['id']}")["source_counts"]
    measured.append(f"a page behind {counts['pending']} tarpits of another: {took_s:.1f} s")
    assert counts["processing"] >= JOBS - 2, "those that were given up come later, the rest stay"
    assert counts["pending"] > TARPITS / 2
    assert took_s < READY_S


def until_warm(caller: Caller, web: Web) -> None:
    """The worker has its model and its parsers."""
    rag = caller.ok("POST", "/rags", json={"name": "warm", "source_urls": [web.url("/page?1")]})
    assert caller.until_done(rag["id"])["status"] == "ready"


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
