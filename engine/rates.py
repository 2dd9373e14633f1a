"""Token buckets that all processes share, in Redis; and what happens while Redis is away.

What is asked at the same moment goes to Redis in one round, over one connection. While a bucket has
plenty, a process takes some tokens ahead, and spends them without asking: a hundredth of what is
left, so that nobody else misses them, and none of the last ones. Nobody waits for an answer longer
than ANSWER_TIMEOUT_S, and nobody at all while a round is late: each process then counts by itself,
from what it knew last, and a probe in the background looks when Redis is back. So requests are
neither refused nor slowed down by what is no fault of theirs.
"""

import asyncio
import logging
from collections import Counter
from time import monotonic
from typing import NamedTuple

from redis.asyncio import Redis
from redis.exceptions import RedisError

from engine.buckets import BUCKETS_MAX, Allowance, Buckets, Rate

log = logging.getLogger(__name__)

ANSWER_TIMEOUT_S = 0.01
LATE_S = 0.03  # a busy moment of this very process is shorter
ROUND_TIMEOUT_S = 1.0
PROBE_PAUSE_S = 1.0
ROUND_MAX = 500
# Of what is left, so much is taken ahead. Of the default burst of 2,000 that is a round for every
# twenty requests: docs/decisions/0014-speed.md
AHEAD_SHARE = 0.01
PREFIX = "rag-engine:rate:"

# By the clock of Redis, so that hosts with different clocks agree. A bucket that nobody uses is
# gone as soon as it would be full.
TAKE = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local per_s, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local wanted, share = tonumber(ARGV[3]), tonumber(ARGV[4])
local held = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens, at = tonumber(held[1]) or burst, tonumber(held[2]) or now
tokens = math.min(burst, tokens + math.max(0, now - at) * per_s)
local granted = math.min(wanted, math.floor(tokens))
tokens = tokens - granted
local ahead = math.floor(tokens * share)
local left = string.format('%.6f', tokens - ahead)
redis.call('HSET', KEYS[1], 'tokens', left, 'at', string.format('%.6f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil(burst / per_s * 1000) + 1000)
return {granted, ahead, left}
"""


class _Asked(NamedTuple):
    key: str
    answer: asyncio.Future[Allowance]


class Rates:
    """Buckets of one rate, by key. `redis_url` empty: of this process alone."""

    def __init__(self, redis_url: str, *, rate: Rate) -> None:
        self._rate = rate
        self._own = Buckets(rate)
        self._ahead: dict[str, int] = {}  # these are among its own as well
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
        if self._spend_ahead(key) or self._redis is None or not self._is_there or self._is_late():
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
                    answers = await self._round(redis, Counter(each.key for each in asked))
            except (RedisError, OSError, TimeoutError) as error:
                log.warning("rates are counted by each process", extra={"cause": repr(error)})
                self._is_there = False
                self._answer_alone([*asked, *self._asked])
                return await self._look_for_it(redis)
            finally:
                self._round_begun_s = None
            now_s = monotonic()  # one moment for all: nothing is gained between two of them
            for key, answer in answers.items():
                self._hear(key, *answer, now_s=now_s)
            self._tell(asked, now_s=now_s)

    async def _round(self, redis: Redis, wanted: Counter[str]) -> dict[str, tuple[int, int, bytes]]:
        per_s, burst, share = str(self._rate.per_s), str(self._rate.burst), str(AHEAD_SHARE)
        pipeline = redis.pipeline(transaction=False)
        for key, count in wanted.items():
            pipeline.eval(TAKE, 1, PREFIX + key, per_s, burst, str(count), share)
        return dict(zip(wanted, await pipeline.execute(), strict=True))

    def _hear(self, key: str, granted: int, ahead: int, left: bytes, *, now_s: float) -> None:
        """Have what Redis gave, and what it has left: so this process can go on by itself."""
        ahead += self._ahead.pop(key, 0)
        self._own.set(key, tokens=float(left) + granted + ahead, now_s=now_s)
        if ahead:
            self._ahead[key] = ahead
        if len(self._ahead) > BUCKETS_MAX:
            del self._ahead[next(iter(self._ahead))]

    def _tell(self, asked: list[_Asked], *, now_s: float) -> None:
        for each in asked:
            answer = self._own.take(each.key, now_s=now_s)
            if not each.answer.done():  # done: who asked has not waited for it
                each.answer.set_result(answer)

    def _spend_ahead(self, key: str) -> bool:
        """Whether there was one that is nobody else's any more."""
        if (ahead := self._ahead.pop(key, 0)) > 1:
            self._ahead[key] = ahead - 1
        return ahead > 0

    def _answer_alone(self, asked: list[_Asked]) -> None:
        self._asked = []
        self._tell([each for each in asked if not each.answer.done()], now_s=monotonic())

    async def _look_for_it(self, redis: Redis) -> None:
        while not self._is_there:
            try:
                async with asyncio.timeout(ROUND_TIMEOUT_S):
                    await redis.ping()
                self._is_there = True
            except (RedisError, OSError, TimeoutError):
                await asyncio.sleep(PROBE_PAUSE_S)
        log.info("rates are shared")


def _client(redis_url: str) -> Redis:
    client: Redis = Redis.from_url(redis_url, socket_connect_timeout=ROUND_TIMEOUT_S)
    return client
