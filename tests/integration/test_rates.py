"""Rates in a real Redis, beside several processes' worth of callers, and while it is not there."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator

import pytest
import redis.asyncio
from fix_services import free_port

from engine.buckets import Rate
from engine.rates import PREFIX, Rates

pytestmark = pytest.mark.anyio

SLOW = Rate(per_s=0.5, burst=20)
# Of which some are taken ahead.
LARGE = Rate(per_s=0.001, burst=2_000)


@pytest.fixture
async def rates(redis_url: str) -> AsyncIterator[tuple[Rates, Rates]]:
    """As two API processes have them."""
    pair = await opened(redis_url), await opened(redis_url)
    yield pair
    for each in pair:
        await each.close()


async def opened(url: str, rate: Rate = SLOW) -> Rates:
    made = await Rates(url, rate=rate).open()
    await until_shared(made)
    return made


async def until_shared(rates: Rates, *, shared: bool = True) -> None:
    deadline = time.monotonic() + 5
    while rates._is_there is not shared:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


class Gate:
    """A TCP way to Redis that can be closed: connections stay open and nothing comes through."""

    def __init__(self, unix_socket: str) -> None:
        self._unix_socket = unix_socket
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Gate":
        self._server = await asyncio.start_server(self._joined, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._open.set()
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def close(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    @property
    def port(self) -> int:
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        behind, ahead = await asyncio.open_unix_connection(self._unix_socket)
        try:
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await asyncio.gather(self._pass(reader, ahead), self._pass(behind, writer))
        finally:
            ahead.close()
            writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            await self._open.wait()
            writer.write(data)
            await writer.drain()
        writer.close()


@pytest.fixture
async def gate(redis_url: str) -> AsyncIterator[tuple[Gate, str]]:
    path, _, query = redis_url.removeprefix("unix://").partition("?")
    async with Gate(path) as made:
        yield made, f"redis://127.0.0.1:{made.port}?{query}"


async def granted(rates: Rates, key: str, times: int) -> int:
    return sum([(await rates.take(key)).is_granted for _ in range(times)])


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody counts by itself, however busy it is here: how late is too late is for other tests."""
    monkeypatch.setattr("engine.rates.ANSWER_TIMEOUT_S", 5.0)
    monkeypatch.setattr("engine.rates.LATE_S", 5.0)


async def test_two_processes_share_one_burst_to_the_last_token(patient, rates):
    first, second = rates
    asked = [each.take("a") for _ in range(30) for each in (first, second)]
    answers = await asyncio.gather(*asked)
    assert sum(answer.is_granted for answer in answers) == SLOW.burst
    # Another customer has a burst of its own.
    assert (await second.take("b")).remaining == SLOW.burst - 1


async def test_a_process_asks_once_for_many_while_there_are_plenty(patient, redis_url):
    rates = await opened(redis_url, LARGE)
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        before = await asked_of(client)
        left = [(await rates.take("a")).remaining for _ in range(100)]
        assert await asked_of(client) - before == 5, "for one, and 19 ahead"
    assert left == list(range(1_999, 1_899, -1)), "what is held counts as what is left"
    await rates.close()


async def asked_of(client: redis.asyncio.Redis) -> int:
    calls: int = (await client.info("commandstats"))["cmdstat_eval"]["calls"]
    return calls


@pytest.mark.parametrize("callers", [1, 7])
async def test_two_processes_that_take_ahead_give_the_burst_and_no_more(
    patient, redis_url, callers
):
    pair = await opened(redis_url, LARGE), await opened(redis_url, LARGE)
    # Of each, so many callers ask at a time, one question after the other.
    times = 2 * LARGE.burst // callers
    given = await asyncio.gather(*(granted(each, "a", times) for each in pair * callers))
    assert sum(given) == LARGE.burst, "the last tokens are nobody's alone"
    for each in pair:
        await each.close()


async def test_who_asks_while_a_round_is_under_way_loses_nothing(patient, redis_url):
    rates = await opened(redis_url, LARGE)
    first = asyncio.create_task(rates.take("a"))
    while rates._round_begun_s is None:
        await asyncio.sleep(0)
    assert (await rates.take("a")).is_granted
    assert (await first).is_granted
    assert await granted(rates, "a", LARGE.burst) == LARGE.burst - 2
    await rates.close()


async def test_what_was_taken_ahead_is_spent_while_redis_is_away(gate):
    way, url = gate
    rates = await opened(url, Rate(per_s=0.001, burst=200))
    assert (await rates.take("a")).remaining == 199  # one more is held
    way.close()
    assert await granted(rates, "a", 250) == 199
    await rates.close()


async def test_who_is_refused_is_told_when_and_then_gets_one(patient, redis_url):
    rates = await opened(redis_url, Rate(per_s=1, burst=1))
    assert (await rates.take("soon")).is_granted
    left = await rates.take("soon")
    assert not left.is_granted
    assert 0 < left.wait_s <= 1.0
    await asyncio.sleep(left.wait_s + 0.01)
    assert (await rates.take("soon")).is_granted
    await rates.close()


async def test_nothing_stays_in_redis_of_a_bucket_that_is_full_again(rates, redis_url):
    await rates[0].take("a")
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        ttl_ms = await client.pttl(PREFIX + "a")
    full_ms = SLOW.burst / SLOW.per_s * 1_000
    assert full_ms - 1_000 < ttl_ms <= full_ms + 1_000


async def test_without_redis_each_process_goes_on_from_what_it_knew(gate):
    way, url = gate
    rates = await opened(url)
    assert await granted(rates, "a", 15) == 15
    way.close()
    begun_s = time.monotonic()
    assert await granted(rates, "a", 20) == 5, "it was to go on with the five that were left"
    assert time.monotonic() - begun_s < 0.2
    await rates.close()


async def test_a_silent_redis_is_waited_for_a_moment_and_then_not_at_all(gate, caplog):
    caplog.set_level(logging.WARNING)
    way, url = gate
    rates = await opened(url)
    way.close()
    waited_s = []
    for number in range(50):
        begun_s = time.monotonic()
        assert (await rates.take(f"{number}")).is_granted
        waited_s.append(time.monotonic() - begun_s)
    # Those of the first moment wait a little, the others not at all.
    assert max(waited_s) < 0.1, waited_s
    assert sorted(waited_s)[45] < 0.002, waited_s
    await until_shared(rates, shared=False)
    await granted(rates, "a", 5)
    said = [record.message for record in caplog.records if record.name == "engine.rates"]
    assert said == ["rates are counted by each process"]
    await rates.close()


async def test_a_redis_that_is_back_is_shared_again(gate):
    way, url = gate
    rates = await opened(url)
    way.close()
    await granted(rates, "a", 5)
    await until_shared(rates, shared=False)
    way.open()
    await until_shared(rates)
    other = await opened(url)
    assert await granted(rates, "b", 15) == 15
    assert await granted(other, "b", 10) == 5
    await rates.close()
    await other.close()


async def test_a_redis_that_was_never_there_refuses_nobody_and_limits_all_the_same():
    rates = await Rates(f"redis://127.0.0.1:{free_port()}", rate=SLOW).open()
    assert await granted(rates, "a", 30) == SLOW.burst
    await rates.close()


async def test_a_redis_that_was_flushed_is_no_fault(rates, redis_url):
    await granted(rates[0], "a", SLOW.burst)
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        await client.flushdb()
    assert (await rates[0].take("a")).remaining == SLOW.burst - 1
