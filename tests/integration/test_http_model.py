"""A model behind a server, and a server that does everything wrong that servers do."""

import asyncio
import json
import logging
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import fix_models as do
import msgspec
import numpy as np
import pytest
from fix_models import DIMENSIONS, Served, other_served, served, vector_of

from engine.access import Operator
from engine.blobs import Blobs
from engine.config import Limits, Settings
from engine.embedding import AsyncEmbedder, Models, ModelSpec, Registry
from engine.embedding import http as http_module
from engine.embedding.http import HttpEmbedder, open_http
from engine.embedding.modelsfile import read
from engine.embedding.provider import PROBE, Patience
from engine.errors import ModelUnavailable
from engine.files import Files
from engine.jobs import Bell
from engine.models import CustomerId, NewRag, NewSources, Rag, RagId, State
from engine.rags import Rags
from engine.search import Search
from engine.store import Database

__all__ = ["other_served", "served"]  # fixtures

pytestmark = pytest.mark.anyio

KEY = "sk-very-secret-0123456789"
QUICK = Patience(tries_max=3, backoff_s=0.01, failures_max=3, cooling_s=0.3)
LONG = Patience(tries_max=3, backoff_s=0.01, failures_max=3, cooling_s=60.0)
Open = Callable[..., Awaitable[HttpEmbedder]]


def spec_of(served: Served, folder: Path, **settings: object) -> ModelSpec:
    """The spec of a file that has the given settings beside what it needs."""
    table = {
        "url": served.url,
        "model": "served-name",
        "dimensions": DIMENSIONS,
        "tokens_max": 128,
        "version": "1",
        "timeout_s": 10,
        **settings,
    }
    lines = [f"{name} = {json.dumps(value)}" for name, value in table.items()]
    path = folder / "models.toml"
    path.write_text("[models.mine]\n" + "\n".join(lines), encoding="utf-8")
    return read(path).models["mine"]


@pytest.fixture
async def opened(served: Served, tmp_path: Path, models_path: Path) -> AsyncIterator[Open]:
    """Opens models behind `served` (or `at`), and closes them."""
    embedders: list[HttpEmbedder] = []

    async def open_one(
        *, at: Served = served, patience: Patience = QUICK, **settings: object
    ) -> HttpEmbedder:
        spec = spec_of(at, tmp_path, **settings)
        assert spec.endpoint is not None
        embedder = await asyncio.to_thread(
            open_http,
            spec,
            endpoint=spec.endpoint,
            models_path=models_path,
            patience=patience,
        )
        embedders.append(embedder)
        return embedder

    yield open_one
    for embedder in embedders:
        embedder.close()
        embedder.close()
    await asyncio.sleep(0.01)


async def refusal(embedder: AsyncEmbedder, *texts: str) -> ModelUnavailable:
    with pytest.raises(ModelUnavailable) as refused:
        await embedder.embed(texts or ["a text"])
    assert "The embedding model mine cannot be used: its server " in refused.value.message
    task = asyncio.current_task()
    assert task
    assert task.cancelling() == 0, "a worker would take itself for told to stop"
    return refused.value


# What is asked, and what comes of it -------------------------------------------------------------


