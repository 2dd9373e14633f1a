"""rag indexes in their rows: when they become due, what they count, and how they go.

The tests take the part of the API and of workers, one statement of the store at a time.
"""

import asyncio
from typing import Any
from uuid import uuid4

import msgspec
import psycopg
import pytest
from fix_store import FINAL, KILLED, LEASE_S, PASSING, Store, document

from engine.config import Limits
from engine.entries import OVER_LIMIT, RagIndexStatus
from engine.errors import DocumentTooSmall, RagLimitExceeded, Superseded
from engine.models import CustomerId, Failure, IndexId, RagId, SourceId, WorkerId
from engine.store import (
    Tx,
    acquisition,
    documents,
    indexes,
    purge,
    ragindexes,
    rags,
    sources,
)
from engine.store.claims import ClaimedIndex, ClaimedSource
from engine.store.ragindexes import Pair, PublicModel, RagIndexRow

pytestmark = pytest.mark.anyio

E5 = PublicModel(name="e5_mistral_7b_instruct", embedding_model="a-model", tokens_max=256)
LARGE = PublicModel(name="multilingual_e5_large_instruct", embedding_model="a-model", tokens_max=64)
LIMITS = Limits(customer_indexed_bytes_max=1_000, indexed_document_bytes_min=500)
OVER = Failure(code=OVER_LIMIT, message="Too much.", retryable=False, remedy="Delete some.")
LONG = "x" * 500


