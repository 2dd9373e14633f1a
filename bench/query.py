"""Latency of a query through the API, its embedding included, among ever more passages."""

import statistics
import tempfile
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path

from bench.api import p95, timed
from bench.ingest import page_text, written
from bench.report import Table, show
from bench.rig import Rig, rig

SIZES = (1_000, 10_000, 100_000)
QUERIES = 200


def run() -> None:
    figures: dict[str, float] = {}
    rows = []
    with tempfile.TemporaryDirectory() as folder, rig() as engine:
        paths = written(Path(folder), texts=[page_text(number) for number in range(50)])
        rag_id, _ = engine.ingest(engine.upload(paths))
        held = engine.passages(rag_id)
        for size in SIZES:
            engine.fill(rag_id, passages=size - held)
            held = size
            ask = partial(_ask, engine, rag_id, count())
            ask()
            taken_ms = timed(ask, times=QUERIES)
            median, high = statistics.median(taken_ms), p95(taken_ms)
            figures |= {f"p50_ms_{size}": round(median, 1), f"p95_ms_{size}": round(high, 1)}
            rows.append((str(size), f"{median:.1f}", f"{high:.1f}"))
    head = ("passages", "p50 ms", "p95 ms")
    show(Table(title="query", head=head, rows=rows), bench="query", **figures)


def _ask(engine: Rig, rag_id: str, numbers: Iterator[int]) -> None:
    query = f"How was the {next(numbers)}th lamp mended?"
    engine.post(f"/rags/{rag_id}/query", json={"query": query})
