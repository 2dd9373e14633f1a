"""The sweep: what was deleted leaves no row and no object, in bounded steps."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import redis
from fix_store import KILLED, PASSING, Store

from engine import jobs
from engine.access import Operator
from engine.blobs import Blobs
from engine.config import Limits, Settings
from engine.embedding import Registry
from engine.errors import CustomerNotFound
from engine.files import Files
from engine.jobs import Bell
from engine.models import CustomerId, NewRag, NewSources, Rag, Upload
from engine.rags import Rags
from engine.store import acquisition, purge
from engine.store import blobs as blob_rows
from engine.store.blobs import Blob
from workers.sweep import Sweep

pytestmark = pytest.mark.anyio

ROUNDS_MAX = 10
TABLES_OF_SOURCES = ("sources", "indexes", "documents", "chunks")


class Yard:
    """The verbs of the API over one database, and a sweep that is run by hand."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self.store = store
        self.blobs_dir = Path(settings.blobs_url.removeprefix("file://"))
        self.blobs = Blobs(settings.blobs_url)
        self.bell = Bell(settings.redis_url)
        self.limits: Limits = msgspec.structs.replace(settings.limits, orphan_age_s=0.001)
        self.sweep = self.sweep_of(store)
        self.operator = Operator(database=store.operator)
        self.rags = Rags(
            database=store.api,
            bell=self.bell,
            registry=Registry.from_settings(settings),
            settings=settings,
        )
        self.files = Files(
            database=store.api,
            blobs=self.blobs,
            limits=settings.limits,
            spool_dir=settings.data_dir / "spool",
        )

    def sweep_of(self, store: Store, *, limits: Limits | None = None) -> Sweep:
        return Sweep(
            database=store.worker, blobs=self.blobs, bell=self.bell, limits=limits or self.limits
        )

    async def upload(self, customer_id: CustomerId, content: bytes = b"a text") -> Upload:
        async def pieces() -> AsyncIterator[bytes]:
            yield content

        return await self.files.receive(
            customer_id, pieces(), filename="a.txt", media_type="text/plain"
        )

    async def rag(self, customer_id: CustomerId, *contents: bytes) -> Rag:
        uploads = tuple([await self.upload(customer_id, content) for content in contents])
        new = NewRag(name="r", sources=NewSources(uploads=uploads))
        return await self.rags.create(customer_id, new)

    async def run_dry(self) -> None:
        """Sweep until a round finds nothing."""
        for _ in range(ROUNDS_MAX):
            await asyncio.sleep(0.01)
            if await self.sweep.once() == 0:
                return
        raise AssertionError(f"still something to do after {ROUNDS_MAX} rounds")

    def objects(self) -> list[Path]:
        return [path for path in self.blobs_dir.rglob("*") if path.is_file()]

    async def rows(self) -> dict[str, int]:
        """How many rows each table has, without the empty ones."""
        counts = await self.store.fetch(
            """
            SELECT (SELECT count(*) FROM customers) AS customers,
                   (SELECT count(*) FROM accesskeys) AS accesskeys,
                   (SELECT count(*) FROM blobs) AS blobs, (SELECT count(*) FROM files) AS files,
                   (SELECT count(*) FROM rags) AS rags,
                   (SELECT count(*) FROM profiles) AS profiles,
                   (SELECT count(*) FROM sources) AS sources,
                   (SELECT count(*) FROM documents) AS documents,
                   (SELECT count(*) FROM indexes) AS indexes,
                   (SELECT count(*) FROM chunks) AS chunks
            """
        )
        return {table: count for table, count in counts[0].items() if count}


@pytest.fixture
async def yard(store: Store, settings: Settings) -> AsyncIterator[Yard]:
    made = Yard(store, settings)
    yield made
    await made.bell.close()


async def test_a_deleted_rag_leaves_no_row_and_no_object(yard: Yard) -> None:
    customer_id = await yard.store.customer()
    rag = await yard.rag(customer_id, b"one", b"two", b"three")
    await yard.store.ingest()
    half = await yard.store.acquire(await yard.store.claimed_source())
    await yard.store.store(half, ordinals=range(2))
    assert len(yard.objects()) == 3
    await yard.rags.delete(customer_id, rag.id)
    await yard.run_dry()
    assert await yard.rows() == {"customers": 1}
    assert yard.objects() == []


