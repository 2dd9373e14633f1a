"""The embedder for async callers: the same calls, in one thread of its own. A model behind a server
has the same calls in `http`."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from engine.embedding.embedder import Embedder, Vectors


class LocalEmbedder:
    """One call at a time, in order; the event loop stays free, and so does the interpreter lock.

    Texts of several callers are not put together: int8 scales a batch as a whole, so that a vector
    would depend on strangers' texts; and a batch of one is as fast as any (decisions/0003).

    A caller that is cancelled gives up its answer; a call that has begun runs to its end.
    """

    is_remote = False

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder
        self.spec = embedder.spec
        self.tokenizer = embedder.tokenizer
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embed")

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """See AsyncEmbedder.embed."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self.embedder.embed, texts)

    async def embed_query(self, text: str) -> Vectors:
        """See AsyncEmbedder.embed_query."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self.embedder.embed_query, text)

    async def warm_up(self) -> None:
        """See AsyncEmbedder.warm_up: ONNX Runtime allocates on its first call."""
        await self.embed_query("warm up")

    def close(self) -> None:
        """Drop what waits and do not wait for what runs. A second call does nothing."""
        self._thread.shutdown(wait=False, cancel_futures=True)
