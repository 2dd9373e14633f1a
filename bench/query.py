"""Queries through the API, question embedded included: latency, recall against a scan, and rate.

Among ever more passages, alone and as a small part of a shared table, idle and beside two workers
that ingest. What the passages are made of stands in `filling`. `query:1000000` goes on to a
million.
"""

import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

import msgspec
import numpy as np
import psycopg

from bench.api import p95, timed
from bench.caller import Caller
from bench.corpora import corpus
from bench.filling import Real, fill, real_of
from bench.ingest import page_text
from bench.report import Table, show
from bench.rig import LIMITS as OPEN
from bench.rig import Rig, rig
from engine.config import Settings
from engine.embedding import Registry, open_embedder
from engine.store import merging

SIZES = (1_000, 10_000, 100_000)
SHARES = (100, 1_000, 10_000)  # small RAGs have one of so many of the passages in the table
LIMITS = msgspec.structs.replace(OPEN, ann_memory_bytes=2 << 30, ann_processes=2)
FILES = 60
# Asked before anything is measured: after a fill and the building of a graph, texts and pages of
# terms come from the disk again. What these took is told beside the rest.
FIRST = 200
QUERIES = 200
# One question in some hundreds misses all that is near: of a few tens a share would say nothing.
JUDGED = 200
CALLERS, RATE_S = 8, 8.0  # of fewer, all wait at the same time now and then
PROCESSES, TURNS = 2, 4  # of the API, beside one
WORDS = 9  # of a question, as they stand in a passage
WAIT_S = 3_600.0
AT_REST_S = merging.REST_S + 10  # by then its words are merged, as those of most RAGs are


