"""rag indexes at the verbs, built by the conductor itself with the real model and parsers."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
import redis
from fix_store import PASSING, Store

from engine import jobs
from engine.addresses import AllowList
from engine.blobs import Blobs
from engine.config import Settings
from engine.embedding import Models, Registry
from engine.entries import RagIndex, RagIndexRequest, RagIndexStatus
from engine.errors import CallerError, InvalidRequest, RagIndexNotFound, SourceNotFound
from engine.files import Files
from engine.indexes import Indexes
from engine.jobs import Bell
from engine.models import CustomerId, IndexId, NewRag, NewSources, RagId, SourceId, WorkerId
from engine.rags import Rags
from engine.store import Database, Tx, acquisition, files, indexes, sources
from workers.extract.extractor import Extractor
from workers.fetch import Fetcher
from workers.held import Held
from workers.ingest import Conductor

pytestmark = pytest.mark.anyio

E5 = "e5_mistral_7b_instruct"
LARGE = "multilingual_e5_large_instruct"
STATEMENTS_MAX = 10

PARAGRAPH = (
    "A kettle that was bought in shop {number} may be returned within 30 days, in its box, with "
    "the lid and the cord. The money goes back to the card that was paid with, as soon as somebody "
    "in warehouse {number} has looked at it. After the 30 days we repair what is faulty. A parcel "
    "that is ordered before noon leaves the same day, and takes three days within the country, or "
    "up to a week to islands, to which nothing is shipped when there is a storm in winter.\n\n"
)


def text(count: int, *, first: int = 0) -> str:
    """Paragraphs that differ from each other; each fills most of a passage."""
    return "".join(PARAGRAPH.format(number=number) for number in range(first, first + count))


class Counted:
    """Counts the statements of the transactions that go through it."""

    def __init__(self) -> None:
        self.statements = 0

    def of(self, url: str) -> Database:
        counted = self

        class CountedTx(Tx):
            async def run(self, *args: Any, **kwargs: Any) -> int:
                counted.statements += 1
                return await super().run(*args, **kwargs)

            async def one(self, *args: Any, **kwargs: Any) -> Any:
                counted.statements += 1
                return await super().one(*args, **kwargs)

            async def all(self, *args: Any, **kwargs: Any) -> Any:
                counted.statements += 1
                return await super().all(*args, **kwargs)

            async def value(self, *args: Any, **kwargs: Any) -> Any:
                counted.statements += 1
                return await super().value(*args, **kwargs)

        class CountedDatabase(Database):
            @asynccontextmanager
            async def transaction(self, **kwargs: Any) -> AsyncIterator[Tx]:
                async with super().transaction(**kwargs) as tx:
                    yield CountedTx(tx.connection)

        return CountedDatabase(url, role="rag_api", connections=8)


class House:
    """The verbs of the API, and one worker that is run by hand."""

    def __init__(self, store: Store, settings: Settings, customer_id: CustomerId) -> None:
        self.store = store
        self.settings = settings
        self.customer_id = customer_id
        self.registry = Registry.from_settings(settings)
        self.bell = Bell(settings.redis_url)
        self.counted = Counted()
        self.database = self.counted.of(settings.database_url)
        self.indexes = Indexes(
            database=self.database,
            bell=self.bell,
            registry=self.registry,
            limits=settings.limits,
        )
        self.files = Files(
            database=store.api,
            blobs=Blobs(settings.blobs_url),
            limits=settings.limits,
            spool_dir=settings.data_dir / "spool",
        )
        self.extractor = Extractor()
        self.models = Models(registry=self.registry, settings=settings)
        self.conductor = self.worker()

    def worker(self) -> Conductor:
        limits = self.settings.limits
        return Conductor(
            worker_id=WorkerId(uuid4()),
            database=self.store.worker,
            blobs=Blobs(self.settings.blobs_url),
            fetcher=Fetcher(limits=limits, allow_list=AllowList.parse(())),
            extractor=self.extractor,
            models=self.models,
            settings=self.settings,
        )

    @asynccontextmanager
    async def opened(self) -> AsyncIterator["House"]:
        await self.database.open()
        yield self
        self.extractor.close()
        self.models.close()
        await self.bell.close()
        await self.database.close()

    async def upload(self, *texts: str) -> list[SourceId]:
        """One RAG with a document of each text, not worked on yet; in the order given."""
        uploads = [
            await self.files.receive(
                self.customer_id, pieces(each.encode()), filename="a.txt", media_type="text/plain"
            )
            for each in texts
        ]
        verbs = Rags(
            database=self.store.api,
            bell=self.bell,
            registry=self.registry,
            settings=self.settings,
        )
        new = NewRag(name="shop", sources=NewSources(uploads=tuple(uploads)))
        rag = await verbs.create(self.customer_id, new)
        return [source.id for source in rag.sources]

    async def replace(self, source_id: SourceId, *, data: bytes) -> None:
        """Another file in place of the document's own."""
        upload = await self.files.receive(
            self.customer_id, pieces(data), filename="b.pdf", media_type="application/pdf"
        )
        row = await self.store.source_row(source_id)
        async with self.store.api.transaction(customer_id=self.customer_id) as tx:
            file = await files.insert(
                tx, customer_id=self.customer_id, upload=upload, type="rag", kept=False
            )
            await sources.replace(
                tx,
                customer_id=self.customer_id,
                rag_id=RagId(row["rag_id"]),
                source_id=source_id,
                file_id=file.id,
                original_bytes=upload.file_bytes,
            )

    async def rows(self, count: int) -> list[SourceId]:
        """Documents that no worker has seen, by rows alone."""
        rag_id = await self.store.rag(self.customer_id)
        rows = await self.store.fetch(
            "INSERT INTO sources (customer_id, rag_id, url, name)"
            " SELECT %(customer_id)s, %(rag_id)s, 'http://example.org/' || n, 'a page'"
            " FROM generate_series(1, %(count)s) n RETURNING id",
            customer_id=self.customer_id,
            rag_id=rag_id,
            count=count,
        )
        return [row["id"] for row in rows]

    async def folder(self) -> UUID:
        rows = await self.store.fetch(
            "INSERT INTO folders (customer_id, name) VALUES (%(id)s, 'a folder') RETURNING id",
            id=self.customer_id,
        )
        folder_id: UUID = rows[0]["id"]
        return folder_id

    async def work(self) -> None:
        """Until nothing is due."""
        while claim := await self.conductor.claim(idle=True):
            await self.conductor.conduct(claim, held=Held(claim))

    async def ask(self, *ids: object, model: str = E5) -> list[RagIndex | CallerError]:
        return await self.indexes.ensure(
            self.customer_id, [request(each, model=model) for each in ids]
        )

    async def compute(self, source_id: SourceId, *, model: str = E5) -> RagIndex:
        return await self.indexes.compute(self.customer_id, source_id, model=model)

    async def chunk_texts(self, index_id: IndexId) -> list[str]:
        """Of the live generation."""
        rows = await self.store.fetch(
            "SELECT c.text FROM chunks c JOIN indexes i ON i.id = c.index_id"
            " AND c.generation = i.generation_live WHERE i.id = %(id)s ORDER BY c.ordinal",
            id=index_id,
        )
        return [row["text"] for row in rows]

    async def count_indexes(self) -> int:
        rows = await self.store.fetch(
            "SELECT count(*) AS count FROM indexes i JOIN profiles p ON p.id = i.profile_id"
            " AND p.public_model IS NOT NULL"
        )
        count: int = rows[0]["count"]
        return count

    def bells(self) -> int:
        with redis.Redis.from_url(self.settings.redis_url) as client:
            return int(client.zcard(jobs.QUEUE))  # type: ignore[arg-type]


