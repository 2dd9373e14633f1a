"""A whole engine to be measured: services, API and workers in processes of their own, one customer.

The services are the embedded ones, with their durability on, as `up` starts them.
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil
import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from bench.caller import Caller, calling
from engine.access import Operator
from engine.config import Limits, Settings
from engine.embedding import Registry, pull
from engine.local import LocalServices
from engine.models import Stage
from engine.store import Database
from engine.store.schema import apply_schema

REPOSITORY = Path(__file__).parent.parent
MODELS = Path(os.environ.get("RAG_ENGINE_MODELS_DIR", REPOSITORY / ".data" / "models"))
START_TIMEOUT_S = 60.0
DONE = {"ready", "error"}
# Nobody is to be refused for being fast.
LIMITS = Limits(customer_requests_per_s=1e6, customer_requests_burst=1_000_000)


class Rig:
    """A running engine. `client` speaks for its customer; `admin` is a superuser's connection."""

    def __init__(self, settings: Settings, *, client: httpx.Client, admin_url: str) -> None:
        self.settings = settings
        self.client = client
        self.admin_url = admin_url
        self.workers: list[psutil.Process] = []
        self.api: psutil.Process | None = None

    @contextmanager
    def caller(self) -> Iterator[Caller]:
        """For what is timed: one connection of its own, used without a pause."""
        authorization = self.client.headers["Authorization"]
        with calling(self.settings.base_url, authorization=authorization) as caller:
            yield caller

    @contextmanager
    def beside(self, *, api_processes: int) -> Iterator["Rig"]:
        """The same engine and customer by one more API, of so many processes."""
        settings = msgspec.structs.replace(
            self.settings, port=free_port(), api_processes=api_processes
        )
        client = httpx.Client(base_url=settings.base_url, headers=self.client.headers)
        with client, _process("engine", "serve", settings=settings, number=1):
            _until_up(settings)
            yield Rig(settings, client=client, admin_url=self.admin_url)

    def post(self, path: str, **more: Any) -> Any:
        """The JSON of a POST that must succeed."""
        answer = self.client.post(path, **more)
        answer.raise_for_status()
        return answer.json()

    def get(self, path: str, **more: Any) -> Any:
        """The JSON of a GET that must succeed."""
        answer = self.client.get(path, **more)
        answer.raise_for_status()
        return answer.json()

    def upload(self, paths: Sequence[Path]) -> list[str]:
        """Bring files in without ingesting them; returns their ids."""
        return [self._uploaded(path) for path in paths]

    def _uploaded(self, path: Path) -> str:
        files = {"file": (path.name, path.read_bytes())}
        return str(self.post("/storage_files", files=files)["id"])

    def ingest(self, file_ids: Sequence[str], **settings: Any) -> tuple[str, float]:
        """Make a RAG of files and wait until all are terminal; returns its id and the seconds.

        Raises RuntimeError when a source ends in error: a bench must not count what failed.
        """
        started = time.perf_counter()
        batches = [file_ids[start : start + 1000] for start in range(0, len(file_ids), 1000)]
        body = {"name": "bench", "storage_file_ids": list(batches[0]), **settings}
        rag_id = str(self.post("/rags", json=body)["id"])
        for batch in batches[1:]:
            self.post(f"/rags/{rag_id}/sources", json={"storage_file_ids": list(batch)})
        self.until_terminal(rag_id)
        return rag_id, time.perf_counter() - started

    def until_terminal(self, rag_id: str, *, poll_s: float = 0.1) -> None:
        """Wait for the end of every source, looking into the database and not at the API."""
        with psycopg.connect(self.admin_url, autocommit=True) as connection:
            while True:
                row = connection.execute(
                    "SELECT count(*) FILTER (WHERE state NOT IN ('ready', 'error')),"
                    " count(*) FILTER (WHERE state = 'error'), min(failure ->> 'message')"
                    " FROM sources WHERE rag_id = %s AND deleted_at IS NULL",
                    (rag_id,),
                ).fetchone()
                assert row
                if row[1]:
                    raise RuntimeError(f"{row[1]} sources failed: {row[2]}")
                if not row[0]:
                    return
                time.sleep(poll_s)

    def count(self, statement: str, *parameters: object) -> int:
        """One number out of the database."""
        with psycopg.connect(self.admin_url, autocommit=True) as connection:
            row = connection.execute(statement, parameters).fetchone()
        return int(row[0]) if row else 0

    def passages(self, rag_id: str) -> int:
        """How many passages of a RAG can be found."""
        return self.count("SELECT count(*) FROM chunks WHERE rag_id = %s", rag_id)

    def inferences(self) -> int:
        """How many passages the workers have embedded so far, by their own log."""
        return sum(int(line["passages"]) for line in self._logged("embedded"))

    def stage_seconds(self) -> dict[str, float]:
        """Seconds by stage over all that became ready so far, by the workers' own log. Sources
        are worked beside each other, so the sum is more than the wall time."""
        found: dict[str, float] = defaultdict(float)
        for line in self._logged("ready"):
            for stage in Stage:
                found[stage] += float(line.get(f"{stage}_s", 0))
        return {stage: round(spent, 1) for stage, spent in found.items()}

    def _logged(self, event: str) -> Iterator[dict[str, Any]]:
        for path in self.settings.data_dir.glob("workers-*.log"):
            for line in path.read_text().splitlines():
                if f'"event":"{event}"' in line:
                    yield json.loads(line)

    def fill(self, rag_id: str, *, passages: int) -> None:
        """Put copies of the first passage of a RAG beside it, each with a key of its own."""
        with psycopg.connect(self.admin_url, autocommit=True) as connection:
            connection.execute(
                "INSERT INTO chunks (index_id, generation, ordinal, customer_id, rag_id, source_id,"
                " profile_id, start_offset, end_offset, tokens, headings, text, embedding_key,"
                " embedding) SELECT index_id, generation, 1000000 + last.most + n, customer_id,"
                " rag_id, source_id, profile_id, start_offset, end_offset, tokens, headings, text,"
                " sha256(convert_to(n || ' ' || last.most, 'UTF8')), embedding"
                " FROM (SELECT * FROM chunks WHERE rag_id = %(rag_id)s ORDER BY id LIMIT 1) one,"
                " (SELECT max(ordinal) AS most FROM chunks WHERE rag_id = %(rag_id)s) last,"
                " generate_series(1, %(passages)s) AS n",
                {"rag_id": rag_id, "passages": passages},
            )
            connection.execute("ANALYZE chunks")