def run(sizes: Sequence[int] = SIZES) -> None:
    figures: dict[str, float] = {}
    rows = []
    with rig(workers=2, limits=LIMITS) as engine:
        paths = corpus("html", files_max=FILES).paths
        rag_id, _ = engine.ingest(engine.upload(paths))
        with psycopg.connect(engine.admin_url) as connection:
            real = real_of(connection, rag_id)
        asking = Asking(engine, real)
        held = len(real.texts)
        for size in sizes:
            if size > held:
                fill(engine.admin_url, engine.settings.database_url, rag_id, real=real,
                     passages=size - held)  # fmt: skip
                held = size
            figures |= {f"ann_s_{size}": asking.until_entered(rag_id)}
            time.sleep(AT_REST_S)
            found = asking.measured(rag_id, name=str(size))
            figures |= found
            rows.append((f"{size}", *(str(value) for value in found.values())))
            print(rows[-1], flush=True)
        figures |= asking.busy(rag_id, name=str(held))
        for processes, rate in asking.by_processes(rag_id).items():
            figures |= {f"per_s_{held}_api_processes_{processes}": rate}
            rows.append((f"{held}, API processes: {processes}", *[""] * 5, str(rate)))
        for share in SHARES:
            small = str(engine.post("/rags", json={"name": "small"})["id"])
            fill(engine.admin_url, engine.settings.database_url, small, real=real,
                 passages=held // share)  # fmt: skip
            asking.until_entered(small)
            time.sleep(AT_REST_S)
            found = asking.measured(small, name=f"{held // share}_of_{held}")
            figures |= found
            rows.append((f"{held // share} of {held}", *(str(value) for value in found.values())))
    head = ("passages", "first p50", "first p95", "p50 ms", "p95 ms", "recall@10", "queries/s")
    show(Table(title="query", head=head, rows=rows), bench="query", **figures)


class Asking:
    """Asks questions of words that stand in real passages, and knows what a scan would find."""

    def __init__(self, engine: Rig, real: Real) -> None:
        self._engine = engine
        self._numbers = count()
        self._real = real
        settings: Settings = engine.settings
        self._embedder = open_embedder(
            Registry.from_settings(settings).default, models_path=settings.models_path,
            batch_tokens=settings.embed_batch_tokens,
        )  # fmt: skip

    def question(self) -> str:
        number = next(self._numbers)
        said = self._real.texts[number * 7919 % len(self._real.texts)].split()
        first = number * 31 % max(1, len(said) - WORDS)
        return " ".join(said[first : first + WORDS])

    def ask(self, asked: Rig | Caller, rag_id: str, **more: Any) -> list[dict[str, Any]]:
        body = {"query": self.question(), **more}
        found: list[dict[str, Any]] = asked.post(f"/rags/{rag_id}/query", json=body)["results"]
        return found

    def timed(self, caller: Caller, rag_id: str, *, times: int) -> list[float]:
        """Milliseconds of so many questions, sorted; they are made up before."""
        bodies = iter([{"query": self.question()} for _ in range(times)])
        path = f"/rags/{rag_id}/query"
        return timed(lambda: caller.post(path, json=next(bodies)), times=times)

    def measured(self, rag_id: str, *, name: str) -> dict[str, float]:
        with self._engine.caller() as caller:
            first_ms = self.timed(caller, rag_id, times=FIRST)
            taken_ms = self.timed(caller, rag_id, times=QUERIES)
        return {
            f"first_p50_ms_{name}": round(statistics.median(first_ms), 1),
            f"first_p95_ms_{name}": round(p95(first_ms), 1),
            f"p50_ms_{name}": round(statistics.median(taken_ms), 1),
            f"p95_ms_{name}": round(p95(taken_ms), 1),
            f"recall_{name}": round(self.recall(rag_id), 4),
            f"per_s_{name}": round(self.rate(self._engine, rag_id), 1),
        }

    def busy(self, rag_id: str, *, name: str) -> dict[str, float]:
        """While both workers have more to do than they can."""
        with ingesting(self._engine), self._engine.caller() as caller:
            taken_ms = self.timed(caller, rag_id, times=QUERIES)
        return {
            f"busy_p50_ms_{name}": round(statistics.median(taken_ms), 1),
            f"busy_p95_ms_{name}": round(p95(taken_ms), 1),
        }

    def recall(self, rag_id: str) -> float:
        """Of the ten nearest by a scan, how many a dense query of ten finds."""
        shares = []
        with psycopg.connect(self._engine.admin_url) as connection:
            for _ in range(JUDGED):
                question = self.question()
                vector = self._embedder.embed_query(question)
                hits = self.ask(self._engine, rag_id, query=question, mode="dense", top_k=10)
                found = {hit["chunk_id"] for hit in hits}
                shares.append(len(found & _nearest(connection, rag_id, vector)) / 10)
        return statistics.fmean(shares)

    def by_processes(self, rag_id: str) -> dict[int, float]:
        """The rate by so many processes of the API, in turn."""
        found: dict[int, list[float]] = {1: [], PROCESSES: []}
        with self._engine.beside(api_processes=PROCESSES) as several:
            self.rate(several, rag_id)
            for _ in range(TURNS):
                found[1].append(self.rate(self._engine, rag_id))
                found[PROCESSES].append(self.rate(several, rag_id))
        return {processes: round(statistics.fmean(rates), 1) for processes, rates in found.items()}

    def rate(self, asked: Rig, rag_id: str) -> float:
        """Queries a second by several callers at once."""
        done: list[int] = []
        ends = time.monotonic() + RATE_S

        def call() -> None:
            number = 0
            with asked.caller() as caller:
                while time.monotonic() < ends:
                    self.ask(caller, rag_id)
                    number += 1
            done.append(number)

        callers = [threading.Thread(target=call) for _ in range(CALLERS)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        return sum(done) / RATE_S

    def until_entered(self, rag_id: str) -> float:
        """Seconds until everything stands in the ANN table, where the RAG is large enough."""
        began = time.monotonic()
        large = self._engine.passages(rag_id) > self._engine.settings.limits.exact_chunks_max
        while large and self._engine.count(
            "SELECT count(*) FROM indexes i LEFT JOIN ann_tables a USING (profile_id)"
            " WHERE i.rag_id = %s AND i.generation_live IS NOT NULL AND"
            " (a.number IS NULL OR i.ann_generation IS DISTINCT FROM i.generation_live)", rag_id,
        ):  # fmt: skip
            if time.monotonic() - began > WAIT_S:
                raise RuntimeError("the ANN table was not filled")
            time.sleep(0.2)
        return round(time.monotonic() - began, 1)


def _nearest(connection: "psycopg.Connection[Any]", rag_id: str, vector: Any) -> set[str]:
    text = "[" + ",".join(f"{each:.6f}" for each in np.asarray(vector)) + "]"
    rows = connection.execute(
        "WITH scored AS MATERIALIZED (SELECT c.id, c.embedding <#> %s::halfvec AS distance"
        " FROM indexes i JOIN chunks c ON c.index_id = i.id WHERE i.rag_id = %s)"
        " SELECT id FROM scored ORDER BY distance LIMIT 10", (text, rag_id),
    ).fetchall()  # fmt: skip
    return {str(row[0]) for row in rows}


@contextmanager
def ingesting(engine: Rig) -> Iterator[None]:
    """Documents for longer than anybody measures; what is left is deleted."""
    files = {f"{number}.txt": page_text(number) * 4 for number in range(200)}
    parts = [("files", (name, text.encode())) for name, text in files.items()]
    rag_id = engine.post("/rags", data={"name": "more"}, files=parts)["id"]
    time.sleep(3.0)
    try:
        yield
        if engine.get(f"/rags/{rag_id}")["status"] != "processing":
            raise RuntimeError("the workers were done before the questions")
    finally:
        engine.client.delete(f"/rags/{rag_id}")
