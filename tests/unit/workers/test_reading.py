"""A tokenizer asked word by word says the same as one that reads everything."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from engine.embedding.tokens import TokenSpans
from workers.reading import (
    BATCH_CHARACTERS,
    KNOWN_WORDS_MAX,
    SEGMENT_CHARACTERS,
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


class Asked:
    """Counts what the tokenizer is asked."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.spans_of = TokenSpans(tokenizer)
        self.words = self.spans_of.words
        self.characters = 0
        self.largest = 0

    def spans(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        size = sum(map(len, texts))
        self.characters += size
        self.largest = max(self.largest, size)
        return self.spans_of.spans(texts)


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
    assert spans.words is not None
    words, whole = WordReading(spans, words=spans.words), WholeReading(spans)
    strings = [f"{above}\n{part}" for part in parts]
    owned = [len(above) + 1] * len(parts)
    assert words.counts(strings, owned_from=owned) == whole.counts(strings, owned_from=owned)
    for part in parts:
        assert words.tape(part).starts == whole.tape(part).starts


@pytest.mark.parametrize(
    "tokenizer",
    [
        bytewise(),
        sentencepiece(),
        with_tokens(AddedToken("two words")),
        with_tokens(AddedToken("left", lstrip=True)),
        with_tokens(AddedToken("right", rstrip=True)),
        with_tokens(AddedToken("single", single_word=True)),
    ],
    ids=["bytes", "metaspace", "blank inside", "lstrip", "rstrip", "single word"],
)
def test_a_tokenizer_to_which_neighbours_matter_reads_everything(tokenizer: Tokenizer) -> None:
    assert TokenSpans(tokenizer).words is None
    assert isinstance(reading_of(TokenSpans(tokenizer)), WholeReading)


def test_each_word_is_read_once_over_all_documents() -> None:
    asked = Asked(wordpiece())
    reading = reading_of(asked)
    text = "some words that come again " * 10_000
    tape = reading.tape(text)
    reading.counts([text[:26], text[27:53]], owned_from=[0, 0])
    assert reading_of(asked) is reading
    assert asked.characters < 40
    assert tape.count(0, 27) * 10_000 == len(tape.starts)


def test_endless_different_words_are_read_in_small_batches_and_forgotten() -> None:
    asked = Asked(wordpiece())
    reading = WordReading(asked, words=TokenSpans(wordpiece()).words)
    text = " ".join(f"{number:x}" for number in range(3 * KNOWN_WORDS_MAX))
    tape = reading.tape(text)
    assert len(tape.starts) >= 3 * KNOWN_WORDS_MAX
    assert asked.largest <= BATCH_CHARACTERS + 2 * SEGMENT_CHARACTERS
    assert len(reading._known) <= KNOWN_WORDS_MAX + BATCH_CHARACTERS


def test_a_word_without_end_is_not_remembered() -> None:
    asked = Asked(wordpiece())
    reading = WordReading(asked, words=TokenSpans(wordpiece()).words)
    reading.tape("x" * 10 * BATCH_CHARACTERS)
    assert reading._known == {}
