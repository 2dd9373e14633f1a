"""Token buckets that all processes share, in Redis; and what happens while Redis is away.

What is asked at the same moment goes to Redis in one round, over one connection. Nobody waits for
an answer longer than ANSWER_TIMEOUT_S, and nobody at all while a round is late: each process then
counts by itself, from what it knew last, and a probe in the background looks when Redis is back. So
requests are neither refused nor slowed down by what is no fault of theirs.
"""

import asyncio
import logging
from time import monotonic
from typing import NamedTuple

from redis.asyncio import Redis
from redis.exceptions import RedisError

from engine.buckets import Allowance, Buckets, Rate, allowance

log = logging.getLogger(__name__)

ANSWER_TIMEOUT_S = 0.01
LATE_S = 0.03  # a busy moment of this very process is shorter
ROUND_TIMEOUT_S = 1.0
PROBE_PAUSE_S = 1.0
ROUND_MAX = 500
PREFIX = "rag-engine:rate:"

# By the clock of Redis, so that hosts with different clocks agree. A bucket that nobody uses is
# gone as soon as it would be full.
TAKE = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local per_s, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local held = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens, at = tonumber(held[1]) or burst, tonumber(held[2]) or now
tokens = math.min(burst, tokens + math.max(0, now - at) * per_s)
local granted = 0
if tokens >= 1 then
    granted = 1
    tokens = tokens - 1
end
local left = string.format('%.6f', tokens)
redis.call('HSET', KEYS[1], 'tokens', left, 'at', string.format('%.6f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil(burst / per_s * 1000) + 1000)
return {granted, left}
"""


class _Asked(NamedTuple):
    key: str
    answer: asyncio.Future[Allowance]


class Rates:
    """Buckets of one rate, by key. `redis_url` empty: of this process alone."""

    def __init__(self, redis_url: str, *, rate: Rate) -> None:
        self._rate = rate
        self._own = Buckets(rate)
        self._redis = _client(redis_url) if redis_url else None
        self._is_there = False
        self._asked: list[_Asked] = []
        self._round_begun_s: float | None = None
        # The one that asks, and the one that looks for Redis; never both.
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> "Rates":
        """Begin to look for Redis; until it is found this process counts by itself."""
        if self._redis is not None:
            self._task = asyncio.create_task(self._look_for_it(self._redis))
        return self

    async def take(self, key: str) -> Allowance:
        """One token, if there is one."""
        if self._redis is None or not self._is_there or self._is_late():
            return self._own.take(key, now_s=monotonic())
        asked = _Asked(key, asyncio.get_running_loop().create_future())
        self._asked.append(asked)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._ask(self._redis))
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                return await asked.answer
        except TimeoutError:
            return self._own.take(key, now_s=monotonic())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._redis is not None:
            await self._redis.aclose()

    def _is_late(self) -> bool:
        begun_s = self._round_begun_s
        return begun_s is not None and monotonic() - begun_s > LATE_S

    async def _ask(self, redis: Redis) -> None:
        """Rounds until nobody asks any more, or Redis does not answer."""
        while self._asked:
            asked, self._asked = self._asked[:ROUND_MAX], self._asked[ROUND_MAX:]
            self._round_begun_s = monotonic()
            try:
                async with asyncio.timeout(ROUND_TIMEOUT_S):
                    answers = await self._round(redis, [each.key for each in asked])
            except (RedisError, OSError, TimeoutError) as error:
                log.warning("rates are counted by each process", extra={"cause": repr(error)})
                self._is_there = False
                self._answer_alone([*asked, *self._asked])
                return await self._look_for_it(redis)
            finally:
                self._round_begun_s = None
            for each, answer in zip(asked, answers, strict=True):
                _tell(each, answer)

    async def _round(self, redis: Redis, keys: list[str]) -> list[Allowance]:
        per_s, burst = str(self._rate.per_s), str(self._rate.burst)
        pipeline = redis.pipeline(transaction=False)
        for key in keys:
            pipeline.eval(TAKE, 1, PREFIX + key, per_s, burst)
        answers = await pipeline.execute()
        return [self._heard(key, *each) for key, each in zip(keys, answers, strict=True)]

    def _heard(self, key: str, granted: int, left: bytes) -> Allowance:
        tokens = float(left)
        # So that this process can go on from here by itself.
        self._own.set(key, tokens=tokens, now_s=monotonic())
        return allowance(tokens, rate=self._rate, granted=bool(granted))

    def _answer_alone(self, asked: list[_Asked]) -> None:
        self._asked = []
        for each in asked:
            if not each.answer.done():
                _tell(each, self._own.take(each.key, now_s=monotonic()))

    async def _look_for_it(self, redis: Redis) -> None:
        while not self._is_there:
            try:
                async with asyncio.timeout(ROUND_TIMEOUT_S):
                    await redis.ping()
                self._is_there = True
            except (RedisError, OSError, TimeoutError):
                await asyncio.sleep(PROBE_PAUSE_S)
        log.info("rates are shared")


def _tell(asked: _Asked, answer: Allowance) -> None:
    if not asked.answer.done():  # done: who asked has not waited for it
        asked.answer.set_result(answer)


def _client(redis_url: str) -> Redis:
    client: Redis = Redis.from_url(redis_url, socket_connect_timeout=ROUND_TIMEOUT_S)
    return client
