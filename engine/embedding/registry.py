"""Which models can be chosen, by their own names and by the public names of the second door.

Not here: what a model is (`specs`), how the models file is written (`modelsfile`), files and
folders (`install`), running a model (`embedder`, `http`).
"""

import re
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from engine.config import Settings
from engine.embedding import modelsfile
from engine.embedding.specs import MINILM, ModelSpec
from engine.errors import Detail, InvalidRequest

PUBLIC_NAMES = (
    "e5_mistral_7b_instruct",
    "multilingual_e5_large_instruct",
    "gemini-embedding-001",
)
NOTHING: Mapping[str, str] = MappingProxyType({})


class Registry:
    """The models of one engine: its own, those of the models file, those that fastembed knows.

    `public` says which model a public name stands for; a name that is not in it stands for the
    default model.
    """

    public_names = PUBLIC_NAMES

    def __init__(
        self,
        *,
        default_name: str,
        models: Mapping[str, ModelSpec] | None = None,
        public: Mapping[str, str] = NOTHING,
    ) -> None:
        self.default_name = default_name
        self._models = {MINILM.name: MINILM, **(models or {})}
        self._public = {name: public.get(name, default_name) for name in PUBLIC_NAMES}

    @classmethod
    def from_settings(cls, settings: Settings) -> "Registry":
        """Reads the models file, if there is one: ModelsFileError, a SettingsError, when it is
        wrong. An unknown default does not fail here: it shows when `default` is read."""
        path = settings.models_file
        if path is None:
            return cls(default_name=settings.embedding_model)
        file = modelsfile.read(path)
        registry = cls(
            default_name=settings.embedding_model, models=file.models, public=file.public
        )
        for public_name, name in file.public.items():
            if public_name not in PUBLIC_NAMES:
                issue = f"[public] {public_name}: is not a public name"
                raise modelsfile.wrong(path, f"{issue}; there are {', '.join(PUBLIC_NAMES)}")
            if not registry._knows(name):
                issue = f"[public] {public_name}: {name!r} is neither a model of this file nor one"
                raise modelsfile.wrong(path, f"{issue} that `rag-engine models` lists")
        return registry

    @property
    def default(self) -> ModelSpec:
        """The model of RAGs that name none. Raises InvalidRequest when the setting is wrong."""
        return self.get(self.default_name)

    @property
    def public_models(self) -> dict[str, str]:
        """For each public name the name of the engine model that it stands for."""
        return dict(self._public)

    def get(self, name: str) -> ModelSpec:
        """The model of that exact name. Raises InvalidRequest, naming the field."""
        spec = self._models.get(name) or _hub_models().get(name)
        if spec is None:
            raise _unknown(name)
        return spec

    def public(self, name: str) -> ModelSpec:
        """The engine model that a public name stands for.

        Raises InvalidRequest for a name that is not public, and as `default` does.
        """
        if name not in self._public:
            issue = f"must be one of {', '.join(PUBLIC_NAMES)}"
            raise InvalidRequest(
                f"The embedding model {name[:100]!r} is not known.",
                details=(Detail(field="model", issue=issue),),
            )
        return self.get(self._public[name])

    def specs(self) -> list[ModelSpec]:
        """All models, the engine's own first, then those of the models file."""
        # A model of the file hides one of fastembed's that has the same name.
        others = [spec for name, spec in _hub_models().items() if name not in self._models]
        return [*self._models.values(), *others]

    def _knows(self, name: str) -> bool:
        return name in self._models or name in _hub_models()


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