class Scene:
    """Documents of one customer, and rag indexes that are asked for."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.customer_id: CustomerId
        self.rag_id: RagId

    async def set_up(self) -> None:
        self.customer_id = await self.store.customer()
        self.rag_id = await self.store.rag(self.customer_id)

    async def source(self) -> SourceId:
        return await self.store.source(self.customer_id, self.rag_id)

    async def ready(self, *, original_bytes: int = 0) -> SourceId:
        """A source that is ready, in three chunks."""
        source_id = await self.source()
        await self.store.ingest(text=LONG)
        await self.weigh(source_id, original_bytes=original_bytes)
        return source_id

    async def weigh(self, source_id: SourceId, *, original_bytes: int) -> None:
        await self.store.execute(
            "UPDATE sources SET original_bytes = %(bytes)s WHERE id = %(id)s",
            bytes=original_bytes,
            id=source_id,
        )

    async def ask(self, source_id: SourceId, model: PublicModel = E5) -> int:
        """As the API: how many were made."""
        pair = Pair(source_id=source_id, rag_id=self.rag_id, model=model)
        async with self.store.api.transaction(customer_id=self.customer_id) as tx:
            await ragindexes.lock(
                tx, customer_id=self.customer_id, rag_ids=[self.rag_id], source_ids=[source_id]
            )
            return await ragindexes.insert(tx, customer_id=self.customer_id, pairs=[pair])

    async def rows(self, source_id: SourceId) -> list[RagIndexRow]:
        async with self.store.api.transaction(customer_id=self.customer_id) as tx:
            return await ragindexes.of_sources(
                tx, customer_id=self.customer_id, source_ids=[source_id]
            )

    async def row(self, source_id: SourceId) -> dict[str, Any]:
        """The whole row of the only rag index of a source."""
        found = await self.store.fetch(
            "SELECT i.* FROM indexes i JOIN profiles p ON p.id = i.profile_id"
            " WHERE i.source_id = %(id)s AND p.public_model IS NOT NULL",
            id=source_id,
        )
        assert len(found) == 1
        return found[0]

    async def status(self, source_id: SourceId) -> RagIndexStatus:
        return (await self.rows(source_id))[0].noun().status

    async def used(self) -> dict[str, int]:
        async with self.store.api.transaction(customer_id=self.customer_id) as tx:
            return await ragindexes.used_bytes(tx, customer_id=self.customer_id)

    async def claimed(self, source_id: SourceId) -> ClaimedIndex:
        claim = await self.store.claimed_index()
        assert claim.source_id == source_id
        return claim

    async def admit(
        self, claim: ClaimedIndex, *, text: str = LONG, limits: Limits = LIMITS
    ) -> None:
        await self.store.do(ragindexes.admit, claim=claim, text=text, limits=limits)

    async def build(self, source_id: SourceId) -> ClaimedIndex:
        """Work the rag index of this source to its end."""
        claim = await self.claimed(source_id)
        await self.admit(claim)
        await self.store.store(claim, ordinals=range(3))
        await self.store.finish(claim, chunk_count=3)
        return claim

    async def refresh(self, source_id: SourceId) -> None:
        async with self.store.api.transaction(customer_id=self.customer_id) as tx:
            await sources.refresh(
                tx, customer_id=self.customer_id, rag_id=self.rag_id, source_id=source_id
            )

    async def bury(self, index_id: IndexId) -> bool:
        async with self.store.api.transaction(customer_id=self.customer_id) as tx:
            await rags.lock(tx, customer_id=self.customer_id, rag_id=self.rag_id, strength="update")
            return await ragindexes.bury(tx, customer_id=self.customer_id, index_id=index_id)

    async def sweep(self) -> None:
        for _ in range(3):
            await self.store.do(purge.delete_retired_chunks, limit=1_000)
            await self.store.do(purge.delete_retired_documents, limit=1_000)
            await self.store.do(purge.delete_chunks_of_deleted_sources, limit=1_000)
            await self.store.do(purge.delete_rows_of_deleted_sources, limit=1_000)


@pytest.fixture
async def scene(store: Store) -> Scene:
    scene = Scene(store)
    await scene.set_up()
    return scene


# When it is made -------------------------------------------------------------------------------


async def test_an_index_of_a_text_still_to_come_waits_and_is_due_when_the_text_is_there(
    scene: Scene,
) -> None:
    source_id = await scene.source()
    assert await scene.ask(source_id) == 1
    row = await scene.row(source_id)
    assert (row["state"], row["due_at"], row["generation"]) == ("pending", None, 0)
    assert await scene.status(source_id) is RagIndexStatus.CREATED

    await scene.store.ingest(text=LONG)

    row = await scene.row(source_id)
    assert (row["state"], row["generation"]) == ("pending", 1)
    assert row["due_at"] is not None
    await scene.build(source_id)
    assert await scene.status(source_id) is RagIndexStatus.SUCCEEDED


async def test_an_index_of_a_text_that_is_there_is_due_at_once(scene: Scene) -> None:
    source_id = await scene.ready()
    await scene.ask(source_id)

    claim = await scene.claimed(source_id)

    assert claim.generation == 1


async def test_a_text_that_is_committed_while_an_index_is_asked_for_wakes_it(
    scene: Scene, store: Store
) -> None:
    source_id = await scene.source()
    claim = await store.claimed_source()
    async with store.worker.transaction() as tx:
        await commit_text(tx, claim=claim)
        asking = asyncio.create_task(scene.ask(source_id))
        await asyncio.sleep(0.2)
        assert not asking.done()  # it waits for what becomes of the text
    assert await asking == 1

    row = await scene.row(source_id)
    assert row["due_at"] is not None
    assert row["generation"] == 1


async def commit_text(tx: Any, *, claim: ClaimedSource) -> None:
    revision = await acquisition.acquired(tx, claim=claim, name=claim.name, original_bytes=500)
    await documents.insert(
        tx,
        customer_id=claim.customer_id,
        rag_id=claim.rag_id,
        source_id=claim.id,
        revision=revision,
        document=document(LONG),
        original_sha256=None,
    )
    await acquisition.start_index(
        tx, claim=claim, revision=revision, worker_id=WorkerId(uuid4()), lease_s=LEASE_S
    )


async def test_an_index_of_a_document_that_failed_without_a_text_fails_as_it_did(
    scene: Scene, store: Store
) -> None:
    source_id = await scene.source()
    await store.do(acquisition.fail, claim=await store.claimed_source(), failure=FINAL)
    await scene.ask(source_id)

    row = (await scene.rows(source_id))[0]

    assert row.noun().status is RagIndexStatus.FAILED
    assert row.failure == FINAL


async def test_an_index_that_failed_with_its_document_comes_back_with_it(
    scene: Scene, store: Store
) -> None:
    source_id = await scene.source()
    await store.do(acquisition.fail, claim=await store.claimed_source(), failure=FINAL)
    await scene.ask(source_id)

    await scene.refresh(source_id)
    assert await scene.status(source_id) is RagIndexStatus.PROCESSING
    await store.ingest(text=LONG)
    await scene.build(source_id)

    assert await scene.status(source_id) is RagIndexStatus.SUCCEEDED


async def test_an_index_of_a_document_that_kills_its_worker_fails_with_it(
    scene: Scene, store: Store
) -> None:
    source_id = await scene.source()
    await scene.ask(source_id)
    await store.claimed_source()
    await store.execute("UPDATE sources SET alone = true WHERE lease_until IS NOT NULL")
    await store.expire(table="sources")

    await store.do(purge.expire_sources, limit=10, faults_max=1, killed=KILLED)

    assert (await store.source_row(source_id))["state"] == "error"
    assert await scene.status(source_id) is RagIndexStatus.FAILED


async def test_an_index_goes_on_waiting_for_a_document_whose_worker_died_once(
    scene: Scene, store: Store
) -> None:
    source_id = await scene.source()
    await scene.ask(source_id)
    await store.claimed_source()
    await store.expire(table="sources")

    await store.do(purge.expire_sources, limit=10, faults_max=3, killed=KILLED)

    assert await scene.status(source_id) is RagIndexStatus.CREATED
    await store.ingest(text=LONG)
    await scene.build(source_id)
    assert await scene.status(source_id) is RagIndexStatus.SUCCEEDED


async def test_an_index_is_made_once_for_each_document_and_model(scene: Scene) -> None:
    source_id = await scene.ready()
    made = await asyncio.gather(*[scene.ask(source_id) for _ in range(3)])

    assert sorted(made) == [0, 0, 1]
    assert await scene.ask(source_id, LARGE) == 1
    assert [row.model for row in await scene.rows(source_id)] == [E5.name, LARGE.name]


async def test_the_profile_of_a_public_name_never_cuts_more_than_its_model_reads(
    scene: Scene, store: Store
) -> None:
    await scene.ask(await scene.ready(), LARGE)

    found = await store.fetch(
        "SELECT embedding_model, chunk_tokens FROM profiles WHERE public_model IS NOT NULL"
    )

    assert found == [{"embedding_model": "a-model", "chunk_tokens": 64}]


async def test_nothing_is_made_in_a_rag_that_was_deleted(scene: Scene, store: Store) -> None:
    source_id = await scene.ready()
    await store.do(rags.mark_deleted, customer_id=scene.customer_id, rag_id=scene.rag_id)

    assert await scene.ask(source_id) == 0


async def test_another_customer_makes_sees_and_removes_nothing(scene: Scene, store: Store) -> None:
    source_id = await scene.ready()
    await scene.ask(source_id)
    index_id = (await scene.rows(source_id))[0].id
    other = Scene(store)
    await other.set_up()

    assert await other.ask(source_id, LARGE) == 0
    assert await other.rows(source_id) == []
    assert not await other.bury(index_id)
    async with store.api.transaction(customer_id=other.customer_id) as tx:
        assert await ragindexes.targets(tx, customer_id=other.customer_id, ids=[source_id]) == []


# The source does not follow it -------------------------------------------------------------------


async def test_an_index_that_becomes_ready_leaves_its_document_as_it_was(
    scene: Scene, store: Store
) -> None:
    source_id = await scene.ready()
    await scene.ask(source_id)
    await store.execute(
        "UPDATE sources SET refresh_failed = true, failure = %(failure)s::jsonb",
        failure=msgspec.json.encode(PASSING).decode(),
    )
    before = await store.source_row(source_id)

    await scene.build(source_id)

    assert await store.source_row(source_id) == before


@pytest.mark.parametrize("end", ["fail", "postpone", "expire"])
async def test_an_index_that_does_not_become_ready_leaves_its_document_as_it_was(
    scene: Scene, store: Store, end: str
) -> None:
    source_id = await scene.ready()
    await scene.ask(source_id)
    before = await store.source_row(source_id)
    claim = await scene.claimed(source_id)

    if end == "fail":
        await store.do(indexes.fail, claim=claim, failure=FINAL)
    elif end == "postpone":
        await store.do(indexes.postpone, claim=claim, delay_s=1.0, failure=PASSING)
    else:
        await store.execute("UPDATE indexes SET alone = true WHERE lease_until IS NOT NULL")
        await store.expire(table="indexes")
        await store.do(purge.expire_indexes, limit=10, faults_max=1, killed=KILLED)
        assert await scene.status(source_id) is RagIndexStatus.FAILED

    assert await store.source_row(source_id) == before


async def test_an_index_of_an_older_text_cannot_become_ready(scene: Scene, store: Store) -> None:
    source_id = await scene.ready()
    await scene.ask(source_id)
    claim = await scene.claimed(source_id)
    await store.execute(
        "UPDATE sources SET revision = 2 WHERE id = %(id)s",
        id=source_id,
    )

    with pytest.raises(Superseded):
        await store.finish(claim, chunk_count=3)


async def test_while_a_document_is_read_anew_its_index_answers_and_is_processing(
    scene: Scene, store: Store
) -> None:
    source_id = await scene.ready()
    await scene.ask(source_id)
    await scene.build(source_id)

    await scene.refresh(source_id)
    row = await scene.row(source_id)
    assert (row["state"], row["generation_live"]) == ("ready", 1)
    assert await scene.status(source_id) is RagIndexStatus.PROCESSING

    await store.ingest(text=LONG + "new")
    row = await scene.row(source_id)
    assert (row["generation"], row["generation_live"]) == (2, 1)
    assert await scene.status(source_id) is RagIndexStatus.PROCESSING

    await scene.build(source_id)
    assert await scene.status(source_id) is RagIndexStatus.SUCCEEDED
    assert (await scene.row(source_id))["generation_live"] == 2


async def test_an_index_answers_for_the_text_there_is_when_a_refresh_failed(
    scene: Scene, store: Store
) -> None:
    source_id = await scene.ready()
    await scene.ask(source_id)
    await scene.build(source_id)
    await scene.refresh(source_id)

    claim = await store.claimed_source()
    await store.do(acquisition.postpone, claim=claim, delay_s=0.0, failure=PASSING)

    assert await scene.status(source_id) is RagIndexStatus.SUCCEEDED


# What it counts ----------------------------------------------------------------------------------


async def test_an_index_counts_the_bytes_of_the_original_from_its_beginning(scene: Scene) -> None:
    source_id = await scene.ready(original_bytes=700)
    await scene.ask(source_id)
    assert await scene.used() == {}

    await scene.admit(await scene.claimed(source_id))

    assert await scene.used() == {E5.name: 700}


async def test_an_original_without_bytes_counts_one(scene: Scene) -> None:
    source_id = await scene.ready(original_bytes=0)
    await scene.ask(source_id)
    await scene.build(source_id)

    assert (await scene.rows(source_id))[0].noun().used_bytes == 1


async def test_a_text_of_few_bytes_gets_no_index(scene: Scene, store: Store) -> None:
    source_id = await scene.ready(original_bytes=499)
    await scene.ask(source_id)
    claim = await scene.claimed(source_id)

    with pytest.raises(DocumentTooSmall):
        await scene.admit(claim, text="x" * 499)
    await scene.admit(claim, text="é" * 250)  # bytes count, not characters
    await store.do(indexes.fail, claim=claim, failure=OVER)

    assert await scene.used() == {}


async def test_the_index_that_a_rag_answers_from_is_neither_too_small_nor_counted(
    scene: Scene, store: Store
) -> None:
    await scene.source()
    claim = await store.acquire(await store.claimed_source())

    await scene.admit(claim, text="short", limits=Limits(customer_indexed_bytes_max=1))

    assert await scene.used() == {}


async def test_two_workers_at_once_let_only_one_of_two_indexes_pass_that_do_not_fit_together(
    scene: Scene,
) -> None:
    for _ in range(2):
        source_id = await scene.ready(original_bytes=600)
        await scene.ask(source_id)
    claims = [await scene.store.claimed_index() for _ in range(2)]

    ended = await asyncio.gather(*map(scene.admit, claims), return_exceptions=True)

    assert sorted(type(end).__name__ for end in ended) == ["NoneType", "RagLimitExceeded"]
    assert await scene.used() == {E5.name: 600}


async def test_a_second_attempt_does_not_count_beside_the_first(scene: Scene, store: Store) -> None:
    source_id = await scene.ready(original_bytes=600)
    await scene.ask(source_id)
    claim = await scene.claimed(source_id)
    await scene.admit(claim)
    await store.do(indexes.postpone, claim=claim, delay_s=0.0, failure=None)

    await scene.admit(await scene.claimed(source_id))

    assert await scene.used() == {E5.name: 600}


async def test_a_lost_claim_counts_nothing(scene: Scene, store: Store) -> None:
    source_id = await scene.ready(original_bytes=600)
    await scene.ask(source_id)
    claim = await scene.claimed(source_id)
    await store.do(indexes.postpone, claim=claim, delay_s=60.0, failure=None)

    with pytest.raises(Superseded):
        await scene.admit(claim)

    assert await scene.used() == {}


async def test_what_was_deleted_or_failed_gives_its_room_to_others(
    scene: Scene, store: Store
) -> None:
    failing, deleted, buried, killed = [await scene.ready(original_bytes=900) for _ in range(4)]
    for source_id in (failing, deleted, buried, killed):
        await scene.ask(source_id)
        claim = await scene.claimed(source_id)
        await scene.admit(claim)
        if source_id == failing:
            await store.do(indexes.fail, claim=claim, failure=FINAL)
        elif source_id == deleted:
            async with store.api.transaction(customer_id=scene.customer_id) as tx:
                await sources.mark_deleted(
                    tx, customer_id=scene.customer_id, rag_id=scene.rag_id, source_ids=[deleted]
                )
        elif source_id == buried:
            assert await scene.bury(claim.id)
        else:
            await store.execute("UPDATE indexes SET alone = true WHERE lease_until IS NOT NULL")
            await store.expire(table="indexes")
            await store.do(purge.expire_indexes, limit=10, faults_max=1, killed=KILLED)
        assert await scene.used() == {}


async def test_an_index_that_fails_on_a_new_text_counts_nothing_although_the_old_one_answers(
    scene: Scene, store: Store
) -> None:
    source_id = await scene.ready(original_bytes=600)
    await scene.ask(source_id)
    await scene.build(source_id)
    await scene.refresh(source_id)
    await store.ingest(text="short")

    await store.do(indexes.fail, claim=await scene.claimed(source_id), failure=FINAL)

    assert (await scene.row(source_id))["generation_live"] == 1
    assert await scene.status(source_id) is RagIndexStatus.FAILED
    assert await scene.used() == {}


async def test_an_index_whose_worker_dies_of_a_new_text_counts_nothing_although_the_old_one_answers(
    scene: Scene, store: Store
) -> None:
    source_id = await scene.ready(original_bytes=600)
    await scene.ask(source_id)
    await scene.build(source_id)
    await scene.refresh(source_id)
    await store.ingest(text=LONG + "deadly")
    await scene.admit(await scene.claimed(source_id))
    await store.execute("UPDATE indexes SET alone = true WHERE lease_until IS NOT NULL")
    await store.expire(table="indexes")

    await store.do(purge.expire_indexes, limit=10, faults_max=1, killed=KILLED)

    assert (await scene.row(source_id))["generation_live"] == 1
    assert await scene.status(source_id) is RagIndexStatus.FAILED
    assert await scene.used() == {}


async def test_what_counts_is_read_from_one_index_alone_however_many_documents_there_are(
    scene: Scene, store: Store, admin_database_url: str
) -> None:
    await scene.ask(await scene.ready())
    await store.execute(
        """
        WITH made AS (
            INSERT INTO sources (customer_id, rag_id, url, name, state, due_at, revision)
            SELECT %(customer_id)s, %(rag_id)s, 'https://example.org/' || n, '', 'ready', NULL, 1
            FROM generate_series(1, 20000) n RETURNING id
        )
        INSERT INTO indexes (customer_id, rag_id, source_id, profile_id, state, generation,
                             generation_live, used_bytes)
        SELECT %(customer_id)s, %(rag_id)s, made.id, p.id, 'ready', 1, 1,
               CASE WHEN p.public_model IS NULL THEN 0 ELSE 10 END
        FROM made JOIN profiles p ON p.rag_id = %(rag_id)s
        """,
        customer_id=scene.customer_id,
        rag_id=scene.rag_id,
    )
    with psycopg.connect(admin_database_url, autocommit=True) as admin:
        admin.execute("VACUUM ANALYZE")

    async with store.api.transaction(customer_id=scene.customer_id) as tx:
        watched = Watched(tx.connection)
        used = await ragindexes.used_bytes(
            Tx(watched),  # type: ignore[arg-type]
            customer_id=scene.customer_id,
        )

    assert used == {E5.name: 200_000}
    (plan,) = watched.plans
    assert "Index Only Scan using indexes_used" in plan, plan
    assert "sources" not in plan, plan


class Watched:
    """A connection that asks for the plan of what it is told to run, and runs it."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.plans: list[str] = []

    async def execute(self, query: Any, params: Any = None) -> Any:
        rows = await (await self.connection.execute("EXPLAIN " + query, params)).fetchall()
        self.plans.append("\n".join(row["QUERY PLAN"] for row in rows))
        return await self.connection.execute(query, params)


