"""The bell: tells workers through Redis that something is due. Nothing that matters lives there.

A bell carries no id, because the claim chooses; a lost or doubled one is healed by the poll. There
are few of them: one that hangs there unheard needs no second.
"""

import asyncio
import logging
from typing import Any

import msgspec
from arq.connections import ArqRedis, RedisSettings, create_pool
from redis.exceptions import RedisError

from engine.errors import QueueUnavailable

log = logging.getLogger(__name__)

QUEUE = "rag-engine:ingest"
JOB = "ingest"
BELLS = 4  # that may hang there at once, each for one worker
RING_TIMEOUT_S = 1.0
ANSWER_TIMEOUT_S = 3.0


def encode(job: dict[str, Any]) -> bytes:
    """arq's default is pickle, which whoever can write to Redis could turn into code."""
    return msgspec.msgpack.encode(job)


def decode(data: bytes) -> dict[str, Any]:
    return msgspec.msgpack.decode(data, type=dict[str, Any])


def redis_settings(url: str) -> RedisSettings:
    """How to connect, without long retries: a worker polls meanwhile."""
    settings = RedisSettings.from_dsn(url)
    settings.conn_timeout = 2
    settings.conn_retries = 0
    return settings


async def connect(settings: RedisSettings) -> ArqRedis:
    """A pool that waits for no answer without end: a path that fell silent stays open for hours."""
    pool = await create_pool(
        settings, job_serializer=encode, job_deserializer=decode, default_queue_name=QUEUE
    )
    # arq has no setting for it, and connections that are made later read it from here.
    pool.connection_pool.connection_kwargs["socket_timeout"] = ANSWER_TIMEOUT_S
    await pool.connection_pool.disconnect()
    # The connection that arq made is kept for later, with no time limit: forget it.
    pool.connection_pool.reset()  # type: ignore[no-untyped-call]
    await pool.ping()  # the first caller shall not pay for a new one
    return pool


class Bell:
    """Rings for the workers. Connects when first used and again after a failure."""

    def __init__(self, redis_url: str) -> None:
        self._settings = redis_settings(redis_url)
        self._pool: ArqRedis | None = None
        self._connecting = asyncio.Lock()

    async def ring(self, *, workers: int = 1) -> bool:
        """Wake so many workers, at most BELLS, as far as they are free. False when Redis is away:
        logged, and healed by the workers' poll.

        Nothing is lost where a bell hangs there already: who takes it looks only once it is gone.
        """
        try:
            # Connecting included: a server that accepts and stays silent must not hold anybody.
            async with asyncio.timeout(RING_TIMEOUT_S):
                pool = await self._connected()
                for number in range(workers):
                    await pool.enqueue_job(JOB, _job_id=f"{QUEUE}:{number}", _queue_name=QUEUE)
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("bell not rung", extra={"cause": str(error)})
            return False
        return True

    async def ping(self) -> None:
        """Raises QueueUnavailable when Redis is away."""
        try:
            async with asyncio.timeout(RING_TIMEOUT_S):
                pool = await self._connected()
                await pool.ping()
        except (RedisError, OSError, TimeoutError) as error:
            raise QueueUnavailable("The queue is away at the moment.") from error

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.aclose()
            self._pool = None

    async def _connected(self) -> ArqRedis:
        async with self._connecting:
            if self._pool is None:
                self._pool = await connect(self._settings)
            return self._pool
