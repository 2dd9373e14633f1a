"""A site whose workers and API reach their services through proxies; the test itself goes directly.

So a test sees the rows and makes new ones while everybody else is cut off.
"""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from fix_audit import Stored, expect_sound
from fix_corpus import CHUNK_TOKENS, MIDDLE
from fix_engine import worker_process
from fix_hands import Hand, Site, open_site
from fix_proxy import Proxy, postgres_proxy, redis_proxy
from msgspec.structs import replace

from engine.config import Settings
from engine.models import CustomerId, Rag


class World:
    """`settings` lead through `postgres` and `redis`, which are proxies."""

    def __init__(
        self,
        *,
        site: Site,
        postgres: Proxy,
        redis: Proxy,
        settings: Settings,
        admin_url: str,
        calm: Stored,
    ) -> None:
        self.site = site
        self.postgres = postgres
        self.redis = redis
        self.settings = settings
        self.admin_url = admin_url
        self.calm = calm

    def hire(
        self,
        *,
        failpoint: str = "",
        environ: Mapping[str, str] | None = None,
        settings: Settings | None = None,
    ) -> Hand:
        return self.site.hire(settings or self.settings, failpoint=failpoint, environ=environ)

    @contextmanager
    def supervised(self, *, workers: int = 1, failpoint: str = "") -> Iterator[int]:
        """Workers below a supervisor, as in production; its process id."""
        ours = replace(self.settings, workers=workers, failpoint=failpoint)
        with worker_process(ours, log=self.site.folder / "workers.log") as child:
            yield child.pid

    async def load(self, *texts: str) -> Rag:
        """An acknowledged RAG of texts of the corpus."""
        return await self.site.rag(*texts, chunk_tokens=CHUNK_TOKENS)

    async def adopt(self, rag_id: Any) -> None:
        """Audit a RAG that some customer has made over HTTP, as the only one there is."""
        rows = await self.site.fetch("SELECT id, customer_id FROM rags")
        assert [str(row["id"]) for row in rows] == [str(rag_id)]
        self.site.customer_id = CustomerId(rows[0]["customer_id"])
        await self.expect_sound(await self.site.rags.get(self.site.customer_id, rows[0]["id"]))

    async def expect_sound(self, *rags: Rag, **more: Any) -> None:
        await expect_sound(
            self.site,
            *rags,
            admin_url=self.admin_url,
            calm=self.calm,
            settings=self.settings,
            **more,
        )

    async def worker_pids(self, *, timeout_s: float = 20.0) -> set[int]:
        """The processes of now that have a row: those of the dead stay for a while."""
        deadline = time.monotonic() + timeout_s
        while True:
            rows = await self.site.fetch("SELECT pid FROM workers")
            if found := {int(row["pid"]) for row in rows if lives(int(row["pid"]))}:
                return found
            assert time.monotonic() < deadline, self.site.told()
            await asyncio.sleep(0.05)

    async def chunks(self, *, at_least: int, timeout_s: float = 30.0) -> int:
        """Wait until so many chunks are stored; returns how many are."""
        deadline = time.monotonic() + timeout_s
        while (count := await self.count("chunks")) < at_least:
            assert time.monotonic() < deadline, count
            await asyncio.sleep(0.02)
        return count

    async def count(self, table: str) -> int:
        queries = {
            "chunks": "SELECT count(*) AS count FROM chunks",
            "ready": "SELECT count(*) AS count FROM sources WHERE state = 'ready'",
        }
        return int((await self.site.fetch(queries[table]))[0]["count"])

    async def ready(self, *, more_than: int, timeout_s: float) -> float:
        """Seconds until more sources than that are ready."""
        began = time.monotonic()
        while await self.count("ready") <= more_than:
            assert time.monotonic() - began < timeout_s, self.site.told()
            await asyncio.sleep(0.02)
        return time.monotonic() - began


def lives(pid: int) -> bool:
    """Whether it is a worker still, and no zombie."""
    try:
        return b"workers" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


@asynccontextmanager
async def opened_world(
    settings: Settings, *, admin_url: str, calm: Stored, folder: Path
) -> AsyncIterator[World]:
    with ExitStack() as stack:
        postgres, database_url = stack.enter_context(postgres_proxy(settings.database_url))
        redis, redis_url = stack.enter_context(redis_proxy(settings.redis_url))
        async with open_site(settings, folder=folder) as site:
            yield World(
                site=site,
                postgres=postgres,
                redis=redis,
                settings=replace(settings, database_url=database_url, redis_url=redis_url),
                admin_url=admin_url,
                calm=calm,
            )


async def killed_at(world: World, *places: str) -> None:
    """For each place a document whose worker is killed there; another worker then goes on.

    That one is frozen meanwhile, so that it cannot take the document before.
    """
    heir = world.hire()
    await world.site.until("SELECT count(*) = 1 FROM workers")
    rags = []
    for number, place in enumerate(places):
        heir.signal(signal.SIGSTOP)
        rags.append(await world.load(MIDDLE[number]))
        doomed = world.hire(failpoint=place)
        assert await doomed.death() == -signal.SIGKILL, place
        heir.signal(signal.SIGCONT)
        await world.site.until_terminal(rags[-1])
    await world.expect_sound(*rags)
