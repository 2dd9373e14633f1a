"""A RAG whose profile is changed, by the verbs of the API; the test takes the part of workers.

Two models are known, of which nothing is ever opened here: vectors are made up. The sweep is the
real one, run by hand.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from fix_store import PASSING, Store

from engine.blobs import Blobs
from engine.config import Settings
from engine.embedding import ModelSpec, Registry
from engine.jobs import Bell
from engine.models import Change, CustomerId, Rag, RagId, Source, SourceId, State
from engine.profiles import Wanted
from engine.rags import Rags
from engine.store import changes, indexes, retired
from engine.store.claims import ClaimedIndex
from workers.sweep import Sweep

MODEL, OTHER = "a-model", "another-model"
ROUNDS_MAX = 20


def spec(name: str, *, tokens_max: int = 512) -> ModelSpec:
    return ModelSpec(
        name=name, dimensions=4, tokens_max=tokens_max, version="1", description="",
        license="", megabytes=0,
    )  # fmt: skip


class Move:
    """One customer with one RAG of 200 tokens a chunk under MODEL."""

    customer_id: CustomerId
    rag_id: RagId

    def __init__(self, store: Store, settings: Settings) -> None:
        self.store = store
        self.bell = Bell(settings.redis_url)
        models = {MODEL: spec(MODEL), OTHER: spec(OTHER, tokens_max=128)}
        self.registry = Registry(default_name=MODEL, models=models)
        self.rags = Rags(
            database=store.api, bell=self.bell, registry=self.registry, settings=settings
        )
        limits = msgspec.structs.replace(settings.limits, orphan_age_s=0.001)
        self.sweep = Sweep(
            database=store.worker, blobs=Blobs(settings.blobs_url), bell=self.bell, limits=limits
        )

    async def open(self) -> None:
        self.customer_id = await self.store.customer()
        self.rag_id = await self.store.rag(self.customer_id)

    # Requests -----------------------------------------------------------------------------------

    async def put(self, **wanted: Any) -> Rag:
        return await self.rags.update(self.customer_id, self.rag_id, profile=Wanted(**wanted))

    async def rag(self) -> Rag:
        return await self.rags.get(self.customer_id, self.rag_id)

    async def change(self) -> Change:
        change = (await self.rag()).change
        assert change
        return change

    async def source(self, source_id: SourceId) -> Source:
        source, _ = await self.rags.source(self.customer_id, self.rag_id, source_id)
        return source

    async def add(self) -> SourceId:
        """A URL that nobody has read yet."""
        return await self.store.source(self.customer_id, self.rag_id)

    async def ready(self, *, chunk_count: int = 3) -> SourceId:
        """A source that answers under the live profile."""
        source_id = await self.add()
        await self.store.ingest(chunk_count=chunk_count)
        return source_id

    async def refresh(self, source_id: SourceId) -> None:
        await self.rags.refresh_source(self.customer_id, self.rag_id, source_id)

    # Workers ------------------------------------------------------------------------------------

    async def build(self, claim: ClaimedIndex, *, chunk_count: int = 2) -> bool:
        """Work a claimed index to its end, as Builder does; whether that switched."""
        await self.store.store(claim, ordinals=range(chunk_count))
        await self.store.finish(claim, chunk_count=chunk_count)
        async with self.store.worker.transaction() as tx:
            return await changes.may_switch(tx, claim=claim) and await changes.switch(
                tx, customer_id=claim.customer_id, rag_id=claim.rag_id
            )

    async def build_due(self, *, chunk_count: int = 2) -> int:
        """Work every index that is due; those that nobody wants are parked. Returns how many were
        built."""
        built = 0
        while claim := await self.store.take_index():
            if not await self.store.do(retired.park, claim=claim):
                await self.build(claim, chunk_count=chunk_count)
                built += 1
        return built

    async def run_dry(self) -> None:
        """Sweep until a round finds nothing."""
        for _ in range(ROUNDS_MAX):
            await asyncio.sleep(0.002)
            if await self.sweep.once() == 0:
                return
        raise AssertionError(f"still something to do after {ROUNDS_MAX} rounds")

    # Rows ---------------------------------------------------------------------------------------

    async def next_row(self, source_id: SourceId) -> dict[str, Any]:
        """The source's index under the next profile."""
        rows = await self.store.fetch(
            "SELECT i.* FROM indexes i JOIN rags r ON r.profile_next = i.profile_id"
            " WHERE i.source_id = %(id)s",
            id=source_id,
        )
        return rows[0]

    async def make_due(self) -> None:
        """Let what was postponed be due now."""
        await self.store.execute("UPDATE indexes SET due_at = now() WHERE due_at IS NOT NULL")

    async def expect_rest(self) -> None:
        """What is left is one profile, with one index of each text and its live chunks."""
        await self.run_dry()
        rows = await self.store.fetch(
            """
            SELECT (SELECT count(*) FROM profiles) AS profiles,
                   (SELECT count(*) FROM indexes i JOIN rags r ON r.profile_live = i.profile_id)
                   - (SELECT count(*) FROM indexes) AS other_indexes,
                   (SELECT count(*) FROM chunks c JOIN indexes i ON i.id = c.index_id
                    WHERE c.generation IS DISTINCT FROM i.generation_live
                       OR c.profile_id <> i.profile_id) AS other_chunks,
                   (SELECT count(*) FROM documents d JOIN sources s ON s.id = d.source_id
                    WHERE d.revision < s.revision AND NOT EXISTS (
                        SELECT FROM indexes i WHERE i.source_id = s.id
                        AND d.revision IN (i.generation, i.generation_live))) AS other_documents
            """
        )
        assert rows[0] == {
            "profiles": 1, "other_indexes": 0, "other_chunks": 0, "other_documents": 0
        }  # fmt: skip


async def failed(move: Move, claim: ClaimedIndex, *, failure: Any) -> None:
    await move.store.do(indexes.fail, claim=claim, failure=failure)


async def postponed(move: Move, claim: ClaimedIndex, *, is_charged: bool = False) -> None:
    await move.store.do(
        indexes.postpone, claim=claim, delay_s=60.0, failure=PASSING if is_charged else None
    )


def states(rag: Rag) -> list[State]:
    return [source.state for source in rag.sources]


@pytest.fixture
async def move(store: Store, settings: Settings) -> AsyncIterator[Move]:
    made = Move(store, settings)
    await made.open()
    yield made
    await made.bell.close()
