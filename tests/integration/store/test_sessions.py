"""How transactions begin and end: what is sent together with BEGIN, and what nobody waits for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from uuid import UUID, uuid4

import pytest
from fix_store import Store

from engine.errors import DatabaseUnavailable
from engine.models import CustomerId, RagId
from engine.store import Database, accesskeys
from engine.store.database import Connection, Opening

HASH = bytes(range(32))


@pytest.fixture
async def single(store: Store) -> AsyncIterator[Database]:
    """A pool of one session, as the API sees it."""
    database = await Database(store.url, role="rag_api", connections=1).open()
    yield database
    await database.close()


def named(rag_id: UUID) -> Opening:
    return Opening(name="named", statement="SELECT name FROM rags WHERE id = $1", values=(rag_id,))


async def opened(database: Database, customer_id: CustomerId, rag_id: UUID) -> list[str]:
    async with database.transaction(customer_id=customer_id, opening=named(rag_id)) as tx:
        return [row["name"] for row in tx.opened]


async def rag(store: Store) -> tuple[CustomerId, RagId]:
    customer_id = await store.customer()
    return customer_id, await store.rag(customer_id)


async def test_an_opening_sees_what_its_transaction_may_see(store: Store, single: Database) -> None:
    customer_id, rag_id = await rag(store)
    for _ in range(7):  # after some the server keeps one plan for all
        assert await opened(single, customer_id, rag_id) == ["a knowledge base"]
        assert await opened(single, customer_id, uuid4()) == []
        assert await opened(single, await store.customer("stranger"), rag_id) == []


async def test_a_session_that_forgot_an_opening_learns_it_again(
    store: Store, single: Database
) -> None:
    customer_id, rag_id = await rag(store)
    assert await opened(single, customer_id, rag_id)
    async with single.transaction(customer_id=customer_id) as tx:
        await tx.run("DEALLOCATE ALL")
    assert await opened(single, customer_id, rag_id)
    with suppress(ZeroDivisionError):
        async with single.transaction(customer_id=customer_id, opening=named(rag_id)) as tx:
            for _ in range(6):  # prepared by now: the driver forgets all of that at a rollback
                await tx.run("SELECT 1")
            raise ZeroDivisionError
    assert await opened(single, customer_id, rag_id)


async def test_a_session_that_forgot_how_to_find_a_key_learns_it_again(
    store: Store, single: Database
) -> None:
    customer_id = await store.customer()
    for _ in range(2):
        async with single.transaction(customer_id=customer_id) as tx:
            await accesskeys.insert(
                tx, customer_id=customer_id, name="k", prefix="re_", token_hash=HASH, expire_s=None
            )
            await tx.run("DEALLOCATE ALL")
        found = await accesskeys.find(single, token_hash=HASH)
        assert found == accesskeys.FoundKey(customer_id=customer_id, token_hash=HASH)
        # The session has shown a key, and sees none in what comes next.
        async with single.transaction(customer_id=await store.customer("stranger")) as tx:
            assert await tx.run("SELECT FROM accesskeys") == 0
        async with single.transaction(customer_id=customer_id) as tx:
            assert await tx.run("DELETE FROM accesskeys") == 1
        assert await accesskeys.find(single, token_hash=HASH) is None


async def test_openings_of_several_names_live_beside_one_another(
    store: Store, single: Database
) -> None:
    customer_id, rag_id = await rag(store)
    other = Opening(
        name="other",
        statement="SELECT $1 = r.customer_id AS mine FROM rags r WHERE r.id = $2",
        values=(customer_id, rag_id),
    )
    for _ in range(2):
        assert await opened(single, customer_id, rag_id)
        async with single.transaction(customer_id=customer_id, opening=other) as tx:
            assert tx.opened == [{"mine": True}]


async def test_the_snapshot_of_an_opening_is_that_of_what_follows(
    store: Store, single: Database
) -> None:
    customer_id, rag_id = await rag(store)
    asking = single.transaction(customer_id=customer_id, snapshot=True, opening=named(rag_id))
    async with asking as tx:
        await store.execute("UPDATE rags SET name = 'another'")
        assert await tx.value(str, "SELECT name FROM rags") == tx.opened[0]["name"]
    assert await opened(single, customer_id, rag_id) == ["another"]


async def test_nobody_waits_for_the_end_of_reading(store: Store, single: Database) -> None:
    """The next one takes the same session, once it has ended."""
    customer_id, _ = await rag(store)
    held: list[int] = []
    for _ in range(3):
        async with single.transaction(customer_id=customer_id, snapshot=True) as tx:
            held.append(tx.connection.info.backend_pid)
            running = tx.connection
        assert running.info.transaction_status.name == "INTRANS"
    assert len(set(held)) == 1
    async with asyncio.timeout(5):
        while running.info.transaction_status.name != "IDLE":
            await asyncio.sleep(0.01)


async def test_what_was_written_is_there_when_the_transaction_is_over(
    store: Store, single: Database
) -> None:
    customer_id, rag_id = await rag(store)
    async with single.transaction(customer_id=customer_id) as tx:
        await tx.run("UPDATE rags SET name = 'written'")
        running = tx.connection
    assert running.info.transaction_status.name == "IDLE"
    assert await opened(single, customer_id, rag_id) == ["written"]


@pytest.mark.parametrize("snapshot", [False, True])
async def test_a_session_that_is_lost_at_its_end_is_an_error_only_to_those_who_wrote(
    store: Store, single: Database, snapshot: bool
) -> None:
    customer_id, rag_id = await rag(store)

    async def lost() -> None:
        async with single.transaction(customer_id=customer_id, snapshot=snapshot) as tx:
            await tx.value(str, "SELECT name FROM rags")
            pid = tx.connection.info.backend_pid
            async with store.worker.owned() as owner:
                await owner.run("SELECT pg_terminate_backend(%(pid)s, 5000)", {"pid": pid})

    if snapshot:
        await lost()
    else:
        with pytest.raises(DatabaseUnavailable):
            await lost()
    assert await opened(single, customer_id, rag_id)


async def test_closing_waits_for_what_still_ends(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = Connection.commit

    async def slow(connection: Connection) -> None:
        await asyncio.sleep(0.3)
        await commit(connection)

    customer_id, _ = await rag(store)
    database = await Database(store.url, role="rag_api", connections=1).open()
    async with database.transaction(customer_id=customer_id, snapshot=True) as tx:
        monkeypatch.setattr(Connection, "commit", slow)
        running = tx.connection
    await database.close()
    assert running.closed
