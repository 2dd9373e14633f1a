"""The models that this process has open: opened when first asked for, one session each."""

import asyncio
import logging

from engine.config import Settings
from engine.embedding.embedder import open_embedder
from engine.embedding.executor import AsyncEmbedder
from engine.embedding.registry import Registry
from engine.errors import InvalidRequest, ModelUnavailable

log = logging.getLogger(__name__)


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
        """Raises ModelUnavailable when its files are missing: there is no fallback."""
        async with self._opening:
            if name not in self._open:
                self._open[name] = await asyncio.to_thread(self._load, name)
        return self._open[name]

    async def open_default(self) -> AsyncEmbedder:
        """As `open`, for the model that new RAGs get."""
        return await self.open(self._registry.default_name)

    async def warm_up(self) -> None:
        """Open the default model before somebody has to wait for it; log it when that fails."""
        try:
            await (await self.open_default()).warm_up()
        except ModelUnavailable as error:
            log.warning("model not ready", extra={"code": error.code, "cause": error.message})

    def close(self) -> None:
        for embedder in self._open.values():
            embedder.close()

    def _load(self, name: str) -> AsyncEmbedder:
        try:
            spec = self._registry.get(name)
        except InvalidRequest as error:
            raise ModelUnavailable(f"This engine does not know the model {name!r}.") from error
        embedder = open_embedder(
            spec,
            models_path=self._settings.models_path,
            threads=self._threads,
            batch_tokens=self._settings.embed_batch_tokens,
        )
        return AsyncEmbedder(embedder)
