"""Vectors of texts, by the hash of what was embedded, kept between runs below bench/cache."""

import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.corpora import CACHE
from bench.embed import fp32_folder
from bench.rig import MODELS
from engine.embedding.embedder import GraphEmbedder, Vectors
from engine.embedding.embedder import _session as session_of
from engine.embedding.opened import open_embedder
from engine.embedding.specs import MINILM
from engine.embedding.tokens import open_tokenizer

PRECISIONS = ("int8", "fp32")
KEY_BYTES = 32
SLAB_TEXTS = 256  # what is lost when a run is ended in the middle
THREADS = 2
BATCH_TOKENS = 4_096


class Vectored:
    """The default model in one precision; asks it only for what it has not embedded before."""

    def __init__(self, precision: str) -> None:
        self.precision = precision
        folder = CACHE / "vectors"
        folder.mkdir(parents=True, exist_ok=True)
        self._keys_path = folder / f"{MINILM.version}-{precision}.keys"
        self._data_path = folder / f"{MINILM.version}-{precision}.f32"
        self._rows: dict[bytes, int] = {}
        self._data = self._read()

    def vectors(self, texts: Sequence[str]) -> Vectors:
        """Of shape (len(texts), dimensions), in their order."""
        keys = [hashlib.sha256(text.encode()).digest() for text in texts]
        fresh = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._rows}
        if fresh:
            self._embed(fresh)
        return self._data[[self._rows[key] for key in keys]]

    def _embed(self, fresh: dict[bytes, str]) -> None:
        model = _opened(self.precision)
        # Of like length together, so that little of a batch is padding.
        items = sorted(fresh.items(), key=lambda item: len(item[1]))
        for start in range(0, len(items), SLAB_TEXTS):
            slab = items[start : start + SLAB_TEXTS]
            found = model.embed([text for _, text in slab])
            with self._data_path.open("ab") as data, self._keys_path.open("ab") as keys:
                data.write(found.tobytes())
                data.flush()
                keys.write(b"".join(key for key, _ in slab))
        self._data = self._read()

    def _read(self) -> Vectors:
        keys = self._keys_path.read_bytes() if self._keys_path.exists() else b""
        raw = self._data_path.read_bytes() if keys else b""
        row_bytes = MINILM.dimensions * 4
        count = min(len(keys) // KEY_BYTES, len(raw) // row_bytes)
        self._keys_path.write_bytes(keys[: count * KEY_BYTES])
        self._data_path.write_bytes(raw[: count * row_bytes])
        self._rows = {keys[row * KEY_BYTES : (row + 1) * KEY_BYTES]: row for row in range(count)}
        return np.frombuffer(raw, np.float32, count * MINILM.dimensions).reshape(
            count, MINILM.dimensions
        )


def _opened(precision: str) -> GraphEmbedder:
    if precision == "int8":
        opened = open_embedder(
            MINILM, models_path=MODELS, threads=THREADS, batch_tokens=BATCH_TOKENS
        )
        assert isinstance(opened, GraphEmbedder)
        return opened
    folder = CACHE / "fp32"
    if not (folder / MINILM.model_file).exists():
        with tempfile.TemporaryDirectory(dir=CACHE) as work:
            fp32_folder(Path(work)).rename(folder)
    return GraphEmbedder(
        MINILM,
        session=session_of(folder / MINILM.model_file, spec=MINILM, threads=THREADS),
        tokenizer=open_tokenizer(MINILM, MODELS),
    )
