"""Tokens found by a walk over the vocabulary are the tokenizer's own, whatever the text."""

import base64
import random
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from engine.embedding import open_tokenizer
from engine.embedding.tokens import TokenSpans
from engine.embedding.wordpiece import FEW

SPECIAL = ["[MASK]", "[UNK]", "[", "##", "##ing", "[[CLS]]"]
BLOCKS = [
    (0x00, 0x7F), (0x80, 0x24F), (0x300, 0x36F), (0x370, 0x5FF), (0x600, 0x6FF), (0x900, 0x97F),
    (0xE00, 0xE7F), (0x1100, 0x11FF), (0x1E00, 0x20FF), (0x3000, 0x30FF), (0x4E00, 0x4EFF),
    (0xAC00, 0xAFFF), (0xF900, 0xFFFF), (0x1D100, 0x1D1FF), (0x1F300, 0x1F64F), (0xE0000, 0xE01EF),
]  # fmt: skip
CHARACTERS = st.one_of(
    st.characters(exclude_categories=["Cs"]),
    *(
        st.characters(min_codepoint=first, max_codepoint=last, exclude_categories=["Cs"])
        for first, last in BLOCKS
    ),
)
WORDS = st.one_of(
    st.text(CHARACTERS, max_size=30),
    st.text("abcdefghijklmnopqrstuvwxyz0123456789", max_size=120),
    st.sampled_from([*SPECIAL, "unaffable", "don’t", "naïve", "İstanbul", "ΟΔΟΣ", "e\u0301"]),
)
TEXTS = st.lists(st.tuples(WORDS, st.sampled_from(["", " ", "\n", "-"])), max_size=12).map(
    lambda pairs: "".join(word + blank for word, blank in pairs)
)


def found_and_read(spans: TokenSpans, text: str) -> tuple[list[int], list[int]]:
    """Where tokens start by the walk, and by the tokenizer."""
    assert spans.pieces is not None
    [read] = spans.spans([text])
    return spans.pieces.starts(text).tolist(), sorted(start for start, _ in read)


@settings(max_examples=600)
@given(text=TEXTS)
def test_tokens_of_any_text_start_where_the_tokenizer_starts_them(embedder, text):
    found, read = found_and_read(embedder.tokenizer, text)
    assert found == read


def drawn(alphabet: str, size: int) -> str:
    return "".join(random.Random(1).choices(alphabet, k=size))


@pytest.mark.parametrize(
    "text",
    [
        "A plain sentence, with marks (and more); it isn't long.",
        "Ünïcödé Straße œuvre Łódź Ångström ﬁne İI ıi",
        "e\u0301 a\u0308\u0323b \u0301alone ,\u0301 \u0301",
        "中文字符，日本語の文章。カタカナ、ガ が 漢a字b",
        "한국어 각힣가 \u1112\u1161\u11ab",
        "العَرَبِيَّة ภาษาไทย हिन्दी नमस्ते বাংলা עברית ქართული",
        "ΟΔΟΣ Σίσυφος ὈΔΥΣΣΕΎΣ Привет, мир! ёлка Йод",
        "👩‍👩‍👧 🇩🇪 ☃️ 1️⃣ 𝔘nicode",
        "a\x00b\x07c\x7fd \x0b \x0c \x1c \x85 \xa0 \xad \u200b \u2028 \u3000 \ufeff \ufffd",
        "[MASK]x [mask] [[UNK][CLS]] [MA[MASK] a[SEP]b",
        "https://example.com/a_b/c-d?e=f&g=%20#h",
        "def f(self, *args: int) -> None:\n\treturn self._x[0] @ 1e-3",
        base64.b64encode(random.Random(1).randbytes(3000)).decode(),
        random.Random(1).randbytes(300).hex(" ", 16),
        " ".join("x" * size for size in (1, 99, 100, 101, 102)),
        "é" * 100 + " " + "é" * 101 + " " + "e\u0301" * 101 + " " + "각" * 34,
        "unaffable" * 11 + " " + "☃" + "unaffable" + " " + "unaffable☃",
        "\u302e\u0327 \u0327\u302e \U0001d172\u035b\U0001d16d",
        drawn("abcdefghijklmnopqrstuvwxyz", 50_000),
        drawn("abcdefghijklmnopqrstuvwxyz ", 50_000),
        drawn("!-/:;,.(){}[]<>", 5_000),
        "",
        " \n",
    ],
)  # fmt: skip
def test_tokens_start_where_the_tokenizer_starts_them(embedder, text):
    found, read = found_and_read(embedder.tokenizer, text)
    assert found == read


def test_every_character_is_read_as_the_tokenizer_reads_it_within_a_word_and_beside_it(embedder):
    for first in range(0, 0x3100, 64):
        text = " ".join(
            f"the{chr(code)}ing {chr(code)} x{chr(code)}" for code in range(first, first + 64)
        )
        found, read = found_and_read(embedder.tokenizer, text)
        assert found == read, hex(first)


@pytest.mark.parametrize("count", [1, FEW, FEW + 1, 5 * FEW])
def test_few_words_and_many_are_walked_alike(embedder, count):
    text = " ".join(drawn("aehilnorstu", 20 + number) for number in range(count))
    found, read = found_and_read(embedder.tokenizer, text)
    assert found == read


def wordpiece(*pieces: str, prefix: str = "##", unknown: str = "[UNK]") -> TokenSpans:
    """A tokenizer of these pieces, which keeps accents and capitals."""
    model = models.WordPiece(
        {piece: number for number, piece in enumerate(pieces)},
        unk_token=unknown,
        continuing_subword_prefix=prefix,
        max_input_chars_per_word=6,
    )
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return TokenSpans(tokenizer)


PARTIAL = ("[UNK]", "a", "##a", "b", "##b", "c", "##d", "abba", "##bab", "##bcd", "é", "##é", "aé")
POOR = {
    "some letters begin no word, or only a word": wordpiece(*PARTIAL),
    "no letters at all": wordpiece("[UNK]"),
    "only marks": wordpiece("[UNK]", ",", "##", "###", "##,"),
}


@pytest.mark.parametrize("name", sorted(POOR))
@given(text=st.text("abcdeéE\u0301\u0323#, ", max_size=40))
def test_vocabularies_that_lack_letters_are_read_alike(name, text):
    found, read = found_and_read(POOR[name], text)
    assert found == read


def test_a_vocabulary_whose_reading_is_not_sure_is_not_walked():
    assert wordpiece("[UNK]", "a", "xa", prefix="x").pieces is None
    assert wordpiece("a", "##a").pieces is None


def test_threads_that_meet_a_character_at_once_read_it_alike(spec, models_path):
    spans = open_tokenizer(spec, models_path)
    texts = [f"x{chr(code)}y é각" for code in range(0x80, 0x480)] * 3
    with ThreadPoolExecutor(4) as pool:
        pairs = list(pool.map(partial(found_and_read, spans), texts))
    assert all(found == read for found, read in pairs)