async def test_a_deleted_source_goes_and_its_neighbour_with_the_same_content_stays(
    yard: Yard,
) -> None:
    customer_id = await yard.store.customer()
    rag = await yard.rag(customer_id, b"the same", b"the same")
    await yard.store.ingest()
    await yard.store.ingest()
    gone, kept = rag.sources
    await yard.rags.delete_source(customer_id, rag.id, gone.id)
    await yard.run_dry()
    rows = await yard.rows()
    assert {table: rows[table] for table in (*TABLES_OF_SOURCES, "files", "blobs")} == {
        "sources": 1, "indexes": 1, "documents": 1, "chunks": 3, "files": 1, "blobs": 1
    }  # fmt: skip
    assert (await yard.rags.get(customer_id, rag.id)).sources[0].id == kept.id
    assert len(yard.objects()) == 1


async def test_a_kept_file_outlives_its_sources_and_goes_with_its_own_deletion(
    yard: Yard,
) -> None:
    customer_id = await yard.store.customer()
    file = await yard.files.create(customer_id, await yard.upload(customer_id))
    new = NewRag(name="r", sources=NewSources(file_ids=(file.id,)))
    rag = await yard.rags.create(customer_id, new)
    await yard.rags.delete(customer_id, rag.id)
    await yard.run_dry()
    assert await yard.rows() == {"customers": 1, "files": 1, "blobs": 1}
    assert len(yard.objects()) == 1
    await yard.files.delete(customer_id, file.id, force=False)
    await yard.run_dry()
    assert await yard.rows() == {"customers": 1}
    assert yard.objects() == []


async def test_a_file_deleted_by_force_takes_its_sources_along(yard: Yard) -> None:
    customer_id = await yard.store.customer()
    file = await yard.files.create(customer_id, await yard.upload(customer_id))
    new = NewRag(name="r", sources=NewSources(file_ids=(file.id,)))
    rag = await yard.rags.create(customer_id, new)
    await yard.store.ingest()
    await yard.files.delete(customer_id, file.id, force=True)
    assert (await yard.rags.get(customer_id, rag.id)).sources == ()
    await yard.run_dry()
    assert await yard.rows() == {"customers": 1, "rags": 1, "profiles": 1}
    assert yard.objects() == []


async def test_bytes_of_an_upload_stay_until_they_are_old(yard: Yard) -> None:
    customer_id = await yard.store.customer()
    await yard.upload(customer_id)
    patient = yard.sweep_of(
        yard.store, limits=msgspec.structs.replace(yard.limits, orphan_age_s=3_600)
    )
    await patient.once()
    assert len(yard.objects()) == 1
    await yard.run_dry()
    assert (yard.objects(), await yard.rows()) == ([], {"customers": 1})


async def test_a_purged_customer_leaves_nothing_and_its_neighbour_everything(yard: Yard) -> None:
    going, _, _ = await yard.operator.create_customer("going")
    staying, _, _ = await yard.operator.create_customer("staying")
    for customer in (going, staying):
        await yard.rag(customer.id, b"one", b"two")
        await yard.files.create(customer.id, await yard.upload(customer.id, b"kept"))
    for _ in range(4):
        await yard.store.ingest()
    before = await yard.operator.close_customer(going.id)
    assert (before.rags, before.sources, before.files, before.accesskeys) == (1, 2, 3, 1)
    assert (before.chunks, before.documents, before.blobs) == (6, 2, 3)
    await yard.run_dry()
    left = await yard.operator.remaining(going.id)
    assert set(msgspec.to_builtins(left).values()) == {0}
    assert [customer.id for customer in await yard.operator.customers()] == [staying.id]
    assert not (yard.blobs_dir / str(going.id)).exists()
    assert await yard.operator.remaining(staying.id) == before
    with pytest.raises(CustomerNotFound):
        await yard.operator.close_customer(going.id)


async def test_what_a_request_adds_to_a_customer_being_purged_goes_too(yard: Yard) -> None:
    customer, _, _ = await yard.operator.create_customer("going")
    await yard.operator.close_customer(customer.id)
    await yard.rag(customer.id, b"late")
    await yard.files.create(customer.id, await yard.upload(customer.id, b"later"))
    await yard.run_dry()
    assert (await yard.rows(), yard.objects()) == ({}, [])


