"""Questions to one RAG, by the real model and real words: modes, scores, folding, neighbours.

Rows are written through the store as a worker writes them; which statement answers is of no matter
here (test_ann.py).
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

import numpy as np
import pytest
from fix_ann import Vectors
from fix_large import Large
from fix_store import Store
from fix_words import USUAL_LENGTH, document_of

from engine import retrieval
from engine import search as search_module
from engine.config import Limits, Settings
from engine.embedding import Models, Registry
from engine.embedding.executor import LocalEmbedder
from engine.errors import InvalidRequest, RagNotFound, RagNotReady
from engine.hits import Hit, Mode
from engine.models import CustomerId, Passage, RagId, SourceId
from engine.search import Search
from engine.store import Database, chunks, indexes, rags, segments
from workers.words import words

pytestmark = pytest.mark.anyio

KETTLE = [
    "The kettle boils water in two minutes.",
    "Its lid comes off for cleaning.",
    "Descale it with vinegar every month.",
    "Error E42 means that it ran dry.",
]
REFUNDS = [
    "We pay the money back within thirty days.",
    "Keep the slip of your purchase.",
]


class Desk(NamedTuple):
    """A customer with a RAG, and the verb that is tested."""

    store: Store
    models: Models
    settings: Settings
    search: Search
    customer_id: CustomerId
    rag_id: RagId

    async def source(
        self, texts: Sequence[str], *, overlap: int = 0, vectors: Vectors | None = None
    ) -> SourceId:
        """A ready source; each passage begins `overlap` characters before the end of the last. Its
        vectors are those of the model, unless given."""
        source_id = await self.store.source(self.customer_id, self.rag_id)
        claim = await self.store.acquire(await self.store.claimed_source())
        embedder = await self.models.open(self.settings.embedding_model)
        passages = placed(texts, overlap=overlap)
        made = words(document_of(texts), passages=passages, usual_length=USUAL_LENGTH)
        if vectors is None:
            vectors = await embedder.embed(list(texts))
        async with self.store.worker.transaction() as tx:
            await chunks.insert(
                tx,
                claim=claim,
                passages=passages,
                keys=[hashlib.sha256(text.encode()).digest() for text in texts],
                vectors=vectors,
            )
            await indexes.finish(tx, claim=claim, chunk_count=len(texts))
            await segments.add(tx, claim=claim, made=made)
        return source_id

    async def ask(self, query: str, *, top_k: int = 5, **more) -> tuple[Hit, ...]:
        return await self.search.query(
            self.customer_id, self.rag_id, query=query, top_k=top_k, **more
        )


def placed(texts: Sequence[str], *, overlap: int) -> list[Passage]:
    made, start = [], 0
    for ordinal, text in enumerate(texts):
        end = start + len(text)
        made.append(
            Passage(ordinal=ordinal, text=text, start=start, end=end, embedded=text, tokens=9)
        )
        start = end - overlap
    return made


@pytest.fixture
async def desk(store: Store, settings: Settings) -> AsyncIterator[Desk]:
    models = Models(registry=Registry.from_settings(settings), settings=settings)
    customer_id = await store.customer()
    rag_id = await store.do(
        rags.insert,
        customer_id=customer_id,
        name="a knowledge base",
        description="",
        embedding_model=settings.embedding_model,
        chunk_tokens=200,
        chunk_overlap_tokens=0,
    )
    search = Search(database=store.api, models=models, limits=Limits())
    yield Desk(store, models, settings, search, customer_id, rag_id)
    models.close()


async def test_dense_finds_by_meaning_and_says_the_cosine_only(desk: Desk):
    await desk.source(KETTLE)
    await desk.source(REFUNDS)
    hits = await desk.ask("When do I get a reimbursement?", mode=Mode.DENSE, top_k=3)
    assert hits[0].text == REFUNDS[0]
    assert all(hit.score == pytest.approx(max(hit.dense or 0, 0)) for hit in hits)
    assert {hit.lexical for hit in hits} == {None}


async def test_lexical_finds_words_and_nothing_else(desk: Desk):
    await desk.source(KETTLE)
    await desk.source(REFUNDS)
    hits = await desk.ask("E42", mode=Mode.LEXICAL)
    assert [hit.text for hit in hits] == [KETTLE[3]]
    assert (hits[0].dense, hits[0].lexical is None) == (None, False)
    assert 0 < hits[0].score < 1
    assert await desk.ask("reimbursement", mode=Mode.LEXICAL) == ()


async def test_hybrid_has_both_sides_and_is_filled_beyond_the_words(desk: Desk):
    await desk.source(KETTLE)
    await desk.source(REFUNDS)
    hits = await desk.ask("What does E42 mean?")
    assert (len(hits), hits[0].text) == (5, KETTLE[3])
    assert hits[0].score > max(0.5, hits[1].score)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert all(hit.dense is not None for hit in hits)
    assert hits[0].lexical is not None
    assert hits[-1].lexical is None


async def test_lexical_needs_no_model(desk: Desk, tmp_path):
    await desk.source(KETTLE)
    bare = Settings(models_dir=tmp_path, embedding_model=desk.settings.embedding_model)
    models = Models(registry=Registry.from_settings(bare), settings=bare)
    search = Search(database=desk.store.api, models=models, limits=Limits())
    hits = await search.query(
        desk.customer_id, desk.rag_id, query="vinegar", top_k=1, mode=Mode.LEXICAL
    )
    assert [hit.text for hit in hits] == [KETTLE[2]]


@pytest.mark.parametrize("mode", list(Mode))
async def test_min_score_cuts_the_tail_off(desk: Desk, mode: Mode):
    await desk.source(KETTLE)
    await desk.source(REFUNDS)
    every = await desk.ask("vinegar in the kettle", mode=mode)
    cut = every[1].score
    assert await desk.ask("vinegar in the kettle", mode=mode, min_score=cut) == tuple(
        hit for hit in every if hit.score >= cut
    )
    assert await desk.ask("vinegar in the kettle", mode=mode, min_score=0.0) == every


async def test_min_score_keeps_what_is_good_on_both_sides_and_among_the_first_of_none(desk: Desk):
    """A hundred are nearer, a hundred have more of the words, and neither is enough by itself."""
    question = "kettle descaling interval"
    await desk.source(
        [f"page {number} of something else" for number in range(110)],
        vectors=await at_cosine(desk, question, cosine=0.8, count=110),
    )
    await desk.source(
        [f"kettle descaling interval {number}" for number in range(110)],
        vectors=await at_cosine(desk, question, cosine=0.0, count=110),
    )
    texts = [f"the kettle, its descaling and the interval of it: {n} times" for n in range(3)]
    both = await desk.source(texts, vectors=await at_cosine(desk, question, cosine=0.75, count=3))
    hits = await desk.ask(question, min_score=0.5)
    assert {hit.source_id for hit in hits} == {both}
    assert len(hits) == 3


async def test_min_score_keeps_the_nearest_that_is_far_down_by_its_words(desk: Desk):
    """Sixty have more of the words, so that it is given nothing of them at first."""
    question = "kettle descaling interval"
    await desk.source(
        [f"{question} {question} {number}" for number in range(60)],
        vectors=await at_cosine(desk, question, cosine=0.0, count=60),
    )
    best = await desk.source(
        [f"{question} once"], vectors=await at_cosine(desk, question, cosine=1.0, count=1)
    )
    for top_k in (1, 5, 30, 100):
        hits = await desk.ask(question, top_k=top_k, min_score=0.6)
        assert [hit.source_id for hit in hits] == [best], top_k


async def at_cosine(desk: Desk, question: str, *, cosine: float, count: int) -> Vectors:
    """Vectors of that cosine to the question's, each in a direction of its own."""
    embedder = await desk.models.open(desk.settings.embedding_model)
    asked = (await embedder.embed_query(question)).astype(np.float64)
    others = np.random.default_rng(count).normal(size=(count, len(asked)))
    others -= np.outer(others @ asked, asked)
    others /= np.linalg.norm(others, axis=1, keepdims=True)
    return (cosine * asked + np.sqrt(1 - cosine**2) * others).astype(np.float32)