async def test_vectors_come_in_the_order_of_the_texts_and_have_length_one(served, opened):
    embedder = await opened(batch_items=3)
    served.usual = do.shuffled
    texts = [f"text {number}" for number in range(10)]
    vectors = await embedder.embed(texts)
    assert (vectors.shape, vectors.dtype) == ((10, DIMENSIONS), np.float32)
    np.testing.assert_allclose(vectors, [vector_of(text) for text in texts], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


async def test_no_texts_are_no_request(served, opened):
    vectors = await (await opened()).embed([])
    assert vectors.shape == (0, DIMENSIONS)
    assert served.requests == []


async def test_a_request_has_the_address_the_model_and_the_key(
    served, opened, tmp_path, monkeypatch
):
    (tmp_path / "key").write_text(KEY + "\n")
    await (await opened(api_key_file="key")).embed_query("question")
    monkeypatch.setenv("SOME_KEY", KEY)
    await (await opened(api_key_env="SOME_KEY")).embed_query("question")
    await (await opened()).embed_query("question")
    keys = [request.headers.get("authorization") for request in served.requests]
    assert keys == [f"Bearer {KEY}", f"Bearer {KEY}", None]
    assert {request.path for request in served.requests} == {"/v1/embeddings"}
    assert {request.model for request in served.requests} == {"served-name"}


async def test_passages_and_questions_have_their_own_prefixes(served, opened):
    embedder = await opened(query_prefix="query: ", passage_prefix="passage: ")
    await embedder.embed(["one", "two"])
    question = await embedder.embed_query("one")
    assert served.requests[0].texts == ["passage: one", "passage: two"]
    assert served.requests[1].texts == ["query: one"]
    np.testing.assert_allclose(question, vector_of("query: one"), atol=1e-6)


async def test_a_request_holds_no_more_texts_and_tokens_than_it_may(served, opened):
    embedder = await opened(batch_items=4, batch_tokens=30, concurrency=1)
    texts = ["one two three four five six"] * 6 + ["word"] * 10
    await embedder.embed(texts)
    assert [text for request in served.requests for text in request.texts] == texts
    assert max(len(request.texts) for request in served.requests) == 4
    counts = [embedder.tokenizer.counts(request.texts) for request in served.requests]
    assert max(sum(count) + 2 * len(count) for count in counts) <= 30


async def test_no_more_requests_run_at_once_than_allowed(served, opened):
    embedder = await opened(batch_items=1, concurrency=3)
    served.usual = do.slow(0.05)
    await asyncio.gather(embedder.embed(["a"] * 8), embedder.embed(["b"] * 4))
    assert (len(served.requests), served.running_max) == (12, 3)


async def test_of_a_text_longer_than_the_model_reads_the_beginning_counts(served, opened):
    embedder = await opened(tokens_max=40, passage_prefix="passage: ")
    text = "word " * 1000
    await embedder.embed([text, "short"])
    long, short = served.requests[0].texts
    assert short == "passage: short"
    assert text.startswith(long.removeprefix("passage: "))
    # Two tokens that the model adds, two of the prefix.
    assert embedder.tokenizer.count(long) == 38


async def test_proxies_of_the_environment_are_not_used(served, opened, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    await (await opened()).embed_query("question")
    assert len(served.requests) == 1


# Servers that recover ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault", [do.status(500), do.status(503), do.status(429), do.closes, do.breaks_off]
)
async def test_what_may_pass_is_asked_again(served, opened, fault):
    embedder = await opened()
    served.plan = [fault, fault]
    vectors = await embedder.embed(["a text"])
    np.testing.assert_allclose(vectors[0], vector_of("a text"), atol=1e-6)
    assert len(served.requests) == 3


async def test_a_server_is_left_alone_for_as_long_as_it_asks(served, opened):
    embedder = await opened()
    served.plan = [do.status(429, Retry_After="1")]
    await embedder.embed(["a text"])
    first, second = served.requests
    assert 1.0 <= second.at - first.at < 3.0


async def test_tries_are_bounded(served, opened):
    served.usual = do.status(500)
    refused = await refusal(await opened(patience=LONG))
    assert refused.message.endswith("failed (500).")
    assert len(served.requests) == QUICK.tries_max


async def test_a_wait_beyond_the_time_of_a_call_is_not_waited_but_kept(served, opened):
    embedder = await opened(timeout_s=5)
    served.plan = [do.status(429, Retry_After="100")]
    began = time.monotonic()
    assert "overloaded (429)" in (await refusal(embedder)).message
    assert "asked again in 100 s" in (await refusal(embedder)).message
    assert time.monotonic() - began < 2
    assert len(served.requests) == 1


# Servers that do not -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (do.items(lambda items: items[:-1]), "gave 2 vectors for 3 texts"),
        (do.items(lambda items: [*items, items[0]]), "gave 4 vectors for 3 texts"),
        (do.items(lambda items: [items[0]] * 3), "numbered them wrongly"),
        (do.items(lambda items: [x | {"embedding": [1.0] * 15} for x in items]), "15 dimensions"),
        (do.items(lambda items: [x | {"embedding": [0] * 16} for x in items]), "length zero"),
        (
            do.items(lambda items: [x | {"embedding": [float("nan")] * 16} for x in items]),
            "no list",
        ),
        (do.items(lambda items: [x | {"embedding": [None] * 16} for x in items]), "no list"),
        (do.items(lambda items: [x | {"embedding": "AAAA"} for x in items]), "no list"),
        (do.body(b'{"data": [{"index": 0, "embedding": [1'), "no list of vectors"),
        (do.body(b"<html>Welcome</html>"), "no list of vectors"),
        (do.body(b"\xff\xfe"), "no list of vectors"),
        (do.body(b""), "no list of vectors"),
        (do.body(b'{"data": ' + b"[" * 60_000), "no list of vectors"),
        (do.body(b'{"more": ' + b"[" * 60_000), "no list of vectors"),
        (do.status(204, b""), "unexpected answer (204)"),
    ],
)
async def test_an_answer_that_is_none_is_refused_and_not_asked_for_again(
    served, opened, fault, words
):
    embedder = await opened()
    served.usual = fault
    assert words in (await refusal(embedder, "one", "two", "three")).message
    assert len(served.requests) == 1


