"""The demo of `up`: a sample of the project's own, ingested once, and a question to it.

One of its three sources is a web page, which a server in this process hands out on a port of
127.0.0.1. Fetching from there is refused to everybody. So the page is recorded here, past the API,
and the workers alone are started with a permission for exactly this host and port, which ends as
soon as that source has ended.
"""

import asyncio
import tempfile
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from engine.cli.exits import CliError
from engine.cli.place import Place, local_url
from engine.config import Settings

if TYPE_CHECKING:
    from engine import models
    from engine.cli.answers import Source
    from engine.cli.children import Child
    from engine.cli.client import Client
    from engine.cli.progress import Display
    from engine.models import CustomerId, Rag
    from engine.rags import Rags

SAMPLE = Path(__file__).parent / "sample"
RAG = "Larkspur kettle (sample)"
HANDBOOK, PAGE, GUARANTEE = "handbook.md", "brewing.html", "guarantee.txt"
GUARANTEE_PDF = "guarantee.pdf"
SAMPLE_NAMES = (HANDBOOK, GUARANTEE_PDF, PAGE)
QUESTION = "The water tastes of vinegar after I removed the limescale. What now?"
READY_TIMEOUT_S = 120.0
POLL_S = 0.1
PAGE_MM = (148.0, 210.0)
CONNECTIONS = 2
# So that the same version of the program makes the same bytes.
MADE_AT = datetime(2026, 1, 1, tzinfo=UTC)


class Demo:
    """Knows whether the sample is needed, and which settings the workers have until it is in."""

    def __init__(self, settings: Settings, *, customer_id: "CustomerId") -> None:
        self._customer_id = customer_id
        found = asyncio.run(_look(settings, customer_id))
        self._remains = found.remains
        self._page = None if found.whole else PageServer()
        self.worker_settings = self._page.permitted(settings) if self._page else settings

    def __enter__(self) -> "Demo":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._page:
            self._page.close()

    def run(self, settings: Settings, *, workers: "Child", place: Place) -> None:
        """Ingest the sample unless it is there, then ask. Raises CliError when it does not work.

        `settings` are those without the permission: the workers have them in the end.
        """
        from engine.cli.client import Client

        with Client(local_url(settings), key=place.key() or "") as client:
            if self._page:
                self._ingest(client, settings=settings, workers=workers, page=self._page)
            ask(client)

    def _ingest(
        self, client: "Client", *, settings: Settings, workers: "Child", page: "PageServer"
    ) -> None:
        from engine.cli.progress import display
        from engine.cli.terminal import say

        say("A small sample is brought in: a Markdown file, a web page, a PDF.")
        began, shown = time.monotonic(), display(silent=False)
        try:
            for remains in self._remains:
                client.delete_rag(remains)
            rag_id = _upload(client, folder=settings.data_dir)
            permitted = page.permitted(settings)
            asyncio.run(_add_page(permitted, self._customer_id, rag_id=rag_id, url=page.url))
            shown.expect(len(SAMPLE_NAMES))
            watching = Watching(client, rag_id=rag_id, display=shown, workers=workers)
            watching.until_page()
            page.close()
            workers.restart(settings)
            watching.until_all()
        finally:
            shown.close()
        say(f"All of it is ready after {time.monotonic() - began:.1f} s.")
        say()