@contextmanager
def rig(
    *,
    workers: int = 1,
    cpus: Sequence[int] | None = None,
    limits: Limits = LIMITS,
    model: str | None = None,
    **more: Any,
) -> Iterator[Rig]:
    """A new engine on empty services. `cpus` pins each worker process to these processors; `model`
    is what is going to be used, None for the default."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/tmp", prefix="bench-")))
        folder.chmod(0o711)
        services = stack.enter_context(LocalServices(folder / "data")).services
        settings = Settings(
            database_url=services.database_url, redis_url=services.redis_url,
            data_dir=folder / "data", models_dir=MODELS, port=free_port(), limits=limits, **more,
        )  # fmt: skip
        pull(Registry.from_settings(settings).default, models_path=MODELS)
        asyncio.run(apply_schema(settings.database_url))
        client = httpx.Client(
            base_url=settings.base_url, timeout=300.0,
            headers={"Authorization": f"Bearer {asyncio.run(_customer(settings))}"},
        )  # fmt: skip
        made = Rig(
            settings,
            client=stack.enter_context(client),
            admin_url=inside(services.admin_url, settings.database_url),
        )
        made.api = stack.enter_context(_process("engine", "serve", settings=settings))
        _until_up(settings)
        for number in range(workers):
            process = _process("workers", "--one", settings=settings, number=number)
            made.workers.append(stack.enter_context(process))
            if cpus is not None:
                made.workers[-1].cpu_affinity([cpus[number % len(cpus)]])
        _until_warm(made, model=model)
        yield made


def inside(admin_url: str, database_url: str) -> str:
    """The superuser's way into the engine's database."""
    return make_conninfo(admin_url, dbname=conninfo_to_dict(database_url)["dbname"])


async def _customer(settings: Settings) -> str:
    database = await Database(settings.database_url, role="rag_operator", connections=1).open()
    try:
        return (await Operator(database=database).create_customer("bench"))[2]
    finally:
        await database.close()


@contextmanager
def _process(
    module: str, *arguments: str, settings: Settings, number: int = 0
) -> Iterator[psutil.Process]:
    log = settings.data_dir / f"{module}-{number}.log"
    with log.open("ab") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env={**os.environ, **settings.env()}, cwd=REPOSITORY, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        yield psutil.Process(child.pid)
    finally:
        child.terminate()
        try:
            child.wait(timeout=20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def free_port() -> int:
    """A TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _until_up(settings: Settings) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{settings.base_url}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    said = (settings.data_dir / "engine-0.log").read_text()[-2000:]
    raise SystemExit(f"the API did not start:\n{said}")


def _until_warm(made: Rig, *, model: str | None) -> None:
    """Small sources through every worker's hands, so that start-up is not measured, nor the opening
    of the model that is to be used."""
    settings = {"embedding_model": model} if model else {}
    texts = (f"{number} times a sentence to warm up with. " * 20 for number in range(4))
    files = [("files", (f"{number}.txt", text.encode())) for number, text in enumerate(texts)]
    given = {"data": {"name": "warm", **settings}, "files": files}
    for rag in [made.post("/rags", **given) for _ in made.workers]:
        made.until_terminal(str(rag["id"]))
