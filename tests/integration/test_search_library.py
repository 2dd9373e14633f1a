"""Search over a whole library: the best passage of each document, across RAGs, exactly.

Vectors go in through the store as a worker would write them. Questions are embedded by the real
model, and where two models are needed by a server that gives every question the same vectors.
"""

import hashlib
import json
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
import pytest
from fix_store import Store
from numpy.typing import NDArray

from engine.config import Limits, Settings
from engine.embedding import Models, Registry, open_embedder
from engine.entries import EntryHit, EntryKind
from engine.errors import InvalidRequest, ModelUnavailable
from engine.models import CustomerId, Passage, RagId, SourceId
from engine.search import RANK_MAX, Search
from engine.store import chunks, hits, indexes, rags, vectors
from engine.store.claims import ClaimedIndex
from engine.store.hits import Asked
from engine.store.vectors import Ranking, SourceHit

pytestmark = pytest.mark.anyio

Vectors = NDArray[np.float32]
MODEL = "a-model"
DIMENSIONS = 16
EVERY_KIND: tuple[EntryKind, ...] = ()


def unit(*shape: int, seed: int = 0) -> Vectors:
    """Random vectors of length 1, as halfvec keeps them."""
    drawn = np.random.default_rng(seed).normal(size=shape)
    drawn /= np.linalg.norm(drawn, axis=-1, keepdims=True)
    return drawn.astype(np.float16).astype(np.float32)


def passages(texts: Sequence[str]) -> list[Passage]:
    return [
        Passage(ordinal=n, text=text, start=n * 1_000, end=n * 1_000 + 1, embedded=text, tokens=1)
        for n, text in enumerate(texts)
    ]


class Shelf:
    """A customer whose documents have the vectors that a test gives them."""

    def __init__(self, store: Store, customer_id: CustomerId) -> None:
        self.store = store
        self.customer_id = customer_id

    async def rag(self, *, model: str = MODEL) -> RagId:
        return await self.store.do(
            rags.insert,
            customer_id=self.customer_id,
            name="a knowledge base",
            description="",
            embedding_model=model,
            chunk_tokens=200,
            chunk_overlap_tokens=0,
        )

    async def document(
        self, rag_id: RagId, texts: Sequence[str], made: Vectors, *, finished: bool = True
    ) -> SourceId:
        """A URL with one chunk for each of `texts`, under the RAG's live profile."""
        source_id = await self.store.source(self.customer_id, rag_id)
        index = await self.store.acquire(await self.store.claimed_source())
        assert index.source_id == source_id
        await self.fill(index, texts, made)
        if finished:
            await self.store.finish(index, chunk_count=len(texts))
        return source_id

    async def fill(self, index: ClaimedIndex, texts: Sequence[str], made: Vectors) -> None:
        async with self.store.worker.transaction() as tx:
            await indexes.hold(tx, claim=index)
            await chunks.insert(
                tx,
                claim=index,
                passages=passages(texts),
                keys=[hashlib.sha256(text.encode()).digest() for text in texts],
                vectors=made,
            )

    async def nearest(
        self,
        vector: Vectors,
        *,
        model: str = MODEL,
        kinds: tuple[EntryKind, ...] = EVERY_KIND,
        limit: int = 100,
    ) -> list[SourceHit]:
        """As the API's role sees it."""
        async with self.store.api.transaction(customer_id=self.customer_id) as tx:
            return await vectors.search_library(
                tx,
                customer_id=self.customer_id,
                embedding_model=model,
                vector=vector,
                ranking=Ranking(kinds=kinds, limit=limit),
            )

    async def found_in(self, rag_id: RagId, vector: Vectors) -> list[SourceId]:
        """As a query of the one RAG finds them."""
        async with self.store.api.transaction(customer_id=self.customer_id) as tx:
            profile = await rags.profile(tx, customer_id=self.customer_id, rag_id=rag_id)
            assert profile is not None
            asked = Asked(
                customer_id=self.customer_id,
                rag_id=rag_id,
                profile_id=profile.id,
                vector=vector,
                limit=10,
                count=10,
            )
            answer = await hits.find(tx, asked)
        return [each.source_id for each in answer.found]

    async def found(self, vector: Vectors, **asked: Any) -> list[SourceId]:
        return [hit.source_id for hit in await self.nearest(vector, **asked)]


