"""What callers wait for: polling a RAG of 1,000 sources, and making one of 1,000 URLs."""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psycopg

from bench.corpora import written
from bench.report import Table, show
from bench.rig import Rig, rig

POLLS, CREATES = 300, 10
SOURCES = 1_000


def run() -> None:
    with rig(workers=1) as engine:
        ready_id = _ready(engine)
        for worker in engine.workers:
            worker.suspend()
        made: list[str] = []

        def create() -> None:
            number = len(made)
            urls = [f"https://example.com/{number}/{source}" for source in range(SOURCES)]
            made.append(str(engine.post("/rags", json={"name": "many", "source_urls": urls})["id"]))

        post_ms = timed(create, times=CREATES)
        pending_ms = timed(lambda: _poll(engine, made[0]), times=POLLS)
        ready_ms = timed(lambda: _poll(engine, ready_id), times=POLLS)
        for worker in engine.workers:
            worker.resume()
    figures = {
        "get_rag_1000_ms_median": round(statistics.median(ready_ms), 1),
        "get_rag_1000_ms_p95": round(p95(ready_ms), 1),
        "get_rag_1000_pending_ms_median": round(statistics.median(pending_ms), 1),
        "get_rag_1000_pending_ms_p95": round(p95(pending_ms), 1),
        "post_1000_urls_ms": round(statistics.median(post_ms), 1),
        "post_1000_urls_ms_p95": round(p95(post_ms), 1),
    }
    rows = [(name, str(value)) for name, value in figures.items()]
    show(Table(title="api", head=("figure", "ms"), rows=rows), bench="api", **figures)


def _ready(engine: Rig) -> str:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="bench-") as folder:
        texts = [f"Lamp {number} was mended." for number in range(SOURCES)]
        paths = written(Path(folder), texts=texts, per_file=1)
        rag_id, _ = engine.ingest(engine.upload(paths))
    with psycopg.connect(engine.admin_url, autocommit=True) as connection:
        connection.execute("ANALYZE")  # as the server does by itself, within a minute
    return rag_id


def _poll(engine: Rig, rag_id: str) -> None:
    """Up to the last byte of the answer; to decode it is the caller's."""
    engine.client.get(f"/rags/{rag_id}").raise_for_status()


def timed(call: Callable[[], object], *, times: int) -> list[float]:
    """Milliseconds of each call, sorted."""
    found = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        found.append((time.perf_counter() - started) * 1000)
    return sorted(found)


def p95(sorted_ms: list[float]) -> float:
    return sorted_ms[min(int(0.95 * len(sorted_ms)), len(sorted_ms) - 1)]
