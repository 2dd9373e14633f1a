import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.embedding import open_tokenizer
from engine.errors import ModelUnavailable

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)


def test_spans_are_offsets_of_code_points_beyond_the_basic_plane_too(embedder):
    text = "😀 naïve 𝔘nicode 🏳️‍🌈 end"
    [spans] = embedder.tokenizer.spans([text])
    assert text[spans[0][0] : spans[0][1]] == "😀"
    assert text[spans[-1][0] : spans[-1][1]] == "end"
    assert "naïve" in [text[start:end] for start, end in spans]


@given(text=TEXTS)
def test_spans_lie_in_the_text_and_never_go_back(embedder, text):
    [spans] = embedder.tokenizer.spans([text])
    assert all(0 <= start <= end <= len(text) for start, end in spans)
    assert spans == sorted(spans)


@given(texts=st.lists(TEXTS, max_size=5))
def test_a_count_is_the_number_of_spans(embedder, texts):
    spans = embedder.tokenizer.spans(texts)
    assert embedder.tokenizer.counts(texts) == [len(each) for each in spans]


def test_a_text_of_any_length_is_covered_to_its_end(embedder):
    text = "word " * 300_000
    [spans] = embedder.tokenizer.spans([text])
    assert len(spans) == embedder.tokenizer.count(text) == 300_000
    assert spans[-1] == (len(text) - 5, len(text) - 1)


def test_special_tokens_are_counted_apart(embedder):
    assert embedder.tokenizer.special_tokens == 2
    assert embedder.tokenizer.count("") == 0
    assert embedder.tokenizer.spans([""]) == [[]]
    assert embedder.tokenizer.spans([]) == []


def test_the_tokenizer_opens_without_the_model(spec, models_path):
    assert open_tokenizer(spec, models_path).count("two words") == 2


def test_a_tokenizer_of_a_missing_model_is_unavailable(spec, tmp_path):
    with pytest.raises(ModelUnavailable, match="is not installed"):
        open_tokenizer(spec, tmp_path)