@pytest.mark.parametrize("min_score", [-0.1, 1.1, float("nan")])
async def test_a_min_score_beyond_0_to_1_is_refused(desk: Desk, min_score: float):
    with pytest.raises(InvalidRequest) as caught:
        await desk.ask("kettle", min_score=min_score)
    assert [detail.field for detail in caught.value.details] == ["min_score"]


async def test_neighbours_stand_beside_and_end_at_the_borders_of_a_document(desk: Desk):
    await desk.source(KETTLE)
    await desk.source(REFUNDS)
    for query, number in (("boils water minutes", 0), ("descale vinegar", 2), ("E42 dry", 3)):
        (hit,) = await desk.ask(query, top_k=1, with_neighbours=True)
        assert hit.text == KETTLE[number]
        before = KETTLE[number - 1] if number else None
        after = KETTLE[number + 1] if number + 1 < len(KETTLE) else None
        assert (hit.before.text if hit.before else None) == before
        assert (hit.after.text if hit.after else None) == after
        assert hit.before is None or hit.before.end == hit.start
        assert hit.after is None or hit.after.start == hit.end
    (hit,) = await desk.ask("descale vinegar", top_k=1)
    assert (hit.before, hit.after) == (None, None)


async def test_what_a_source_says_again_and_again_takes_one_place_and_others_move_up(desk: Desk):
    await desk.source(["The lid comes off."] * 300 + ["Vinegar removes scale from a lid."])
    await desk.source(["The lid comes off."])
    for mode in (Mode.DENSE, Mode.HYBRID):
        hits = await desk.ask("How does the lid come off?", top_k=3, mode=mode)
        assert len({(hit.source_id, hit.text) for hit in hits}) == 3


