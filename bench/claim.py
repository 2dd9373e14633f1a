"""How long a claim takes beside 100,000 due rows of 1,000 customers, on embedded Postgres."""

import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from uuid import uuid4

import psycopg

from bench.report import Table, show
from bench.rig import inside
from engine.local import LocalServices
from engine.models import WorkerId
from engine.store import Database, claims
from engine.store.schema import apply_schema

CUSTOMERS = 1_000
SOURCES_PER_CUSTOMER = 100
CLAIMS = 300

FILL = f"""
INSERT INTO customers (name) SELECT 'customer ' || n FROM generate_series(1, {CUSTOMERS}) n;
INSERT INTO rags (customer_id, name) SELECT id, 'rag' FROM customers;
INSERT INTO sources (customer_id, rag_id, url, name)
SELECT r.customer_id, r.id, 'https://example.com/' || n, 'page'
FROM rags r, generate_series(1, {SOURCES_PER_CUSTOMER}) n;
ANALYZE;
"""


def run() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o711)
        with LocalServices(Path(folder) / "data", redis=False) as local:
            url = local.services.database_url
            asyncio.run(apply_schema(url))
            admin_url = inside(local.services.admin_url, url)
            with psycopg.connect(admin_url, autocommit=True) as connection:
                for statement in FILL.split(";"):
                    if statement.strip():
                        connection.execute(statement)
            times_ms, due_ms = asyncio.run(_claim(url))
    figures = {
        "due_rows": CUSTOMERS * SOURCES_PER_CUSTOMER,
        "customers": CUSTOMERS,
        "claims": CLAIMS,
        "median_ms": round(statistics.median(times_ms), 2),
        "p95_ms": round(sorted(times_ms)[int(0.95 * len(times_ms))], 2),
        "any_due_median_ms": round(statistics.median(due_ms), 2),
    }
    head = ("due rows", "customers", "claims", "median ms", "p95 ms", "any due ms")
    rows = [tuple(f"{value:,}" for value in figures.values())]
    show(Table(title="claim", head=head, rows=rows), bench="claim", **figures)


async def _claim(url: str) -> tuple[list[float], list[float]]:
    database = await Database(url, role="rag_worker", connections=2).open()
    times_ms, due_ms, after = [], [], uuid4()
    for _ in range(CLAIMS):
        async with database.transaction() as tx:
            started = time.perf_counter()
            claimed = await claims.claim_source(
                tx, worker_id=WorkerId(uuid4()), lease_s=60.0, after=after, idle=True
            )
            times_ms.append((time.perf_counter() - started) * 1000)
            assert claimed
            started = time.perf_counter()
            await claims.any_due(tx)
            due_ms.append((time.perf_counter() - started) * 1000)
            after = claimed.customer_id
    await database.close()
    return times_ms, due_ms