class PageServer:
    """Hands out the one page of the sample, on a free port of 127.0.0.1, from a thread."""

    def __init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _PageHandler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        self.endpoint = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{self.endpoint}/{PAGE}"

    def permitted(self, settings: Settings) -> Settings:
        """The same settings, with this endpoint among what may be fetched."""
        allowed = (*settings.allow_networks, self.endpoint)
        return msgspec.structs.replace(settings, allow_networks=allowed)

    def close(self) -> None:
        """Without effect when it is closed already."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()


class _PageHandler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path != f"/{PAGE}":
            self.send_error(404)
            return
        body = (SAMPLE / PAGE).read_bytes()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        return


class Watching:
    """Shows the sample's sources. Both methods raise CliError if one of them fails, the workers
    end, or it takes too long."""

    def __init__(
        self, client: "Client", *, rag_id: str, display: "Display", workers: "Child"
    ) -> None:
        self._client = client
        self._rag_id = rag_id
        self._display = display
        self._workers = workers
        self._ended: set[str] = set()
        self._deadline = time.monotonic() + READY_TIMEOUT_S

    def until_page(self) -> None:
        """Until the web page has ended, ready or not."""
        while not any(each.terminal for each in self._look() if each.source_url):
            self._pause()

    def until_all(self) -> None:
        while not all(each.terminal for each in self._look()):
            self._pause()

    def _look(self) -> "list[Source]":
        sources = list(self._client.sources(self._rag_id))
        for source in sources:
            self._display.show(source)
            if source.status == "error":
                raise CliError(f"The sample {source.name} failed: {source.status_message}")
            if source.terminal and source.id not in self._ended:
                self._ended.add(source.id)
                self._display.end(source.name, word="ready", message=source.status_message)
        return sources

    def _pause(self) -> None:
        self._workers.demand()
        if time.monotonic() > self._deadline:
            raise CliError("The sample does not get ready: see the logs of the workers.")
        time.sleep(POLL_S)


def ask(client: "Client") -> None:
    """Ask the question, and show the best passage, where it stands and how long it took."""
    from engine.cli.query import citation, passage
    from engine.cli.terminal import say

    rag = client.rag(RAG)
    began = time.monotonic()
    hits = client.query(rag.id, QUESTION, top_k=1)
    took_s = time.monotonic() - began
    say(f"Q: {QUESTION}")
    for hit in hits:
        say(passage(hit))
        say(f"   {citation(hit)}")
    say(f"   answered in {took_s * 1000:.0f} ms")
    say()
    say(f'Ask it yourself: rag-engine query "{RAG}" "How long is the guarantee?"')


def guarantee_pdf() -> bytes:
    """The sample's PDF, made from its text: a page and an entry in the outline per heading."""
    from fpdf import FPDF

    pdf = FPDF(format=PAGE_MM)
    pdf.set_creation_date(MADE_AT)
    pdf.set_title("Larkspur kettle: guarantee and service")
    for paragraph in (SAMPLE / GUARANTEE).read_text("utf-8").split("\n\n"):
        text = " ".join(paragraph.split())
        if text.startswith("# "):
            pdf.add_page()
            pdf.set_font("Helvetica", style="B", size=14)
            text = text[2:]
            pdf.start_section(text)
        else:
            pdf.set_font("Helvetica", size=11)
        pdf.multi_cell(0, 7, text, new_x="LMARGIN", new_y="NEXT")
        pdf.ln(3)
    return bytes(pdf.output())


def _upload(client: "Client", *, folder: Path) -> str:
    """A RAG with the two files; returns its id."""
    rag_id = client.create_rag(RAG).id
    with tempfile.TemporaryDirectory(dir=folder, prefix=".sample-") as name:
        pdf = Path(name) / GUARANTEE_PDF
        pdf.write_bytes(guarantee_pdf())
        files = [client.upload(path, name=path.name) for path in (SAMPLE / HANDBOOK, pdf)]
    client.add_files(rag_id, [file.id for file in files])
    return rag_id


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the whole sample is there, and the ids of what an interrupted start has left."""

    whole: bool
    remains: tuple[str, ...] = ()


async def _look(settings: Settings, customer_id: "CustomerId") -> Found:
    async with _rags(settings) as rags:
        after, remains = None, []
        while True:
            page = await rags.list(customer_id, page_size=100, after=after)
            for rag in page.items:
                if rag.name == RAG and is_whole(rag):
                    return Found(whole=True)
                if rag.name == RAG and is_remains(rag):
                    remains.append(str(rag.id))
            if (after := page.next) is None:
                return Found(whole=False, remains=tuple(remains))


def is_whole(rag: "Rag") -> bool:
    """Whether all of the sample is ready in it, whatever else somebody has added."""
    ready = {_sample_name(each) for each in rag.sources if each.state == "ready"}
    return ready.issuperset(SAMPLE_NAMES)


def is_remains(rag: "Rag") -> bool:
    """Whether there is nothing in it but parts of the sample: nobody else's work."""
    shown = {_sample_name(each) for each in rag.sources}
    return len(rag.sources) == rag.counts.total and shown.issubset(SAMPLE_NAMES)


def _sample_name(source: "models.Source") -> str:
    """Of the page the address, because its name is its title, without the port of that start."""
    return source.url.rpartition("/")[2] if source.url else source.name


async def _add_page(
    permitted: Settings, customer_id: "CustomerId", *, rag_id: str, url: str
) -> None:
    """Record the page as a source with the verb itself: the API never has the permission."""
    from engine.models import NewSources, RagId

    async with _rags(permitted) as rags:
        await rags.add_sources(customer_id, RagId(UUID(rag_id)), NewSources(urls=(url,)))


@asynccontextmanager
async def _rags(settings: Settings) -> "AsyncIterator[Rags]":
    from engine.embedding import Registry
    from engine.jobs import Bell
    from engine.rags import Rags
    from engine.store import Database

    bell = Bell(settings.redis_url)
    database = Database(settings.database_url, role="rag_api", connections=CONNECTIONS)
    await database.open()
    try:
        registry = Registry.from_settings(settings)
        yield Rags(database=database, bell=bell, registry=registry, settings=settings)
    finally:
        await bell.close()
        await database.close()
