"""A tokenizer asked word by word says the same as one that reads everything."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from engine.embedding.tokens import TokenSpans
from workers.reading import (
    BATCH_CHARACTERS,
    WholeReading,
    WordReading,
    reading_of,
)

SINGLES = "abcdefghijklmnopqrstuvwxyz0123456789"


def wordpiece(*, lowercase: bool = True, ideographs: bool = True) -> Tokenizer:
    """BERT's way over single letters: more than 12 of them in a word are one unknown token."""
    known = ["[UNK]", "[MASK]", *SINGLES, *("##" + one for one in SINGLES), *"#|.!?-*。漢字、！"]
    model = models.WordPiece(
        {word: number for number, word in enumerate(dict.fromkeys([*known, "the", "##ing"]))},
        unk_token="[UNK]",
        max_input_chars_per_word=12,
    )
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(
        lowercase=lowercase, handle_chinese_chars=ideographs
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(["[MASK]"])
    return tokenizer


def with_tokens(*tokens: AddedToken) -> Tokenizer:
    tokenizer = wordpiece()
    tokenizer.add_tokens(list(tokens))
    return tokenizer


def bytewise() -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({one: index for index, one in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer


def sentencepiece() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram([("<unk>", 0.0), ("▁", -1.0), ("a", -1.0)], 0, False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return tokenizer


TAKEN_APART = {
    "letters": wordpiece(),
    "cased": wordpiece(lowercase=False),
    "ideographs in words": wordpiece(ideographs=False),
    "wide word": with_tokens(AddedToken("漢字", normalized=False)),
}
odd = "\x00\x0b\x1c\x85\xa0\u00ad\u0301\u3099\u200b\u2003\u2028\u3000"
odd += "\ufeff\ufffd\U0001f468\u200d\u1112\u1161"
texts = st.text(
    st.sampled_from("abtheinging .,!?[]MASK\n\t\r #漢字、。！（カ゛ßİéǅ" + odd), max_size=80
)


@pytest.mark.parametrize("name", sorted(TAKEN_APART))
@settings(max_examples=150)
@given(parts=st.lists(texts, min_size=1, max_size=4), above=texts)
def test_word_by_word_a_tokenizer_finds_what_it_finds_at_once(
    name: str, parts: list[str], above: str
) -> None:
    spans = TokenSpans(TAKEN_APART[name])
    assert spans.pieces is not None
    words, whole = WordReading(spans.pieces), WholeReading(spans)
    strings = [f"{above}\n{part}" for part in parts]
    owned = [len(above) + 1] * len(parts)
    assert words.counts(strings, owned_from=owned) == whole.counts(strings, owned_from=owned)
    for string in strings:
        ours, theirs = (
            reading.owned(string, owned_from=len(above) + 1) for reading in (words, whole)
        )
        assert ours == theirs
    for part in parts:
        assert words.tape(part).starts == whole.tape(part).starts


@pytest.mark.parametrize(
    "tokenizer",
    [
        bytewise(),
        sentencepiece(),
        with_tokens(AddedToken("two words", normalized=False)),
        with_tokens(AddedToken("left", normalized=False, lstrip=True)),
        with_tokens(AddedToken("right", normalized=False, rstrip=True)),
        with_tokens(AddedToken("single", normalized=False, single_word=True)),
        with_tokens(AddedToken("Lower", normalized=True)),
    ],
    ids=["bytes", "metaspace", "blank inside", "lstrip", "rstrip", "single word", "normalized"],
)
def test_a_tokenizer_to_which_neighbours_matter_reads_everything(tokenizer: Tokenizer) -> None:
    assert TokenSpans(tokenizer).pieces is None
    assert isinstance(reading_of(TokenSpans(tokenizer)), WholeReading)


def test_nothing_to_read_has_no_tokens() -> None:
    reading = reading_of(TokenSpans(wordpiece()))
    assert list(reading.tape("").starts) == []
    assert reading.counts([], owned_from=[]) == []
    assert reading.counts(["", " \n"], owned_from=[0, 1]) == [(0, 0), (0, 0)]


def test_a_tape_of_many_slices_counts_on_from_slice_to_slice() -> None:
    spans = TokenSpans(wordpiece())
    text = "the thing, " * (2 * BATCH_CHARACTERS // 11)
    tape = reading_of(spans).tape(text)
    assert tape.starts == WholeReading(spans).tape(text).starts
    assert tape.starts[-1] == len(text) - 2