@pytest.fixture
async def shelf(store: Store) -> Shelf:
    return Shelf(store, await store.customer())


ONE = np.eye(DIMENSIONS, dtype=np.float32)


async def test_every_document_answers_once_by_its_best_passage_exactly(shelf: Shelf) -> None:
    made = unit(12, 7, DIMENSIONS)
    rag_ids = [await shelf.rag(), await shelf.rag()]
    source_ids = [
        await shelf.document(rag_ids[n % 2], [f"{n}/{m}" for m in range(7)], made[n])
        for n in range(12)
    ]
    for vector in unit(5, DIMENSIONS, seed=1):
        cosines = made @ vector
        ranked = np.argsort(-cosines.max(axis=1))
        hits = await shelf.nearest(vector)
        assert [hit.source_id for hit in hits] == [source_ids[n] for n in ranked]
        assert [hit.text for hit in hits] == [f"{n}/{cosines[n].argmax()}" for n in ranked]
        wanted = cosines.max(axis=1)[ranked]
        assert np.allclose([hit.dense for hit in hits], wanted, atol=1e-3)
        assert await shelf.nearest(vector, limit=4) == hits[:4]


async def test_of_equal_passages_the_first_is_shown_and_ties_keep_their_order(
    shelf: Shelf,
) -> None:
    rag_id = await shelf.rag()
    source_ids = [
        await shelf.document(rag_id, ["other", "first", "second"], ONE[[1, 0, 0]]) for _ in range(5)
    ]
    hits = await shelf.nearest(ONE[0])
    assert [hit.source_id for hit in hits] == sorted(source_ids)
    assert {hit.text for hit in hits} == {"first"}


async def test_only_documents_of_the_kinds_that_were_asked_for_answer(shelf: Shelf) -> None:
    rag_id = await shelf.rag()
    url, file, text = [await shelf.document(rag_id, ["a"], ONE[:1]) for _ in range(3)]
    await shelf.store.becomes_file(file, written=False)
    await shelf.store.becomes_file(text, written=True)
    wanted = {
        (EntryKind.URL,): {url},
        (EntryKind.FILE,): {file},
        (EntryKind.TEXT,): {text},
        (EntryKind.FOLDER,): set(),
        (EntryKind.FOLDER, EntryKind.URL, EntryKind.TEXT): {url, text},
        EVERY_KIND: {url, file, text},
    }
    for kinds, source_ids in wanted.items():
        assert set(await shelf.found(ONE[0], kinds=kinds)) == source_ids


async def test_what_is_not_live_does_not_answer(shelf: Shelf) -> None:
    rag_id, gone = await shelf.rag(), await shelf.rag()
    await shelf.document(rag_id, ["unfinished"], ONE[:1], finished=False)
    deleted = await shelf.document(rag_id, ["deleted"], ONE[:1])
    await shelf.document(gone, ["of a deleted RAG"], ONE[:1])
    alive = await shelf.document(rag_id, ["alive"], ONE[:1])
    await shelf.store.execute("UPDATE sources SET deleted_at = now() WHERE id = %(id)s", id=deleted)
    await shelf.store.do(rags.mark_deleted, customer_id=shelf.customer_id, rag_id=gone)
    assert await shelf.found(ONE[0]) == [alive]


async def test_a_rag_index_under_a_public_name_adds_no_answers(shelf: Shelf) -> None:
    rag_id = await shelf.rag()
    source_id = await shelf.document(rag_id, ["primary"], ONE[:1])
    await shelf.store.execute(
        """
        WITH profile AS (
            INSERT INTO profiles (customer_id, rag_id, embedding_model, public_model, chunk_tokens,
                                  chunk_overlap_tokens)
            VALUES (%(customer_id)s, %(rag_id)s, 'a-model', 'e5_mistral_7b_instruct', 200, 0)
            RETURNING id
        )
        INSERT INTO indexes (customer_id, rag_id, source_id, profile_id, due_at)
        SELECT %(customer_id)s, %(rag_id)s, %(source_id)s, id, now() FROM profile
        """,
        customer_id=shelf.customer_id,
        rag_id=rag_id,
        source_id=source_id,
    )
    await shelf.store.execute("UPDATE indexes SET generation = 1 WHERE due_at IS NOT NULL")
    index = await shelf.store.claimed_index()
    await shelf.fill(index, ["a rag index"], ONE[1:2])
    await shelf.store.execute(
        "UPDATE indexes SET generation_live = generation, state = 'ready', lease_until = NULL"
        " WHERE id = %(id)s",
        id=index.id,
    )
    hits = await shelf.nearest(ONE[1])
    assert [(hit.text, hit.dense) for hit in hits] == [("primary", 0.0)]


