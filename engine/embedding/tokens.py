"""The model's tokenizer: counting tokens, cutting texts between them, and what the model reads."""

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec
from tokenizers import Tokenizer

from engine.embedding.batches import slabs
from engine.embedding.install import verified_folder
from engine.embedding.specs import MINILM, ModelSpec
from engine.errors import ModelUnavailable
from engine.models import Noun

# An encoding takes some hundred bytes a token. One call sees no more text than this at once,
# unless a single text is longer.
SLAB_CHARACTERS = 1_000_000


class TokenSpans:
    """Where a text's tokens are. Safe to share between threads; the interpreter lock is released
    while a batch is encoded. Texts must not hold unpaired surrogates."""

    def __init__(self, tokenizer: Tokenizer, *, prefixes: Sequence[str] = ()) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self.words = _words_of(tokenizer)
        """What a text may be taken apart into without changing a token; None if nothing is sure."""
        self.special_tokens: int = tokenizer.num_special_tokens_to_add(is_pair=False)
        """How many tokens are added to every text, the longest prefix of the model among them; they
        count towards `tokens_max`."""
        self.special_tokens += max(self.counts(prefixes), default=0)

    def spans(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """For each text the (start, end) of each token, in Unicode code points.

        All of the text is covered, however long; special tokens are left out.
        """
        found: list[list[tuple[int, int]]] = []
        for slab in slabs([len(text) for text in texts], slab_size=SLAB_CHARACTERS):
            part = [texts[index] for index in slab]
            encoded = self._tokenizer.encode_batch(part, add_special_tokens=False)
            found.extend(encoding.offsets for encoding in encoded)
        return found

    def counts(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has, without special tokens and without a limit."""
        found: list[int] = []
        for slab in slabs([len(text) for text in texts], slab_size=SLAB_CHARACTERS):
            part = [texts[index] for index in slab]
            # The fast form leaves the offsets out.
            encoded = self._tokenizer.encode_batch_fast(part, add_special_tokens=False)
            found.extend(len(encoding) for encoding in encoded)
        return found

    def ids(self, texts: Sequence[str], *, most: int) -> list[list[int]]:
        """What the model reads of each text: the numbers of its tokens, special ones included.

        Where there are more than `most`, tokens are left out before the one that ends every text.
        """
        found: list[list[int]] = []
        for slab in slabs([len(text) for text in texts], slab_size=SLAB_CHARACTERS):
            part = [texts[index] for index in slab]
            for encoding in self._tokenizer.encode_batch_fast(part):
                ids = encoding.ids
                found.append(ids if len(ids) <= most else [*ids[: most - 1], ids[-1]])
        return found

    def count(self, text: str) -> int:
        """How many tokens one text has, without special tokens and without a limit."""
        return self.counts([text])[0]


# What BERT's normalizer and pre-tokenizer set apart wherever it stands: ASCII blanks, ideographs
# and the marks of their scripts. Nothing on one side of them changes what is made of the other.
_BLANKS = r" \t\n\r"
_ALONE = "\u3001-\u3003\u3008-\u3011\u3400-\u4dbf\u4e00-\u9fff\uff01\uff0c\uff1a\uff1b\uff1f"
_WORDS = re.compile(f"[^{_BLANKS}]+")
_WORDS_AND_IDEOGRAPHS = re.compile(f"[^{_BLANKS}{_ALONE}]+|[{_ALONE}]")


def _words_of(tokenizer: Tokenizer) -> re.Pattern[str] | None:
    """The tokenizer's own description decides. Where a blank belongs to the token after it, as with
    SentencePiece and byte-level BPE, nothing may be taken apart."""
    said = msgspec.json.decode(tokenizer.to_str(), type=_Described)
    bert = (
        said.normalizer is not None
        and said.normalizer.type == "BertNormalizer"
        and said.pre_tokenizer is not None
        and said.pre_tokenizer.type == "BertPreTokenizer"
        and said.model.type in ("WordPiece", "WordLevel")
    )
    if not bert or any(_WORDS.fullmatch(token.content) is None or token.wide
                       for token in said.added_tokens):  # fmt: skip
        return None
    ascii_only = all(token.content.isascii() for token in said.added_tokens)
    assert said.normalizer
    return _WORDS_AND_IDEOGRAPHS if ascii_only and said.normalizer.ideographs else _WORDS


class _Step(Noun, frozen=True, kw_only=True):
    type: str = ""
    ideographs: bool = msgspec.field(default=False, name="handle_chinese_chars")


class _AddedToken(Noun, frozen=True, kw_only=True):
    content: str
    lstrip: bool
    rstrip: bool
    single_word: bool

    @property
    def wide(self) -> bool:
        """Whether what stands beside it counts."""
        return self.lstrip or self.rstrip or self.single_word


class _Described(Noun, frozen=True, kw_only=True):
    """What a tokenizer says of itself."""

    model: _Step
    normalizer: _Step | None = None
    pre_tokenizer: _Step | None = None
    added_tokens: tuple[_AddedToken, ...] = ()


def open_tokenizer(spec: ModelSpec, models_path: Path) -> TokenSpans:
    """The tokenizer of a model, without the model itself (some 50 ms).

    Of a model behind a server it is the file that the models file names; without one the built-in
    model's tokenizer counts in its place. Raises ModelUnavailable when what it needs is not here.
    """
    endpoint = spec.endpoint
    if endpoint is None:
        return TokenSpans(_installed(spec, models_path))
    if endpoint.tokenizer:
        tokenizer = _given(spec, endpoint.tokenizer)
    else:
        tokenizer = _installed(MINILM, models_path)
    spans = TokenSpans(tokenizer, prefixes=(endpoint.query_prefix, endpoint.passage_prefix))
    if spans.special_tokens >= spec.tokens_max:
        raise ModelUnavailable(f"The prefixes of {spec.name} leave no room for text.")
    return spans


def _installed(spec: ModelSpec, models_path: Path) -> Tokenizer:
    folder = verified_folder(spec, models_path=models_path, files=("tokenizer.json",))
    return _parsed(spec, (folder / "tokenizer.json").read_bytes())


def _given(spec: ModelSpec, path: Path) -> Tokenizer:
    try:
        return _parsed(spec, path.read_bytes())
    except OSError as error:
        raise _unreadable(spec) from error


def _parsed(spec: ModelSpec, data: bytes) -> Tokenizer:
    # The library's errors have no type of their own to catch, so what people get wrong, another
    # file of the model or half of this one, is found out first.
    try:
        msgspec.json.decode(data, type=_TokenizerFile)
        return Tokenizer.from_str(data.decode())
    except ValueError as error:
        raise _unreadable(spec) from error


def _unreadable(spec: ModelSpec) -> ModelUnavailable:
    return ModelUnavailable(f"The tokenizer of {spec.name} cannot be read.")


class _Vocabulary(Noun, frozen=True, kw_only=True):
    vocab: dict[str, int] | list[tuple[str, float]]


class _TokenizerFile(Noun, frozen=True, kw_only=True):
    """What every tokenizer.json has."""

    version: str
    model: _Vocabulary