# Tried again -------------------------------------------------------------------------------------


async def retried(scene: Scene, *, bytes_max: int) -> int:
    rows = await scene.store.fetch("SELECT id FROM indexes")
    async with scene.store.api.transaction(customer_id=scene.customer_id) as tx:
        return await ragindexes.retry(
            tx,
            customer_id=scene.customer_id,
            ids=[row["id"] for row in rows],
            bytes_max=bytes_max,
        )


async def test_an_index_over_the_limit_is_tried_again_when_there_is_room(
    scene: Scene, store: Store
) -> None:
    first, second = [await scene.ready(original_bytes=600) for _ in range(2)]
    await scene.ask(first)
    await scene.build(first)
    await scene.ask(second)
    claim = await scene.claimed(second)
    with pytest.raises(RagLimitExceeded):
        await scene.admit(claim)
    await store.do(indexes.fail, claim=claim, failure=OVER)
    assert await scene.status(second) is RagIndexStatus.RAG_LIMIT_EXCEEDED

    assert await retried(scene, bytes_max=1_199) == 0
    assert await retried(scene, bytes_max=1_200) == 1
    assert await scene.status(second) is RagIndexStatus.PROCESSING
    await scene.admit(await scene.claimed(second), limits=Limits())

    assert await scene.used() == {E5.name: 1_200}