async def test_another_customers_documents_never_answer(shelf: Shelf) -> None:
    other = Shelf(shelf.store, await shelf.store.customer())
    mine = await shelf.document(await shelf.rag(), ["mine"], ONE[:1])
    theirs = await other.document(await other.rag(), ["theirs"], ONE[:1])
    assert await shelf.found(ONE[0]) == [mine]
    assert await other.found(ONE[0]) == [theirs]
    async with shelf.store.worker.transaction() as tx:  # whom row-level security does not stop
        hits = await vectors.search_library(
            tx,
            customer_id=shelf.customer_id,
            embedding_model=MODEL,
            vector=ONE[0],
            ranking=Ranking(limit=9),
        )
        assert [hit.source_id for hit in hits] == [mine]
        assert await vectors.library_models(tx, customer_id=shelf.customer_id) == [MODEL]


async def test_models_of_other_dimensions_live_side_by_side(shelf: Shelf) -> None:
    here = await shelf.document(await shelf.rag(), ["here"], ONE[:1])
    there = await shelf.document(
        await shelf.rag(model="b-model"), ["there"], np.eye(3, dtype=np.float32)[:1]
    )
    await shelf.rag(model="c-model")  # with nothing in it
    assert await shelf.found(ONE[0]) == [here]
    assert await shelf.found(np.eye(3, dtype=np.float32)[0], model="b-model") == [there]
    async with shelf.store.api.transaction(customer_id=shelf.customer_id) as tx:
        found = await vectors.library_models(tx, customer_id=shelf.customer_id)
    assert found == [MODEL, "b-model"]


async def test_a_model_whose_dimensions_have_changed_is_unavailable_and_not_an_accident(
    shelf: Shelf,
) -> None:
    rag_id = await shelf.rag()
    await shelf.document(rag_id, ["before"], ONE[:1])
    await shelf.document(rag_id, ["after"], np.eye(3, dtype=np.float32)[:1])
    for vector in (ONE[0], np.eye(3, dtype=np.float32)[0]):
        with pytest.raises(ModelUnavailable, match=f"gives vectors of {len(vector)} dimensions"):
            await shelf.found(vector)
        with pytest.raises(ModelUnavailable, match=f"gives vectors of {len(vector)} dimensions"):
            await shelf.found_in(rag_id, vector)


async def test_only_vectors_that_fit_the_model_are_used_again(shelf: Shelf) -> None:
    rag_id = await shelf.rag()
    await shelf.document(rag_id, ["same"], ONE[:1])
    key = hashlib.sha256(b"same").digest()
    for dimensions, keys in ((DIMENSIONS, [key]), (3, [])):
        async with shelf.store.worker.transaction() as tx:
            found = await chunks.reusable(
                tx, customer_id=shelf.customer_id, keys=[key], dimensions=dimensions
            )
        assert list(found) == keys


# The verb, with the real model ------------------------------------------------------------------

TEXTS = {
    "kettles": ["The kettle boils water in two minutes.", "Its lid comes off for cleaning."],
    "refunds": ["We pay the money back within thirty days.", "Keep the slip of your purchase."],
    "trains": ["The night train leaves from platform four."],
}


@pytest.fixture
def models(settings: Settings) -> Iterator[Models]:
    opened = Models(registry=Registry.from_settings(settings), settings=settings)
    yield opened
    opened.close()


@pytest.fixture
def search(store: Store, models: Models) -> Search:
    return Search(database=store.api, models=models, limits=Limits())


@pytest.fixture
async def library(shelf: Shelf, settings: Settings) -> dict[UUID, str]:
    """Three documents in two RAGs, by the names of TEXTS."""
    embedder = open_embedder(
        Registry.from_settings(settings).default,
        models_path=settings.models_path,
        batch_tokens=settings.embed_batch_tokens,
    )
    rag_ids = [await shelf.rag(model=settings.embedding_model) for _ in range(2)]
    return {
        await shelf.document(rag_ids[n % 2], texts, embedder.embed(texts)): name
        for n, (name, texts) in enumerate(TEXTS.items())
    }


