"""The bell rings, and a Redis that is away or silent holds nobody up."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import redis.asyncio
from fix_services import free_port

from engine.errors import QueueUnavailable
from engine.jobs import BELLS, QUEUE, RING_TIMEOUT_S, Bell

pytestmark = pytest.mark.anyio


@pytest.fixture
async def silent_redis() -> AsyncIterator[str]:
    """A server that accepts connections and never says a word."""
    writers: list[asyncio.StreamWriter] = []

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    for writer in writers:
        writer.close()
    server.close()


async def test_a_bell_hangs_there_once_for_each_worker_that_it_is_for(redis_url: str) -> None:
    bell = Bell(redis_url)
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        assert [await bell.ring(), await bell.ring()] == [True, True]
        assert await client.zcard(QUEUE) == 1
        assert await bell.ring(workers=BELLS)
        assert await client.zcard(QUEUE) == BELLS
    await bell.close()


async def test_a_silent_redis_costs_a_ring_a_moment_and_no_error(silent_redis: str) -> None:
    bell = Bell(silent_redis)
    started = time.monotonic()
    rung = await asyncio.gather(*(bell.ring() for _ in range(5)))
    assert rung == [False] * 5
    assert time.monotonic() - started < 3 * RING_TIMEOUT_S
    await bell.close()


async def test_a_redis_that_is_away_is_named_and_a_ring_goes_unheard() -> None:
    bell = Bell(f"redis://127.0.0.1:{free_port()}")
    assert await bell.ring() is False
    with pytest.raises(QueueUnavailable):
        await bell.ping()