async def test_an_index_that_failed_for_another_reason_stays_failed(
    scene: Scene, store: Store
) -> None:
    source_id = await scene.ready()
    await scene.ask(source_id)
    await store.do(indexes.fail, claim=await scene.claimed(source_id), failure=FINAL)

    assert await retried(scene, bytes_max=1_000) == 0
    assert await scene.status(source_id) is RagIndexStatus.FAILED


async def test_an_index_whose_new_text_never_came_is_tried_on_the_old_one(
    scene: Scene, store: Store
) -> None:
    source_id = await scene.ready()
    await scene.refresh(source_id)
    await scene.ask(source_id)
    await scene.refresh(source_id)  # while it waits for a worker
    await store.do(acquisition.fail, claim=await store.claimed_source(), failure=FINAL)
    assert await scene.status(source_id) is RagIndexStatus.FAILED

    assert await retried(scene, bytes_max=1_000) == 1
    await scene.build(source_id)

    assert await scene.status(source_id) is RagIndexStatus.SUCCEEDED


async def test_an_index_that_was_stopped_on_its_way_to_a_new_text_is_tried_on_it_again(
    scene: Scene, store: Store
) -> None:
    source_id = await scene.ready()
    await scene.ask(source_id)
    await scene.build(source_id)
    await scene.refresh(source_id)
    await store.ingest(text=LONG + "new")
    await scene.refresh(source_id)  # while it waits for a worker
    await store.do(acquisition.fail, claim=await store.claimed_source(), failure=FINAL)
    assert await scene.status(source_id) is RagIndexStatus.FAILED
    assert (await scene.rows(source_id))[0].may_work_now

    assert await retried(scene, bytes_max=1_000) == 1
    await scene.build(source_id)

    assert await scene.status(source_id) is RagIndexStatus.SUCCEEDED
    assert (await scene.row(source_id))["generation_live"] == 2