async def ask(
    search: Search,
    shelf: Shelf,
    query: str,
    *,
    kinds: tuple[EntryKind, ...] = EVERY_KIND,
    page_size: int = 30,
    offset: int = 0,
) -> tuple[EntryHit, ...]:
    return await search.library(
        shelf.customer_id, query=query, kinds=kinds, page_size=page_size, offset=offset
    )


async def test_a_question_finds_documents_of_all_rags_the_best_first(
    search: Search, shelf: Shelf, library: dict[UUID, str]
) -> None:
    for query, name, text in [
        ("how do I take the lid off?", "kettles", TEXTS["kettles"][1]),
        ("when do I get my money back?", "refunds", TEXTS["refunds"][0]),
        ("where does the train start?", "trains", TEXTS["trains"][0]),
    ]:
        hits = await ask(search, shelf, query)
        assert sorted(library[hit.entry.id] for hit in hits) == sorted(TEXTS)
        assert (library[hits[0].entry.id], hits[0].text) == (name, text)
        scores = [hit.score for hit in hits]
        assert scores == sorted(scores, reverse=True)
        assert all(0.0 <= score <= 1.0 for score in scores)
        assert hits[0].score > 0.3
        assert {hit.entry.kind for hit in hits} == {EntryKind.URL}


async def test_pages_follow_each_other_without_gap_or_repeat(
    search: Search, shelf: Shelf, library: dict[UUID, str]
) -> None:
    whole = await ask(search, shelf, "a kettle")
    assert len(whole) == 3
    pages = [await ask(search, shelf, "a kettle", page_size=1, offset=n) for n in range(4)]
    assert pages == [whole[0:2], whole[1:3], whole[2:3], ()]


async def test_a_deleted_document_is_gone_from_the_next_answer(
    search: Search, shelf: Shelf, library: dict[UUID, str]
) -> None:
    best = (await ask(search, shelf, "a kettle"))[0].entry.id
    await shelf.store.execute("UPDATE sources SET deleted_at = now() WHERE id = %(id)s", id=best)
    assert best not in {hit.entry.id for hit in await ask(search, shelf, "a kettle")}


async def test_folders_are_not_found_by_what_they_hold(
    search: Search, shelf: Shelf, library: dict[UUID, str]
) -> None:
    assert await ask(search, shelf, "a kettle", kinds=(EntryKind.FOLDER,)) == ()
    assert await ask(search, shelf, "a kettle", kinds=(EntryKind.TEXT,)) == ()
    found = await ask(search, shelf, "a kettle", kinds=(EntryKind.FOLDER, EntryKind.URL))
    assert len(found) == 3


async def test_where_nothing_can_be_searched_nothing_is_found(search: Search, shelf: Shelf) -> None:
    assert await ask(search, shelf, "a kettle") == ()
    await shelf.document(await shelf.rag(), ["unfinished"], ONE[:1], finished=False)
    assert await ask(search, shelf, "a kettle") == ()


async def test_without_one_of_its_models_a_library_does_not_answer_in_part(
    search: Search, shelf: Shelf, library: dict[UUID, str]
) -> None:
    assert await ask(search, shelf, "a kettle")
    lost = await shelf.document(await shelf.rag(model="a-lost-model"), ["lost"], ONE[:1])
    with pytest.raises(ModelUnavailable):
        await ask(search, shelf, "a kettle")
    await shelf.store.execute("UPDATE sources SET deleted_at = now() WHERE id = %(id)s", id=lost)
    assert len(await ask(search, shelf, "a kettle")) == 3


