"""What holds for every document, with tokenizers whose tokens change when a word is cut."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from engine.embedding.tokens import TokenSpans
from engine.models import Block, Coverage, Document, Passage
from workers.chunk import chunk


class Spans:
    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.pieces = TokenSpans(tokenizer).pieces

    def spans(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        found = (self.tokenizer.encode(text, add_special_tokens=False) for text in texts)
        return [encoding.offsets for encoding in found]

    def count(self, text: str) -> int:
        return len(self.spans([text])[0])


def letters() -> Spans:
    """BERT's way, over single letters: a word of more than 12 of them is one unknown token."""
    singles = "abcdefghijklmnopqrstuvwxyz0123456789"
    words = [
        "[UNK]",
        *singles,
        *("##" + one for one in singles),
        *"#|.!?-*。漢字、",
        "the",
        "##ing",
    ]
    model = models.WordPiece(
        {word: index for index, word in enumerate(words)},
        unk_token="[UNK]",
        max_input_chars_per_word=12,
    )
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return Spans(tokenizer)


def octets() -> Spans:
    """Byte-level BPE without merges: blanks are tokens, and an emoji is four."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {one: index for index, one in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return Spans(tokenizer)


TOKENIZERS = {"letters": letters(), "octets": octets()}

words = st.one_of(
    st.sampled_from(["the", "Ending", "e.g.", "Dr.", "x.", "No!", "1", "—", "a b", "42."]),
    st.text("abcxyz", min_size=1, max_size=60),
    st.sampled_from(
        ["漢字。", "漢、字", "👩‍👩‍👧‍👦", "🇩🇪🇫🇷", "e\u0301\u0301", "한국어", "\u200b", "\u0301"]
    ),
)
blanks = st.sampled_from([" ", " ", " ", "\n", "\n\n", "\t", " " * 70, "\u3000", ""])
runs = st.lists(st.tuples(words, blanks), min_size=1, max_size=30).map(
    lambda pairs: "".join(word + blank for word, blank in pairs).strip() or "x"
)
lines = st.lists(runs.map(lambda text: text.replace("\n", " ")), min_size=1, max_size=8)
bodies = st.one_of(
    st.tuples(st.just("paragraph"), runs),
    st.tuples(st.just("list"), lines.map(lambda items: "\n".join("- " + item for item in items))),
    st.tuples(st.just("code"), lines.map("\n\n".join)),
    st.tuples(st.just("table"), lines.map(lambda rows: "\n".join("| a | " + row for row in rows))),
    st.tuples(st.integers(1, 3), st.text("hij kl", min_size=1, max_size=40)),
    st.tuples(st.just("outside"), runs),
)
gaps = st.sampled_from(["\n\n", "\n", " ", "\n" * 40])


@st.composite
def documents(draw: st.DrawFn) -> Document:
    """Blocks in order, some text outside of any, headings that nest, pages that only go up."""
    text, page = "", 1
    blocks: list[Block] = []
    path: list[tuple[int, str]] = []
    for kind, body in draw(st.lists(bodies, max_size=10)):
        text += draw(gaps)
        start, end = len(text), len(text) + len(body)
        text += body
        page += draw(st.integers(0, 1))
        if isinstance(kind, int):
            path = [(level, word) for level, word in path if level < kind]
        headings = tuple(word for _, word in path)
        if isinstance(kind, int):
            path.append((kind, body))
        if kind != "outside" and body.strip():
            name = "heading" if isinstance(kind, int) else kind
            header = start + len(body.split("\n")[0]) if kind == "table" else None
            block = Block(
                kind=name, start=start, end=end, headings=headings, page=page, header_end=header
            )
            blocks.append(block)
    text += draw(gaps)
    title = draw(st.sampled_from(["", "the", "a title " * 9, "漢字" * 30]))
    coverage = Coverage(characters=len(text))
    return Document(
        title=title, text=text, blocks=tuple(blocks), media_type="text/plain", coverage=coverage
    )


@st.composite
def caps(draw: st.DrawFn) -> dict[str, int]:
    chunk_tokens = draw(st.sampled_from([1, 2, 3, 8, 20, 60, 200]))
    special = draw(st.sampled_from([0, 2]))
    return {
        "chunk_tokens": chunk_tokens,
        "overlap_tokens": draw(st.integers(0, max(0, chunk_tokens - 1))),
        "tokens_max": special + draw(st.sampled_from([1, 4, 12, 40, 256])),
        "special_tokens": special,
        "chunks_max": 1_000_000,
    }


def passages_of(document: Document, *, spans: Spans, caps: dict[str, int]) -> list[Passage]:
    return chunk(
        document,
        spans=spans,
        chunk_tokens=caps["chunk_tokens"],
        overlap_tokens=caps["overlap_tokens"],
        tokens_max=caps["tokens_max"],
        special_tokens=caps["special_tokens"],
        chunks_max=caps["chunks_max"],
    )


every = pytest.mark.parametrize("name", sorted(TOKENIZERS))
many = settings(max_examples=60, deadline=None)


@every
@many
@given(document=documents(), caps=caps())
def test_a_passage_is_the_exact_slice_of_the_text_without_blanks_around(
    name: str, document: Document, caps: dict[str, int]
) -> None:
    found = passages_of(document, spans=TOKENIZERS[name], caps=caps)
    assert [passage.ordinal for passage in found] == list(range(len(found)))
    for passage in found:
        assert passage.text == document.text[passage.start : passage.end] != ""
        assert passage.text == passage.text.strip()
        assert passage.embedded.endswith(passage.text)


@every
@many
@given(document=documents(), caps=caps())
def test_no_passage_is_over_a_cap_when_the_tokenizer_reads_it(
    name: str, document: Document, caps: dict[str, int]
) -> None:
    spans = TOKENIZERS[name]
    for passage in passages_of(document, spans=spans, caps=caps):
        assert passage.tokens == spans.count(passage.embedded)
        if len(passage.text) > 1:
            assert spans.count(passage.text) <= caps["chunk_tokens"]
            assert passage.tokens + caps["special_tokens"] <= caps["tokens_max"]


@every
@many
@given(document=documents(), caps=caps())
def test_every_character_that_is_not_blank_is_in_some_passage(
    name: str, document: Document, caps: dict[str, int]
) -> None:
    held: set[int] = set()
    for passage in passages_of(document, spans=TOKENIZERS[name], caps=caps):
        held.update(range(passage.start, passage.end))
    text = document.text
    assert [at for at, one in enumerate(text) if not one.isspace() and at not in held] == []


@every
@many
@given(document=documents(), caps=caps())
def test_without_overlap_passages_are_disjoint_and_in_order(
    name: str, document: Document, caps: dict[str, int]
) -> None:
    found = passages_of(document, spans=TOKENIZERS[name], caps=caps | {"overlap_tokens": 0})
    assert all(first.end <= second.start for first, second in pairwise(found))


@every
@many
@given(document=documents(), caps=caps())
def test_overlap_stays_under_its_cap_and_always_goes_on(
    name: str, document: Document, caps: dict[str, int]
) -> None:
    spans = TOKENIZERS[name]
    for first, second in pairwise(passages_of(document, spans=spans, caps=caps)):
        assert first.start < second.start
        assert first.end < second.end
        shared = document.text[second.start : first.end]
        assert not shared.strip() or spans.count(shared) <= caps["overlap_tokens"]


@every
@many
@given(document=documents(), caps=caps())
def test_the_same_document_gives_the_same_passages(
    name: str, document: Document, caps: dict[str, int]
) -> None:
    again = passages_of(document, spans=TOKENIZERS[name], caps=caps)
    assert passages_of(document, spans=TOKENIZERS[name], caps=caps) == again


@every
@many
@given(document=documents(), caps=caps())
def test_the_headings_of_a_passage_stand_above_all_of_its_text(
    name: str, document: Document, caps: dict[str, int]
) -> None:
    for passage in passages_of(document, spans=TOKENIZERS[name], caps=caps):
        for block in document.blocks:
            if block.kind != "heading" and block.start < passage.end and passage.start < block.end:
                assert block.headings[: len(passage.headings)] == passage.headings


@every
@many
@given(document=documents(), caps=caps())
def test_a_heading_never_ends_a_passage_while_text_follows(
    name: str, document: Document, caps: dict[str, int]
) -> None:
    bodies = [block for block in document.blocks if block.kind != "heading"]
    headings = [block for block in document.blocks if block.kind == "heading"]
    for passage in passages_of(document, spans=TOKENIZERS[name], caps=caps):
        last = [one for one in headings if document.text[one.start : one.end].strip()]
        ends = any(
            one.end - 1 <= passage.end <= one.end and one.start > passage.start for one in last
        )
        opens = any(one.start < passage.end and passage.start < one.end for one in bodies)
        follows = any(one.start >= passage.end for one in bodies)
        assert not (ends and opens and follows)