async def test_an_index_that_answers_with_the_newest_text_is_not_tried_again(
    scene: Scene, store: Store
) -> None:
    source_id = await scene.ready()
    await scene.ask(source_id)
    await scene.build(source_id)

    assert await retried(scene, bytes_max=1_000) == 0


# How it goes -------------------------------------------------------------------------------------


async def test_a_removed_index_is_gone_at_once_and_its_chunks_with_the_sweep(
    scene: Scene, store: Store
) -> None:
    source_id = await scene.ready()
    await scene.ask(source_id)
    await scene.build(source_id)
    index_id = (await scene.rows(source_id))[0].id

    assert await scene.bury(index_id)
    assert await scene.rows(source_id) == []
    assert not await scene.bury(index_id)

    await scene.sweep()
    left = await store.fetch("SELECT DISTINCT index_id FROM chunks")
    assert [row["index_id"] for row in left] == [(await store.index_row(source_id))["id"]]
    assert len(await store.fetch("SELECT id FROM sources")) == 1
    assert len(await store.fetch("SELECT id FROM indexes")) == 1


async def test_the_next_index_is_a_fresh_one_while_the_removed_one_waits_for_the_sweep(
    scene: Scene,
) -> None:
    source_id = await scene.ready()
    await scene.ask(source_id)
    first = await scene.build(source_id)
    await scene.bury(first.id)

    assert await scene.ask(source_id) == 1
    second = await scene.build(source_id)

    assert second.id != first.id
    assert await scene.status(source_id) is RagIndexStatus.SUCCEEDED


