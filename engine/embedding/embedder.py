"""A loaded model: texts in, unit vectors out. Blocking; async callers use `executor`.

fastembed runs the model; what is ours is which texts go through it together, so that memory is
bounded by tokens and little of it is padding.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from engine.embedding.batches import batches
from engine.embedding.install import verified_folder
from engine.embedding.specs import ModelSpec
from engine.embedding.tokens import TokenSpans, open_tokenizer
from engine.errors import ModelUnavailable

if TYPE_CHECKING:
    from fastembed import TextEmbedding

Vectors = npt.NDArray[np.float32]

# No real text has so many characters to a token. What lies beyond is cut off before the tokenizer,
# so that a text of many megabytes costs no more than one of `tokens_max`.
CHARACTERS_PER_TOKEN_MAX = 400


class Embedder:
    """One model in this process. Calls from several threads are safe, each with its own memory."""

    def __init__(
        self,
        spec: ModelSpec,
        *,
        model: "TextEmbedding",
        tokenizer: TokenSpans,
        batch_tokens: int,
    ) -> None:
        self.spec = spec
        self.tokenizer = tokenizer
        self.batch_tokens = batch_tokens
        self._model = model

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors of shape (len(texts), dimensions), float32, of length 1, in the order of `texts`.

        Of a text longer than the model reads, the beginning counts.
        """
        read = [self._clipped(text) for text in texts]
        found = np.empty((len(read), self.spec.dimensions), dtype=np.float32)
        for rows in batches(self._lengths(read), batch_tokens=self.batch_tokens):
            batch = [read[row] for row in rows]
            found[rows] = np.stack(list(self._model.embed(batch, batch_size=len(batch))))
        return unit(found)

    def embed_query(self, text: str) -> Vectors:
        """The vector of a question, of shape (dimensions,)."""
        vector = next(iter(self._model.query_embed(self._clipped(text))))
        return unit(np.asarray(vector, dtype=np.float32))

    def warm_up(self) -> None:
        """Pay for the first call now: ONNX Runtime allocates on it."""
        self.embed_query("warm up")

    def _clipped(self, text: str) -> str:
        return text[: self.spec.tokens_max * CHARACTERS_PER_TOKEN_MAX]

    def _lengths(self, texts: Sequence[str]) -> list[int]:
        special = self.tokenizer.special_tokens
        counts = self.tokenizer.counts(texts)
        return [min(count + special, self.spec.tokens_max) for count in counts]


def open_embedder(
    spec: ModelSpec, *, models_path: Path, threads: int = 1, batch_tokens: int
) -> Embedder:
    """Load an installed model, with `threads` for one call and batches of `batch_tokens`.

    Its files are hashed first. Raises ModelUnavailable when it is missing, damaged or unreadable.
    """
    # Imported here: most of a second that nobody else should wait for.
    from fastembed import TextEmbedding
    from onnxruntime.capi.onnxruntime_pybind11_state import (
        Fail,
        InvalidArgument,
        InvalidGraph,
        InvalidProtobuf,
        NotImplemented,
        RuntimeException,
    )

    refused = (Fail, InvalidArgument, InvalidGraph, InvalidProtobuf, NotImplemented)
    folder = verified_folder(spec, models_path=models_path)
    try:
        model = TextEmbedding(
            spec.name,
            threads=threads,
            # The answer must not depend on the host, so it is the same provider everywhere.
            providers=["CPUExecutionProvider"],
            specific_model_path=str(folder),
            local_files_only=True,
        )
    # ONNX Runtime's exceptions have no common root of their own.
    except (*refused, RuntimeException, RuntimeError, ValueError, OSError) as error:
        raise ModelUnavailable(f"The model {spec.name} is here, but cannot be loaded.") from error
    tokenizer = open_tokenizer(spec, models_path)
    return Embedder(spec, model=model, tokenizer=tokenizer, batch_tokens=batch_tokens)


def unit(vectors: Vectors) -> Vectors:
    """The same directions, of length 1; a vector of length 0 stays one."""
    # Not every model that fastembed knows comes normalised; for those that do this changes nothing.
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    found: Vectors = (vectors / np.maximum(length, 1e-12)).astype(np.float32)
    return found
