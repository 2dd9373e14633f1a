"""The bell: tells workers through Redis that something is due. Nothing that matters lives there.

A bell carries no id, because the claim chooses; a lost or doubled one is healed by the poll. There
are few of them: one that hangs there unheard needs no second.
"""

import asyncio
import logging
from typing import Any

import msgspec
from arq.connections import ArqRedis
from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError

from engine.errors import QueueUnavailable

log = logging.getLogger(__name__)

QUEUE = "rag-engine:ingest"
JOB = "ingest"
BELLS = 4  # that may hang there at once, each for one worker
RING_TIMEOUT_S = 1.0
CONNECT_TIMEOUT_S = 2.0
ANSWER_TIMEOUT_S = 3.0


def encode(job: dict[str, Any]) -> bytes:
    """arq's default is pickle, which whoever can write to Redis could turn into code."""
    return msgspec.msgpack.encode(job)


def decode(data: bytes) -> dict[str, Any]:
    return msgspec.msgpack.decode(data, type=dict[str, Any])


def client(url: str) -> ArqRedis:
    """Connects when first used, to be closed with its pool. It waits for no answer without end: a
    path that fell silent stays open for hours."""
    pool = ConnectionPool.from_url(
        url, socket_connect_timeout=CONNECT_TIMEOUT_S, socket_timeout=ANSWER_TIMEOUT_S
    )
    return ArqRedis(pool, job_serializer=encode, job_deserializer=decode, default_queue_name=QUEUE)


class Bell:
    """Rings for the workers. Connects when first used and again after a failure."""

    def __init__(self, redis_url: str) -> None:
        self._client = client(redis_url)

    async def ring(self, *, workers: int = 1) -> bool:
        """Wake so many workers, at most BELLS, as far as they are free. False when Redis is away:
        logged, and healed by the workers' poll.

        Nothing is lost where a bell hangs there already: who takes it looks only once it is gone.
        """
        try:
            # Connecting included: a server that accepts and stays silent must not hold anybody.
            async with asyncio.timeout(RING_TIMEOUT_S):
                for number in range(workers):
                    await self._client.enqueue_job(
                        JOB, _job_id=f"{QUEUE}:{number}", _queue_name=QUEUE
                    )
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("bell not rung", extra={"cause": str(error)})
            return False
        return True

    async def ping(self) -> None:
        """Raises QueueUnavailable when Redis is away."""
        try:
            async with asyncio.timeout(RING_TIMEOUT_S):
                await self._client.ping()
        except (RedisError, OSError, TimeoutError) as error:
            raise QueueUnavailable("The queue is away at the moment.") from error

    async def close(self) -> None:
        await self._client.aclose(close_connection_pool=True)