@pytest.mark.parametrize(
    ("query", "offset", "fields"),
    [
        ("", 0, ["query"]),
        (" \n\0", 0, ["query"]),
        ("x" * 4_097, 0, ["query"]),
        ("a kettle", -1, ["cursor"]),
        ("a kettle", RANK_MAX, ["cursor"]),
        ("", RANK_MAX, ["query", "cursor"]),
    ],
)
async def test_a_question_out_of_range_is_refused_by_field(
    search: Search, shelf: Shelf, query: str, offset: int, fields: list[str]
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await ask(search, shelf, query, offset=offset)
    assert [detail.field for detail in caught.value.details] == fields


async def test_the_ranking_ends_at_its_limit_and_no_page_leads_beyond(
    search: Search, shelf: Shelf, library: dict[UUID, str]
) -> None:
    """The three documents again and again, up to one more than the limit."""
    await shelf.store.execute(
        """
        WITH old AS (
            SELECT s.rag_id, i.id AS index_id, i.profile_id
            FROM sources s JOIN indexes i ON i.source_id = s.id
        ), new AS MATERIALIZED (
            SELECT gen_random_uuid() AS source_id, gen_random_uuid() AS new_id, old.*
            FROM old, generate_series(1, 333)
        ), sourced AS (
            INSERT INTO sources (id, customer_id, rag_id, url, name, due_at)
            SELECT source_id, %(customer_id)s, rag_id, source_id::text, 'again', NULL FROM new
        ), indexed AS (
            INSERT INTO indexes (id, customer_id, rag_id, source_id, profile_id, state,
                                 generation_live)
            SELECT new_id, %(customer_id)s, rag_id, source_id, profile_id, 'ready', 1 FROM new
        )
        INSERT INTO chunks (index_id, generation, ordinal, customer_id, rag_id, source_id,
                            profile_id, start_offset, end_offset, tokens, headings, text,
                            embedding_key, embedding)
        SELECT n.new_id, 1, c.ordinal, c.customer_id, c.rag_id, n.source_id, c.profile_id,
               c.start_offset, c.end_offset, c.tokens, c.headings, c.text, c.embedding_key,
               c.embedding
        FROM new n JOIN chunks c ON c.index_id = n.index_id
        """,
        customer_id=shelf.customer_id,
    )
    seen: list[UUID] = []
    while hits := await ask(search, shelf, "a kettle", page_size=30, offset=len(seen)):
        seen += [hit.entry.id for hit in hits[:30]]
        if len(hits) <= 30:
            break
    assert len(seen) == len(set(seen)) == RANK_MAX


# Two models ---------------------------------------------------------------------------------------


class _Embeddings(BaseHTTPRequestHandler):
    """An embeddings server: each of its models turns every text into its first axis."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        axis = [1.0] + [0.0] * (int(asked["model"]) - 1)
        texts = asked["input"] if isinstance(asked["input"], list) else [asked["input"]]
        data = [{"index": n, "embedding": axis} for n in range(len(texts))]
        body = json.dumps({"data": data, "model": asked["model"]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def embeddings_url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Embeddings)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
async def search_of_two(
    store: Store, settings: Settings, embeddings_url: str, tmp_path: Path
) -> AsyncIterator[Search]:
    """Over the models `wide` of 16 dimensions and `narrow` of 3."""
    path = tmp_path / "models.toml"
    path.write_text(
        "".join(
            f'[models.{name}]\nurl = "{embeddings_url}"\nmodel = "{dimensions}"\n'
            f'dimensions = {dimensions}\ntokens_max = 256\nversion = "1"\n'
            for name, dimensions in (("wide", DIMENSIONS), ("narrow", 3))
        )
    )
    both = msgspec.structs.replace(settings, models_file=path)
    models = Models(registry=Registry.from_settings(both), settings=both)
    yield Search(database=store.api, models=models, limits=Limits())
    models.close()


def leaning(cosine: float, *, dimensions: int) -> Vectors:
    """One vector with that cosine to the first axis."""
    made = np.zeros((1, dimensions), dtype=np.float32)
    made[0, :2] = cosine, np.sqrt(1 - cosine**2)
    return made


async def test_documents_under_two_models_are_ranked_together_by_score(
    search_of_two: Search, shelf: Shelf
) -> None:
    wide, narrow = await shelf.rag(model="wide"), await shelf.rag(model="narrow")
    for n, cosine in enumerate((0.9, 0.1, 0.5, 0.8, -0.4, 0.3)):
        rag_id, dimensions = (narrow, 3) if n % 2 else (wide, DIMENSIONS)
        await shelf.document(rag_id, [str(cosine)], leaning(cosine, dimensions=dimensions))
    hits = await ask(search_of_two, shelf, "anything")
    assert [hit.text for hit in hits] == ["0.9", "0.8", "0.5", "0.3", "0.1", "-0.4"]
    wanted = [0.9, 0.8, 0.5, 0.3, 0.1, 0.0]
    assert [hit.score for hit in hits] == pytest.approx(wanted, abs=1e-3)
    second = await ask(search_of_two, shelf, "anything", page_size=2, offset=2)
    assert second == hits[2:5]
