"""Random histories of a RAG: after each of them it ranks as a reference does that is made anew."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from fix_store import Store
from fix_words import USUAL_LENGTH, Ranked, ask, crowd_of, delete, refresh, wordy
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from reference_bm25 import reference_scores

from engine.config import Limits
from engine.lexical import question_terms, terms
from engine.models import IndexId, SourceId
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
        index = self.run(
            refresh(self.store, self.customer_id, self.rag_id, source_id, texts, language=language)
        )
        self.learn(source_id, index.id, index.generation, texts, language)

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        source_id = data.draw(st.sampled_from(list(self.live)))
        self.run(delete(self.store, self.customer_id, self.rag_id, source_id))
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
        every = self.ask_rag(question, limit=100)
        passages = {place: found for each in self.live.values() for place, found in each.items()}
        known = self.run(self.analysers())
        expected = reference_scores(
            passages,
            question=question_terms(question, analysers=known),
            length=USUAL_LENGTH,
        )
        found = {(hit.index_id, hit.generation, hit.ordinal): hit.score for hit in every}
        assert found == pytest.approx(expected, rel=1e-3)
        assert every == sorted(every, key=lambda hit: (-hit.score, hit.index_id, hit.ordinal))
        assert self.ask_rag(question, limit=limit) == every[:limit]
        if self.live:
            some = data.draw(st.sets(st.sampled_from(list(self.live))))
            theirs = {place for source_id in some for place in self.live[source_id]}
            kept = [hit for hit in every if (hit.index_id, hit.generation, hit.ordinal) in theirs]
            of_some = self.ask_rag(question, limit=limit, source_ids=list(some))
            assert of_some == kept[:limit]

    def ask_rag(
        self, question: str, *, limit: int, source_ids: list[SourceId] | None = None
    ) -> list[Ranked]:
        asked = ask(
            self.store, self.customer_id, self.rag_id, question, limit=limit, source_ids=source_ids
        )
        return self.run(asked)

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

    async def merged(self) -> None:
        crowd = await crowd_of(self.store, self.customer_id)
        if crowd:
            await Merge(database=self.store.worker, limits=Limits()).merge(crowd)

    async def analysers(self) -> list[str]:
        """Of the live segments, of what is dead in them as well."""
        rows = await self.store.fetch(
            "SELECT DISTINCT unnest(analysers) AS name FROM segments"
            " WHERE customer_id = %(customer_id)s AND state = 'live'",
            customer_id=self.customer_id,
        )
        return [row["name"] for row in rows]


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
            phases=(
                Phase.generate,
            ),  # a history is short as it is, and each step waits for Postgres
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
