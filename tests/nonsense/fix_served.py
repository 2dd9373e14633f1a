"""The API as operators run it (`python -m engine serve`), and what a customer has in it.

Not uvicorn by hand: the limits on connections belong to `serve`.
"""

import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from fix_engine import START_TIMEOUT_S, Caller, new_customer, process
from fix_services import free_port, own_database
from msgspec.structs import replace

from engine.config import Limits, Settings
from engine.local import Services

LONG = os.environ.get("NONSENSE") == "all"
# Every line is of the engine's own log, and none of them is an error.
EXPECTED = re.compile(r'\{"at":"[^"]+","level":"(info|warning|debug)"')
SEED = int(os.environ.get("NONSENSE_SEED", "0"))
TEXT = "The lock of the canal is opened at nine in the morning. " * 20


class Served:
    """A running API process."""

    def __init__(self, settings: Settings, *, child: subprocess.Popen[bytes], log: Path) -> None:
        self.settings = settings
        self.where = (settings.host, settings.port)
        self.base_url = settings.base_url
        self.child = child
        self.log = log

    def rss_mib(self) -> float:
        """What it holds in memory now."""
        return self._status("VmRSS") / 1024

    def rss_peak_mib(self) -> float:
        """The most it has ever held."""
        return self._status("VmHWM") / 1024

    def open_count(self) -> int:
        """How many files and sockets it has open."""
        return len(list(Path(f"/proc/{self.child.pid}/fd").iterdir()))

    def _status(self, field: str) -> int:
        text = Path(f"/proc/{self.child.pid}/status").read_text()
        found = re.search(rf"{field}:\s+(\d+) kB", text)
        assert found is not None
        return int(found[1])

    def accidents(self) -> list[str]:
        """Lines of its log that tell of something nobody had foreseen."""
        lines = self.log.read_text().rstrip("\n").split("\n")  # and at no other line end
        return [line[:4_000] for line in lines if not EXPECTED.match(line)]


class Home:
    """A customer with a thing of each kind; `ids` are what requests may name as @NAME@."""

    def __init__(self, served: Served, *, name: str) -> None:
        self.token = new_customer(served.settings, name)
        with Caller(served.base_url, token=self.token) as caller:
            document = caller.post(
                "/v1/convai/knowledge-base/text",
                json={"text": TEXT},
                headers={"xi-api-key": self.token},
            )
            upload = caller.ok("POST", "/storage_files", files={"file": ("a.txt", TEXT.encode())})
            rag = caller.ok("POST", "/rags", json={"name": "a", "storage_file_ids": [upload["id"]]})
        self.ids = {
            "TOKEN": self.token,
            "DOCUMENT": document.json()["id"],
            "FILE": upload["id"],
            "RAG": rag["id"],
            "SOURCE": rag["sources"][0]["id"],
        }

    def filled(self, template: bytes) -> bytes:
        """A request that names what this customer has."""
        for name, value in self.ids.items():
            template = template.replace(f"@{name}@".encode(), value.encode())
        return template


@contextmanager
def serving(settings: Settings, *, log: Path) -> Iterator[Served]:
    """An API process, once it answers."""
    with process("-m", "engine", "serve", settings=settings, log=log) as child:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            assert child.poll() is None, log.read_text()[-4000:]
            assert time.monotonic() < deadline, log.read_text()[-4000:]
            try:
                httpx.get(f"{settings.base_url}/healthz")
                break
            except httpx.TransportError:
                time.sleep(0.05)
        yield Served(settings, child=child, log=log)


@pytest.fixture(scope="session")
def own_settings(
    services: Services,
    template_database: str,
    models_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Settings]:
    """A database for all tests of this folder, with limits that they can reach."""
    limits = replace(
        Limits(),
        text_wait_s=0.02,
        file_bytes_max=2_000_000,
        request_bytes_max=8_000_000,
        json_bytes_max=2_000_000,
        request_sources_max=50,
        # Nonsense comes from one address and much faster than any client sends.
        address_requests_per_s=100_000.0,
        address_requests_burst=1_000_000,
        customer_requests_per_s=100_000.0,
        customer_requests_burst=1_000_000,
    )
    with own_database(services, template=template_database) as url:
        yield Settings(
            database_url=url,
            redis_url=f"{services.redis_url}?db=13",
            data_dir=tmp_path_factory.mktemp("nonsense") / "data",
            models_dir=models_path,
            port=free_port(),
            limits=limits,
        )


@pytest.fixture(scope="session")
def served(own_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """An API for all tests of this folder that do it no harm."""
    log = tmp_path_factory.mktemp("logs") / "api.log"
    with serving(own_settings, log=log) as running:
        yield running


@pytest.fixture(scope="session")
def home(served: Served) -> Home:
    return Home(served, name="home")
