"""The whole way at the verbs: real Postgres, real storage, the real model, a worker process."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator

import pytest

from engine.access import Operator
from engine.blobs import Blobs
from engine.config import Settings
from engine.documents import Documents
from engine.embedding import Models, Registry, pull
from engine.files import Files
from engine.jobs import Bell
from engine.models import CustomerId, NewRag, NewSources, Rag, State, rag_status
from engine.rags import Rags
from engine.search import Search
from engine.store import Database

pytestmark = pytest.mark.anyio

# Sections long enough to be passages of their own: the chunker puts tiny ones together.
SHOP = """# Refunds

You may return a kettle within 30 days. Send it back in its box, with the lid and the cord, and add
the slip that came with it. We pay the money back to the card that you paid with, as soon as the
box has come in and somebody has looked at the kettle. A kettle that has been used is taken back
as well, as long as it is clean and nothing of it is broken. After the 30
days we repair what is faulty.

# Shipping

We ship every day from Monday to Friday. A parcel that is ordered before noon leaves the same day
and takes two to three days within the country, four to seven days to its neighbours.
You get a message
with a number, by which the carrier tells where the parcel is. Nothing is shipped to islands in
winter, because the ferries stay in the harbour when there is a storm.
"""


class Verbs:
    """What the API process holds, without HTTP."""

    def __init__(self, settings: Settings, database: Database) -> None:
        registry = Registry.from_settings(settings)
        spec = registry.default
        pull(spec, models_path=settings.models_path, progress=None)
        self.settings = settings
        self.bell = Bell(settings.redis_url)
        self.rags = Rags(
            database=database,
            bell=self.bell,
            registry=registry,
            settings=settings,
        )
        self.files = Files(
            database=database,
            blobs=Blobs(settings.blobs_url),
            limits=settings.limits,
            spool_dir=settings.data_dir / "spool",
        )
        self.documents = Documents(
            database=database,
            bell=self.bell,
            files=self.files,
            registry=registry,
            settings=settings,
        )
        self.search = Search(
            database=database,
            models=Models(registry=registry, settings=settings),
            limits=settings.limits,
        )


@pytest.fixture
async def verbs(settings: Settings) -> AsyncIterator[Verbs]:
    database = await Database(settings.database_url, role="rag_api").open()
    verbs = Verbs(settings, database)
    yield verbs
    await verbs.bell.close()
    await database.close()


@pytest.fixture
async def customer_id(settings: Settings) -> CustomerId:
    database = await Database(settings.database_url, role="rag_operator").open()
    customer, _, _ = await Operator(database=database).create_customer("tester")
    await database.close()
    return customer.id


@pytest.fixture
async def worker(settings: Settings) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "workers", env=os.environ | settings.env()
    )
    yield
    process.terminate()
    assert await process.wait() == 0


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def until_terminal(verbs: Verbs, customer_id: CustomerId, rag: Rag) -> Rag:
    async with asyncio.timeout(20):
        while rag_status(rag.counts) is State.PROCESSING:
            await asyncio.sleep(0.1)
            rag = await verbs.rags.get(customer_id, rag.id)
    return rag


async def test_an_upload_becomes_passages_that_a_question_finds(
    verbs: Verbs, customer_id: CustomerId, worker: None
) -> None:
    text = SHOP
    upload = await verbs.files.receive(
        customer_id, pieces(text.encode()), filename="shop.md", media_type="text/markdown"
    )
    new = NewRag(name="shop", sources=NewSources(uploads=(upload,)))
    rag = await until_terminal(verbs, customer_id, await verbs.rags.create(customer_id, new))

    assert [(s.state, s.failure) for s in rag.sources] == [(State.READY, None)]
    source = rag.sources[0]
    canonical = await verbs.documents.text(customer_id, rag.id, source.id)
    hits = await verbs.search.query(
        customer_id, rag.id, query="How long can I give it back?", top_k=1
    )
    assert "30 days" in hits[0].text
    assert hits[0].headings == ("Refunds",)
    assert canonical[hits[0].start : hits[0].end] == hits[0].text
    page = await verbs.documents.chunks(customer_id, rag.id, source.id, page_size=100, after=None)
    assert len(page.items) == source.chunk_count > 0


async def test_a_file_whose_bytes_were_damaged_ends_in_a_named_error(
    verbs: Verbs, customer_id: CustomerId, worker: None
) -> None:
    upload = await verbs.files.receive(
        customer_id, pieces(b"The right words."), filename="a.txt", media_type="text/plain"
    )
    stored = verbs.settings.data_dir / "blobs" / str(customer_id)
    await asyncio.to_thread(
        next(stored.glob(f"*/{upload.sha256.hex()}")).write_bytes, b"The wrong words"
    )
    new = NewRag(name="damaged", sources=NewSources(uploads=(upload,)))
    rag = await until_terminal(verbs, customer_id, await verbs.rags.create(customer_id, new))

    assert [source.failure.code for source in rag.sources if source.failure] == ["file_gone"]


async def test_a_file_of_an_unknown_kind_ends_in_a_named_error_at_the_first_attempt(
    verbs: Verbs, customer_id: CustomerId, worker: None
) -> None:
    upload = await verbs.files.receive(
        customer_id, pieces(b"\x89PNG\r\n\x1a\n" + bytes(64)), filename="a.png", media_type=""
    )
    new = NewRag(name="pictures", sources=NewSources(uploads=(upload,)))
    rag = await until_terminal(verbs, customer_id, await verbs.rags.create(customer_id, new))

    source = rag.sources[0]
    assert source.state is State.ERROR
    assert source.failure is not None
    assert (source.failure.code, source.attempt) == ("unsupported_format", 1)
