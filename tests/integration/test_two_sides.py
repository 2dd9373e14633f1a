"""Of a large RAG the graph is walked while the words are ranked: with the same answers as one after
the other, whatever is dead, not yet entered, or on its way out."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from fix_ann import Filler, grouped
from fix_large import Large, known
from fix_store import Store
from fix_words import delete, wordy

from engine import retrieval
from engine.errors import ModelUnavailable
from engine.hits import Mode
from engine.models import SourceId
from engine.retrieval import Candidates
from engine.store import hits

pytestmark = pytest.mark.anyio

SOURCES, LATER = 60, 4


class Shelf(Large):
    """Two passages a source, every third of which speaks of kettles; four sources are not in the
    graph yet, and one that is in it was deleted since."""

    def __init__(self, store: Store, filler: Filler) -> None:
        super().__init__(store, filler)
        self.source_ids: list[SourceId] = []

    async def fill(self, count: int) -> None:
        for _ in range(count):
            number = len(self.source_ids)
            texts = ["kettle " * (number % 3), f"cup {number}"]
            made = await wordy(self.store, self.customer_id, self.rag_id, texts)
            self.source_ids.append(made.source_id)
            vectors = grouped(len(texts), seed=number)
            self.filler.chunks(made.id, vectors, generation=made.generation, texts=texts)

    async def delete(self, source_id: SourceId) -> None:
        await delete(self.store, self.customer_id, self.rag_id, source_id)

    async def answer(
        self, vector: asyncio.Future, *, limit: int = 20, mode: Mode = Mode.HYBRID
    ) -> Candidates:
        return await self.planned(vector, text="which kettle", mode=mode, limit=limit)


@pytest.fixture
async def shelf(store: Store, filler: Filler) -> Shelf:
    shelf = Shelf(store, filler)
    await shelf.fill(SOURCES)
    await shelf.keep()
    await shelf.fill(LATER)
    await shelf.delete(shelf.source_ids[1])
    return shelf


@contextmanager
def apart(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int | None]]:
    """The ANN tables that are walked by themselves meanwhile."""
    walked: list[int | None] = []
    walk = hits.nearest

    async def nearest(tx, asked):
        walked.append(asked.ann_number)
        return await walk(tx, asked)

    with monkeypatch.context() as patch:
        patch.setattr(retrieval, "APART_ENTRIES", 1)
        patch.setattr(hits, "nearest", nearest)
        yield walked


@pytest.mark.parametrize("limit", [5, 20, 60])
async def test_both_sides_at_once_find_what_they_find_one_after_the_other(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    for vector in grouped(5, seed=99):
        expected = await shelf.answer(known(vector), limit=limit)
        with apart(monkeypatch) as walked:
            assert await shelf.answer(known(vector), limit=limit) == expected
        assert len(walked) == 1
        assert walked[0] is not None
        assert len(expected.found) == limit
        # Twenty passages have a word of it.
        assert {each.lexical is None for each in expected.found} == {False, limit > 20}
        assert shelf.source_ids[1] not in {each.source_id for each in expected.found}


async def test_what_the_graph_leaves_out_is_scanned_for(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    for source_id in shelf.source_ids[2 : SOURCES - 2]:
        await shelf.delete(source_id)
    left = 2 * (len(shelf.source_ids) - 1 - (SOURCES - 4))
    with apart(monkeypatch) as walked:
        answer = await shelf.answer(known(grouped(1)[0]), limit=50)
    assert len(walked) == 1
    assert len(answer.found) == left
    assert answer.complete


async def test_one_side_alone_is_asked_for_in_one_statement(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    with apart(monkeypatch) as walked:
        assert len((await shelf.answer(known(grouped(1)[0]), mode=Mode.DENSE)).found) == 20
    assert walked == []


async def test_a_model_that_fails_is_told_and_the_session_serves_the_next(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: asyncio.Future = asyncio.get_running_loop().create_future()
    failed.set_exception(ModelUnavailable("away"))
    with apart(monkeypatch) as walked:
        with pytest.raises(ModelUnavailable):
            await shelf.answer(failed)
        assert walked == []
        assert len((await shelf.answer(known(grouped(1)[0]))).found) == 20


async def test_a_question_that_is_given_up_on_leaves_no_statement_behind(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one whose words cannot be ranked, while the database walks."""

    def best(*_, **__):
        raise RuntimeError("no ranking")

    with apart(monkeypatch) as walked:
        with monkeypatch.context() as patch:
            patch.setattr("engine.store.postings.best", best)
            with pytest.raises(RuntimeError, match="no ranking"):
                await shelf.answer(known(grouped(1)[0]))
        assert len((await shelf.answer(known(grouped(1)[0]))).found) == 20
    assert len(walked) == 2