async def test_a_worker_that_builds_a_removed_index_writes_nothing_more(
    scene: Scene, store: Store
) -> None:
    source_id = await scene.ready()
    await scene.ask(source_id)
    claim = await scene.claimed(source_id)
    await store.store(claim, ordinals=range(2))

    await scene.bury(claim.id)

    for verb in (
        store.store(claim, ordinals=range(2, 3)),
        scene.admit(claim),
        store.finish(claim, chunk_count=3),
        store.do(indexes.fail, claim=claim, failure=FINAL),
        store.do(indexes.postpone, claim=claim, delay_s=0.0, failure=None),
    ):
        with pytest.raises(Superseded):
            await verb
    assert await store.ordinals(claim) == [0, 1]
    assert await store.take_index() is None


async def test_a_new_text_does_not_wake_a_removed_index(scene: Scene, store: Store) -> None:
    source_id = await scene.ready()
    await scene.ask(source_id)
    await scene.bury((await scene.build(source_id)).id)

    await scene.refresh(source_id)
    await store.ingest(text=LONG + "new")

    assert await store.take_index() is None


async def test_a_text_that_only_a_removed_index_answered_with_goes_with_it(
    scene: Scene, store: Store
) -> None:
    source_id = await scene.ready()
    await scene.ask(source_id)
    await scene.build(source_id)
    await scene.refresh(source_id)
    await store.ingest(text=LONG + "new")
    claim = await scene.claimed(source_id)
    await store.do(indexes.fail, claim=claim, failure=FINAL)  # the first text goes on answering
    await scene.sweep()
    assert len(await store.fetch("SELECT revision FROM documents")) == 2

    await scene.bury(claim.id)
    await scene.sweep()

    assert [row["revision"] for row in await store.fetch("SELECT revision FROM documents")] == [2]
