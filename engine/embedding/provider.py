"""One embedding server: asked with patience, left alone when it fails.

What lives here: requests, tries, waiting, the circuit breaker, and turning faults into
ModelUnavailable. What does not: what an answer means (`answers`), which texts make a request
(`http`).
"""

import asyncio
import logging
import random
from collections.abc import Sequence

import httpx
import msgspec
import numpy as np

from engine.embedding.answers import (
    LENGTH_STATUSES,
    Fault,
    Kind,
    answer_bytes_max,
    fault_of,
    vectors_of,
)
from engine.embedding.breaker import Breaker, Resting
from engine.embedding.embedder import Vectors
from engine.embedding.specs import Endpoint, ModelSpec
from engine.errors import ModelUnavailable
from engine.models import Noun

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 5.0
SAID_BYTES_MAX = 8 * 1024
CUTS_MAX = 4  # a sixteenth of a text that the tokenizer found short enough
PROBE = "warm up"


class Patience(Noun, frozen=True, kw_only=True):
    """How often one request is tried, the first pause between tries, after how many failed requests
    in a row the server is left alone, and for how long."""

    tries_max: int = 4
    backoff_s: float = 0.5
    failures_max: int = 3
    cooling_s: float = 30.0


class Provider:
    """Calls to one server for one model. Belongs to the event loop that first calls it."""

    def __init__(
        self, spec: ModelSpec, *, endpoint: Endpoint, key: str, patience: Patience
    ) -> None:
        self._spec = spec
        self._endpoint = endpoint
        self._patience = patience
        self._places = asyncio.Semaphore(endpoint.concurrency)
        self._breaker = Breaker(failures_max=patience.failures_max, cooling_s=patience.cooling_s)
        self._last_words = ""
        self._client = _client(endpoint, key=key)
        self._closing: asyncio.Task[None] | None = None

    async def vectors(self, texts: Sequence[str]) -> Vectors:
        """Vectors of shape (len(texts), dimensions) of one request's texts, of length 1, in order.

        Raises ModelUnavailable, with the model and the cause in words.
        """
        self._look()
        async with self._places:
            is_probe = self._admitted()
            try:
                found = await self._fitting(texts)
            except Fault as fault:
                await self._judge(fault, texts=texts)
                raise self._unavailable(fault.words) from fault.__cause__ or fault
            else:
                self._breaker.succeeded()
                return found
            finally:
                if is_probe:
                    self._breaker.probed()

    def close(self) -> None:
        """Begin to close the connections. A second call does nothing."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._client.aclose())

    def _look(self) -> None:
        """Nobody waits for a place, which may take long, only to hear that the server rests."""
        try:
            self._breaker.look()
        except Resting as resting:
            raise self._rests(resting) from resting

    def _admitted(self) -> bool:
        try:
            return self._breaker.admit()
        except Resting as resting:
            raise self._rests(resting) from resting

    def _rests(self, resting: Resting) -> ModelUnavailable:
        again = f"it is asked again in {max(resting.wait_s, 1):.0f} s"
        return self._unavailable(f"{self._last_words}; {again}")

    async def _judge(self, fault: Fault, *, texts: Sequence[str]) -> None:
        """Tell the breaker, unless the fault is in the texts: one document must not stop others."""
        if fault.kind in (Kind.DOUBTED, Kind.TOO_LONG) and list(texts) != [PROBE]:
            try:
                await self._tried([PROBE])
            except Fault:
                pass
            else:
                self._breaker.succeeded()
                return
        self._last_words = fault.words
        refused = fault.kind in (Kind.REFUSED, Kind.DOUBTED, Kind.TOO_LONG)
        self._breaker.failed(rest_s=fault.wait_s, at_once=refused or fault.wait_s is not None)
        log.warning("model failed", extra={"model": self._spec.name, "cause": fault.words})

    def _unavailable(self, words: str) -> ModelUnavailable:
        name = self._spec.name
        return ModelUnavailable(f"The embedding model {name} cannot be used: its server {words}.")

    async def _fitting(self, texts: Sequence[str]) -> Vectors:
        """As `_tried`, in smaller parts when that is too long for the server."""
        try:
            return await self._tried(texts)
        except Fault as fault:
            if fault.kind is not Kind.TOO_LONG:
                raise
            if len(texts) == 1:
                return await self._cut(texts[0], fault=fault)
        middle = len(texts) // 2
        parts = [await self._fitting(texts[:middle]), await self._fitting(texts[middle:])]
        return np.concatenate(parts)

    async def _cut(self, text: str, *, fault: Fault) -> Vectors:
        """Of a text longer than the model reads, the beginning counts."""
        for _ in range(CUTS_MAX):
            text = text[: len(text) // 2]
            if not text:
                break
            try:
                return await self._tried([text])
            except Fault as again:
                if again.kind is not Kind.TOO_LONG:
                    raise
                fault = again
        raise fault

    async def _tried(self, texts: Sequence[str]) -> Vectors:
        """One request, asked again while that makes sense and there is time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._endpoint.timeout_s
        for attempt in range(self._patience.tries_max):
            try:
                async with asyncio.timeout_at(deadline):
                    return await self._asked(texts)
            except TimeoutError as error:
                words = f"did not answer within {self._endpoint.timeout_s:g} s"
                raise Fault(words, kind=Kind.SLOW) from error
            except Fault as fault:
                wait_s = self._pause_s(attempt) if fault.wait_s is None else fault.wait_s
                last = attempt + 1 == self._patience.tries_max
                if fault.kind is not Kind.AGAIN or last or loop.time() + wait_s >= deadline:
                    raise
                log.info("model asked again", extra=self._seen(fault, wait_s=wait_s))
            await asyncio.sleep(wait_s)
        raise AssertionError("the last try returns or raises")

    def _pause_s(self, attempt: int) -> float:
        spread = random.uniform(0.5, 1.5)  # noqa: S311 - spreads load, guards nothing
        return float(self._patience.backoff_s * 2**attempt * spread)

    def _seen(self, fault: Fault, *, wait_s: float) -> dict[str, object]:
        return {"model": self._spec.name, "cause": fault.words, "wait_s": round(wait_s, 1)}

    async def _asked(self, texts: Sequence[str]) -> Vectors:
        content = msgspec.json.encode({"model": self._endpoint.model, "input": list(texts)})
        count, dimensions = len(texts), self._spec.dimensions
        try:
            async with self._client.stream("POST", self._endpoint.url, content=content) as response:
                if response.status_code != 200:
                    raise await _refusal(response)
                bytes_max = answer_bytes_max(count=count, dimensions=dimensions)
                body = await _read(response, bytes_max=bytes_max)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise Fault("cannot be reached", kind=Kind.AGAIN) from error
        except httpx.HTTPError as error:
            raise Fault("broke off the connection", kind=Kind.AGAIN) from error
        if len(body) > bytes_max:
            raise Fault("gave an answer that does not end", kind=Kind.WRONG)
        return vectors_of(body, count=count, dimensions=dimensions)