async def test_an_answer_without_end_is_cut_off(served, opened):
    embedder = await opened()
    served.usual = do.endless
    began = time.monotonic()
    assert "does not end" in (await refusal(embedder)).message
    assert time.monotonic() - began < 3
    # What the server got rid of is in the buffers of the two sockets.
    assert served.bytes_sent < 20_000_000


@pytest.mark.parametrize("fault", [do.hangs, do.trickles, do.slow(20)])
async def test_the_time_of_a_call_is_bounded_whatever_the_server_does(served, opened, fault):
    embedder = await opened(timeout_s=1.0)
    served.usual = fault
    began = time.monotonic()
    assert "did not answer within 1 s" in (await refusal(embedder)).message
    assert 1.0 <= time.monotonic() - began < 5
    assert len(served.requests) == 1


async def test_a_server_that_is_not_there_cannot_be_reached(opened):
    embedder = await opened(url="http://127.0.0.1:9/v1")
    assert "cannot be reached" in (await refusal(embedder)).message


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (do.status(401), "refuses the access key (401)"),
        (do.status(403), "refuses the access key (403)"),
        (do.status(404), "knows no such address or model (404)"),
        (do.status(405), "refuses the request (405)"),
        (do.status(302, Location="/v1/elsewhere"), "redirects elsewhere, which is not followed"),
    ],
)
async def test_what_the_operator_has_to_mend_is_not_asked_again_for_a_while(
    served, opened, fault, words
):
    embedder = await opened(patience=LONG)
    served.usual = fault
    assert words in (await refusal(embedder)).message
    assert "it is asked again in 60 s" in (await refusal(embedder)).message
    assert [request.path for request in served.requests] == ["/v1/embeddings"]


async def test_a_server_that_refuses_every_request_is_left_alone(served, opened):
    embedder = await opened(patience=LONG)
    served.usual = do.status(400, b'{"error": "no"}')
    assert "refuses the request (400)" in (await refusal(embedder)).message
    await refusal(embedder)
    assert [request.texts for request in served.requests] == [["a text"], [PROBE]]


async def test_a_text_that_is_refused_stops_no_other_text(served, opened):
    embedder = await opened(patience=LONG)
    for _ in range(5):
        served.plan = [do.status(400, b'{"error": "no"}')]
        assert "refuses the request (400)" in (await refusal(embedder)).message
    assert (await embedder.embed(["another text"])).shape == (1, DIMENSIONS)


async def test_neither_key_nor_text_is_in_a_message_or_in_the_log(served, opened, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    (tmp_path / "key").write_text(KEY)
    texts = "a private text"
    echo = json.dumps({"error": f"key {KEY} may not embed {texts}"}).encode()
    for fault in (do.status(401, echo), do.status(400, echo), do.status(500, echo), do.hangs):
        embedder = await opened(api_key_file="key", timeout_s=0.5)
        served.usual = fault
        error: BaseException | None = await refusal(embedder, texts)
        while error is not None:
            assert KEY not in repr(error)
            assert texts not in repr(error)
            error = error.__cause__ or error.__context__
    said = "\n".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    assert "model failed" in said
    assert KEY not in said
    assert texts not in said


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not set"),
        (b"line\nline", "characters"),
        (b"\xff", "cannot be read"),
        (None, "read"),
    ],
)
async def test_a_key_that_cannot_be_one_is_refused_before_anything_is_asked(
    served, opened, tmp_path, content, words
):
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    with pytest.raises(ModelUnavailable, match=f"access key of mine .*{words}"):
        await opened(api_key_file="key")
    with pytest.raises(ModelUnavailable, match="access key of mine is not set"):
        await opened(api_key_env="A_VARIABLE_THAT_NOBODY_SETS")
    assert served.requests == []


# Texts that are too long for the server ----------------------------------------------------------


