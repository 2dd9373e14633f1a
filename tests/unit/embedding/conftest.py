"""The default model, open."""

import os
from pathlib import Path

import pytest

from engine.embedding import Embedder, ModelSpec, open_embedder
from engine.embedding.specs import MINILM


@pytest.fixture(scope="session")
def spec() -> ModelSpec:
    return MINILM


@pytest.fixture(scope="session")
def embedder(spec: ModelSpec, models_path: Path) -> Embedder:
    return open_embedder(spec, models_path=models_path, batch_tokens=1024)


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither an index nor a hub: nothing listens on port 9 of this machine."""
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://user:secret@127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.delenv("PIP_NO_INDEX", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
