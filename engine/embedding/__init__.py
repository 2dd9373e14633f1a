"""Text to vectors: which models there are, how they get onto this machine, and running them.

    registry    what a model is (ModelSpec) and which ones can be chosen
    weights     the default model's weights: obtained, verified, read
    graph       the ONNX graph of a BERT encoder, built from those weights
    install     model folders: built beside, renamed into place, verified by a manifest
    tokens      the model's tokenizer, for counting and cutting
    batches     which texts go through the model together
    embedder    a loaded model, blocking; `executor` is the same for async callers
    opened      the models that a process has open

Callers use the names exported here. There is no fallback to another model: one that is missing
is ModelUnavailable.
"""

from engine.embedding.embedder import Embedder, open_embedder
from engine.embedding.executor import AsyncEmbedder
from engine.embedding.install import is_installed, pull
from engine.embedding.opened import Models
from engine.embedding.registry import ModelSpec, Registry, Weights
from engine.embedding.tokens import TokenSpans, open_tokenizer

__all__ = [
    "AsyncEmbedder",
    "Embedder",
    "ModelSpec",
    "Models",
    "Registry",
    "TokenSpans",
    "Weights",
    "is_installed",
    "open_embedder",
    "open_tokenizer",
    "pull",
]
