"""The models that this worker process has open: opened when first needed, one session each."""

import asyncio
import logging

import msgspec

from engine.config import Settings
from engine.embedding import AsyncEmbedder, ModelSpec, Registry, TokenSpans, open_embedder
from engine.errors import Unavailable

log = logging.getLogger(__name__)


class OpenModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model ready for use."""

    spec: ModelSpec
    embedder: AsyncEmbedder
    tokenizer: TokenSpans


class Models:
    """Opens models on demand. ModelUnavailable is not remembered: it may be pulled meanwhile."""

    def __init__(self, *, registry: Registry, settings: Settings) -> None:
        self._registry = registry
        self._settings = settings
        self._open: dict[str, OpenModel] = {}
        self._opening = asyncio.Lock()

    async def open(self, name: str) -> OpenModel:
        """Raises ModelUnavailable when its files are not there."""
        async with self._opening:
            if name not in self._open:
                self._open[name] = await asyncio.to_thread(self._load, name)
        return self._open[name]

    async def warm_up(self) -> None:
        """Open the default model before the first document needs it."""
        try:
            await self.open(self._registry.default.name)
        except Unavailable as error:
            log.warning("model not ready", extra={"code": error.code, "cause": error.message})

    def _load(self, name: str) -> OpenModel:
        spec = self._registry.get(name)
        embedder = open_embedder(
            spec,
            models_path=self._settings.models_path,
            threads=1,
            batch_tokens=self._settings.embed_batch_tokens,
        )
        return OpenModel(spec=spec, embedder=AsyncEmbedder(embedder), tokenizer=embedder.tokenizer)

    def close(self) -> None:
        for model in self._open.values():
            model.embedder.close()
