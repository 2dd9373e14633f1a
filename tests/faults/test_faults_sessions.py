"""Sessions with Postgres that fall silent: neither side waits for the other without end."""

import asyncio
import hashlib
import time

import pytest
from fix_proxy import postgres_proxy

from engine.access import Operator
from engine.config import Settings
from engine.errors import DatabaseUnavailable
from engine.store import Database, blobs, database, purge

pytestmark = pytest.mark.anyio


async def test_a_session_that_was_ended_for_its_silence_is_an_outage_and_no_unknown_error(
    settings: Settings,
) -> None:
    worker = await Database(settings.database_url, role="rag_worker").open()

    async def idle() -> None:
        async with worker.transaction() as tx:
            await tx.run("SELECT set_config('idle_in_transaction_session_timeout', '100', true)")
            await asyncio.sleep(0.5)
            await tx.run("SELECT 1")

    with pytest.raises(DatabaseUnavailable):
        await idle()
    async with worker.transaction() as tx:
        assert await tx.value(int, "SELECT 1") == 1
    await worker.close()


async def test_the_sweeps_lock_is_taken_from_a_process_that_is_frozen(settings: Settings) -> None:
    worker = Database(settings.database_url, role="rag_worker")

    async def freeze() -> None:
        async with worker.dedicated() as frozen, worker.dedicated() as heir:
            assert await purge.sole(frozen, silent_s=0.3)
            deadline = time.monotonic() + 5
            while not await purge.sole(heir, silent_s=30.0):
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)
            await purge.alive(frozen)

    with pytest.raises(DatabaseUnavailable):
        await freeze()


async def test_only_who_stores_bytes_may_hold_locks_for_long(settings: Settings) -> None:
    operator = await Database(settings.database_url, role="rag_operator").open()
    customer, _, _ = await Operator(database=operator).create_customer("slow")
    sha256 = hashlib.sha256(b"").digest()
    async with operator.transaction() as tx:
        await blobs.ensure(tx, customer_id=customer.id, sha256=sha256, file_bytes=0)
        before = await tx.value(str, "SHOW idle_in_transaction_session_timeout")
        await blobs.lock(tx, customer_id=customer.id, sha256=sha256)
        during = await tx.value(str, "SHOW idle_in_transaction_session_timeout")
    await operator.close()
    assert (before, during) == ("15s", "10min")


async def test_an_answer_that_never_comes_is_an_outage(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bound itself is shortened."""
    monkeypatch.setattr(database.Connection, "answer_timeout_s", 0.5)
    with postgres_proxy(settings.database_url) as (proxy, url):
        worker = await Database(url, role="rag_worker").open()

        async def ask() -> None:
            async with worker.transaction() as tx:
                await tx.run("SELECT 1")
                proxy.silence()
                await tx.run("SELECT 1")

        with pytest.raises(DatabaseUnavailable):
            await ask()
        proxy.abandon()
        async with worker.transaction() as tx:
            assert await tx.value(int, "SELECT 1") == 1
        await worker.close()
