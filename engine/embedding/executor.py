"""The embedder for async callers: the same calls, in one thread of its own. A model behind a server
has the same calls in `http`.

What several callers ask for while the model is busy goes through it together: many small sources
fill a batch as well as a large one.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from engine.embedding.embedder import Embedder, Vectors

# A round takes callers until it has this much: some four batches, so that sorting by length pays,
# and the first caller waits for no more than a few others.
ROUND_CHARACTERS = 16_384


class _Asked(NamedTuple):
    texts: Sequence[str]
    vectors: "Future[Vectors]"
    alone: bool = False


class LocalEmbedder:
    """One round at a time; the event loop stays free, and so does the interpreter lock.

    A caller that is cancelled gives up its answer; a round that has begun runs to its end.
    """

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder
        self.spec = embedder.spec
        self.tokenizer = embedder.tokenizer
        self._asked: deque[_Asked] = deque()
        self._together: list[_Asked] = []  # in the round that runs
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embed")

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """See AsyncEmbedder.embed."""
        asked = _Asked(texts, Future())
        self._ask(asked)
        return await asyncio.wrap_future(asked.vectors)

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
        for asked in self._asked:
            asked.vectors.cancel()

    def _ask(self, asked: _Asked) -> None:
        """A round for each caller; of those who were served together all but one find no work."""
        self._asked.append(asked)
        self._thread.submit(self._round).add_done_callback(self._after)

    def _round(self) -> None:
        self._together = self._taken()
        if self._together:
            vectors = self.embedder.embed([t for asked in self._together for t in asked.texts])
            start = 0
            for asked in self._together:
                asked.vectors.set_result(vectors[start : start + len(asked.texts)])
                start += len(asked.texts)

    def _after(self, ended: "Future[None]") -> None:
        """In the same thread, behind a round: nobody pays for what is wrong with another's text."""
        error = None if ended.cancelled() else ended.exception()
        if error is None:
            return
        for asked in self._together:
            if len(self._together) == 1:
                asked.vectors.set_exception(error)
            else:
                self._ask(_Asked(asked.texts, asked.vectors, alone=True))

    def _taken(self) -> list[_Asked]:
        """Whoever has waited longest, and those behind them while there is room."""
        taken: list[_Asked] = []
        characters = 0
        while self._asked and not (taken and (self._asked[0].alone or taken[0].alone)):
            characters += sum(map(len, self._asked[0].texts))
            if taken and characters > ROUND_CHARACTERS:
                break
            asked = self._asked.popleft()
            # Nobody can take back any more what is begun.
            if asked.vectors.running() or asked.vectors.set_running_or_notify_cancel():
                taken.append(asked)
        return taken