def request(document_id: object, *, model: str = E5, create: bool = True) -> RagIndexRequest:
    return RagIndexRequest(document_id=str(document_id), model=model, create_if_missing=create)


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    yield data


def status(answer: RagIndex | CallerError) -> RagIndexStatus:
    assert isinstance(answer, RagIndex), answer
    return answer.status


@pytest.fixture
async def house(store: Store, settings: Settings) -> AsyncIterator[House]:
    async with House(store, settings, await store.customer()).opened() as house:
        yield house


@pytest.fixture
async def limited(store: Store, settings: Settings) -> AsyncIterator[House]:
    """A house where the rag indexes of one document of three paragraphs fill the limit."""
    limits = msgspec.structs.replace(settings.limits, customer_indexed_bytes_max=2_000)
    narrow = msgspec.structs.replace(settings, limits=limits)
    async with House(store, narrow, await store.customer()).opened() as house:
        yield house


# Asking ------------------------------------------------------------------------------------------


async def test_one_bad_id_in_a_batch_of_a_hundred_spoils_only_its_own_entry(house: House) -> None:
    ids: list[object] = [*await house.rows(99)]
    ids.insert(41, "no-such-document")

    answers = await house.ask(*ids)

    assert isinstance(answers.pop(41), SourceNotFound)
    assert {status(answer) for answer in answers} == {RagIndexStatus.CREATED}
    assert await house.count_indexes() == 99