async def test_where_nearly_all_is_repetition_the_best_of_it_fills_the_list(
    desk: Desk, monkeypatch
):
    """Nobody can make the engine read all of a RAG for a handful of hits."""
    monkeypatch.setattr(search_module, "CANDIDATES_MAX", 150)
    await desk.source(["The lid comes off."] * 300 + ["Vinegar removes scale."])
    hits = await desk.ask("How does the lid come off?", top_k=4, mode=Mode.DENSE)
    assert [hit.text for hit in hits] == ["The lid comes off."] * 4
    assert len({hit.chunk_id for hit in hits}) == 4


async def test_passages_that_overlap_by_nearly_all_are_one_hit(desk: Desk):
    text = "The kettle boils a litre of cold water in about two minutes"
    await desk.source([text, text[3:] + " or", "Its lid comes off."], overlap=len(text) - 3)
    hits = await desk.ask("How fast does the kettle boil a litre?", top_k=3)
    assert sum("litre" in hit.text for hit in hits) == 1


async def test_only_the_sources_that_were_asked_for_answer_in_every_mode(desk: Desk):
    kettle = await desk.source(KETTLE)
    await desk.source(KETTLE)
    for mode in Mode:
        hits = await desk.ask("kettle lid", mode=mode, source_ids=(kettle,))
        assert {hit.source_id for hit in hits} == {kettle}


@pytest.mark.parametrize("sent_max", [10_000, 1])
async def test_named_sources_answer_alone_beside_a_filter_too(desk: Desk, monkeypatch, sent_max):
    """However long the list is: a filter alone is asked of whatever was found, from some length."""
    monkeypatch.setattr(retrieval, "SENT_SOURCES_MAX", sent_max)
    one, two, other = [await desk.source([f"kettle {word}"]) for word in ("one", "two", "three")]
    await desk.store.execute("UPDATE sources SET attributes = '{\"k\": 1}'")
    for mode in Mode:
        hits = await desk.ask(
            "kettle",
            mode=mode,
            source_ids=(one, two),
            given_filter={"eq": {"key": "k", "value": 1}},
        )
        assert {hit.source_id for hit in hits} == {one, two}, (mode, other)


async def test_a_rag_that_is_not_there_or_has_nothing_says_so_also_when_it_was_asked_before(
    desk: Desk,
):
    with pytest.raises(RagNotReady):
        await desk.ask("kettle")
    source_id = await desk.source(KETTLE)
    assert await desk.ask("kettle")
    await desk.store.execute(
        "UPDATE sources SET deleted_at = now() WHERE id = %(id)s", id=source_id
    )
    with pytest.raises(RagNotReady):
        await desk.ask("kettle")
    await desk.store.execute("UPDATE rags SET deleted_at = now() WHERE id = %(id)s", id=desk.rag_id)
    for mode in Mode:
        with pytest.raises(RagNotFound):
            await desk.ask("kettle", mode=mode)


