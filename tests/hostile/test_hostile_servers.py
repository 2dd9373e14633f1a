"""Every hostile server of the tables beside this, against the real fetcher.

Each must end as its table says, within the deadline, and none may lead anywhere else.
"""

import asyncio
import contextlib
import os
import time

import pytest
import servers_bodies
import servers_heads
import servers_redirects
from behaviours import BYTES_MAX, DEADLINE_S, READY
from test_hostile_files import said_badly

from engine.addresses import AllowList
from engine.config import Limits
from engine.errors import SourceError
from workers.fetch import Fetcher

pytestmark = pytest.mark.anyio

TABLES = {
    table.__name__.removeprefix("servers_"): table.CASES
    for table in (servers_redirects, servers_bodies, servers_heads)
}
SERVERS = [server for servers in TABLES.values() for server in servers]
SERVERS_MIN = 100
AT_ONCE = 12
# Beyond the deadline: two cores, and a thread per connection on the other side.
GRACE_S = 8.0
# Who has to end otherwise than by the deadline has time to do so on a machine that is busy.
CALM_DEADLINE_S = 15.0
LIMITS = Limits(fetch_timeout_s=DEADLINE_S, fetch_bytes_max=BYTES_MAX)
CALM_LIMITS = Limits(fetch_timeout_s=CALM_DEADLINE_S, fetch_bytes_max=BYTES_MAX)


def played(server, *, web, other):
    """The script of the server's socket."""

    def play(connection, closing):
        # A client that hangs up on a flood is what is wanted here.
        with contextlib.suppress(OSError):
            if callable(server.play):
                return server.play(connection, closing)
            sent = server.play.replace(b"{web}", web.host_port.encode())
            connection.sendall(sent.replace(b"{other}", other.host_port.encode()))

    return play


def file_faults(server, fetched):
    """Why this file is not the one that the table wants."""
    data = fetched.path.read_bytes()
    fetched.path.unlink()
    if server.outcome != READY:
        yield f"ready with {data[:60]!r}"
    elif data != server.body:
        yield f"has {len(data)} bytes: {data[:60]!r}"
    for name in ("filename", "charset"):
        wanted, got = getattr(server, name), getattr(fetched, name)
        if wanted is not None and wanted != got:
            yield f"{name} is {got!r}"


def error_faults(server, error):
    if error.code != server.outcome:
        yield f"{error.code}: {error.message}"
    if said_badly(error.message) or not error.remedy:
        yield f"says {error.message!r}, {error.remedy!r}"


async def faults_of(server, *, fetcher, url, folder):
    began = time.monotonic()
    try:
        fetched = await fetcher.fetch_url(url, folder=folder)
        faults = list(file_faults(server, fetched))
    except SourceError as error:
        faults = list(error_faults(server, error))
    took_s = time.monotonic() - began
    return faults if took_s < DEADLINE_S + GRACE_S else [*faults, f"took {took_s:.1f} s"]


def fetchers(allowed):
    """By whether the server has to be ended by the deadline."""
    allow_list = AllowList.parse([allowed])
    calm, short = (Fetcher(limits, allow_list=allow_list) for limits in (CALM_LIMITS, LIMITS))
    return {False: calm, True: short}


@pytest.mark.parametrize("table", TABLES)
async def test_a_hostile_server_ends_as_its_table_says(table, web, other_web, tmp_path, measured):
    for server in SERVERS:
        web.script(f"/{server.name}", played(server, web=web, other=other_web))
    descriptors = len(os.listdir("/proc/self/fd"))
    by_deadline = fetchers(web.host_port)
    at_once = asyncio.Semaphore(AT_ONCE)
    found = {}

    async def tried(server):
        url = web.url(f"/{server.name}")
        url = url.replace("http://", "https://") if server.tls else url
        fetcher = by_deadline[server.outcome == "fetch_timeout"]
        async with at_once:
            faults = await faults_of(server, fetcher=fetcher, url=url, folder=tmp_path)
        if faults:
            found[server.name] = faults

    await asyncio.gather(*map(tried, TABLES[table]))
    count = len(TABLES[table])
    measured.append(f"hostile servers, {table}: {count - len(found)} of {count} as said")
    assert found == {}
    assert list(tmp_path.iterdir()) == []
    assert other_web.hits == {}
    assert sent_cookies(web) == []
    await until_descriptors_are(descriptors)


def sent_cookies(web):
    """Nothing of one hop may reach the next: no cookie, no referrer, no credentials."""
    private = {"cookie", "referer", "authorization", "proxy-authorization", "range"}
    return [request for request in web.requests if private & set(request.headers)]


async def until_descriptors_are(wanted):
    """The fetcher has closed its connections; the server's threads close theirs a little later."""
    deadline = time.monotonic() + 15
    while len(os.listdir("/proc/self/fd")) > wanted + 2:
        assert time.monotonic() < deadline, os.listdir("/proc/self/fd")
        await asyncio.sleep(0.05)


def test_there_are_enough_servers_and_their_names_are_unique():
    names = [server.name for server in SERVERS]
    assert len(names) >= SERVERS_MIN
    assert len(set(names)) == len(names)


def test_the_servers_cover_every_error_of_fetching():
    assert {server.outcome for server in SERVERS} == {
        READY,
        "fetch_bad_encoding",
        "fetch_forbidden",
        "fetch_not_found",
        "fetch_refused_address",
        "fetch_rejected",
        "fetch_server_error",
        "fetch_timeout",
        "fetch_too_large",
        "fetch_too_many_redirects",
        "fetch_unreachable",
    }
