"""The model's tokenizer, for counting tokens and for cutting texts between them."""

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from engine.embedding.batches import slabs
from engine.embedding.install import verified_folder
from engine.embedding.registry import ModelSpec
from engine.errors import ModelUnavailable

# An encoding takes some hundred bytes a token. One call sees no more text than this at once,
# unless a single text is longer.
SLAB_CHARACTERS = 1_000_000


class TokenSpans:
    """Where a text's tokens are. Safe to share between threads; the interpreter lock is released
    while a batch is encoded. Texts must not hold unpaired surrogates."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self.special_tokens: int = tokenizer.num_special_tokens_to_add(is_pair=False)
        """How many tokens the model adds to every text; they count towards `tokens_max`."""

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

    def count(self, text: str) -> int:
        """How many tokens one text has, without special tokens and without a limit."""
        return self.counts([text])[0]


def open_tokenizer(spec: ModelSpec, models_path: Path) -> TokenSpans:
    """The tokenizer of an installed model, without the model itself (some 50 ms).

    Raises ModelUnavailable when the model is not installed.
    """
    folder = verified_folder(spec, models_path=models_path, files=("tokenizer.json",))
    text = (folder / "tokenizer.json").read_text(encoding="utf-8")
    try:
        return TokenSpans(Tokenizer.from_str(text))
    except ValueError as error:
        raise ModelUnavailable(f"The tokenizer of {spec.name} cannot be read.") from error
