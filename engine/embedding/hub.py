"""Models that come ready-made from a hub: fastembed knows how each of them is run and pooled."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from engine.embedding.batches import batches
from engine.embedding.embedder import Vectors, clipped, load_errors, unit, unloadable
from engine.embedding.install import verified_folder
from engine.embedding.specs import ModelSpec
from engine.embedding.tokens import TokenSpans, open_tokenizer

if TYPE_CHECKING:
    from fastembed import TextEmbedding


class HubEmbedder:
    """One of fastembed's models. What is ours is which texts go through it together."""

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
        """See Embedder.embed."""
        read = [clipped(text, self.spec) for text in texts]
        found = np.empty((len(read), self.spec.dimensions), dtype=np.float32)
        for rows in batches(self._lengths(read), batch_tokens=self.batch_tokens):
            batch = [read[row] for row in rows]
            found[rows] = np.stack(list(self._model.embed(batch, batch_size=len(batch))))
        # Not all of them come normalised; for those that do this changes nothing.
        return unit(found)

    def embed_query(self, text: str) -> Vectors:
        """See Embedder.embed_query."""
        vector = next(iter(self._model.query_embed(clipped(text, self.spec))))
        return unit(np.asarray(vector, dtype=np.float32))

    def _lengths(self, texts: Sequence[str]) -> list[int]:
        special = self.tokenizer.special_tokens
        counts = self.tokenizer.counts(texts)
        return [min(count + special, self.spec.tokens_max) for count in counts]


def open_hub(spec: ModelSpec, *, models_path: Path, threads: int, batch_tokens: int) -> HubEmbedder:
    """See `open_embedder`."""
    # Imported here: most of a second that nobody else should wait for.
    from fastembed import TextEmbedding

    folder = verified_folder(spec, models_path=models_path)
    try:
        model = TextEmbedding(
            spec.name,
            threads=threads,
            providers=["CPUExecutionProvider"],
            specific_model_path=str(folder),
            local_files_only=True,
        )
    except load_errors() as error:
        raise unloadable(spec) from error
    return HubEmbedder(
        spec,
        model=model,
        tokenizer=open_tokenizer(spec, models_path),
        batch_tokens=batch_tokens,
    )
