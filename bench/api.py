"""What callers wait for: polling a RAG of 1,000 sources, and making one of 1,000 URLs."""

import statistics
import time
from collections.abc import Callable

from bench.report import Table, show
from bench.rig import rig

POLLS, CREATES = 300, 10
SOURCES = 1_000


def run() -> None:
    with rig(workers=0) as engine:
        made: list[str] = []

        def create() -> None:
            number = len(made)
            urls = [f"https://example.com/{number}/{source}" for source in range(SOURCES)]
            made.append(str(engine.post("/rags", json={"name": "many", "source_urls": urls})["id"]))

        post_ms = timed(create, times=CREATES)
        poll_ms = timed(lambda: engine.get(f"/rags/{made[0]}"), times=POLLS)
    figures = {
        "get_rag_1000_ms_median": round(statistics.median(poll_ms), 1),
        "get_rag_1000_ms_p95": round(p95(poll_ms), 1),
        "post_1000_urls_ms": round(statistics.median(post_ms), 1),
        "post_1000_urls_ms_p95": round(p95(post_ms), 1),
    }
    rows = [(name, str(value)) for name, value in figures.items()]
    show(Table(title="api", head=("figure", "ms"), rows=rows), bench="api", **figures)


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
