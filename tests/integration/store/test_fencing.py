"""The fence: whoever has lost a claim writes nothing any more, whatever it was about to write."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from fix_store import KILLED, Store, batch
from fix_writes import INDEX_WRITES, SOURCE_WRITES, IndexWrite, SourceWrite

from engine.errors import Superseded
from engine.models import CustomerId, RagId, SourceId
from engine.store import purge, rags, sources
from engine.store.claims import ClaimedIndex

pytestmark = pytest.mark.anyio

TABLES = ("rags", "sources", "documents", "indexes", "chunks")


class Scene:
    """One source of one RAG, about to lose the claim on it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.customer_id: CustomerId
        self.rag_id: RagId
        self.source_id: SourceId

    async def set_up(self) -> None:
        self.customer_id = await self.store.customer()
        self.rag_id = await self.store.rag(self.customer_id)
        self.source_id = await self.store.source(self.customer_id, self.rag_id)

    async def everything(self) -> dict[str, list[str]]:
        """All rows as text, to see that nothing has changed."""
        return {
            "rags": [str(r) for r in await self.store.fetch("SELECT * FROM rags")],
            "sources": [str(r) for r in await self.store.fetch("SELECT * FROM sources")],
            "documents": [str(r) for r in await self.store.fetch("SELECT * FROM documents")],
            "indexes": [str(r) for r in await self.store.fetch("SELECT * FROM indexes")],
            "chunks": [str(r) for r in await self.store.fetch("SELECT id FROM chunks")],
        }

    # Ways to lose a claim ---------------------------------------------------------------

    async def claimed_by_another(self) -> None:
        await self.store.execute(
            "UPDATE sources SET lease_until = NULL, due_at = now() WHERE lease_until IS NOT NULL"
        )
        await self.store.execute(
            "UPDATE indexes SET lease_until = NULL, due_at = now() WHERE lease_until IS NOT NULL"
        )
        assert await self.store.take_source() or await self.store.take_index()

    async def refreshed(self) -> None:
        await self.store.do(
            sources.refresh,
            customer_id=self.customer_id,
            rag_id=self.rag_id,
            source_id=self.source_id,
        )

    async def source_deleted(self) -> None:
        async with self.store.worker.transaction() as tx:
            await rags.lock(tx, customer_id=self.customer_id, rag_id=self.rag_id, strength="update")
            await sources.mark_deleted(
                tx,
                customer_id=self.customer_id,
                rag_id=self.rag_id,
                source_ids=[self.source_id],
            )

    async def rag_deleted(self) -> None:
        await self.store.do(rags.mark_deleted, customer_id=self.customer_id, rag_id=self.rag_id)

    async def lease_expired(self) -> None:
        for table in ("sources", "indexes"):
            await self.store.expire(table=table)
        await self.store.do(purge.expire_indexes, limit=10, faults_max=3, killed=KILLED)
        await self.store.do(purge.expire_sources, limit=10, faults_max=3, killed=KILLED)


Loss = Callable[[Scene], Awaitable[None]]
LOSSES = [
    pytest.param(loss, id=loss.__name__)
    for loss in (
        Scene.claimed_by_another,
        Scene.refreshed,
        Scene.source_deleted,
        Scene.rag_deleted,
        Scene.lease_expired,
    )
]


@pytest.fixture
async def scene(store: Store) -> Scene:
    made = Scene(store)
    await made.set_up()
    return made


@pytest.mark.parametrize("lose", LOSSES)
@pytest.mark.parametrize("write", SOURCE_WRITES)
async def test_no_write_to_a_source_outlives_the_claim(
    scene: Scene, lose: Loss, write: SourceWrite
) -> None:
    claim = await scene.store.claimed_source()
    await lose(scene)
    before = await scene.everything()
    with pytest.raises(Superseded):
        await write(scene.store, claim)
    assert await scene.everything() == before


@pytest.mark.parametrize("lose", LOSSES)
@pytest.mark.parametrize("write", INDEX_WRITES)
async def test_no_write_to_an_index_outlives_the_claim(
    scene: Scene, lose: Loss, write: IndexWrite
) -> None:
    claim = await scene.store.acquire(await scene.store.claimed_source())
    await scene.store.store(claim, ordinals=range(3))
    await lose(scene)
    before = await scene.everything()
    with pytest.raises(Superseded):
        await write(scene.store, claim)
    assert await scene.everything() == before


@pytest.mark.parametrize("write", INDEX_WRITES)
async def test_the_same_writes_pass_while_the_claim_holds(scene: Scene, write: IndexWrite) -> None:
    claim = await scene.store.acquire(await scene.store.claimed_source())
    await scene.store.store(claim, ordinals=range(3))
    before = await scene.everything()
    await write(scene.store, claim)
    assert await scene.everything() != before


async def test_a_deletion_waits_for_the_batch_under_way_and_nothing_follows_it(
    scene: Scene,
) -> None:
    store = scene.store
    claim = await store.acquire(await store.claimed_source())
    async with store.worker.transaction() as tx:
        await batch(tx, claim=claim, ordinals=range(3))
        deletion = asyncio.create_task(scene.source_deleted())
        await asyncio.sleep(0.3)
        assert not deletion.done(), "the deletion did not wait"
    async with asyncio.timeout(5):
        await deletion
    assert await store.ordinals(claim) == [0, 1, 2]
    with pytest.raises(Superseded):
        await store.store(claim, ordinals=range(3, 6))
    assert await store.ordinals(claim) == [0, 1, 2]


async def test_a_batch_that_comes_during_a_deletion_waits_and_is_refused(scene: Scene) -> None:
    store = scene.store
    claim = await store.acquire(await store.claimed_source())
    params = {"customer_id": scene.customer_id, "rag_id": scene.rag_id}
    async with store.worker.transaction() as tx:
        assert await rags.lock(tx, strength="update", **params)
        late = asyncio.create_task(store.store(claim, ordinals=range(3)))
        await asyncio.sleep(0.3)
        assert not late.done(), "the batch did not wait"
        await rags.mark_deleted(tx, **params)
    async with asyncio.timeout(5):
        with pytest.raises(Superseded):
            await late
    assert await store.ordinals(claim) == []


async def test_deletions_against_a_stream_of_batches_let_no_late_chunk_in(store: Store) -> None:
    """Twelve rounds of the race, each with a writer at full speed."""
    customer_id = await store.customer()
    for round_number in range(12):
        scene = Scene(store)
        scene.customer_id, scene.rag_id = customer_id, await store.rag(customer_id)
        scene.source_id = await store.source(customer_id, scene.rag_id)
        claim = await store.acquire(await store.claimed_source())

        async def write(claim: ClaimedIndex = claim) -> None:
            for ordinal in range(10_000):
                await store.store(claim, ordinals=range(ordinal, ordinal + 1))

        writer = asyncio.create_task(write())
        await asyncio.sleep(0.02 + 0.003 * round_number)
        await scene.source_deleted()
        there = await store.ordinals(claim)
        with pytest.raises(Superseded):
            await writer
        assert await store.ordinals(claim) == there
