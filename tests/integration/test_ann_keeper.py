"""The keeper of the ANN tables dies at every step; another goes on as if nothing had been."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec
import psycopg
import pytest
from fix_ann import grouped, named
from fix_large import LIMITS, Large
from fix_services import REPOSITORY
from fix_store import Store

from engine.errors import DatabaseUnavailable
from engine.store import ann
from workers.ann import AnnKeeper
from workers.failpoint import Failpoint

pytestmark = pytest.mark.anyio

KEEP = f"""
import asyncio, sys
from engine.config import Limits
from engine.store import Database
from workers.ann import AnnKeeper
from workers.failpoint import Failpoint

async def main(url, place):
    database = await Database(url, role="rag_worker", connections=2).open()
    limits = Limits(exact_chunks_max={LIMITS.exact_chunks_max}, ann_s=0.1)
    await AnnKeeper(database=database, limits=limits, failpoint=Failpoint(place)).run()

asyncio.run(main(*sys.argv[1:]))
"""
PLACES = ("created", "filled", "indexed", "announced", "built", "deleted", "entering", "entered")


@contextmanager
def keep(url: str, *, place: str) -> "Iterator[subprocess.Popen[bytes]]":
    child = subprocess.Popen([sys.executable, "-c", KEEP, url, place], cwd=REPOSITORY)
    try:
        yield child
    finally:
        child.kill()
        child.wait()


async def test_a_keeper_killed_at_any_step_loses_nothing_and_leaves_nothing(large: Large):
    """One life with a death at every step, because a process takes a second to start."""
    questions = grouped(5, seed=99)
    for number in range(20):
        large.source(grouped(10, seed=number))
    for turn, place in enumerate(PLACES):
        if turn >= PLACES.index("deleted"):
            large.filler.refresh(large.source(grouped(5, seed=50)), grouped(10, seed=60 + turn))
        with keep(large.store.url, place=f"ann_{place}") as child:
            assert await asyncio.to_thread(child.wait, 30) == -signal.SIGKILL, place
        await full_and_right(large, questions)
    async with asyncio.timeout(10):
        while await large.keep():
            pass
    await full_and_right(large, questions)
    await large.keep()
    number = await large.number()
    assert large.filler.ann_tables() == named(number)
    assert large.filler.count(f"ann_{number}") == 200 + 10 * 3


async def full_and_right(large: Large, questions: Sequence) -> None:
    for question in questions:
        wanted = await large.scan(question, limit=20)
        assert await large.ask(question, limit=20) == wanted
        assert len(wanted) == 20


async def test_a_build_ends_soon_after_its_process(large: Large):
    """Else a graph of millions would be built for nobody, with the lock held."""
    large.source(grouped(20_000, dimensions=64))
    building = "SELECT pid FROM pg_stat_activity WHERE query LIKE '%%USING hnsw%%'" + (
        " AND state = 'active' AND pid <> pg_backend_pid() AND datname = current_database()"
    )
    with keep(large.store.url, place=""):
        await until(large, building, found=True)
    began = time.monotonic()
    await until(large, building, found=False)
    assert time.monotonic() - began < 8
    assert large.filler.ann_tables() == []


async def until(large: Large, query: str, *, found: bool) -> None:
    async with asyncio.timeout(20):
        while bool(large.filler.connection.execute(query.encode()).fetchone()) is not found:
            await asyncio.sleep(0.05)


async def test_a_keeper_that_is_told_to_stop_stops_while_it_builds(store: Store, large: Large):
    large.source(grouped(20_000, dimensions=64))
    keeper = AnnKeeper(database=store.worker, limits=LIMITS, failpoint=Failpoint(""))
    task = asyncio.create_task(keeper.run())
    building = "SELECT pid FROM pg_stat_activity WHERE query LIKE '%%USING hnsw%%'" + (
        " AND state = 'active' AND pid <> pg_backend_pid() AND datname = current_database()"
    )
    await until(large, building, found=True)
    began = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - began < 5
    await until(large, building, found=False)
    assert large.filler.ann_tables() == []


async def test_a_keeper_whose_connection_is_cut_comes_back(store: Store, large: Large):
    large.source(grouped(100))
    keeper = AnnKeeper(database=store.worker, limits=LIMITS, failpoint=Failpoint(""))
    async with store.worker.owned() as owner:
        await owner.run("SET application_name TO 'ann'")
        large.filler.connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'ann'"
        )
        with pytest.raises((DatabaseUnavailable, psycopg.OperationalError)):
            await keeper.once(owner)
    task = asyncio.create_task(keeper.run())
    async with asyncio.timeout(20):
        while not await large.number():
            await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_retired_profile_gets_no_graph_and_loses_its_own_at_once(large: Large):
    """Its chunks are on their way out: to build over them, or to tidy up behind each, is for
    nobody."""
    for number in range(10):
        large.source(grouped(10, seed=number))
    await large.store.execute("UPDATE profiles SET retired_at = now()")
    await large.keep()
    assert large.filler.ann_tables() == []
    await large.store.execute("UPDATE profiles SET retired_at = NULL")
    await large.keep()
    assert large.filler.ann_tables() == named(await large.number())
    await large.store.execute("UPDATE profiles SET retired_at = now()")
    await large.keep()
    assert large.filler.ann_tables() == []


async def test_a_table_that_another_keeper_has_dropped_is_left_alone(large: Large):
    large.source(grouped(200))
    await large.keep()
    keeper = AnnKeeper(database=large.store.worker, limits=LIMITS, failpoint=Failpoint(""))
    async with large.store.worker.transaction() as tx:
        (table,) = await ann.tables(tx)
        (size,) = await ann.sizes(tx, chunks_min=1)
    gone = msgspec.structs.replace(table, number=999_999)
    async with large.store.worker.owned() as owner:
        assert not await keeper._keep(owner, size=size, table=gone)
        assert not await keeper.once(owner)
