import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.embedding import open_embedder
from engine.embedding.hub import HubEmbedder
from engine.errors import ModelUnavailable

WORDS = st.sampled_from(["page", "table", "refund", "naïve", "日本", "x", "policy", "callers"])


@pytest.fixture
def hub(spec, models_path):
    ready_made = msgspec.structs.replace(spec, weights=None)
    found = open_embedder(ready_made, models_path=models_path, batch_tokens=300)
    assert isinstance(found, HubEmbedder)
    return found


def cosines(left, right):
    return np.sum(np.asarray(left) * np.asarray(right), axis=-1)


def test_vectors_are_float32_of_length_one(embedder):
    vectors = embedder.embed(["one", "two words", ""])
    assert (vectors.shape, vectors.dtype) == ((3, 384), np.float32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_no_texts_make_no_vectors(embedder):
    assert embedder.embed([]).shape == (0, 384)


@settings(deadline=None, max_examples=20)
@given(texts=st.lists(st.lists(WORDS, min_size=1, max_size=60).map(" ".join), max_size=12))
def test_vectors_come_in_the_order_of_the_texts(embedder, texts):
    expected = [embedder.embed_query(text) for text in texts]
    assert len(embedder.embed(texts)) == len(expected)
    for found, alone in zip(embedder.embed(texts), expected, strict=True):
        np.testing.assert_allclose(found, alone, atol=1e-6)


def test_a_text_has_the_same_vector_in_any_company(embedder):
    texts = ["Berlin", "Money is given back within thirty days. " * 20, "", "def add(a, b): pass"]
    alone = np.stack([embedder.embed_query(text) for text in texts])
    np.testing.assert_array_equal(embedder.embed(texts), alone)


def test_a_model_of_a_hub_never_sees_more_tokens_than_the_budget(hub):
    areas = []
    model = hub._model

    class Recorded:
        def embed(self, texts, *, batch_size):
            assert batch_size == len(texts)
            longest = max(hub.tokenizer.counts(texts)) + hub.tokenizer.special_tokens
            areas.append(len(texts) * min(longest, hub.spec.tokens_max))
            return model.embed(texts, batch_size=batch_size)

    hub._model = Recorded()
    texts = ["word " * length for length in (1, 200, 3, 90, 90, 90, 40, 298, 5, 1)]
    assert hub.embed(texts).shape == (len(texts), 384)
    assert max(areas) <= hub.batch_tokens
    assert len(areas) < len(texts)


def test_of_a_very_long_text_the_beginning_counts(embedder):
    head = "the beginning of it " * 100
    long = embedder.embed([head + "and then another thing " * 1_000_000])
    short = embedder.embed([head])
    np.testing.assert_allclose(long, short, atol=1e-6)


def test_a_question_finds_the_passage_that_answers_it(embedder):
    passages = [
        "Money is given back within thirty days of the purchase.",
        "Our offices are closed on public holidays.",
        "The database stores each table in pages.",
    ]
    question = embedder.embed_query("Can I get a refund?")
    assert question.shape == (384,)
    assert int(np.argmax(cosines(embedder.embed(passages), question))) == 0


def test_a_query_has_the_vector_that_the_same_passage_has(embedder):
    text = "Where is the refund policy?"
    np.testing.assert_allclose(embedder.embed_query(text), embedder.embed([text])[0], atol=1e-6)


def test_fastembed_makes_the_same_vectors_of_the_same_files(embedder, hub):
    hub.batch_tokens = 1  # int8 scales a batch as a whole
    texts = ["Berlin", "", "Money is given back within thirty days. " * 60, "日本 naïve"]
    np.testing.assert_allclose(embedder.embed(texts), hub.embed(texts), atol=1e-6)
    question = "Where is the refund policy?"
    np.testing.assert_allclose(embedder.embed_query(question), hub.embed_query(question), atol=1e-6)


def test_a_missing_model_is_an_error_that_says_what_to_do(spec, tmp_path):
    with pytest.raises(ModelUnavailable, match=f"Run `rag-engine models pull {spec.name}`"):
        open_embedder(spec, models_path=tmp_path, batch_tokens=1024)
