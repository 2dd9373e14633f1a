"""Random histories of a RAG: after each of them it ranks as a reference does that is made anew."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from fix_store import Store
from fix_words import USUAL_LENGTH, wordy, write
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from reference_bm25 import reference_scores

from engine.config import Limits
from engine.lexical import question_terms, terms
from engine.models import IndexId, SourceId
from engine.store import merging, postings, rags, sources
from workers.merge import Merge

T = TypeVar("T")
Place = tuple[IndexId, int, int]

LANGUAGES = (None, "en", "de")
WORDS = st.sampled_from(
    [
        "the",
        "the",
        "the",
        "kettles",
        "boiling",
        "Straßen",
        "get_user_name",
        "v1.2",
        "東京都",
        "parcel",
    ]
)
TEXTS = st.lists(st.lists(WORDS, max_size=9).map(" ".join), min_size=1, max_size=4)


class History(RuleBasedStateMachine):
    """Sources come, change, go and are merged; `live` is what the reference knows."""

    database_url = ""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.store = Store(self.database_url)
        self.run(self.store.open())
        self.customer_id = self.run(self.store.customer())
        self.rag_id = self.run(self.store.rag(self.customer_id))
        self.live: dict[SourceId, dict[Place, list[str]]] = {}
        self.analysers: set[str] = set()

    def run(self, awaited: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(awaited)

    def teardown(self) -> None:
        self.run(self.store.close())
        self.runner.close()

    @rule(texts=TEXTS, language=st.sampled_from(LANGUAGES))
    def add(self, texts: list[str], language: str | None) -> None:
        index = self.run(wordy(self.store, self.customer_id, self.rag_id, texts, language=language))
        self.learn(index.source_id, index.id, 1, texts, language)

    @precondition(lambda self: self.live)
    @rule(texts=TEXTS, language=st.sampled_from(LANGUAGES), data=st.data())
    def refresh(self, texts: list[str], language: str | None, data: st.DataObject) -> None:
        source_id = data.draw(st.sampled_from(list(self.live)))
        index_id, generation = self.run(self.refreshed(source_id, texts, language))
        self.learn(source_id, index_id, generation, texts, language)

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        source_id = data.draw(st.sampled_from(list(self.live)))
        self.run(self.deleted(source_id))
        del self.live[source_id]

    @rule()
    def merge(self) -> None:
        """All of it into one, however few there are."""
        self.run(self.merged())

    @rule()
    def merge_crowds(self) -> None:
        self.run(Merge(database=self.store.worker, limits=Limits()).once())

    @rule(words=st.lists(WORDS, min_size=1, max_size=4), limit=st.integers(1, 6), data=st.data())
    def ask(self, words: list[str], limit: int, data: st.DataObject) -> None:
        question = " ".join(words)
        every = self.run(self.ranked(question, limit=100))
        passages = {place: found for each in self.live.values() for place, found in each.items()}
        known = sorted({each.analyser for each in self.run(self.members()) if not each.dead})
        expected = reference_scores(
            passages,
            question=question_terms(question, analysers=known),
            length=USUAL_LENGTH,
        )
        found = {(hit.index_id, hit.generation, hit.ordinal): hit.score for hit in every}
        assert found == pytest.approx(expected, rel=1e-3)
        assert every == sorted(every, key=lambda hit: (-hit.score, hit.index_id, hit.ordinal))
        assert self.run(self.ranked(question, limit=limit)) == every[:limit]
        if self.live:
            some = data.draw(st.sets(st.sampled_from(list(self.live))))
            theirs = {place for source_id in some for place in self.live[source_id]}
            kept = [hit for hit in every if (hit.index_id, hit.generation, hit.ordinal) in theirs]
            of_some = self.run(self.ranked(question, limit=limit, source_ids=list(some)))
            assert of_some == kept[:limit]

    # What the rules are made of ---------------------------------------------------------

    def learn(
        self,
        source_id: SourceId,
        index_id: IndexId,
        generation: int,
        texts: list[str],
        language: str | None,
    ) -> None:
        analyser = f"{language or 'none'}.1"
        self.live[source_id] = {
            (index_id, generation, ordinal): terms(text, analyser=analyser)
            for ordinal, text in enumerate(texts)
        }

    async def refreshed(
        self, source_id: SourceId, texts: list[str], language: str | None
    ) -> tuple[IndexId, int]:
        async with self.store.api.transaction(customer_id=self.customer_id) as tx:
            await sources.refresh(
                tx, customer_id=self.customer_id, rag_id=self.rag_id, source_id=source_id
            )
        index = await self.store.acquire(await self.store.claimed_source())
        await write(self.store, index, texts, language=language)
        return index.id, index.generation

    async def deleted(self, source_id: SourceId) -> None:
        async with self.store.api.transaction(customer_id=self.customer_id) as tx:
            await sources.mark_deleted(
                tx, customer_id=self.customer_id, rag_id=self.rag_id, source_ids=[source_id]
            )

    async def crowd(self) -> merging.Crowd | None:
        rows = await self.store.fetch(
            "SELECT customer_id, profile_id, array_agg(id ORDER BY id) AS segment_ids,"
            " sum(chunk_count)::int AS chunk_count FROM segments WHERE state = 'live'"
            " AND customer_id = %(customer_id)s GROUP BY 1, 2",
            customer_id=self.customer_id,
        )
        return merging.Crowd(**rows[0]) if rows else None

    async def merged(self) -> None:
        crowd = await self.crowd()
        if crowd:
            await Merge(database=self.store.worker, limits=Limits()).merge(crowd)

    async def members(self) -> list[merging.Member]:
        crowd = await self.crowd()
        return await self.store.do(merging.members, crowd=crowd) if crowd else []

    async def ranked(
        self, question: str, *, limit: int, source_ids: list[SourceId] | None = None
    ) -> list[postings.Scored]:
        async with self.store.api.transaction(customer_id=self.customer_id) as tx:
            profile = await rags.profile(tx, customer_id=self.customer_id, rag_id=self.rag_id)
            assert profile
            return await postings.ranked(
                tx,
                customer_id=self.customer_id,
                profile_id=profile.id,
                question=question,
                limit=limit,
                source_ids=source_ids,
            )


def test_whatever_happened_to_a_rag_it_ranks_as_a_reference_that_knows_what_is_live(
    database_url: str,
) -> None:
    History.database_url = database_url
    run_state_machine_as_test(
        History,
        settings=settings(
            max_examples=15,
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
