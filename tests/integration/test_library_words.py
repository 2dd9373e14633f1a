"""Search over a whole library by words beside vectors, with the real model and real words."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

import pytest
from fix_store import Store
from fix_words import USUAL_LENGTH, document_of

from engine import librarysearch
from engine.config import Limits, Settings
from engine.embedding import Models, Registry
from engine.entries import EntryHit, EntryKind
from engine.models import CustomerId, Passage, RagId, SourceId
from engine.search import Search
from engine.store import chunks, indexes, postings, rags, segments, sources
from engine.store.termcache import TermCache
from workers.words import words

pytestmark = pytest.mark.anyio

# Whoever asks for a code means the passage that has it, which is one of several that are alike.
CODES = [f"Error E{number} means that the pump of the kettle stopped." for number in range(40, 60)]
CODE = "What is E53?"


class Library(NamedTuple):
    """A customer with RAGs; `search` is what is tested."""

    store: Store
    models: Models
    settings: Settings
    search: Search
    customer_id: CustomerId

    async def rag(self) -> RagId:
        return await self.store.do(
            rags.insert, customer_id=self.customer_id, name="kb", description="",
            embedding_model=self.settings.embedding_model, chunk_tokens=200,
            chunk_overlap_tokens=0,
        )  # fmt: skip

    async def document(self, rag_id: RagId, *texts: str) -> SourceId:
        """A ready source with a passage of each text."""
        source_id = await self.store.source(self.customer_id, rag_id)
        claim = await self.store.acquire(await self.store.claimed_source())
        embedder = await self.models.open(self.settings.embedding_model)
        passages = placed(texts)
        made = words(document_of(texts), passages=passages, usual_length=USUAL_LENGTH)
        async with self.store.worker.transaction() as tx:
            await chunks.insert(
                tx, claim=claim, passages=passages,
                keys=[hashlib.sha256(text.encode()).digest() for text in texts],
                vectors=await embedder.embed(list(texts)),
            )  # fmt: skip
            await indexes.finish(tx, claim=claim, chunk_count=len(texts))
            await segments.add(tx, claim=claim, made=made)
        return source_id

    async def delete(self, rag_id: RagId, source_id: SourceId) -> None:
        async with self.store.api.transaction(customer_id=self.customer_id) as tx:
            await rags.lock(tx, customer_id=self.customer_id, rag_id=rag_id, strength="update")
            await sources.mark_deleted(
                tx, customer_id=self.customer_id, rag_id=rag_id, source_ids=[source_id]
            )

    async def ask(
        self, query: str, *, kinds: tuple[EntryKind, ...] = (), page_size: int = 50, offset: int = 0
    ) -> tuple[EntryHit, ...]:
        return await self.search.library(
            self.customer_id, query=query, kinds=kinds, page_size=page_size, offset=offset
        )


def placed(texts: Sequence[str]) -> list[Passage]:
    made, start = [], 0
    for ordinal, text in enumerate(texts):
        end = start + len(text)
        made.append(
            Passage(ordinal=ordinal, text=text, start=start, end=end, embedded=text, tokens=9)
        )
        start = end
    return made


@pytest.fixture
async def library(store: Store, settings: Settings) -> AsyncIterator[Library]:
    models = Models(registry=Registry.from_settings(settings), settings=settings)
    search = Search(database=store.api, models=models, limits=Limits())
    yield Library(store, models, settings, search, await store.customer())
    models.close()


async def test_a_code_finds_the_document_that_has_it(library: Library) -> None:
    rag_ids = [await library.rag(), await library.rag()]
    made = [await library.document(rag_ids[n % 2], text) for n, text in enumerate(CODES)]
    for number in (40, 47, 53, 59):
        first, second, *_ = await library.ask(f"What is E{number}?")
        assert (first.entry.id, first.text) == (made[number - 40], CODES[number - 40])
        assert first.score > second.score + 0.3


async def test_of_a_document_the_passage_with_the_words_is_shown(library: Library) -> None:
    """Though another one is nearer."""
    texts = ["The lid comes off when it needs to be washed.", "Appendix E53."]
    source_id = await library.document(await library.rag(), *texts)
    asked = "cleaning covers inside dishwashers"
    (hit,) = await library.ask(asked)
    assert (hit.entry.id, hit.text) == (source_id, texts[0])
    (hit,) = await library.ask(f"{asked} E53")
    assert (hit.entry.id, hit.text) == (source_id, texts[1])
    assert hit.score > 0.5


async def test_scores_are_those_of_a_question_to_the_only_rag(library: Library) -> None:
    rag_id = await library.rag()
    for text in CODES:
        await library.document(rag_id, text, "Clean the kettle with vinegar.")
    for query in (CODE, "how do I clean it with vinegar", "the pump stopped", "zebra"):
        hits = await library.search.query(library.customer_id, rag_id, query=query, top_k=40)
        best: dict[SourceId, float] = {}
        for hit in hits:
            best[hit.source_id] = max(best.get(hit.source_id, 0.0), hit.score)
        found = {hit.entry.id: hit.score for hit in await library.ask(query)}
        assert found == pytest.approx(best, abs=1e-6), query


async def test_where_nobody_has_a_word_the_cosine_stands_alone(library: Library) -> None:
    rag_id = await library.rag()
    await library.document(rag_id, "The night train leaves from platform four.")
    await library.document(rag_id, "We pay the money back within thirty days.")
    embedder = await library.models.open(library.settings.embedding_model)
    vector = await embedder.embed_query("railway")
    for hit in await library.ask("railway"):
        (passage,) = await embedder.embed([hit.text])
        assert hit.score == pytest.approx(max(float(passage @ vector), 0), abs=2e-3)


async def test_words_of_what_is_gone_count_no_more(library: Library) -> None:
    """Neither as hits nor for how rare a word is, which shows beside another word."""
    rag_id, query = await library.rag(), "E53 zinc"
    kept = await library.document(rag_id, "Error E53 means that the heater is worn.")
    await library.document(rag_id, "The lid is made of zinc.")
    before = {hit.entry.id: hit.score for hit in await library.ask(query)}
    gone = [await library.document(rag_id, CODES[13]) for _ in range(3)]
    between = {hit.entry.id: hit.score for hit in await library.ask(query)}
    assert len(between) == 5
    assert between[kept] < before[kept] - 0.05
    for source_id in gone:
        await library.delete(rag_id, source_id)
    after = {hit.entry.id: hit.score for hit in await library.ask(query)}
    assert after == pytest.approx(before, abs=1e-6)


async def test_words_of_a_deleted_rag_and_of_strangers_find_nothing(library: Library) -> None:
    here, gone = await library.rag(), await library.rag()
    await library.document(gone, CODES[13])
    mine = await library.document(here, CODES[14])
    other = library._replace(customer_id=await library.store.customer())
    theirs = await other.document(await other.rag(), CODES[13])
    await library.store.do(rags.mark_deleted, customer_id=library.customer_id, rag_id=gone)
    assert [hit.entry.id for hit in await library.ask(CODE)] == [mine]
    assert [hit.entry.id for hit in await other.ask(CODE)] == [theirs]
    # Nobody has the code here any more, so the cosine counts alone.
    (hit,) = await library.ask("E53")
    assert hit.score < 0.6


async def test_words_count_for_the_kinds_that_were_asked_for(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many of other kinds have them as well; how rare they are counts over all."""
    monkeypatch.setattr(librarysearch, "WORDED_MAX", 2)
    rag_id = await library.rag()
    for _ in range(4):
        await library.document(rag_id, "E53: the pump.")
    wanted = [await library.document(rag_id, text) for text in (CODES[13], "A pump.")]
    for source_id in wanted:
        await library.store.becomes_file(source_id, written=False)
    assert await library.ask(CODE, kinds=(EntryKind.TEXT,)) == ()
    assert len(await library.ask(CODE, kinds=(EntryKind.URL,))) == 4
    first, second = await library.ask("E53 pump", kinds=(EntryKind.FILE, EntryKind.TEXT))
    assert [first.entry.id, second.entry.id] == wanted
    assert first.score > 0.5 > second.score