@pytest.mark.parametrize(
    "refusal_of",
    [
        {"status": 413, "body": {"error": "Payload Too Large"}},
        {"status": 400, "body": {"message": "This model's maximum context length is 512 tokens."}},
        {"status": 422, "body": {"error": "batch size 8 > maximum allowed batch size 4"}},
        {"status": 500, "body": {"error": "input is too large to process"}},
    ],
)
async def test_a_request_that_is_too_long_is_made_smaller_until_it_fits(served, opened, refusal_of):
    embedder = await opened()
    served.usual = do.takes(characters_max=40, refusal=refusal_of)
    texts = ["a" * 30, "b" * 100, *(f"text {number}" for number in range(6))]
    vectors = await embedder.embed(texts)
    read = ["a" * 30, "b" * 25, *texts[2:]]
    np.testing.assert_allclose(vectors, [vector_of(text) for text in read], atol=1e-6)
    assert len(served.requests) < 20


async def test_a_text_that_never_fits_is_given_up_after_some_cuts(served, opened):
    embedder = await opened()
    refusal_of = {"status": 413, "body": "too long"}
    served.usual = do.takes(characters_max=10, refusal=refusal_of)
    text = "a" * 1000
    assert "finds a text too long (413)" in (await refusal(embedder, text)).message
    sizes = [len(request.texts[0]) for request in served.requests]
    assert sizes == [1000, 500, 250, 125, 62, len(PROBE)]
    assert (await embedder.embed(["short"])).shape == (1, DIMENSIONS)


# The breaker -------------------------------------------------------------------------------------


async def test_after_some_failures_calls_fail_at_once_until_a_probe_succeeds(served, opened):
    embedder = await opened()
    served.usual = do.status(500)
    for _ in range(QUICK.failures_max):
        await refusal(embedder)
    asked = len(served.requests)
    assert "failed (500); it is asked again in" in (await refusal(embedder)).message
    assert len(served.requests) == asked
    served.usual = do.slow(0.05)
    await asyncio.sleep(QUICK.cooling_s + 0.05)
    await embedder.embed(["a text"])
    await asyncio.gather(*(embedder.embed(["a text"]) for _ in range(3)))
    assert len(served.requests) == asked + 4


async def test_only_one_call_is_the_probe(served, opened):
    embedder = await opened(concurrency=8)
    served.usual = do.status(401)
    await refusal(embedder)
    await asyncio.sleep(QUICK.cooling_s + 0.05)
    served.usual = do.slow(0.2)
    ended = await asyncio.gather(
        *(embedder.embed([f"{number}"]) for number in range(8)), return_exceptions=True
    )
    assert [type(each) for each in ended].count(ModelUnavailable) == 7
    assert len(served.requests) == 2


async def test_while_the_probe_is_away_others_fail_at_once_even_without_a_free_place(
    served, opened
):
    embedder = await opened(concurrency=1, timeout_s=2)
    served.plan = [do.status(401), do.slow(1)]
    await refusal(embedder)
    await asyncio.sleep(QUICK.cooling_s + 0.05)
    probe = asyncio.create_task(embedder.embed(["a text"]))
    await asyncio.sleep(0.2)
    began = time.monotonic()
    await refusal(embedder)
    assert time.monotonic() - began < 0.5
    assert (await probe).shape == (1, DIMENSIONS)


@pytest.mark.parametrize("when", ["Tue, 01 Jan 99999999999 12:00:00 GMT", "1e999", "soon"])
async def test_an_absurd_wait_is_no_wait(served, opened, when):
    embedder = await opened()
    served.plan = [do.status(503, Retry_After=when)]
    assert (await embedder.embed(["a text"])).shape == (1, DIMENSIONS)


async def test_a_probe_that_is_cancelled_leaves_its_place_to_another(served, opened):
    embedder = await opened()
    served.plan = [do.status(401), do.slow(5)]
    await refusal(embedder)
    await asyncio.sleep(QUICK.cooling_s + 0.05)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(embedder.embed(["a text"]), 0.1)
    assert (await embedder.embed(["a text"])).shape == (1, DIMENSIONS)


async def test_one_bad_server_delays_no_other(served, other_served, opened):
    bad = await opened(concurrency=1, timeout_s=2)
    good = await opened(at=other_served)
    served.usual = do.hangs
    stuck = [asyncio.create_task(refusal(bad)) for _ in range(3)]
    await asyncio.sleep(0.1)
    began = time.monotonic()
    for _ in range(5):
        await good.embed_query("question")
    assert time.monotonic() - began < 1
    for task in stuck:
        task.cancel()
    await asyncio.gather(*stuck, return_exceptions=True)


