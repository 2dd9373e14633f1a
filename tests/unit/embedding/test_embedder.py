import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.embedding import open_embedder
from engine.embedding.hub import HubEmbedder
from engine.errors import ModelUnavailable

WORDS = st.sampled_from(["page", "table", "refund", "naïve", "日本", "x", "policy", "callers"])


@pytest.fixture(scope="module")
def one_by_one(spec, models_path):
    return open_embedder(spec, models_path=models_path, batch_tokens=1)


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
def test_vectors_come_in_the_order_of_the_texts(one_by_one, texts):
    # Each text makes a batch of its own, longest first, so the vectors are the same to the bit.
    expected = [one_by_one.embed_query(text) for text in texts]
    assert len(one_by_one.embed(texts)) == len(expected)
    for found, alone in zip(one_by_one.embed(texts), expected, strict=True):
        np.testing.assert_allclose(found, alone, atol=1e-6)


def test_rows_of_one_batch_are_not_mixed_up(embedder):
    texts = [
        "Berlin",
        "Money is given back within thirty days of the purchase.",
        "Our offices are closed on public holidays and on the last day of the year.",
        "def add(a, b): return a + b",
    ]
    # int8 scales a batch as a whole, so company moves a vector a little; strangers are far off.
    alone = np.stack([embedder.embed_query(text) for text in texts])
    likeness = embedder.embed(texts) @ alone.T
    assert likeness.argmax(axis=1).tolist() == [0, 1, 2, 3]
    assert likeness.diagonal().min() > 0.95


def test_the_model_never_sees_more_tokens_than_the_budget(embedder, spec, models_path):
    small = open_embedder(spec, models_path=models_path, batch_tokens=300)
    areas = []
    session = small._session

    class Recorded:
        def run(self, names, inputs):
            areas.append(inputs["input_ids"].size)
            return session.run(names, inputs)

    small._session = Recorded()
    texts = ["word " * length for length in (1, 200, 3, 90, 90, 90, 40, 298, 5, 1)]
    small.embed(texts)
    assert max(areas) <= 300
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


def test_fastembed_makes_the_same_vectors_of_the_same_files(one_by_one, spec, models_path):
    ready_made = msgspec.structs.replace(spec, weights=None)
    hub = open_embedder(ready_made, models_path=models_path, batch_tokens=1)
    assert isinstance(hub, HubEmbedder)
    texts = ["Berlin", "", "Money is given back within thirty days. " * 60, "日本 naïve"]
    np.testing.assert_allclose(one_by_one.embed(texts), hub.embed(texts), atol=1e-6)
    question = "Where is the refund policy?"
    np.testing.assert_allclose(
        one_by_one.embed_query(question), hub.embed_query(question), atol=1e-6
    )


def test_a_missing_model_is_an_error_that_says_what_to_do(spec, tmp_path):
    with pytest.raises(ModelUnavailable, match=f"Run `rag-engine models pull {spec.name}`"):
        open_embedder(spec, models_path=tmp_path, batch_tokens=1024)
