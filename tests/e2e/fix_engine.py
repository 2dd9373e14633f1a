"""A whole engine for a test: the API in a process of its own, a worker process, customers.

The services come from fix_services; this starts what speaks HTTP and what works, and stops both.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fix_services import free_port, own_database
from msgspec.structs import replace

from engine.access import Operator
from engine.config import Limits, Settings
from engine.local import Services
from engine.store import Database

START_TIMEOUT_S = 40.0
READY_TIMEOUT_S = 60.0
REPOSITORY = Path(__file__).parents[2]


@contextmanager
def process(*arguments: str, settings: Settings, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process with these settings in its environment, ended with SIGTERM."""
    with log.open("ab") as output:
        child = subprocess.Popen(
            [sys.executable, *arguments],
            env={**os.environ, **settings.env()},
            cwd=REPOSITORY,
            stdout=output,
            stderr=output,
        )
        try:
            yield child
        finally:
            child.terminate()
            try:
                child.wait(timeout=15)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


@contextmanager
def api_process(settings: Settings, *, log: Path) -> Iterator[str]:
    """The API; yields its base URL once it answers."""
    with api_child(settings, log=log):
        yield settings.base_url


@contextmanager
def api_child(settings: Settings, *, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The API behind uvicorn, at settings.base_url; yields its process once it answers."""
    arguments = ("-m", "uvicorn", "--factory", "engine.api.app:from_env", "--no-access-log")
    where = ("--host", settings.host, "--port", str(settings.port))
    with process(*arguments, *where, settings=settings, log=log) as child:
        _wait_until_up(settings.base_url, child=child, log=log)
        yield child


@contextmanager
def worker_process(settings: Settings, *, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """One worker process tree."""
    with process("-m", "workers", settings=settings, log=log) as child:
        yield child


def _wait_until_up(base_url: str, *, child: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        assert child.poll() is None, f"the API ended: {log.read_text()[-4000:]}"
        try:
            if httpx.get(f"{base_url}/healthz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError(f"the API did not start: {log.read_text()[-4000:]}")


def new_customer(settings: Settings, name: str) -> str:
    """Make a customer; returns its first access key's token."""

    async def made() -> str:
        database = await Database(settings.database_url, role="rag_operator", connections=1).open()
        try:
            return (await Operator(database=database).create_customer(name))[2]
        finally:
            await database.close()

    return asyncio.run(made())


class Caller(httpx.Client):
    """A client that speaks for one customer."""

    def __init__(self, base_url: str, *, token: str, timeout_s: float = 20.0) -> None:
        super().__init__(
            base_url=base_url, headers={"Authorization": f"Bearer {token}"}, timeout=timeout_s
        )
        self.token = token

    def ok(self, method: str, path: str, **more: Any) -> Any:
        """The JSON of an answer that must be a 200."""
        answer = self.request(method, path, **more)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def until_done(self, rag_id: str) -> Any:
        """Poll a RAG until every source is terminal; returns it."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline:
            rag = self.ok("GET", f"/rags/{rag_id}")
            if rag["status"] in {"ready", "error"}:
                return rag
            time.sleep(0.1)
        raise AssertionError(f"not terminal after {READY_TIMEOUT_S} s: {rag}")


@pytest.fixture
def api(settings: Settings, tmp_path: Path) -> Iterator[str]:
    """The base URL of a running API without any worker."""
    with api_process(settings, log=tmp_path / "api.log") as base_url:
        yield base_url


@pytest.fixture
def callers(api: str, settings: Settings) -> Iterator[Callable[[str], Caller]]:
    """Makes a customer of that name and a client that speaks for it."""
    made: list[Caller] = []

    def make(name: str) -> Caller:
        caller = Caller(api, token=new_customer(settings, name))
        made.append(caller)
        return caller

    yield make
    for caller in made:
        caller.close()


@pytest.fixture
def caller(callers: Callable[[str], Caller]) -> Caller:
    return callers("first")


@pytest.fixture
def worker(settings: Settings, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    with worker_process(settings, log=tmp_path / "worker.log") as child:
        yield child


@pytest.fixture(scope="module")
def module_settings(
    services: Services,
    template_database: str,
    models_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Settings]:
    """Settings for an engine that a whole module shares; its tests keep apart by customers."""
    with own_database(services, template=template_database) as url:
        yield Settings(
            database_url=url,
            redis_url=f"{services.redis_url}?db=15",
            data_dir=tmp_path_factory.mktemp("engine") / "data",
            models_dir=models_path,
            port=free_port(),
        )


@pytest.fixture(scope="module")
def api_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs") / "api.log"


@pytest.fixture(scope="module")
def base_url(
    module_settings: Settings, api_log: Path, request: pytest.FixtureRequest
) -> Iterator[str]:
    """An API without any worker for the module, under the LIMITS that it may name."""
    limits: Limits = getattr(request.module, "LIMITS", module_settings.limits)
    with api_process(replace(module_settings, limits=limits), log=api_log) as url:
        yield url
