"""Clients that hold a connection instead of using it: slow heads, slow bodies, too many.

The timing is proven on a small application behind the engine's own connections, with limits of
fractions of a second; that a real process stays reachable is proven with the limits it has.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager

import pytest
import uvicorn
from fix_served import Home, Served
from fix_services import free_port
from nonsense_case import JSON, request
from raw_wire import Wire, expect_plain

from engine.api.body import arriving
from engine.api.connection import Connection
from engine.errors import InvalidRequest

pytestmark = pytest.mark.anyio

GET = request("GET", "/rags")
ANY = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
HELD = 700
OPEN_MAX = 600  # files and sockets of a process, with the 500 connections that it takes


class Hasty(Connection):
    head_timeout_s = 0.4
    linger_s = 0.4
    write_timeout_s = 0.4
    connections_max = 8


async def echo(scope, receive, send) -> None:
    """Answers /large with much, /slow late, /rude before the body, all others with their body."""
    if scope["type"] != "http":
        return
    body = b""
    while scope["path"] not in ("/rude",):
        event = await receive()
        if event["type"] == "http.disconnect":
            return
        body += event["body"]
        if not event["more_body"]:
            break
    if scope["path"] == "/slow":
        await asyncio.sleep(0.6)
    if scope["path"] == "/large":
        body = b"a" * 50_000_000
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[tuple[str, int], uvicorn.Server]]:
    """The small application, on a port of its own."""
    where = ("127.0.0.1", free_port())
    config = uvicorn.Config(
        echo, *where, http=Hasty, ws="none", lifespan="off", log_config=None, server_header=False
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield where, server
    server.force_exit = server.should_exit = True
    await task


async def threaded(function, *arguments):
    """Sockets block, and the server runs in this very loop."""
    return await asyncio.wait_for(asyncio.to_thread(function, *arguments), 30)


def closed_after(where: tuple[str, int], *pieces: bytes, pause_s: float = 0.0) -> tuple[float, int]:
    """For how long a connection stays open that says this; the code of what it is told."""
    with Wire(where) as wire:
        begun_s = time.monotonic()
        wire.send(*pieces, pause_s=pause_s)
        answer = wire.answer()
        code = answer.code if answer else 0
        if answer and answer.code >= 400:
            expect_plain(answer, path="/")
        assert wire.is_closed(within_s=20)
        return time.monotonic() - begun_s, code


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        pytest.param((b"",), 0, id="nothing"),
        pytest.param((b"GET /a HT",), 408, id="a first line"),
        pytest.param((b"GET /a HTTP/1.1\r\nHost: a\r\n",), 408, id="half a head"),
        pytest.param((b"\r\n",), 408, id="a line end"),
        pytest.param((ANY,), 200, id="a request and nothing more"),
    ],
)
async def test_a_head_that_does_not_come_ends_the_connection(sent, code) -> None:
    async with listening() as (where, server):
        server.config.timeout_keep_alive = 0.3
        _, told = await threaded(closed_after, where, *sent)
        assert told == code


async def test_a_head_that_trickles_gains_no_time() -> None:
    async with listening() as (where, _):
        trickle = [b"G", b"E", b"T", *[b" "] * 200]
        begun_s = time.monotonic()
        with Wire(where) as wire:
            sending = asyncio.create_task(asyncio.to_thread(wire.send, *trickle, pause_s=0.05))
            answer = await threaded(wire.answer)
            assert answer is not None
            assert answer.code in (400, 408)
            assert time.monotonic() - begun_s < 8
            await sending


async def test_what_is_left_of_a_request_behind_its_answer_is_read_for_a_while_only() -> None:
    async with listening() as (where, _):
        head = b"POST /rude HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n"
        with Wire(where) as wire:
            wire.send(head, b"a" * 1_000)
            answer = await threaded(wire.answer)
            assert answer is not None
            assert answer.code == 200
            for _ in range(200):
                wire.send(b"a" * 1_000)
                await asyncio.sleep(0.02)
                if await threaded(lambda: wire.is_closed(within_s=0.02)):
                    return
    raise AssertionError("the connection was read for ever")


async def test_an_answer_that_is_not_taken_ends_the_connection() -> None:
    async with listening() as (where, server):
        with Wire(where) as wire:
            wire.send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
            deadline = time.monotonic() + 15
            while not server.server_state.connections:
                await asyncio.sleep(0.01)
            while server.server_state.connections:
                assert time.monotonic() < deadline, "it waits for ever"
                await asyncio.sleep(0.05)


async def test_who_does_nothing_makes_room_for_who_asks() -> None:
    async with listening() as (where, server):
        with ExitStack() as held:
            slow = held.enter_context(Wire(where))
            slow.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
            await asyncio.sleep(0.1)
            for _ in range(20):
                held.enter_context(Wire(where)).send(b"GET / HT")
                await asyncio.sleep(0.005)
                assert len(server.server_state.connections) <= Hasty.connections_max + 1
            asking = held.enter_context(Wire(where))
            asking.send(ANY)
            answer = await threaded(asking.answer)
            assert answer is not None
            assert answer.code == 200
            # Whose request is being worked on keeps its place, however old it is.
            answer = await threaded(slow.answer)
            assert answer is not None
            assert answer.code == 200


async def test_where_everybody_is_busy_the_next_one_is_told_to_come_back() -> None:
    async with listening() as (where, _):
        with ExitStack() as held:
            busy = [held.enter_context(Wire(where)) for _ in range(Hasty.connections_max)]
            for wire in busy:
                wire.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
            await asyncio.sleep(0.2)
            late = held.enter_context(Wire(where))
            answer = await threaded(late.answer)
            assert answer is not None
            assert answer.code == 503
            expect_plain(answer, path="/")
            answers = [await threaded(wire.answer) for wire in busy]
            assert [each and each.code for each in answers] == [200] * Hasty.connections_max


@pytest.mark.parametrize("path", ["/a", "/slow"])
async def test_who_has_said_all_of_it_and_closes_its_side_gets_its_answer(path) -> None:
    async with listening() as (where, _):
        with Wire(where) as wire:
            wire.send(f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nwords".encode())
            wire.finish()
            answer = await threaded(wire.answer)
            assert answer is not None
            assert (answer.code, answer.body) == (200, b"words")
            assert await threaded(lambda: wire.is_closed(within_s=5))


async def test_requests_in_one_breath_are_answered_in_their_order() -> None:
    posts = [
        f"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n{number:04}".encode()
        for number in range(200)
    ]
    async with listening() as (where, _):
        with Wire(where) as wire:
            wire.send(b"".join(posts))
            answers = [await threaded(wire.answer) for _ in posts]
        assert [int(each.body) for each in answers] == list(range(200))


async def test_nonsense_behind_a_request_does_not_take_its_answer_away() -> None:
    async with listening() as (where, _):
        with Wire(where) as wire:
            wire.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n\x00\x01nonsense\r\n\r\n")
            answer = await threaded(wire.answer)
            assert answer is not None
            assert answer.code == 200
            assert await threaded(lambda: wire.is_closed(within_s=5))


async def bodies(*pieces: bytes, pause_s: float) -> AsyncIterator[dict]:
    for piece in pieces:
        await asyncio.sleep(pause_s)
        yield {"type": "http.request", "body": piece, "more_body": True}
    yield {"type": "http.request", "body": b"", "more_body": False}


@pytest.mark.parametrize(("piece", "is_taken"), [(b"a", False), (b"a" * 1_000, True)])
async def test_a_body_that_trickles_is_refused_and_one_that_is_only_slow_is_not(
    piece, is_taken
) -> None:
    events = bodies(*[piece] * 12, pause_s=0.02)
    arriving_here = arriving(lambda: anext(events), idle_s=0.1, bytes_per_s_min=1_000)
    if is_taken:
        assert len([each async for each in arriving_here]) == 12
        return
    with pytest.raises(InvalidRequest, match="slower than 1000 bytes a second"):
        [each async for each in arriving_here]


@pytest.fixture
def crowd(served: Served) -> Iterator[list[Wire]]:
    """More connections than the process takes, each with half a head."""
    with ExitStack() as held:
        yield [held.enter_context(Wire(served.where)) for _ in range(HELD)]


def test_hundreds_of_slow_clients_keep_nobody_out(
    served: Served, home: Home, crowd: list[Wire], measured: list[str]
) -> None:
    for wire in crowd:
        wire.send(b"GET /rags HTTP/1.1\r\nHost: a\r\nX-A: ")
    waited_s, open_counts = [], []
    for number in range(40):
        crowd[number].send(b"a")
        begun_s = time.monotonic()
        with Wire(served.where) as wire:
            wire.send(home.filled(GET))
            answer = wire.answer()
        waited_s.append(time.monotonic() - begun_s)
        open_counts.append(served.open_count())  # by now all of the crowd have been let in
        assert answer is not None
        assert answer.code == 200
    slowest_ms = max(waited_s) * 1000
    measured.append(
        f"beside {HELD} slow heads an ordinary request took {slowest_ms:.0f} ms at most"
    )
    assert slowest_ms < 5_000
    assert max(open_counts) < OPEN_MAX


def test_hundreds_of_slow_bodies_keep_nobody_out(
    served: Served, home: Home, crowd: list[Wire]
) -> None:
    head = request("POST", "/rags", JSON, "Content-Length: 1000", length=False)
    for wire in crowd:
        wire.send(home.filled(head) + b"{")
    # To find out who they are takes the database a moment, and others may be told to come back.
    deadline, codes = time.monotonic() + 20, [0]
    while codes[-10:] != [200] * 10:
        assert time.monotonic() < deadline, codes
        with Wire(served.where) as wire:
            wire.send(home.filled(GET))
            answer = wire.answer()
        assert answer is not None
        expect_plain(answer, path="/rags")
        codes.append(answer.code)
        time.sleep(0.02)
    assert served.accidents() == []


def test_a_client_that_waits_to_be_asked_is_asked_only_when_its_body_is_wanted(
    served: Served, home: Home
) -> None:
    body = json.dumps({"name": "a"}).encode()
    length = f"Content-Length: {len(body)}"
    wanted = request("POST", "/rags", JSON, "Expect: 100-continue", length, length=False)
    with Wire(served.where) as wire:
        wire.send(home.filled(wanted))
        assert b"100 Continue" in wire.socket.recv(1_000)
        wire.send(body)
        answer = wire.answer()
        assert answer is not None
        assert answer.code == 200
    with Wire(served.where) as wire:
        wire.send(wanted)  # its key is a placeholder, which nobody has
        answer = wire.answer()
        assert answer is not None
        assert (answer.code, wire.interim) == (401, [])
