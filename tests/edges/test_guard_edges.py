"""Edges of the connector: how long it waits, and how often and how widely it tries."""

import asyncio
import socket
import ssl
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack

import httpcore
import pytest

from engine.addresses import AllowList
from workers.guard import CONNECT_TIMEOUT_S, GuardedBackend, Resolve, guarded_pool, resolve_name

pytestmark = pytest.mark.anyio


@pytest.fixture
def silent_port():
    """A port of 127.0.0.1 whose queue is full: whoever connects next hears nothing."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        waiting = []
        for _ in range(4):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(server.getsockname())
            waiting.append(one)
        time.sleep(0.1)
        yield server.getsockname()[1]
        for one in waiting:
            one.close()


async def test_a_caller_that_has_less_patience_than_the_connector_is_heard(
    silent_port: int,
) -> None:
    backend = GuardedBackend(allow_list=AllowList.parse((f"127.0.0.1:{silent_port}",)))
    started = time.monotonic()
    with pytest.raises(httpcore.ConnectTimeout):
        await backend.connect_tcp("127.0.0.1", silent_port, timeout=0.2)
    assert time.monotonic() - started < CONNECT_TIMEOUT_S / 2


def pool(resolve: Resolve = resolve_name) -> httpcore.AsyncConnectionPool:
    return guarded_pool(
        allow_list=AllowList.parse(("127.0.0.1/32",)),
        resolve=resolve,
        ssl_context=ssl.create_default_context(),
    )


async def test_a_fetch_has_two_connections_and_keeps_one_of_them() -> None:
    """A redirect may open the second while the first answer is being read; nothing needs more."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline() not in (b"\r\n", b""):
            pass
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
        await reader.read()
        writer.close()

    timeout = {"timeout": {"pool": 0.2, "read": 20.0, "connect": 20.0}}
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server, pool() as fetching:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with AsyncExitStack() as opened:
            answers = [
                await opened.enter_async_context(fetching.stream("GET", url, extensions=timeout))
                for _ in range(2)
            ]
            with pytest.raises(httpcore.PoolTimeout):
                await fetching.request("GET", url, extensions=timeout)
            for one in answers:
                await one.aread()
        assert len(fetching.connections) == 1


async def test_an_address_that_refuses_is_tried_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        port, asked = taken.getsockname()[1], []

        async def resolve(host: str, port: int) -> Sequence[str]:
            asked.append((host, port))
            return ["127.0.0.1"]

        async with pool(resolve) as fetching:
            with pytest.raises(httpcore.ConnectError):
                await fetching.request("GET", f"http://a.example:{port}/")
    assert asked == [("a.example", port)]


async def test_a_server_is_offered_no_protocol_that_the_fetcher_does_not_count_bytes_of() -> None:
    """HTTP/2 would compress headers and mix answers on one connection."""
    hello = bytearray()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hello.extend(await reader.read(4096))
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with pool() as fetching:
            with pytest.raises((httpcore.ConnectError, httpcore.ReadError)):
                await fetching.request("GET", f"https://127.0.0.1:{port}/")
    assert b"\x08http/1.1" in hello
    assert b"\x02h2" not in hello
