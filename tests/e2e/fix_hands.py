"""Worker processes that a test starts, kills and reads the log of, and the verbs to feed them.

No HTTP here: what is proven is the way from a committed row to passages, whatever dies on it.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, LiteralString

from fix_services import REPOSITORY
from msgspec.structs import replace

from engine.access import Operator
from engine.blobs import Blobs
from engine.config import Settings
from engine.documents import Documents
from engine.embedding import Registry
from engine.files import Files
from engine.jobs import Bell
from engine.models import (
    Chunk,
    Cursor,
    CustomerId,
    NewRag,
    NewSources,
    Rag,
    SourceId,
    State,
    rag_status,
)
from engine.rags import Rags
from engine.store import Database

TERMINAL_TIMEOUT_S = 60.0


class Hand:
    """A single worker process, without a supervisor that would start it again."""

    def __init__(
        self, settings: Settings, *, log: Path, environ: Mapping[str, str] | None = None
    ) -> None:
        self._log = log
        self._output = log.open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "workers", "--one"],
            env={**os.environ, **settings.env(), **(environ or {})},
            cwd=REPOSITORY,
            stdout=self._output,
            stderr=self._output,
        )

    def lines(self, event: str) -> list[dict[str, Any]]:
        """What it has logged under this name."""
        lines = self._log.read_text().splitlines()
        parsed = [json.loads(line) for line in lines if line.startswith("{")]
        return [line for line in parsed if line["event"] == event]

    def embedded(self) -> int:
        """How many passages it has had embedded."""
        return sum(int(line["passages"]) for line in self.lines("embedded"))

    async def wait_for(self, *events: str, count: int = 1, timeout_s: float = 30.0) -> None:
        """Wait until it has logged any of these events, `count` times in all."""
        deadline = time.monotonic() + timeout_s
        while sum(len(self.lines(event)) for event in events) < count:
            assert time.monotonic() < deadline, f"no {events} in {self._log.read_text()[-4000:]}"
            await asyncio.sleep(0.02)

    async def told_of_its_loss(self) -> None:
        """Wait until it knows that its claim is another's: by its heartbeat or, where its next
        write comes first, by the fence."""
        await self.wait_for("claim lost", "superseded")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def frozen(self, timeout_s: float = 30.0) -> None:
        """Wait until it is stopped as by SIGSTOP."""
        stat = Path(f"/proc/{self.process.pid}/stat")
        deadline = time.monotonic() + timeout_s
        while stat.read_text().rpartition(")")[2].split()[0] != "T":
            assert time.monotonic() < deadline, self._log.read_text()[-4000:]
            await asyncio.sleep(0.02)

    async def death(self, timeout_s: float = 30.0) -> int:
        """Its exit status, once it has ended by itself."""
        return await asyncio.to_thread(self.process.wait, timeout_s)

    async def stop(self, timeout_s: float = 15.0) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await self.death(timeout_s)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.send_signal(signal.SIGCONT)
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._output.close()


class Site:
    """The verbs of the API over the test's services, one customer, and hands to hire."""

    def __init__(self, settings: Settings, *, folder: Path) -> None:
        self.settings = settings
        self.folder = folder
        self._hands: list[Hand] = []
        self.api = Database(settings.database_url, role="rag_api", connections=4)
        self.operator = Database(settings.database_url, role="rag_operator", connections=2)
        self.bell = Bell(settings.redis_url)
        self.rags = Rags(
            database=self.api,
            bell=self.bell,
            registry=Registry.from_settings(settings),
            settings=settings,
        )
        self.files = Files(
            database=self.api,
            blobs=Blobs(settings.blobs_url),
            limits=settings.limits,
            spool_dir=settings.data_dir / "spool",
        )
        self.documents = Documents(
            database=self.api,
            bell=self.bell,
            files=self.files,
            registry=Registry.from_settings(settings),
            settings=settings,
        )
        self.customer_id: CustomerId

    def hire(
        self,
        settings: Settings | None = None,
        *,
        failpoint: str = "",
        environ: Mapping[str, str] | None = None,
    ) -> Hand:
        """A worker, with settings of its own if its way to the services is another one."""
        log = self.folder / f"worker-{len(self._hands)}.log"
        ours = replace(settings or self.settings, failpoint=failpoint)
        hand = Hand(ours, log=log, environ=environ)
        self._hands.append(hand)
        return hand

    async def customer(self) -> CustomerId:
        made, _, _ = await Operator(database=self.operator).create_customer("tester")
        return made.id

    async def rag(
        self, *texts: str, urls: tuple[str, ...] = (), chunk_tokens: int | None = None
    ) -> Rag:
        """A RAG of these texts, uploaded as Markdown, and of these URLs."""
        sources = await self._uploaded(texts, urls=urls)
        new = NewRag(name="a rag", sources=sources, chunk_tokens=chunk_tokens)
        return await self.rags.create(self.customer_id, new)

    async def more(self, rag: Rag, *texts: str) -> Rag:
        """The RAG, with these texts as well."""
        return await self.rags.add_sources(self.customer_id, rag.id, await self._uploaded(texts))

    async def _uploaded(self, texts: Sequence[str], *, urls: tuple[str, ...] = ()) -> NewSources:
        uploads = []
        for text in texts:
            uploads.append(
                await self.files.receive(
                    self.customer_id, _once(text), filename="a.md", media_type="text/markdown"
                )
            )
        return NewSources(uploads=tuple(uploads), urls=urls)

    async def seen(self, rag: Rag) -> Rag:
        return await self.rags.get(self.customer_id, rag.id)

    async def until_terminal(self, rag: Rag, *, timeout_s: float = TERMINAL_TIMEOUT_S) -> Rag:
        deadline = time.monotonic() + timeout_s
        while rag_status((rag := await self.seen(rag)).counts) is State.PROCESSING:
            assert time.monotonic() < deadline, (rag, self.told())
            await asyncio.sleep(0.05)
        return rag

    async def chunks(self, rag: Rag, source_id: SourceId) -> list[Chunk]:
        """Every live chunk of a source, page by page."""
        found: list[Chunk] = []
        after: Cursor | None = None
        while True:
            page = await self.documents.chunks(
                self.customer_id, rag.id, source_id, page_size=1_000, after=after
            )
            found += page.items
            if page.next is None:
                return found
            after = page.next

    async def expect_whole(self, rag: Rag, source_id: SourceId) -> list[Chunk]:
        """Ready, every chunk once, in order, each one cut from the text it points into."""
        source, _ = await self.rags.source(self.customer_id, rag.id, source_id)
        assert (source.state, source.failure) == (State.READY, None)
        chunks = await self.chunks(rag, source_id)
        assert [chunk.ordinal for chunk in chunks] == list(range(source.chunk_count))
        text = await self.documents.text(self.customer_id, rag.id, source_id)
        for chunk in chunks:
            assert text[chunk.start : chunk.end] == chunk.text
        return chunks

    async def fetch(self, query: LiteralString) -> list[dict[str, Any]]:
        """Rows of a raw statement, over all customers."""
        async with self.operator.transaction() as tx:
            return await (await tx.connection.execute(query)).fetchall()

    async def until(self, query: LiteralString, *, timeout_s: float = 20.0) -> None:
        """Wait until a statement's only column is true."""
        deadline = time.monotonic() + timeout_s
        while not next(iter((await self.fetch(query))[0].values())):
            assert time.monotonic() < deadline, query
            await asyncio.sleep(0.05)

    def told(self) -> str:
        """The last that every worker has logged, for a failure's message."""
        return "\n".join(path.read_text()[-2000:] for path in self.folder.glob("worker*.log"))

    def dismiss(self) -> None:
        for hand in self._hands:
            hand.close()


@asynccontextmanager
async def open_site(settings: Settings, *, folder: Path) -> AsyncIterator[Site]:
    """A site with a customer of its own; whoever was hired is dismissed at the end."""
    site = Site(settings, folder=folder)
    await site.api.open()
    await site.operator.open()
    try:
        site.customer_id = await site.customer()
        yield site
    finally:
        site.dismiss()
        await site.bell.close()
        await site.api.close()
        await site.operator.close()


async def _once(text: str) -> AsyncIterator[bytes]:
    yield text.encode()


def long_text(passages: int) -> str:
    """A paragraph for each passage of a RAG with chunk_tokens=16, no two of them alike."""
    words = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "haven")
    return "\n\n".join(
        f"Note {n} tells of {words[n % 8]} and {words[n // 8 % 8]} near mile {n}."
        for n in range(passages)
    )


def quick(settings: Settings, *, lease_s: float = 2.0) -> Settings:
    """Short leases and pauses, so that a death is noticed while a test waits."""
    limits = replace(settings.limits, lease_s=lease_s, poll_s=0.3, sweep_s=0.2, retry_base_s=0.2)
    return replace(settings, limits=limits)
