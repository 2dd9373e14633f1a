"""A RAG with an ANN table, kept by the workers' own keeper, and what a scan says beside it."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from uuid import UUID

import pytest
from fix_ann import Filler, Vectors
from fix_store import Store

from engine.config import Limits
from engine.hits import Mode
from engine.models import CustomerId, IndexId, ProfileId, RagId, SourceId
from engine.retrieval import Candidates, Question, candidates
from engine.store import Tx, hits, targets
from engine.store.hits import Asked, Found
from engine.store.targets import Target
from engine.store.termcache import TermCache
from workers.ann import AnnKeeper
from workers.failpoint import Failpoint

Key = tuple[IndexId, int, int]

LIMITS = Limits(exact_chunks_max=50, ann_s=0.1)


class Large:
    """As the API and a worker see it."""

    def __init__(self, store: Store, filler: Filler, *, limits: Limits = LIMITS) -> None:
        self.store = store
        self.filler = filler
        self.customer_id = CustomerId(filler.customer())
        rag_id, profile_id = filler.rag(self.customer_id)
        self.rag_id, self.profile_id = RagId(rag_id), ProfileId(profile_id)
        self.keeper = AnnKeeper(database=store.worker, limits=limits, failpoint=Failpoint(""))

    def source(self, vectors: Vectors) -> SourceId:
        return SourceId(self.filler.source(self.profile_id, vectors))

    async def keep(self) -> int:
        """Until nothing is left to do."""
        async with self.store.worker.owned() as owner:
            return await self.keeper.once(owner)

    async def number(self) -> int | None:
        """Of the table that is asked."""
        async with self.asking() as (_, target):
            return target.ann_number if target else None

    def asking(
        self, *, filtered: bool = False
    ) -> AbstractAsyncContextManager[tuple[Tx, Target | None]]:
        return targets.asking(
            self.store.api, customer_id=self.customer_id, rag_id=self.rag_id, filtered=filtered
        )

    async def ask(
        self,
        vector: Vectors,
        *,
        limit: int = 10,
        source_ids: Sequence[SourceId] | None = None,
        exact_chunks_max: int = 5,
    ) -> list[Key]:
        """What the planner finds by vectors, best first."""
        found = await self.planned(
            known(vector), limit=limit, source_ids=source_ids, exact_chunks_max=exact_chunks_max
        )
        return [key_of(each) for each in found.found]

    async def planned(
        self,
        vector: asyncio.Future[Vectors],
        *,
        text: str = "?",
        mode: Mode = Mode.DENSE,
        limit: int,
        source_ids: Sequence[SourceId] | None = None,
        exact_chunks_max: int = 5,
    ) -> Candidates:
        """All that the planner says."""
        async with self.asking(filtered=source_ids is not None) as (tx, target):
            assert target
            question = Question(
                customer_id=self.customer_id,
                rag_id=self.rag_id,
                target=target,
                text=text,
                mode=mode,
                source_ids=source_ids,
            )
            return await candidates(
                tx,
                question=question,
                vector=vector,
                limit=limit,
                count=limit,
                exact_chunks_max=exact_chunks_max,
                terms=TermCache(),
            )

    async def scan(
        self,
        vector: Vectors,
        *,
        limit: int = 10,
        source_ids: Sequence[SourceId] | None = None,
    ) -> list[Key]:
        """What there is to be found, best first."""
        async with self.store.api.transaction(customer_id=self.customer_id) as tx:
            answer = await hits.find(
                tx,
                Asked(
                    customer_id=self.customer_id,
                    rag_id=self.rag_id,
                    profile_id=self.profile_id,
                    vector=vector,
                    limit=limit,
                    count=limit,
                    source_ids=source_ids,
                ),
            )
        return [key_of(each) for each in answer.found]


def key_of(found: Found) -> Key:
    return found.index_id, found.generation, found.ordinal


def known(vector: Vectors) -> asyncio.Future[Vectors]:
    """As a model that is done with its question."""
    future: asyncio.Future[Vectors] = asyncio.get_running_loop().create_future()
    future.set_result(vector)
    return future


@pytest.fixture
def filler(admin_database_url: str) -> Iterator[Filler]:
    made = Filler(admin_database_url)
    yield made
    made.close()


@pytest.fixture
async def large(store: Store, filler: Filler) -> Large:
    return Large(store, filler)


def index_ids(keys: Sequence[Key]) -> set[UUID]:
    return {key[0] for key in keys}