async def test_a_batch_of_a_hundred_takes_no_more_statements_than_one_of_two(house: House) -> None:
    ids = await house.rows(100)
    await house.ask(*ids[:2])
    few = house.counted.statements

    await house.ask(*ids)

    assert house.counted.statements - few == few <= STATEMENTS_MAX
    house.counted.statements = 0
    await house.ask(*ids)
    assert house.counted.statements == 2  # nothing to be made: only looked at


async def test_a_batch_of_a_hundred_is_answered_in_less_than_a_second(house: House) -> None:
    ids = await house.rows(100)
    await house.ask(ids[0])
    started = time.monotonic()

    await house.ask(*ids)

    assert time.monotonic() - started < 1.0


async def test_two_models_of_one_document_are_two_indexes(house: House) -> None:
    source_id = (await house.rows(1))[0]

    answers = await house.indexes.ensure(
        house.customer_id, [request(source_id), request(source_id, model=LARGE)]
    )

    assert [status(answer) for answer in answers] == [RagIndexStatus.CREATED] * 2
    made = await house.indexes.list(house.customer_id, source_id)
    assert list(made) == answers
    assert {index.model for index in made} == {E5, LARGE}


async def test_the_same_document_twice_in_a_batch_is_one_index(house: House) -> None:
    source_id = (await house.rows(1))[0]

    first, second = await house.ask(source_id, str(source_id).upper())

    assert first == second
    assert await house.count_indexes() == 1


async def test_eight_callers_at_once_make_one_index_of_each_document(house: House) -> None:
    ids = await house.rows(20)

    answers = await asyncio.gather(
        *[house.ask(*(ids if number % 2 else reversed(ids))) for number in range(8)]
    )

    assert await house.count_indexes() == 20
    told = {answer.id for batch in answers for answer in batch if isinstance(answer, RagIndex)}
    assert len(told) == 20


async def test_an_index_that_is_not_to_be_made_is_told_missing(house: House) -> None:
    source_id = (await house.rows(1))[0]
    only_look = [request(source_id, create=False)]

    assert isinstance(
        (await house.indexes.ensure(house.customer_id, only_look))[0], RagIndexNotFound
    )
    assert await house.count_indexes() == 0

    await house.compute(source_id)
    assert status((await house.indexes.ensure(house.customer_id, only_look))[0]) is (
        RagIndexStatus.CREATED
    )


async def test_a_folder_cannot_be_indexed_and_has_the_same_id_each_time(house: House) -> None:
    folder_id = await house.folder()

    first, second = await house.ask(folder_id), await house.ask(folder_id)

    assert isinstance(first[0], RagIndex)
    assert first == second
    assert (
        first[0].id != (await house.indexes.compute(house.customer_id, folder_id, model=LARGE)).id
    )
    assert (first[0].status, first[0].progress, first[0].used_bytes) == (
        RagIndexStatus.CANNOT_INDEX_FOLDER,
        0.0,
        0,
    )
    assert await house.indexes.list(house.customer_id, folder_id) == ()
    with pytest.raises(RagIndexNotFound):
        await house.indexes.delete(house.customer_id, folder_id, first[0].id)


Verb = Callable[[House, UUID], Awaitable[object]]


@pytest.mark.parametrize(
    "verb",
    [
        lambda house, entry_id: house.indexes.compute(house.customer_id, entry_id, model=E5),
        lambda house, entry_id: house.indexes.list(house.customer_id, entry_id),
        lambda house, entry_id: house.indexes.delete(house.customer_id, entry_id, IndexId(uuid4())),
    ],
    ids=["compute", "list", "delete"],
)
async def test_unknown_documents_and_those_of_others_do_not_exist(house: House, verb: Verb) -> None:
    other = (await house.rows(1))[0]
    house.customer_id = await house.store.customer("somebody else")

    for entry_id in (uuid4(), other):
        with pytest.raises(SourceNotFound):
            await verb(house, entry_id)
    assert await house.count_indexes() == 0


@pytest.mark.parametrize("count", [0, 101])
async def test_a_batch_has_one_to_a_hundred_items(house: House, count: int) -> None:
    with pytest.raises(InvalidRequest):
        await house.ask(*[uuid4()] * count)


async def test_an_unknown_model_is_refused(house: House) -> None:
    with pytest.raises(InvalidRequest):
        await house.ask(uuid4(), model="a-model")