async def test_pages_follow_each_other_by_words_too(library: Library) -> None:
    rag_ids = [await library.rag(), await library.rag()]
    for number, text in enumerate(CODES):
        await library.document(rag_ids[number % 2], text)
    whole = await library.ask("E45 E46 E47 and the pump")
    assert len(whole) == len(CODES)
    for offset in range(0, len(CODES), 3):
        page = await library.ask("E45 E46 E47 and the pump", page_size=2, offset=offset)
        assert page == whole[offset : offset + 3]  # one more says that there are more


async def test_segments_of_many_rags_are_read_a_few_at_a_time(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        await library.document(await library.rag(), CODES[number], "The pump is new.")
    query = "E42 and the new pump"
    at_once = await library.ask(query)
    monkeypatch.setattr(postings, "SEGMENTS_AT_ONCE", 2)
    library.search._library._terms = TermCache()
    assert await library.ask(query) == at_once


async def test_beyond_what_counts_by_words_the_cosine_still_ranks(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(librarysearch, "WORDED_MAX", 1)
    rag_id = await library.rag()
    made = [await library.document(rag_id, text) for text in CODES[:5]]
    hits = await library.ask("E40 E41 E42 pump")
    assert {hit.entry.id for hit in hits} == set(made)
    assert hits[0].score > 0.35
    assert all(hit.score <= 0.35 for hit in hits[1:])