def _client(endpoint: Endpoint, *, key: str) -> httpx.AsyncClient:
    headers = {
        "content-type": "application/json",
        "accept": "application/json",
        # Compressed answers could grow without bound while they are read.
        "accept-encoding": "identity",
        "user-agent": "rag-engine",
    }
    if key:
        headers["authorization"] = f"Bearer {key}"
    # The bundled authorities, and those of the system: servers of one's own have one's own.
    authorities = httpx.create_ssl_context(trust_env=False)
    authorities.load_default_certs()
    return httpx.AsyncClient(
        headers=headers,
        verify=authorities,
        trust_env=False,
        follow_redirects=False,
        timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT_S),
        limits=httpx.Limits(max_connections=endpoint.concurrency),
    )


async def _refusal(response: httpx.Response) -> Fault:
    # Only these say in their body what they mean; what it says is shown to nobody, because it may
    # quote the key or the text.
    said = b""
    if response.status_code in LENGTH_STATUSES:
        said = await _read(response, bytes_max=SAID_BYTES_MAX)
    retry_after = response.headers.get("retry-after")
    return fault_of(response.status_code, said=said, retry_after=retry_after)


async def _read(response: httpx.Response, *, bytes_max: int) -> bytes:
    """The body, as it came, or a little more than `bytes_max` of it."""
    held = bytearray()
    async for part in response.aiter_raw():
        held += part
        if len(held) > bytes_max:
            break
    return bytes(held)
