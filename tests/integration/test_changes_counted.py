"""How far a change is, counted by what differs, equals what a look at every source says."""

import random
from datetime import datetime
from typing import NamedTuple

import pytest
from fix_changes import Move, failed, move, postponed
from fix_store import FINAL

from engine.errors import Superseded
from engine.models import SourceId
from engine.store import acquisition

__all__ = ["move"]  # fixtures

pytestmark = pytest.mark.anyio

STEPS = 80


class Counted(NamedTuple):
    total: int
    done: int
    failed: int
    due_at: datetime | None


async def counted(move: Move) -> Counted | None:
    change = (await move.rag()).change
    if change is None:
        return None
    return Counted(change.total, change.done, change.failed, change.due_at)


async def looked_at(move: Move) -> Counted | None:
    """By the definition: each source that answers, one by one."""
    rows = await move.store.fetch(
        """
        SELECT l.generation_live AS live, COALESCE(n.generation_live, 0) AS next,
               COALESCE(n.state IN ('ready', 'error') AND s.due_at IS NULL
                        AND s.lease_until IS NULL, false) AS failed,
               CASE WHEN n.due_at > now() THEN n.due_at END AS late
        FROM rags r JOIN sources s ON s.rag_id = r.id AND s.deleted_at IS NULL
        JOIN indexes l ON l.source_id = s.id AND l.profile_id = r.profile_live
        LEFT JOIN indexes n ON n.source_id = s.id AND n.profile_id = r.profile_next
        WHERE r.profile_next IS NOT NULL AND l.generation_live IS NOT NULL
        """
    )
    if not await move.store.fetch("SELECT FROM rags WHERE profile_next IS NOT NULL"):
        return None
    behind = [row for row in rows if row["next"] < row["live"]]
    late = [row["late"] for row in behind if row["late"]]
    over = sum(row["failed"] for row in behind)
    still = len(behind) - over - len(late)
    return Counted(
        len(rows), len(rows) - len(behind), over, min(late) if late and not still else None
    )


class Life:
    """Whatever can happen to a RAG, one step at a time."""

    def __init__(self, move: Move, *, seed: int) -> None:
        self.move = move
        self.drawn = random.Random(seed)
        self.sources: list[SourceId] = []

    async def step(self) -> None:
        ways = [self.add, self.ready, self.read, self.build, self.build, self.fail, self.postpone,
                self.refresh, self.delete, self.fill, self.retry, self.fail_reading]  # fmt: skip
        await self.drawn.choice(ways)()

    async def add(self) -> None:
        self.sources.append(await self.move.add())

    async def ready(self) -> None:
        claim = await self.move.store.take_source()
        if claim:
            await self.move.store.ingest_claim(claim)

    async def read(self) -> None:
        claim = await self.move.store.take_source()
        if claim:
            await self.move.store.acquire(claim)

    async def fail_reading(self) -> None:
        claim = await self.move.store.take_source()
        if claim:
            await self.move.store.do(acquisition.fail, claim=claim, failure=FINAL)

    async def build(self) -> None:
        claim = await self.move.store.take_index()
        if claim:
            await self.move.build(claim)

    async def fail(self) -> None:
        claim = await self.move.store.take_index()
        if claim:
            await failed(self.move, claim, failure=FINAL)

    async def postpone(self) -> None:
        claim = await self.move.store.take_index()
        if claim:
            await postponed(self.move, claim)

    async def refresh(self) -> None:
        if self.sources:
            await self.move.refresh(self.drawn.choice(self.sources))

    async def delete(self) -> None:
        if len(self.sources) > 3:
            gone = self.sources.pop(self.drawn.randrange(len(self.sources)))
            await self.move.rags.delete_source(self.move.customer_id, self.move.rag_id, gone)

    async def fill(self) -> None:
        await self.move.sweep._advance_changes()

    async def retry(self) -> None:
        await self.move.put(chunk_tokens=self.drawn.choice([100, 100, 50]))


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_whatever_happens_to_its_sources_a_change_is_counted_as_it_is(
    move: Move, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr("engine.profiles.FILL_INDEXES", 3)
    monkeypatch.setattr("workers.sweep.BATCH_ROWS", 3)
    life = Life(move, seed=seed)
    for _ in range(8):
        life.sources.append(await move.ready())
    await move.put(chunk_tokens=100)
    seen = set()
    for _ in range(STEPS):
        try:
            await life.step()
        except Superseded:
            continue
        expected = await looked_at(move)
        assert await counted(move) == expected
        seen.add(expected)
    assert len(seen) > 8
