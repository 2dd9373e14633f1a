"""A loaded model: texts in, unit vectors out. Blocking; async callers use `executor`.

The engine runs the graph that it built itself: every text is tokenised once, and goes through the
model by itself. On a processor that takes no longer than in company (docs/decisions/0003), nothing
is padding, memory is bounded by one text, and a vector depends on its text alone: int8 scales
whatever is read together as a whole. Not here: models of a hub, which fastembed runs (`hub`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from engine.embedding.graph import INPUTS, OUTPUT
from engine.embedding.install import verified_folder
from engine.embedding.specs import ModelSpec
from engine.embedding.tokens import TokenSpans, open_tokenizer
from engine.errors import ModelUnavailable

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Vectors = npt.NDArray[np.float32]

# No real text has so many characters to a token. What lies beyond is cut off before the tokenizer,
# so that a text of many megabytes costs no more than one of `tokens_max`.
CHARACTERS_PER_TOKEN_MAX = 400


class Embedder(Protocol):
    """One model in this process. Calls from several threads are safe, each with its own memory."""

    spec: ModelSpec
    tokenizer: TokenSpans

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors of shape (len(texts), dimensions), float32, of length 1, in the order of `texts`.

        Of a text longer than the model reads, the beginning counts.
        """
        ...

    def embed_query(self, text: str) -> Vectors:
        """The vector of a question, of shape (dimensions,)."""
        ...


class GraphEmbedder:
    """A model whose graph the engine built: the mean over the last layer."""

    def __init__(
        self, spec: ModelSpec, *, session: "InferenceSession", tokenizer: TokenSpans
    ) -> None:
        self.spec = spec
        self.tokenizer = tokenizer
        self._session = session

    def embed(self, texts: Sequence[str]) -> Vectors:
        """See Embedder.embed."""
        tokens_max = self.spec.tokens_max
        read = self.tokenizer.ids([clipped(text, self.spec) for text in texts], most=tokens_max)
        found = np.empty((len(read), self.spec.dimensions), dtype=np.float32)
        for row, ids in enumerate(read):
            found[row] = self._run(ids)
        # The sum over the tokens; their mean would differ in its length alone.
        return unit(found)

    def embed_query(self, text: str) -> Vectors:
        """See Embedder.embed_query."""
        vector: Vectors = self.embed([text])[0]
        return vector

    def _run(self, ids: Sequence[int]) -> Vectors:
        """The sum of the last layer over the tokens of one text, of shape (dimensions,)."""
        row = np.array([ids])
        inputs = dict(zip(INPUTS, (row, np.ones_like(row), np.zeros_like(row)), strict=True))
        found: Vectors = self._session.run([OUTPUT], inputs)[0][0].sum(axis=0)
        return found


def open_graph(spec: ModelSpec, *, models_path: Path, threads: int) -> GraphEmbedder:
    """See `open_embedder`."""
    folder = verified_folder(spec, models_path=models_path)
    return GraphEmbedder(
        spec,
        session=_session(folder / spec.model_file, spec=spec, threads=threads),
        tokenizer=open_tokenizer(spec, models_path),
    )


def _session(path: Path, *, spec: ModelSpec, threads: int) -> "InferenceSession":
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    # It keeps a plan of the memory for every shape of batch that it has met: 30 MiB after some
    # hundred shapes, and no call is faster for it.
    options.enable_mem_pattern = False
    try:
        # The answer must not depend on the host, so it is the same provider everywhere.
        return InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except load_errors() as error:
        raise unloadable(spec) from error


def load_errors() -> tuple[type[Exception], ...]:
    """What opening a broken model raises. ONNX Runtime's have no common root of their own."""
    from onnxruntime.capi.onnxruntime_pybind11_state import (
        Fail,
        InvalidArgument,
        InvalidGraph,
        InvalidProtobuf,
        NotImplemented,
        RuntimeException,
    )

    refused = (Fail, InvalidArgument, InvalidGraph, InvalidProtobuf, NotImplemented)
    return (*refused, RuntimeException, RuntimeError, ValueError, OSError)


def unloadable(spec: ModelSpec) -> ModelUnavailable:
    return ModelUnavailable(f"The model {spec.name} is here, but cannot be loaded.")


def clipped(text: str, spec: ModelSpec) -> str:
    """All that the tokenizer need see of a text."""
    return text[: spec.tokens_max * CHARACTERS_PER_TOKEN_MAX]


def unit(vectors: Vectors) -> Vectors:
    """The same directions, of length 1; a vector of length 0 stays one."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    found: Vectors = (vectors / np.maximum(length, 1e-12)).astype(np.float32)
    return found
