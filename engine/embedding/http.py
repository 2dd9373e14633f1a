"""The embedder of a model behind an OpenAI-compatible server: the same calls as `executor`.

What lives here: prefixes, cutting to what the model reads, which texts make a request. What does
not: requests themselves (`provider`).
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from engine.embedding.batches import slabs
from engine.embedding.embedder import CHARACTERS_PER_TOKEN_MAX, Vectors
from engine.embedding.modelsfile import access_key
from engine.embedding.provider import PROBE, Patience, Provider
from engine.embedding.specs import Endpoint, ModelSpec
from engine.embedding.tokens import TokenSpans, open_tokenizer
from engine.errors import ModelUnavailable

WARM_UP_TIMEOUT_S = 5.0
Sized = tuple[str, int]


class HttpEmbedder:
    """Calls run side by side, as many as the models file allows; the others wait their turn.

    A caller that is cancelled breaks its requests off.
    """

    is_remote = True

    def __init__(
        self, spec: ModelSpec, *, endpoint: Endpoint, tokenizer: TokenSpans, provider: Provider
    ) -> None:
        self.spec = spec
        self.tokenizer = tokenizer
        self._endpoint = endpoint
        self._provider = provider

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors of shape (len(texts), dimensions), float32, of length 1, in the order of `texts`.

        Of a text longer than the model reads, the beginning counts. Raises ModelUnavailable.
        """
        read = await asyncio.to_thread(self._read, texts)
        found = np.empty((len(read), self.spec.dimensions), dtype=np.float32)
        requests = slabs(
            [tokens for _, tokens in read],
            slab_size=self._endpoint.batch_tokens,
            items_max=self._endpoint.batch_items,
        )

        async def fill(rows: range) -> None:
            prefix = self._endpoint.passage_prefix
            batch = [prefix + text for text, _ in read[rows.start : rows.stop]]
            found[rows.start : rows.stop] = await self._provider.vectors(batch)

        await _all([asyncio.create_task(fill(rows)) for rows in requests])
        return found

    async def embed_query(self, text: str) -> Vectors:
        """The vector of a question, of shape (dimensions,). Raises ModelUnavailable."""
        [(read, _)] = await asyncio.to_thread(self._read, [text])
        vectors = await self._provider.vectors([self._endpoint.query_prefix + read])
        found: Vectors = vectors[0]
        return found

    async def warm_up(self) -> None:
        """Ask once, so that a wrong address or key shows early. Raises ModelUnavailable, soon."""
        try:
            async with asyncio.timeout(WARM_UP_TIMEOUT_S):
                await self._provider.vectors([PROBE])
        except TimeoutError as error:
            raise ModelUnavailable(
                f"The embedding model {self.spec.name} did not answer within "
                f"{WARM_UP_TIMEOUT_S:.0f} s; it is used all the same."
            ) from error

    def close(self) -> None:
        """Begin to close the connections. A second call does nothing."""
        self._provider.close()

    def _read(self, texts: Sequence[str]) -> list[Sized]:
        """What of each text the model reads, and how many tokens that is with what is added."""
        special = self.tokenizer.special_tokens
        room = self.spec.tokens_max - special
        clipped = [text[: self.spec.tokens_max * CHARACTERS_PER_TOKEN_MAX] for text in texts]
        counts = self.tokenizer.counts(clipped)
        return [
            (text, count + special)
            if count <= room
            else (text[: self.tokenizer.spans([text])[0][room - 1][1]], room + special)
            for text, count in zip(clipped, counts, strict=True)
        ]


async def _all(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Wait for all of them. Raises what the first one raises that fails, and none goes on then.

    No TaskGroup: before Python 3.13 one that fails leaves its caller marked as cancelled, which a
    worker takes for having been told to stop.
    """
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def open_http(
    spec: ModelSpec, *, endpoint: Endpoint, models_path: Path, patience: Patience | None = None
) -> HttpEmbedder:
    """Make ready to ask; nothing is asked yet.

    Raises ModelUnavailable when the tokenizer or the access key is not where it should be.
    """
    tokenizer = open_tokenizer(spec, models_path)
    key = access_key(spec, endpoint)
    provider = Provider(spec, endpoint=endpoint, key=key, patience=patience or Patience())
    return HttpEmbedder(spec, endpoint=endpoint, tokenizer=tokenizer, provider=provider)