async def test_every_step_touches_no_more_rows_than_its_limit(yard: Yard) -> None:
    customer_id = await yard.store.customer()
    rag = await yard.rag(customer_id, b"one", b"two", b"three", b"four", b"five")
    for _ in range(5):
        await yard.store.ingest(chunk_count=1)
    await yard.rags.delete(customer_id, rag.id)
    for step in (
        purge.delete_sources_of_deleted_rags,
        purge.delete_chunks_of_deleted_sources,
        purge.delete_rows_of_deleted_sources,
        purge.delete_files,
    ):
        touched = [await yard.store.do(step, limit=2) for _ in range(4)]
        assert touched == [2, 2, 1, 0], step.__name__
    locked = await yard.store.do(blob_rows.unused, age_s=0.001, limit=2)
    assert len(locked) == 2


async def test_expired_leases_are_ended_a_bounded_number_at_a_time(yard: Yard) -> None:
    customer_id = await yard.store.customer()
    await yard.rag(customer_id, b"1", b"2", b"3", b"4", b"5", b"6")
    for _ in range(3):
        await yard.store.acquire(await yard.store.claimed_source())
        await yard.store.claimed_source()
    for table, step in (
        ("sources", purge.expire_sources),
        ("indexes", purge.expire_indexes),
    ):
        await yard.store.expire(table=table)
        touched = [
            await yard.store.do(step, limit=2, faults_max=3, killed=KILLED) for _ in range(3)
        ]
        assert touched == [2, 1, 0]


async def test_only_one_process_at_a_time_sweeps(store: Store) -> None:
    async with store.worker.dedicated() as first, store.worker.dedicated() as second:
        assert await purge.sole(first)
        assert not await purge.sole(second)
    async with store.worker.dedicated() as third:
        async with asyncio.timeout(5):
            while not await purge.sole(third):
                await asyncio.sleep(0.02)


async def test_the_sweep_rings_for_what_is_due(yard: Yard, redis_url: str) -> None:
    customer_id = await yard.store.customer()
    await yard.store.source(customer_id, await yard.store.rag(customer_id))
    with redis.Redis.from_url(redis_url) as client:
        assert client.zcard(jobs.QUEUE) == 0
        await yard.sweep.once()
        assert client.zcard(jobs.QUEUE) == 1


async def test_the_sweep_is_silent_while_nothing_is_due(yard: Yard, redis_url: str) -> None:
    customer_id = await yard.store.customer()
    await yard.store.source(customer_id, await yard.store.rag(customer_id))
    claim = await yard.store.claimed_source()
    await yard.store.do(acquisition.postpone, claim=claim, delay_s=60, failure=PASSING)
    await yard.sweep.once()
    with redis.Redis.from_url(redis_url) as client:
        assert client.zcard(jobs.QUEUE) == 0


async def test_a_lease_ends_while_the_worker_that_held_it_finishes_and_neither_waits(
    yard: Yard,
) -> None:
    """Finish locks the source before the index; the sweep passes over what is locked."""
    customer_id = await yard.store.customer()
    await yard.rag(customer_id, b"one")
    index = await yard.store.acquire(await yard.store.claimed_source())
    await yard.store.expire(table="indexes")
    async with yard.store.worker.transaction() as tx:
        await tx.run("SELECT FROM sources WHERE id = %(id)s FOR UPDATE", {"id": index.source_id})
        async with asyncio.timeout(5):
            ended = await yard.store.do(purge.expire_indexes, limit=9, faults_max=3, killed=KILLED)
        assert ended == 0
    await yard.store.finish(index, chunk_count=1)
    assert (await yard.store.source_row(index.source_id))["state"] == "ready"


async def test_a_file_that_is_just_being_given_a_source_is_passed_over(yard: Yard) -> None:
    customer_id = await yard.store.customer()
    file = await yard.files.create(customer_id, await yard.upload(customer_id))
    rag_id = await yard.store.rag(customer_id)
    await yard.store.execute("UPDATE files SET kept = false")
    async with yard.store.worker.transaction() as slow:
        await slow.run("SELECT FROM files FOR UPDATE")
        assert await yard.store.do(purge.delete_files, limit=9) == 0
        await slow.run(
            "INSERT INTO sources (customer_id, rag_id, file_id, name)"
            " VALUES (%(customer_id)s, %(rag_id)s, %(file_id)s, 'n')",
            {"customer_id": customer_id, "rag_id": rag_id, "file_id": file.id},
        )
    assert await yard.store.do(purge.delete_files, limit=9) == 0
    unused: list[Blob] = await yard.store.do(blob_rows.unused, age_s=0.001, limit=9)
    assert unused == []