async def test_one_bell_is_rung_for_a_batch_and_none_when_nothing_is_new(house: House) -> None:
    ids = await house.rows(3)

    await house.ask(*ids)
    assert house.bells() == 1
    await house.ask(*ids)
    assert house.bells() == 1


# Building ----------------------------------------------------------------------------------------


async def test_an_index_of_a_ready_document_copies_its_vectors_and_embeds_nothing(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    source_id = (await house.upload(text(4)))[0]
    caplog.set_level("INFO")
    await house.work()
    assert embedded(caplog) > 1
    caplog.clear()

    await house.compute(source_id)
    await house.compute(source_id, model=LARGE)
    await house.work()

    assert embedded(caplog) == 0
    made = await house.indexes.list(house.customer_id, source_id)
    assert [(index.status, index.progress) for index in made] == [
        (RagIndexStatus.SUCCEEDED, 100.0)
    ] * 2
    original_bytes = len(text(4).encode())
    assert [index.used_bytes for index in made] == [original_bytes] * 2
    vectors = await house.store.fetch(
        "SELECT ordinal FROM chunks GROUP BY ordinal"
        " HAVING count(*) <> 3 OR count(DISTINCT (text, embedding::text)) <> 1"
    )
    assert vectors == []


def embedded(caplog: pytest.LogCaptureFixture) -> int:
    """Passages that went through the model."""
    return sum(
        record.__dict__["passages"]
        for record in caplog.records
        if record.getMessage() == "embedded"
    )


async def test_an_index_asked_for_before_the_text_is_there_succeeds_with_it(house: House) -> None:
    source_id = (await house.upload(text(2)))[0]
    assert (await house.compute(source_id)).status is RagIndexStatus.CREATED

    await house.work()

    assert (await house.compute(source_id)).status is RagIndexStatus.SUCCEEDED
    assert (await house.store.source_row(source_id))["state"] == "ready"


async def test_indexes_that_are_built_side_by_side_pay_for_each_passage_once(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    source_id = (await house.upload(text(150)))[0]
    caplog.set_level("INFO")
    await house.compute(source_id)
    await house.compute(source_id, model=LARGE)

    primary = await house.store.acquire(await house.store.claimed_source(), text=text(150))
    claims = [await house.store.claimed_index() for _ in range(2)]
    async with asyncio.timeout(60):
        await asyncio.gather(
            *[house.conductor.conduct(claim, held=Held(claim)) for claim in (*claims, primary)]
        )

    made = await house.indexes.list(house.customer_id, source_id)
    assert {index.status for index in made} == {RagIndexStatus.SUCCEEDED}
    assert embedded(caplog) == len(await house.chunk_texts(made[0].id)) > 64


async def test_after_an_update_an_index_ends_with_the_new_text_only(house: House) -> None:
    source_id = (await house.upload(text(2)))[0]
    await house.work()
    await house.compute(source_id)
    await house.work()
    row = await house.store.source_row(source_id)
    old = await house.chunk_texts((await house.compute(source_id)).id)

    async with house.store.api.transaction(customer_id=house.customer_id) as tx:
        await sources.refresh(
            tx, customer_id=house.customer_id, rag_id=RagId(row["rag_id"]), source_id=source_id
        )
    again = await house.compute(source_id)
    assert (again.status, again.progress) == (RagIndexStatus.PROCESSING, 0.0)
    assert await house.chunk_texts(again.id) == old  # which goes on answering

    primary = await house.store.acquire(await house.store.claimed_source(), text=text(2, first=100))
    await house.conductor.conduct(primary, held=Held(primary))
    await house.work()

    assert (await house.compute(source_id)).status is RagIndexStatus.SUCCEEDED
    new = await house.chunk_texts(again.id)
    assert "warehouse 100" in new[0]
    assert not any("warehouse 0" in each or "warehouse 1 " in each for each in new)


async def test_an_index_does_not_succeed_with_the_old_text_of_a_file_that_was_replaced(
    house: House,
) -> None:
    source_id = (await house.upload(text(2)))[0]
    await house.work()
    await house.compute(source_id)
    await house.work()
    assert (await house.compute(source_id)).status is RagIndexStatus.SUCCEEDED

    await house.replace(source_id, data=b"%PDF-1.7 and then nothing that is a PDF")
    await house.work()

    row = await house.store.source_row(source_id)
    assert (row["state"], row["refresh_failed"]) == ("ready", True)
    index = await house.compute(source_id)
    assert (index.status, index.progress) == (RagIndexStatus.FAILED, 0.0)
    assert await house.chunk_texts(index.id)  # which go on answering

    await house.replace(source_id, data=text(2, first=100).encode())
    await house.work()

    assert (await house.compute(source_id)).status is RagIndexStatus.SUCCEEDED


async def test_an_index_of_a_replaced_file_is_processing_until_its_last_try(
    house: House,
) -> None:
    source_id = (await house.upload(text(2)))[0]
    await house.work()
    await house.compute(source_id)
    await house.work()
    await house.replace(source_id, data=text(2, first=100).encode())

    claim = await house.store.claimed_source()
    await house.store.do(acquisition.postpone, claim=claim, delay_s=0.0, failure=PASSING)

    assert (await house.compute(source_id)).status is RagIndexStatus.PROCESSING
    await house.work()
    assert (await house.compute(source_id)).status is RagIndexStatus.SUCCEEDED


async def test_a_short_text_gets_no_index_and_its_document_stays_ready(house: House) -> None:
    source_id = (await house.upload("A text of a few words."))[0]
    await house.work()
    await house.compute(source_id)
    before = await house.store.source_row(source_id)

    await house.work()

    index = await house.compute(source_id)
    assert (index.status, index.used_bytes) == (RagIndexStatus.DOCUMENT_TOO_SMALL, 0)
    assert await house.store.source_row(source_id) == before
    await house.work()
    assert (await house.compute(source_id)).status is RagIndexStatus.DOCUMENT_TOO_SMALL


async def test_an_index_over_the_limit_waits_for_room_and_is_then_made(limited: House) -> None:
    first, second = await limited.upload(text(3), text(3, first=50))
    await limited.work()
    await limited.compute(first)
    await limited.work()
    await limited.compute(second)
    await limited.work()

    assert (await limited.compute(second)).status is RagIndexStatus.RAG_LIMIT_EXCEEDED
    overview = await limited.indexes.overview(limited.customer_id)
    original_bytes = len(text(3).encode())
    assert (overview.used_bytes, overview.bytes_max) == (original_bytes, 2_000)
    assert overview.models == {E5: original_bytes}

    index = (await limited.indexes.list(limited.customer_id, first))[0]
    await limited.indexes.delete(limited.customer_id, first, index.id)
    assert (await limited.compute(second)).status is RagIndexStatus.PROCESSING
    await limited.work()

    assert (await limited.compute(second)).status is RagIndexStatus.SUCCEEDED


# Removing ----------------------------------------------------------------------------------------


async def test_a_removed_index_is_told_as_it_was_and_made_afresh_when_asked_for(
    house: House,
) -> None:
    source_id = (await house.upload(text(2)))[0]
    await house.work()
    await house.compute(source_id)
    await house.work()
    first = (await house.indexes.list(house.customer_id, source_id))[0]

    assert await house.indexes.delete(house.customer_id, source_id, first.id) == first
    assert await house.indexes.list(house.customer_id, source_id) == ()
    with pytest.raises(RagIndexNotFound):
        await house.indexes.delete(house.customer_id, source_id, first.id)

    second = await house.compute(source_id)
    assert (second.status, second.id == first.id) == (RagIndexStatus.CREATED, False)


async def test_the_index_that_a_rag_answers_from_cannot_be_removed(house: House) -> None:
    source_id = (await house.upload(text(2)))[0]
    await house.work()
    primary = await house.store.index_row(source_id)

    with pytest.raises(RagIndexNotFound):
        await house.indexes.delete(house.customer_id, source_id, IndexId(primary["id"]))


async def test_a_worker_stops_quietly_when_the_index_it_builds_is_removed(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    source_id = (await house.upload(text(400)))[0]
    # Its primary index is put off, so that there are no vectors to copy.
    primary = await house.store.acquire(await house.store.claimed_source(), text=text(400))
    await house.store.do(indexes.postpone, claim=primary, delay_s=3_600.0, failure=None)
    index = await house.compute(source_id)
    claim = await house.conductor.claim(idle=True)
    assert claim
    building = asyncio.create_task(house.conductor.conduct(claim, held=Held(claim)))
    async with asyncio.timeout(20):
        while (await house.compute(source_id)).progress == 0.0:
            await asyncio.sleep(0.05)

    was = await house.indexes.delete(house.customer_id, source_id, index.id)
    await building

    assert was.status is RagIndexStatus.PROCESSING
    assert 0.0 < was.progress < 100.0
    assert "superseded" in [record.getMessage() for record in caplog.records]
    assert await house.indexes.list(house.customer_id, source_id) == ()
    assert (await house.compute(source_id)).status is RagIndexStatus.CREATED
