"""The model's tokenizer: counting tokens, cutting texts between them, and what the model reads."""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import msgspec
from tokenizers import Tokenizer

from engine.embedding.batches import slabs
from engine.embedding.install import verified_folder
from engine.embedding.specs import MINILM, ModelSpec
from engine.embedding.wordpiece import WordPieces
from engine.errors import ModelUnavailable
from engine.models import Noun

# An encoding takes some hundred bytes a token. One call sees no more text than this at once,
# unless a single text is longer.
SLAB_CHARACTERS = 1_000_000
PREFIX = "##"
BLANKS = " \t\n\r"

# By the tokenizer's own description. A process has few different ones.
_PIECES: dict[bytes, WordPieces | None] = {}


class TokenSpans:
    """Where a text's tokens are. Safe to share between threads; the interpreter lock is released
    while a batch is encoded. Texts must not hold unpaired surrogates."""

    def __init__(self, tokenizer: Tokenizer, *, prefixes: Sequence[str] = ()) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self.special_tokens: int = tokenizer.num_special_tokens_to_add(is_pair=False)
        """How many tokens are added to every text, the longest prefix of the model among them; they
        count towards `tokens_max`."""
        self.special_tokens += max(self.counts(prefixes), default=0)

    @cached_property
    def pieces(self) -> WordPieces | None:
        """Finds where tokens start without asking; None where that is not sure.

        Made when it is first used (some 100 ms and 13 MiB), because who only embeds does not, and
        once for all models with this tokenizer.
        """
        said = self._tokenizer.to_str().encode()
        key = hashlib.sha256(said).digest()
        if key not in _PIECES:
            _PIECES[key] = _pieces_of(self, self._tokenizer, said=said)
        return _PIECES[key]

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


def _pieces_of(spans: TokenSpans, tokenizer: Tokenizer, *, said: bytes) -> WordPieces | None:
    """What the tokenizer has `said` of itself decides. BERT's normalizer and pre-tokenizer look at
    each character by itself, and set blanks, marks and ideographs apart, so nothing on one side of
    them changes what is made of the other. Where a blank belongs to the token after it, as with
    SentencePiece and byte-level BPE, the tokenizer has to be asked."""
    described = msgspec.json.decode(said, type=_Described)
    vocabulary = tokenizer.get_vocab(with_added_tokens=False)
    if not described.bert or any(token.wide for token in described.added_tokens):
        return None
    if described.model.unknown not in vocabulary:
        return None

    def made_of(text: str) -> list[str]:
        made = tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text))
        return [word for word, _ in made]

    return WordPieces(
        list(vocabulary),
        prefix=PREFIX,
        letters_max=described.model.letters_max,
        made_of=made_of,
        added=[token.content for token in described.added_tokens],
        ask=spans.spans,
    )


class _Step(Noun, frozen=True, kw_only=True):
    type: str = ""


class _Model(_Step, frozen=True, kw_only=True):
    unknown: str | None = msgspec.field(default=None, name="unk_token")
    prefix: str | None = msgspec.field(default=None, name="continuing_subword_prefix")
    letters_max: int = msgspec.field(default=0, name="max_input_chars_per_word")


class _AddedToken(Noun, frozen=True, kw_only=True):
    content: str
    lstrip: bool
    rstrip: bool
    single_word: bool
    normalized: bool

    @property
    def wide(self) -> bool:
        """Whether what stands beside it counts, or it is not found as it is written."""
        return (
            self.lstrip or self.rstrip or self.single_word or self.normalized
            or not self.content or any(one in BLANKS for one in self.content)
        )  # fmt: skip


class _Described(Noun, frozen=True, kw_only=True):
    """What a tokenizer says of itself."""

    model: _Model
    normalizer: _Step | None = None
    pre_tokenizer: _Step | None = None
    added_tokens: tuple[_AddedToken, ...] = ()

    @property
    def bert(self) -> bool:
        steps = (self.normalizer, self.pre_tokenizer, self.model)
        names = ("BertNormalizer", "BertPreTokenizer", "WordPiece")
        # Its prefix is made of marks, so that no word begins with it.
        return tuple(step and step.type for step in steps) == names and self.model.prefix == PREFIX


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