async def test_whatever_servers_do_a_call_ends_with_vectors_or_model_unavailable(served, opened):
    acts = [
        *(do.well, do.shuffled, do.closes, do.breaks_off, do.hangs, do.endless),
        *(do.status(429, Retry_After="0"), do.status(500), do.status(400), do.status(413)),
        *(do.body(b"{}"), do.items(lambda items: items[:-1])),
    ]
    chance = random.Random(7)
    patience = Patience(tries_max=2, backoff_s=0.01, failures_max=50, cooling_s=0.01)
    embedder = await opened(patience=patience, timeout_s=0.3, batch_items=2)
    texts = [f"text {number}" for number in range(4)]
    for _ in range(30):
        served.plan = [chance.choice(acts) for _ in range(4)]
        try:
            vectors = await embedder.embed(texts)
        except ModelUnavailable:
            continue
        lengths = np.linalg.norm(vectors, axis=1)
        np.testing.assert_allclose(lengths, 1, atol=1e-6)


# A model of the file, as callers meet it ---------------------------------------------------------


async def test_models_opens_what_the_file_names(served, tmp_path, models_path):
    spec_of(served, tmp_path)
    settings = Settings(
        models_file=tmp_path / "models.toml", models_dir=models_path, embedding_model="mine"
    )
    models = Models(registry=Registry.from_settings(settings), settings=settings)
    await models.warm_up()
    embedder = await models.open("mine")
    assert embedder is await models.open_default()
    np.testing.assert_allclose(await embedder.embed_query("q"), vector_of("q"), atol=1e-6)
    assert embedder.spec.tokens_max == 128
    assert [request.texts for request in served.requests] == [[PROBE], ["q"]]
    models.close()
    await asyncio.sleep(0.01)


async def test_while_a_model_is_opened_those_that_are_open_are_at_hand(
    served, tmp_path, models_path
):
    spec_of(served, tmp_path)
    path, key_path = tmp_path / "models.toml", tmp_path / "slow-key"
    table = path.read_text()
    slow = table.replace("[models.mine]", "[models.slow]") + '\napi_key_file = "slow-key"'
    path.write_text(f"{table}\n{slow}")
    os.mkfifo(key_path)  # reading it waits for a writer
    settings = Settings(models_file=path, models_dir=models_path, embedding_model="mine")
    models = Models(registry=Registry.from_settings(settings), settings=settings)
    embedder = await models.open_default()
    opening = asyncio.create_task(models.open("slow"))
    await asyncio.sleep(0.2)
    again = await asyncio.wait({asyncio.create_task(models.open_default())}, timeout=1)
    await asyncio.to_thread(key_path.write_text, KEY)
    await opening
    assert [task.result() for task in again[0]] == [embedder]
    models.close()
    await asyncio.sleep(0.01)


async def test_a_start_does_not_wait_long_for_a_server_that_hangs(
    served, tmp_path, models_path, monkeypatch, caplog
):
    monkeypatch.setattr(http_module, "WARM_UP_TIMEOUT_S", 0.2)
    spec_of(served, tmp_path)
    settings = Settings(
        models_file=tmp_path / "models.toml", models_dir=models_path, embedding_model="mine"
    )
    served.plan = [do.hangs]
    models = Models(registry=Registry.from_settings(settings), settings=settings)
    began = time.monotonic()
    await models.warm_up()
    assert time.monotonic() - began < 2
    assert "model not ready" in caplog.text
    assert (await (await models.open("mine")).embed_query("q")).shape == (DIMENSIONS,)
    models.close()
    await asyncio.sleep(0.01)


async def test_a_tokenizer_of_its_own_counts_for_a_model(served, opened, tmp_path, models_path):
    found = next(models_path.glob("*MiniLM*/tokenizer.json"))
    (tmp_path / "tokenizer.json").write_bytes(found.read_bytes())
    nowhere = tmp_path / "empty"
    spec = spec_of(served, tmp_path, tokenizer="tokenizer.json")
    assert spec.endpoint is not None
    embedder = open_http(spec, endpoint=spec.endpoint, models_path=nowhere)
    assert embedder.tokenizer.count("hello world") == 2
    embedder.close()
    (tmp_path / "tokenizer.json").write_text('{"pad_token": "x"}')
    with pytest.raises(ModelUnavailable, match="The tokenizer of mine cannot be read"):
        open_http(spec, endpoint=spec.endpoint, models_path=nowhere)
    without = spec_of(served, tmp_path)
    assert without.endpoint is not None
    with pytest.raises(ModelUnavailable, match="rag-engine models pull"):
        open_http(without, endpoint=without.endpoint, models_path=nowhere)
    await asyncio.sleep(0.01)


