"""What is told while a document is read: its stage where that takes long, nothing where it is
quick, and the end of whoever reads for nobody."""

import asyncio
from typing import NamedTuple
from uuid import uuid4

import msgspec
import pytest
from fix_store import Store, document
from fix_web import Web

from engine.addresses import AllowList
from engine.blobs import Blobs
from engine.config import Limits, Settings
from engine.errors import Superseded
from engine.models import Document, WorkerId
from engine.store.claims import ClaimedSource
from workers.acquire import UNTOLD_S, Acquirer
from workers.extract.extractor import Extractor
from workers.failpoint import Failpoint
from workers.fetch import Fetcher
from workers.shapes import Fetched
from workers.stages import Stages

pytestmark = pytest.mark.anyio


class Paced(Extractor):
    """Takes as long as it is told to, in place of a document that does."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.ended = asyncio.Event()

    async def extract(self, fetched: Fetched, *, limits: Limits) -> Document:
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.ended.set()
        return document("some text")


class Reading(NamedTuple):
    """A claimed page and who reads it."""

    acquirer: Acquirer
    claim: ClaimedSource
    extractor: Paced


@pytest.fixture
def blobs(settings: Settings) -> Blobs:
    return Blobs(settings.blobs_url)


async def reading(
    seconds: float, *, store: Store, web: Web, settings: Settings, blobs: Blobs
) -> Reading:
    customer_id = await store.customer()
    await store.source(customer_id, await store.rag(customer_id))
    extractor = Paced(seconds)
    claim = msgspec.structs.replace(
        await store.claimed_source(), url=web.add("/page", body="<p>some")
    )
    acquirer = Acquirer(
        worker_id=WorkerId(uuid4()),
        database=store.worker,
        blobs=blobs,
        fetcher=Fetcher(limits=settings.limits, allow_list=AllowList.parse((web.host_port,))),
        extractor=extractor,
        failpoint=Failpoint(""),
        settings=settings,
    )
    return Reading(acquirer, claim, extractor)


async def stages_seen(made: Reading, store: Store) -> list[str | None]:
    """All stages that somebody who looks without pause sees in the row."""
    seen: list[str | None] = []
    working = asyncio.create_task(made.acquirer.acquire(made.claim, stages=Stages()))
    while not working.done():
        stage = (await store.source_row(made.claim.id))["stage"]
        seen += [stage] if stage not in seen else []
    await working
    return seen


async def test_a_document_that_takes_long_is_seen_being_read(
    store: Store, web: Web, settings: Settings, blobs: Blobs
) -> None:
    made = await reading(UNTOLD_S + 0.5, store=store, web=web, settings=settings, blobs=blobs)
    assert (await stages_seen(made, store))[:2] == ["fetch", "extract"]


async def test_a_document_that_is_read_at_once_costs_no_transaction_to_tell(
    store: Store, web: Web, settings: Settings, blobs: Blobs
) -> None:
    made = await reading(UNTOLD_S / 2, store=store, web=web, settings=settings, blobs=blobs)
    assert "extract" not in await stages_seen(made, store)
    assert (await store.source_row(made.claim.id))["revision"] == 1


async def test_reading_ends_when_the_claim_turns_out_to_be_lost(
    store: Store, web: Web, settings: Settings, blobs: Blobs
) -> None:
    made = await reading(60.0, store=store, web=web, settings=settings, blobs=blobs)
    working = asyncio.create_task(made.acquirer.acquire(made.claim, stages=Stages()))
    await asyncio.sleep(UNTOLD_S / 2)
    await store.execute(
        "UPDATE sources SET attempt = attempt + 1 WHERE id = %(id)s", id=made.claim.id
    )
    with pytest.raises(Superseded):
        await working
    assert made.extractor.ended.is_set()


async def test_who_is_told_to_stop_waits_until_the_reading_has_ended(
    store: Store, web: Web, settings: Settings, blobs: Blobs
) -> None:
    made = await reading(60.0, store=store, web=web, settings=settings, blobs=blobs)
    working = asyncio.create_task(made.acquirer.acquire(made.claim, stages=Stages()))
    await asyncio.sleep(UNTOLD_S + 0.3)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert made.extractor.ended.is_set()
