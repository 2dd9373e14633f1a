"""ANN tables: whatever is in them, dead or alive or not yet, an answer is full and right."""

from collections.abc import AsyncIterator
from uuid import UUID

import numpy as np
import pytest
from fix_ann import Filler, Vectors, grouped
from fix_store import Store

from engine.config import Limits
from engine.models import CustomerId, Mode, ProfileId, RagId
from engine.retrieval import Question, candidates
from engine.store import near
from workers.ann import AnnKeeper
from workers.failpoint import Failpoint

pytestmark = pytest.mark.anyio

LIMITS = Limits(exact_chunks_max=50, ann_s=0.1)


@pytest.fixture
def filler(admin_database_url: str):
    made = Filler(admin_database_url)
    yield made
    made.close()


class Large:
    """A RAG with an ANN table, and what an exact search says."""

    def __init__(self, store: Store, filler: Filler) -> None:
        self.store = store
        self.filler = filler
        self.customer_id = filler.customer()
        self.rag_id, self.profile_id = filler.rag(self.customer_id)
        self.keeper = AnnKeeper(
            database=store.worker, limits=LIMITS, failpoint=Failpoint("")
        )

    async def keep(self) -> int:
        async with self.store.worker.owned() as owner:
            return await self.keeper.once(owner)

    async def ask(self, vector: Vectors, *, limit: int = 10, source_ids=None, exact=10):
        async with self.store.api.transaction(
            customer_id=CustomerId(self.customer_id), one_snapshot=True
        ) as tx:
            target = await near.target(
                tx, customer_id=CustomerId(self.customer_id), rag_id=RagId(self.rag_id)
            )
            assert target
            found = await candidates(
                tx,
                question=Question(
                    customer_id=CustomerId(self.customer_id),
                    target=target,
                    text="?",
                    mode=Mode.DENSE,
                    vector=vector,
                    source_ids=source_ids,
                ),
                limit=limit,
                exact_chunks_max=exact,
            )
        return target, found.ranked

    async def exact(self, vector: Vectors, *, limit: int = 10, source_ids=None):
        async with self.store.api.transaction(customer_id=CustomerId(self.customer_id)) as tx:
            return await near.exact(
                tx,
                customer_id=CustomerId(self.customer_id),
                profile_id=ProfileId(self.profile_id),
                vector=vector,
                limit=limit,
                source_ids=source_ids,
            )


@pytest.fixture
async def large(store: Store, filler: Filler) -> AsyncIterator[Large]:
    yield Large(store, filler)


async def test_a_table_is_built_above_the_limit_only_and_finds_what_a_scan_finds(large: Large):
    large.filler.source(large.profile_id, grouped(50))
    await large.keep()
    assert large.filler.ann_tables() == []
    large.filler.source(large.profile_id, grouped(300, seed=1))
    assert await large.keep() > 0
    question = grouped(1, seed=2)[0]
    target, ranked = await large.ask(question)
    assert target.ann_number
    exact = await large.exact(question)
    assert [each.key for each in ranked] == [(e.index_id, e.generation, e.ordinal) for e in exact]