@pytest.fixture
async def native(served, settings, tmp_path) -> AsyncIterator[Settings]:
    """Settings with the file, under which one charged failure is final, and a worker at work."""
    spec_of(served, tmp_path, timeout_s=0.5)
    limits = Limits(faults_max=1, retry_base_s=0.2, poll_s=0.2)
    settings = msgspec.structs.replace(
        settings, models_file=tmp_path / "models.toml", limits=limits
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "workers", env=os.environ | settings.env()
    )
    yield settings
    process.terminate()
    assert await process.wait() == 0


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    yield data


class Shop:
    """What takes a document and answers from it, as the API has it."""

    def __init__(
        self,
        settings: Settings,
        *,
        database: Database,
        operator: Database,
        customer_id: CustomerId,
    ) -> None:
        self.operator = operator
        registry = Registry.from_settings(settings)
        self.customer_id = customer_id
        self.bell = Bell(settings.redis_url)
        self.models = Models(registry=registry, settings=settings)
        self.rags = Rags(database=database, bell=self.bell, registry=registry, settings=settings)
        self.search = Search(database=database, models=self.models, limits=settings.limits)
        self.files = Files(
            database=database,
            blobs=Blobs(settings.blobs_url),
            limits=settings.limits,
            spool_dir=settings.data_dir / "spool",
        )

    async def open(self, text: str) -> Rag:
        """A RAG by the model of the file, with a document of this text."""
        upload = await self.files.receive(
            self.customer_id, pieces(text.encode()), filename="shop.txt", media_type="text/plain"
        )
        new = NewRag(name="shop", embedding_model="mine", sources=NewSources(uploads=(upload,)))
        rag: Rag = await self.rags.create(self.customer_id, new)
        return rag

    async def attempts(self) -> int:
        """Of the index, so far."""
        async with self.operator.transaction() as tx:
            found = await tx.connection.execute("SELECT max(attempt) AS most FROM indexes")
            return int((await found.fetchall())[0]["most"])

    async def seen(self, rag_id: RagId) -> Rag:
        rag: Rag = await self.rags.get(self.customer_id, rag_id)
        return rag


@pytest.fixture
async def shop(native: Settings) -> AsyncIterator[Shop]:
    operator = await Database(native.database_url, role="rag_operator").open()
    customer, _, _ = await Operator(database=operator).create_customer("tester")
    database = await Database(native.database_url, role="rag_api").open()
    made = Shop(native, database=database, operator=operator, customer_id=customer.id)
    yield made
    made.models.close()
    await made.bell.close()
    await database.close()
    await operator.close()


async def test_a_rag_can_choose_a_model_of_the_file_and_waits_uncharged_while_it_hangs(
    served, shop: Shop
) -> None:
    served.plan = [do.hangs, do.hangs]
    text = "You may return a kettle within 30 days, with the lid and the cord."
    rag = await shop.open(text)
    async with asyncio.timeout(30):
        while rag.counts.ready == 0 and rag.counts.error == 0:
            await asyncio.sleep(0.1)
            rag = await shop.seen(rag.id)
    assert rag.chunk_tokens == 128, "what the model reads, not the 250 of other models"
    assert [(source.state, source.failure) for source in rag.sources] == [(State.READY, None)]
    hits = await shop.search.query(shop.customer_id, rag.id, query=text, top_k=1)
    assert [(hit.text, hit.source_name) for hit in hits] == [(text, "shop.txt")]
    assert len(served.requests) == 4


async def test_while_its_server_fails_a_source_is_not_tried_all_the_time_and_says_when_again(
    served, shop: Shop
) -> None:
    served.usual = do.status(500)
    rag = await shop.open("You may return a kettle within 30 days.")
    said = 0
    async with asyncio.timeout(30):
        while said < 5:
            await asyncio.sleep(0.05)
            [source] = (await shop.seen(rag.id)).sources
            said += source.due_at is not None and source.state is not State.PENDING
    assert source.failure is None
    assert await shop.attempts() < 30, "a loop without a pause has hundreds"