async def test_another_customer_does_not_learn_from_what_is_remembered(desk: Desk):
    await desk.source(KETTLE)
    assert await desk.ask("kettle")
    stranger = await desk.store.customer("stranger")
    with pytest.raises(RagNotFound):
        await desk.search.query(stranger, desk.rag_id, query="kettle", top_k=1)


async def test_a_model_that_changed_since_the_last_question_is_noticed(desk: Desk):
    await desk.source(KETTLE)
    await desk.ask("kettle")
    key = (desk.customer_id, desk.rag_id)
    desk.search._models_of[key] = "some-other-model"  # as remembered from before a change
    real = desk.models.open
    desk.models._open["some-other-model"] = await real(desk.settings.embedding_model)
    assert (await desk.ask("vinegar", top_k=1))[0].text == KETTLE[2]
    assert desk.search._models_of[key] == desk.settings.embedding_model


async def test_a_remembered_model_that_is_gone_does_not_keep_the_present_one_from_answering(
    desk: Desk,
):
    await desk.source(KETTLE)
    key = (desk.customer_id, desk.rag_id)
    desk.search._models_of[key] = "a-model-that-is-gone"  # as remembered from before a change
    assert (await desk.ask("vinegar", top_k=1))[0].text == KETTLE[2]
    assert desk.search._models_of[key] == desk.settings.embedding_model


async def test_a_table_dropped_under_a_question_is_asked_no_more(desk: Desk, monkeypatch):
    await desk.source(KETTLE)
    await desk.store.execute(
        "INSERT INTO ann_tables (profile_id, customer_id, number, entries)"
        " SELECT profile_live, customer_id, 4711, 4 FROM rags"
    )
    real = Search._answered
    tries = []

    async def answered(self, wanted, *, embedding):
        tries.append(wanted)
        if len(tries) == 2:
            await desk.store.execute("DELETE FROM ann_tables")
        return await real(self, wanted, embedding=embedding)

    monkeypatch.setattr(Search, "_answered", answered)
    assert (await desk.ask("vinegar", top_k=1))[0].text == KETTLE[2]
    assert len(tries) == 2


async def test_a_question_takes_one_transaction_once_its_model_is_known(desk: Desk, monkeypatch):
    await desk.source(KETTLE)
    await desk.ask("kettle")
    begun = []
    real = Database.transaction

    def counted(self, **given):
        begun.append(given)
        return real(self, **given)

    monkeypatch.setattr(Database, "transaction", counted)
    await desk.ask("kettle")
    (given,) = begun
    assert (given["customer_id"], given["snapshot"]) == (desk.customer_id, True)


async def test_all_statements_of_one_question_see_one_moment(large: Large):
    async with large.store.api.transaction(customer_id=large.customer_id, snapshot=True) as tx:
        before = await tx.value(int, "SELECT count(*) FROM rags")
        large.filler.rag(large.customer_id)
        assert await tx.value(int, "SELECT count(*) FROM rags") == before
    async with large.store.api.transaction(customer_id=large.customer_id) as tx:
        assert await tx.value(int, "SELECT count(*) FROM rags") == (before or 0) + 1
        large.filler.rag(large.customer_id)
        assert await tx.value(int, "SELECT count(*) FROM rags") == (before or 0) + 2


@pytest.mark.parametrize("is_remote", [True, False])
async def test_a_model_behind_a_server_is_not_waited_for_in_a_transaction(
    desk: Desk, monkeypatch, is_remote: bool
):
    await desk.source(KETTLE)
    await desk.ask("kettle")
    open_now, seen = [], []
    transaction, embed_query = Database.transaction, LocalEmbedder.embed_query

    @asynccontextmanager
    async def counted(self, **given):
        async with transaction(self, **given) as tx:
            open_now.append(tx)
            yield tx
            open_now.remove(tx)

    async def slow(self, text):
        await asyncio.sleep(0.1)
        seen.append(len(open_now))
        return await embed_query(self, text)

    monkeypatch.setattr(Database, "transaction", counted)
    monkeypatch.setattr(LocalEmbedder, "embed_query", slow)
    monkeypatch.setattr(LocalEmbedder, "is_remote", is_remote)
    assert (await desk.ask("descale"))[0].text == KETTLE[2]
    assert seen == [0 if is_remote else 1]
