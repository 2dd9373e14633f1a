"""Queries that a change of the profile overtakes: never empty, never of two profiles at once.

Questions are embedded by a server that can be made to wait; what answers goes in through the store.
"""

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import fix_models as do
import numpy as np
import pytest
from fix_changes import Move
from fix_models import DIMENSIONS, Served, served
from fix_store import Store
from msgspec.structs import replace

from engine.config import Settings
from engine.embedding import Models, Registry
from engine.errors import RagNotReady
from engine.models import Passage, Stage
from engine.search import Search
from engine.store import changes, chunks, indexes, retired
from engine.store.claims import ClaimedIndex

__all__ = ["served"]  # fixtures

pytestmark = pytest.mark.anyio

T = TypeVar("T")
FIRST, SECOND = "first-model", "second-model"
WAIT_S = 20.0


class Asked(Move):
    """A RAG under FIRST that is asked while it moves to SECOND."""

    def __init__(self, store: Store, settings: Settings, *, served: Served) -> None:
        super().__init__(store, settings)
        self.served = served
        self.registry = Registry.from_settings(settings)
        self.models = Models(registry=self.registry, settings=settings)
        self.rags._registry = self.registry
        self.search = Search(database=store.api, models=self.models, limits=settings.limits)

    async def made(self, claim: ClaimedIndex, *, texts: Sequence[str]) -> None:
        """Everything of an index but its end."""
        async with self.store.worker.transaction() as tx:
            await indexes.hold(tx, claim=claim)
            await indexes.progress(tx, claim=claim, stage=Stage.EMBED, done=0, total=len(texts))
            await chunks.insert(
                tx,
                claim=claim,
                passages=[passage(text, ordinal=n) for n, text in enumerate(texts)],
                keys=[hashlib.sha256(text.encode()).digest() for text in texts],
                vectors=np.stack([do.vector_of(text) for text in texts]).astype(np.float32),
            )

    async def texts(self) -> list[str]:
        hits = await self.search.query(self.customer_id, self.rag_id, query="what?", top_k=10)
        return sorted(hit.text for hit in hits)

    async def library(self) -> list[str]:
        hits = await self.search.library(
            self.customer_id, query="what?", kinds=(), page_size=10, offset=0
        )
        return sorted(hit.text.split()[0] for hit in hits)

    async def half_moved(self) -> ClaimedIndex:
        """Two old passages answer; the one index of the next profile lacks nothing but its end."""
        await self.store.execute("UPDATE profiles SET embedding_model = 'first-model'")
        await self.add()
        index = await self.store.acquire(await self.store.claimed_source())
        await self.made(index, texts=["old one", "old two"])
        await self.store.finish(index, chunk_count=2)
        await self.put(embedding_model=SECOND, chunk_tokens=100)
        claim = await self.store.claimed_index()
        await self.made(claim, texts=["new one", "new two", "new three"])
        return claim

    async def overtaken(self, ask: Callable[[], Awaitable[T]], *, purged: bool) -> T:
        """Ask, and switch while the question is being embedded."""
        claim = await self.half_moved()
        go_on = threading.Event()
        self.served.plan = [waits(go_on)]
        task = asyncio.ensure_future(ask())
        await until(lambda: len(self.served.requests) == 1)
        await self.store.finish(claim, chunk_count=3)
        await self.sweep.once()
        if purged:
            await self.expect_rest()
        go_on.set()
        found = await task
        assert len(self.served.requests) == 2, "the question was not asked of the new model"
        return found


def waits(go_on: threading.Event) -> do.Act:
    def act(handler: do.Handler, texts: list[str]) -> None:
        go_on.wait(WAIT_S)
        do.well(handler, texts)

    return act


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not holds():
            await asyncio.sleep(0.01)


def passage(text: str, *, ordinal: int) -> Passage:
    return Passage(
        ordinal=ordinal,
        text=text,
        start=ordinal * 20,
        end=ordinal * 20 + len(text),
        embedded=text,
        tokens=2,
    )


NEW = ["new one", "new three", "new two"]


@pytest.fixture
async def asked(
    store: Store, settings: Settings, served: Served, tmp_path: Path
) -> AsyncIterator[Asked]:
    table = (
        f'url = "{served.url}"\ndimensions = {DIMENSIONS}\ntokens_max = 512\nversion = "1"\n'
        "timeout_s = 60\n"
    )
    path = tmp_path / "models.toml"
    path.write_text(f"[models.{FIRST}]\n{table}[models.{SECOND}]\n{table}", encoding="utf-8")
    made = Asked(store, replace(settings, models_file=path, embedding_model=FIRST), served=served)
    await made.open()
    yield made
    made.models.close()
    await made.bell.close()
    await asyncio.sleep(0.01)


@pytest.mark.parametrize("purged", [False, True])
async def test_a_query_that_a_switch_overtakes_answers_by_the_new_profile(
    asked: Asked, purged: bool
) -> None:
    assert await asked.overtaken(asked.texts, purged=purged) == NEW


@pytest.mark.parametrize("purged", [False, True])
async def test_a_search_of_the_library_that_a_switch_overtakes_finds_the_document(
    asked: Asked, purged: bool
) -> None:
    assert await asked.overtaken(asked.library, purged=purged) == ["new"]


async def test_a_query_before_the_switch_answers_by_the_old_profile_alone(asked: Asked) -> None:
    claim = await asked.half_moved()
    assert await asked.texts() == ["old one", "old two"]
    await asked.build(claim, chunk_count=0)
    assert await asked.texts() == NEW


async def test_a_rag_is_not_called_unready_because_a_switch_came_in_between(
    asked: Asked,
) -> None:
    """All that the old profile had is gone before the query looks whether it has anything."""
    claim = await asked.half_moved()
    await asked.store.finish(claim, chunk_count=3)
    async with asked.store.worker.transaction() as tx:
        await tx.run("LOCK TABLE indexes IN ACCESS EXCLUSIVE MODE")
        task = asyncio.ensure_future(asked.texts())
        await asyncio.sleep(0.3)
        assert not task.done()
        assert await changes.switch(tx, customer_id=asked.customer_id, rag_id=asked.rag_id)
        assert await retired.delete_chunks(tx, limit=100) == 2
        assert await retired.delete_indexes(tx, limit=100) == 1
    assert await task == NEW


async def test_a_rag_that_nothing_answers_in_is_unready_whatever_it_is_changed_to(
    asked: Asked,
) -> None:
    await asked.store.execute("UPDATE profiles SET embedding_model = 'first-model'")
    await asked.put(embedding_model=SECOND, chunk_tokens=100)
    with pytest.raises(RagNotReady):
        await asked.texts()
