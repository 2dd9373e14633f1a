"""Text to vectors: which models there are, how they get onto this machine, and running them.

    specs       what a model is (ModelSpec), and the built-in one
    modelsfile  models behind servers and public names, as the operator wrote them down
    registry    which models can be chosen
    weights     the built-in model's weights: obtained, verified, read
    graph       the ONNX graph of a BERT encoder, built from those weights
    install     model folders: built beside, renamed into place, verified by a manifest
    tokens      the model's tokenizer, for counting and cutting
    batches     which texts go through the model, or into a request, together
    embedder    the built-in model, loaded, blocking; `hub` has fastembed's; `executor` is the same
                for async callers
    http        a model behind a server, for async callers; `provider` asks the server, `answers`
                says what it meant, `breaker` when to leave it alone
    opened      the models that a process has open

Callers use the names exported here. There is no fallback to another model: one that is missing
is ModelUnavailable.
"""

from engine.embedding.embedder import Embedder
from engine.embedding.install import is_installed, pull
from engine.embedding.modelsfile import ModelsFileError
from engine.embedding.opened import AsyncEmbedder, Models, open_embedder
from engine.embedding.registry import Registry
from engine.embedding.specs import ModelSpec, Weights
from engine.embedding.tokens import TokenSpans, open_tokenizer

__all__ = [
    "AsyncEmbedder",
    "Embedder",
    "ModelSpec",
    "Models",
    "ModelsFileError",
    "Registry",
    "TokenSpans",
    "Weights",
    "is_installed",
    "open_embedder",
    "open_tokenizer",
    "pull",
]
