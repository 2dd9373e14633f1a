"""The state machine of sources and indexes, as schema.sql draws it, step by step."""

import pytest
from fix_store import FINAL, KILLED, PASSING, Store

from engine.models import CustomerId, RagId, Source, SourceId, State
from engine.store import acquisition, chunks, documents, indexes, purge, sources
from engine.store.claims import ClaimedIndex, ClaimedSource

pytestmark = pytest.mark.anyio

FAULTS_MAX = 3


class Scene:
    """One URL of one RAG, and what a caller sees of it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.customer_id: CustomerId
        self.rag_id: RagId
        self.source_id: SourceId

    async def set_up(self) -> None:
        self.customer_id = await self.store.customer()
        self.rag_id = await self.store.rag(self.customer_id)
        self.source_id = await self.store.source(self.customer_id, self.rag_id)

    async def seen(self) -> Source:
        found = await self.store.do(
            sources.get,
            customer_id=self.customer_id,
            rag_id=self.rag_id,
            source_id=self.source_id,
        )
        assert found
        return found

    async def refresh(self) -> None:
        assert await self.store.do(
            sources.refresh,
            customer_id=self.customer_id,
            rag_id=self.rag_id,
            source_id=self.source_id,
        )

    async def text(self) -> str | None:
        return await self.store.do(
            documents.live_text,
            customer_id=self.customer_id,
            rag_id=self.rag_id,
            source_id=self.source_id,
        )

    async def chunk_count(self) -> int:
        """How many chunks answer."""
        page = await self.store.do(
            chunks.page,
            customer_id=self.customer_id,
            rag_id=self.rag_id,
            source_id=self.source_id,
            limit=100,
            after=None,
        )
        return len(page)

    async def sweep(self) -> None:
        """What the sweep does about leases and retired generations."""
        store = self.store
        await store.do(purge.expire_indexes, limit=10, faults_max=FAULTS_MAX, killed=KILLED)
        await store.do(purge.expire_sources, limit=10, faults_max=FAULTS_MAX, killed=KILLED)
        await store.do(purge.delete_retired_chunks, limit=1_000)
        await store.do(purge.delete_retired_documents, limit=1_000)

    async def die(self, *, table: str) -> None:
        """The worker of the running attempt goes silent."""
        await self.store.expire(table=table)
        await self.sweep()


@pytest.fixture
async def scene(store: Store) -> Scene:
    made = Scene(store)
    await made.set_up()
    return made


async def fail(scene: Scene, claim: ClaimedSource | ClaimedIndex) -> None:
    if isinstance(claim, ClaimedSource):
        await scene.store.do(acquisition.fail, claim=claim, failure=FINAL)
    else:
        await scene.store.do(indexes.fail, claim=claim, failure=FINAL)


async def postpone(
    scene: Scene, claim: ClaimedSource | ClaimedIndex, *, charged: bool, delay_s: float = 0
) -> None:
    failure = PASSING if charged else None
    if isinstance(claim, ClaimedSource):
        await scene.store.do(acquisition.postpone, claim=claim, delay_s=delay_s, failure=failure)
    else:
        await scene.store.do(indexes.postpone, claim=claim, delay_s=delay_s, failure=failure)


async def test_a_source_goes_from_pending_over_processing_to_ready(scene: Scene) -> None:
    store = scene.store
    assert (await scene.seen()).state is State.PENDING
    claim = await store.claimed_source()
    assert (await scene.seen()).state is State.PROCESSING
    index = await store.acquire(claim, text="the text")
    seen = await scene.seen()
    assert (seen.state, seen.stage, seen.searchable) == (State.PROCESSING, "chunk", False)
    await store.store(index, ordinals=range(2))
    seen = await scene.seen()
    assert (seen.stage, seen.done, seen.total, seen.chunk_count) == ("embed", 2, 100, 0)
    assert await scene.chunk_count() == 0
    await store.store(index, ordinals=range(2, 3))
    await store.finish(index, chunk_count=3)
    seen = await scene.seen()
    assert (seen.state, seen.stage, seen.searchable) == (State.READY, None, True)
    assert (seen.chunk_count, await scene.chunk_count(), await scene.text()) == (3, 3, "the text")


async def test_a_source_given_back_without_a_fault_is_due_again_uncharged(scene: Scene) -> None:
    claim = await scene.store.claimed_source()
    await postpone(scene, claim, charged=False)
    row = await scene.store.source_row(scene.source_id)
    assert (row["state"], row["faults"], row["failure"]) == ("pending", 0, None)
    assert (await scene.store.claimed_source()).attempt == 2


async def test_a_passing_fault_is_charged_and_says_when_it_runs_next(scene: Scene) -> None:
    claim = await scene.store.claimed_source()
    await postpone(scene, claim, charged=True, delay_s=60)
    seen = await scene.seen()
    assert (seen.state, seen.failure) == (State.PENDING, PASSING)
    assert seen.due_at is not None
    assert (await scene.store.source_row(scene.source_id))["faults"] == 1
    assert await scene.store.take_source() is None


async def test_a_final_fault_ends_a_source_in_error_and_nothing_is_due(scene: Scene) -> None:
    await fail(scene, await scene.store.claimed_source())
    seen = await scene.seen()
    assert (seen.state, seen.failure, seen.due_at) == (State.ERROR, FINAL, None)
    assert await scene.store.take_source() is None


async def test_the_charge_of_a_source_ends_with_its_text(scene: Scene) -> None:
    await postpone(scene, await scene.store.claimed_source(), charged=True)
    claim = await scene.store.claimed_source()
    assert claim.faults == 1
    assert (await scene.store.acquire(claim)).faults == 0
    seen = await scene.seen()
    assert seen.failure is None


async def test_a_passing_fault_of_an_index_leaves_its_source_processing(scene: Scene) -> None:
    index = await scene.store.acquire(await scene.store.claimed_source())
    await scene.store.store(index, ordinals=range(2))
    await postpone(scene, index, charged=True, delay_s=60)
    seen = await scene.seen()
    assert (seen.state, seen.failure) == (State.PROCESSING, PASSING)
    assert seen.due_at is not None
    await scene.sweep()
    assert await scene.store.ordinals(index) == [0, 1], "what was stored is gone"


async def test_the_next_attempt_at_an_index_goes_on_where_the_last_one_stopped(
    scene: Scene,
) -> None:
    index = await scene.store.acquire(await scene.store.claimed_source())
    await scene.store.store(index, ordinals=range(2))
    await postpone(scene, index, charged=False)
    again = await scene.store.claimed_index()
    assert (again.id, again.generation, again.attempt) == (index.id, 1, 2)
    stored = await scene.store.do(chunks.stored, claim=again)
    assert (stored.count, stored.last) == (2, 1)
    await scene.store.store(again, ordinals=range(2, 4))
    await scene.store.finish(again, chunk_count=4)
    assert (await scene.seen()).state is State.READY
    assert await scene.chunk_count() == 4


async def test_a_final_fault_of_an_index_ends_its_source_and_removes_its_chunks(
    scene: Scene,
) -> None:
    index = await scene.store.acquire(await scene.store.claimed_source())
    await scene.store.store(index, ordinals=range(2))
    await fail(scene, index)
    seen = await scene.seen()
    assert (seen.state, seen.failure) == (State.ERROR, FINAL)
    assert (await scene.store.index_row(scene.source_id))["state"] == "error"
    await scene.sweep()
    assert await scene.store.ordinals(index) == []


# Refresh ----------------------------------------------------------------------------------------


async def test_the_old_generation_answers_until_the_new_one_is_finished(scene: Scene) -> None:
    store = scene.store
    old = await store.ingest(chunk_count=3, text="old")
    await scene.refresh()
    assert ((await scene.seen()).state, await scene.text()) == (State.PENDING, "old")
    new = await store.acquire(await store.claimed_source(), text="new")
    assert new.generation == 2
    await store.store(new, ordinals=range(5))
    await scene.sweep()
    assert (await scene.chunk_count(), await scene.text()) == (3, "old")
    await store.finish(new, chunk_count=5)
    assert (await scene.chunk_count(), await scene.text()) == (5, "new")
    assert (await scene.seen()).chunk_count == 5
    await scene.sweep()
    await scene.sweep()
    assert await store.ordinals(old) == []
    rows = await store.fetch("SELECT revision FROM documents")
    assert [row["revision"] for row in rows] == [2]
    assert not (await store.index_row(scene.source_id))["retired"]


async def test_a_refresh_begins_anew_after_an_error(scene: Scene) -> None:
    await fail(scene, await scene.store.claimed_source())
    await scene.refresh()
    seen = await scene.seen()
    assert (seen.state, seen.failure) == (State.PENDING, None)
    await scene.store.ingest()
    assert (await scene.seen()).state is State.READY


async def test_a_refresh_in_the_middle_of_a_build_drops_what_was_half_built(
    scene: Scene,
) -> None:
    half = await scene.store.acquire(await scene.store.claimed_source())
    await scene.store.store(half, ordinals=range(2))
    await scene.refresh()
    await scene.store.ingest(chunk_count=4, text="new")
    await scene.sweep()
    assert (await scene.chunk_count(), await scene.text()) == (4, "new")
    assert await scene.store.ordinals(half) == []


@pytest.mark.parametrize("final", [True, False])
async def test_a_refresh_that_cannot_fetch_leaves_the_source_ready_with_a_warning(
    scene: Scene, final: bool
) -> None:
    await scene.store.ingest(chunk_count=3, text="old")
    await scene.refresh()
    claim = await scene.store.claimed_source()
    if final:
        await fail(scene, claim)
    else:
        await postpone(scene, claim, charged=True, delay_s=60)
    await expect_warning(scene, retried=not final)


@pytest.mark.parametrize("final", [True, False])
async def test_a_refresh_that_cannot_build_leaves_the_source_ready_with_a_warning(
    scene: Scene, final: bool
) -> None:
    await scene.store.ingest(chunk_count=3, text="old")
    await scene.refresh()
    index = await scene.store.acquire(await scene.store.claimed_source(), text="new")
    await scene.store.store(index, ordinals=range(5))
    if final:
        await fail(scene, index)
    else:
        await postpone(scene, index, charged=True, delay_s=60)
    await expect_warning(scene, retried=not final)
    await scene.sweep()
    assert await scene.store.ordinals(index) == ([] if final else [0, 1, 2, 3, 4])
    assert (await scene.chunk_count(), await scene.text()) == (3, "old")


async def expect_warning(scene: Scene, *, retried: bool) -> None:
    seen = await scene.seen()
    assert (seen.state, seen.failure) == (State.READY, None)
    assert seen.coverage is not None
    assert [warned.code for warned in seen.coverage.warnings] == ["refresh_failed"]
    assert (seen.due_at is not None) is retried
    assert (await scene.chunk_count(), await scene.text()) == (3, "old")


async def test_the_warning_of_a_failed_refresh_goes_with_the_next_success(scene: Scene) -> None:
    await scene.store.ingest()
    await scene.refresh()
    await postpone(scene, await scene.store.claimed_source(), charged=True)
    await scene.store.ingest(text="new")
    seen = await scene.seen()
    assert seen.coverage is not None
    assert (seen.state, seen.coverage.warnings) == (State.READY, ())


# Deaths -----------------------------------------------------------------------------------------


async def test_a_lease_that_has_not_run_out_is_left_alone(scene: Scene) -> None:
    await scene.store.claimed_source()
    await scene.sweep()
    assert (await scene.store.source_row(scene.source_id))["lease_until"] is not None


@pytest.mark.parametrize("table", ["sources", "indexes"])
async def test_only_deaths_while_alone_are_charged_and_the_third_one_is_final(
    scene: Scene, table: str
) -> None:
    """The first death costs nothing, because a neighbour may have caused it."""
    claim = await claimed(scene, table=table)
    assert not claim.alone
    await scene.die(table=table)
    for faults in range(FAULTS_MAX):
        again = await claimed(scene, table=table)
        assert (again.alone, again.faults, again.attempt) == (True, faults, claim.attempt + 1)
        claim = again
        await scene.die(table=table)
    seen = await scene.seen()
    assert seen.state is State.ERROR
    assert seen.failure == KILLED
    assert await scene.store.take_source() is None
    assert await scene.store.take_index() is None


@pytest.mark.parametrize("table", ["sources", "indexes"])
async def test_a_refresh_that_kills_its_workers_leaves_the_source_ready(
    scene: Scene, table: str
) -> None:
    await scene.store.ingest(chunk_count=3, text="old")
    await scene.refresh()
    for _ in range(FAULTS_MAX + 1):
        await claimed(scene, table=table)
        await scene.die(table=table)
    await expect_warning(scene, retried=False)


async def claimed(scene: Scene, *, table: str) -> ClaimedSource | ClaimedIndex:
    """The next attempt at the row of `table`, whatever has to come before it."""
    if table == "sources":
        return await scene.store.claimed_source()
    if source := await scene.store.take_source():
        return await scene.store.acquire(source)
    return await scene.store.claimed_index()


async def test_a_success_wipes_the_mark_of_a_death(scene: Scene) -> None:
    await scene.store.claimed_source()
    await scene.die(table="sources")
    claim = await scene.store.claimed_source()
    assert claim.alone
    index = await scene.store.acquire(claim)
    assert index.alone, "the process has nothing beside it until the row is done"
    await scene.store.finish(index, chunk_count=0)
    for row in (
        await scene.store.source_row(scene.source_id),
        await scene.store.index_row(scene.source_id),
    ):
        assert (row["alone"], row["faults"]) == (False, 0)


async def test_a_death_in_the_middle_of_a_build_keeps_what_was_stored(scene: Scene) -> None:
    index = await scene.store.acquire(await scene.store.claimed_source())
    await scene.store.store(index, ordinals=range(3))
    await scene.die(table="indexes")
    again = await scene.store.claimed_index()
    assert (await scene.store.do(chunks.stored, claim=again)).count == 3
