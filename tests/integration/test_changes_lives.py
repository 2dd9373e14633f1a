"""Random lives of a RAG that is changed: what holds after every step, whatever came before.

Requests, workers (late ones too) and the sweep take turns in any order. A step that finds nothing
to do, or comes too late, is passed over.
"""

import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import hypothesis.strategies as st
from fix_changes import Move, failed, postponed
from fix_store import FINAL, KILLED, Store
from hypothesis import HealthCheck, example, given
from hypothesis import settings as examples

from engine.config import Settings
from engine.errors import Superseded
from engine.models import SourceId
from engine.store import acquisition, purge
from engine.store.claims import ClaimedIndex, ClaimedSource

CHUNK_TOKENS = (200, 100, 50)
ROUNDS_MAX = 30
SEEN = """
SELECT s.id, s.state, i.generation_live, i.chunk_count, count(c.*) AS found
FROM sources s JOIN rags r ON r.id = s.rag_id
LEFT JOIN indexes i ON i.source_id = s.id AND i.profile_id = r.profile_live
LEFT JOIN chunks c ON c.index_id = i.id AND c.generation = i.generation_live
WHERE s.deleted_at IS NULL
GROUP BY s.id, s.state, i.generation_live, i.chunk_count
"""
Row = dict[str, Any]


class Life:
    """One RAG from its beginning to its end; `held` are claims whose workers are slow."""

    def __init__(self, move: Move, *, seed: int) -> None:
        self.move = move
        self.dice = random.Random(seed)
        self.held: list[ClaimedIndex] = []
        self.reading: list[ClaimedSource] = []
        self.before: dict[SourceId, Row] = {}

    async def step(self, name: str) -> None:
        verb: Callable[[], Awaitable[None]] = getattr(self, name)
        with contextlib.suppress(Superseded):
            await verb()
        await self.look(name)

    async def look(self, name: str) -> None:
        """What answered goes on answering, with no older text; states tell of what answers."""
        now = {SourceId(row["id"]): row for row in await self.move.store.fetch(SEEN)}
        for source_id, row in now.items():
            live = row["generation_live"]
            earlier = self.before.get(source_id, {}).get("generation_live")
            assert earlier is None or (live is not None and live >= earlier), (name, row)
            assert live is None or row["found"] == row["chunk_count"] > 0, (name, row)
            assert row["state"] != "ready" or live is not None, (name, row)
            assert row["state"] != "error" or live is None, (name, row)
        self.before = now

    def some(self) -> SourceId | None:
        return self.dice.choice(sorted(self.before)) if self.before else None

    # Requests

    async def add(self) -> None:
        if len(self.before) < 5:
            await self.move.add()

    async def put(self) -> None:
        await self.move.put(chunk_tokens=self.dice.choice(CHUNK_TOKENS))

    async def refresh(self) -> None:
        if source_id := self.some():
            await self.move.refresh(source_id)

    async def delete(self) -> None:
        if source_id := self.some():
            await self.move.rags.delete_source(self.move.customer_id, self.move.rag_id, source_id)

    # Workers

    async def read(self) -> None:
        if claim := await self.move.store.take_source():
            self.held.append(await self.move.store.acquire(claim))

    async def read_badly(self) -> None:
        if claim := await self.move.store.take_source():
            await self.move.store.do(acquisition.fail, claim=claim, failure=FINAL)

    async def take(self) -> None:
        if claim := await self.move.store.take_index():
            self.held.append(claim)

    async def build(self) -> None:
        if self.held:
            claim = self.held.pop(self.dice.randrange(len(self.held)))
            await self.move.build(claim, chunk_count=self.dice.randrange(1, 4))

    async def fail(self) -> None:
        if self.held:
            await failed(self.move, self.held.pop(), failure=FINAL)

    async def postpone(self) -> None:
        if self.held:
            await postponed(self.move, self.held.pop(), is_charged=self.dice.random() < 0.5)

    async def time_passes(self) -> None:
        await self.move.make_due()

    async def die(self) -> None:
        """Leases run out. The claims stay in `held`: their workers wake up later."""
        await self.move.store.expire(table="indexes")
        await self.move.store.expire(table="sources")
        faults_max = self.dice.choice((1, 3))
        for verb in (purge.expire_indexes, purge.expire_sources):
            await self.move.store.do(verb, limit=10, faults_max=faults_max, killed=KILLED)

    async def sweep(self) -> None:
        await self.move.sweep.once()

    # The end

    async def come_to_rest(self) -> None:
        """Everybody works well from now on: then all is built, switched and tidied up."""
        for _ in range(ROUNDS_MAX):
            await self.die()
            await self.move.store.execute(
                "UPDATE sources SET due_at = now() WHERE due_at IS NOT NULL"
            )
            await self.move.make_due()
            while claim := await self.move.store.take_source():
                await self.build_one(await self.move.store.acquire(claim))
            await self.move.build_due()
            await self.move.sweep.once()
            if change := (await self.move.rag()).change:
                await self.move.put(chunk_tokens=change.chunk_tokens)
            elif not await self.at_work():
                break
        await self.look("the end")
        assert not await self.at_work()
        await self.move.expect_rest()

    async def build_one(self, claim: ClaimedIndex) -> None:
        await self.move.build(claim)

    async def at_work(self) -> list[Row]:
        return await self.move.store.fetch(
            "SELECT id FROM sources WHERE state IN ('pending', 'processing')"
            " AND deleted_at IS NULL"
            " UNION ALL SELECT id FROM rags WHERE profile_next IS NOT NULL AND deleted_at IS NULL"
        )


STEPS = (
    "add", "put", "refresh", "delete", "read", "read", "read_badly", "take", "take", "build",
    "build", "build", "fail", "postpone", "time_passes", "die", "sweep",
)  # fmt: skip
READY = ["add", "read", "build"]


@examples(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(STEPS), max_size=40), st.integers(0, 1_000))
@example([*READY, "put", "refresh", "read_badly", "take", "build"], 1)
@example([*READY, "put", "take", "refresh", "read", "fail", "build", "build"], 2)
@example([*READY, "add", "read", "fail", "put", "take", "take", "build", "fail"], 3)
def test_a_rag_that_is_changed_answers_all_its_life_and_comes_to_rest(
    database_url: str, settings: Settings, steps: list[str], seed: int
) -> None:
    async def live() -> None:
        store = Store(database_url)
        await store.open()
        move = Move(store, settings)
        try:
            await move.open()
            life = Life(move, seed=seed)
            for step in (*READY, *steps):
                await life.step(step)
            await life.come_to_rest()
            await move.rags.delete(move.customer_id, move.rag_id)
            await move.run_dry()
        finally:
            await move.bell.close()
            await store.close()

    anyio.run(live)
