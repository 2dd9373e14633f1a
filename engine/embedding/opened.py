"""The models that this process has open: opened when first asked for, one of each."""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from engine.config import Settings
from engine.embedding.embedder import Embedder, Vectors, open_graph
from engine.embedding.executor import LocalEmbedder
from engine.embedding.http import open_http
from engine.embedding.hub import open_hub
from engine.embedding.registry import Registry
from engine.embedding.specs import ModelSpec
from engine.embedding.tokens import TokenSpans
from engine.errors import InvalidRequest, ModelUnavailable

log = logging.getLogger(__name__)


class AsyncEmbedder(Protocol):
    """An open model, wherever it runs: `executor` has those of this process, `http` those behind a
    server."""

    spec: ModelSpec
    tokenizer: TokenSpans
    is_remote: bool  # a call may take as long as a server likes, and not some milliseconds

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors of shape (len(texts), dimensions), float32, of length 1, in the order of `texts`.

        Of a text longer than the model reads, the beginning counts. Raises ModelUnavailable.
        """
        ...

    async def embed_query(self, text: str) -> Vectors:
        """The vector of a question, of shape (dimensions,). Raises ModelUnavailable."""
        ...

    async def warm_up(self) -> None:
        """Pay for the first call now. Raises ModelUnavailable."""
        ...

    def close(self) -> None:
        """Let go of threads and connections. A second call does nothing."""
        ...


class Models:
    """Opens models by name. That one is missing is not remembered: it may be pulled meanwhile.

    `threads` of each session: an API process embeds single queries, a worker shares its cores with
    others of its kind.
    """

    def __init__(self, *, registry: Registry, settings: Settings, threads: int = 1) -> None:
        self._registry = registry
        self._settings = settings
        self._threads = threads
        self._open: dict[str, AsyncEmbedder] = {}
        self._opening = asyncio.Lock()

    async def open(self, name: str) -> AsyncEmbedder:
        """Raises ModelUnavailable when its files are missing: there is no fallback.

        A server is not asked here; whether it answers shows when something is embedded.
        """
        if name in self._open:  # another one may take long to open
            return self._open[name]
        async with self._opening:
            if name not in self._open:
                self._open[name] = await asyncio.to_thread(self._load, name)
        return self._open[name]

    async def open_default(self) -> AsyncEmbedder:
        """As `open`, for the model that new RAGs get."""
        return await self.open(self._registry.default_name)

    async def warm_up(self, *, cutting: bool = False) -> None:
        """Open the default model before somebody has to wait for it, and what texts are cut with if
        they are; log it when that fails."""
        try:
            model = await self.open_default()
            await model.warm_up()
            if cutting:
                await asyncio.to_thread(lambda: model.tokenizer.pieces)
        except ModelUnavailable as error:
            log.warning("model not ready", extra={"code": error.code, "cause": error.message})

    def close(self) -> None:
        """To be called where the event loop still runs, when models behind servers were used."""
        for embedder in self._open.values():
            embedder.close()

    def _load(self, name: str) -> AsyncEmbedder:
        try:
            spec = self._registry.get(name)
        except InvalidRequest as error:
            raise ModelUnavailable(f"This engine does not know the model {name!r}.") from error
        models_path = self._settings.models_path
        if spec.endpoint is not None:
            return open_http(spec, endpoint=spec.endpoint, models_path=models_path)
        embedder = open_embedder(
            spec,
            models_path=models_path,
            threads=self._threads,
            batch_tokens=self._settings.embed_batch_tokens,
        )
        return LocalEmbedder(embedder)


def open_embedder(
    spec: ModelSpec, *, models_path: Path, threads: int = 1, batch_tokens: int
) -> Embedder:
    """Load an installed model, with `threads` for one call; one of a hub reads `batch_tokens` at
    once.

    Its files are hashed first. Raises ModelUnavailable when it is missing, damaged or unreadable.
    """
    if spec.weights is not None:
        return open_graph(spec, models_path=models_path, threads=threads)
    return open_hub(spec, models_path=models_path, threads=threads, batch_tokens=batch_tokens)
