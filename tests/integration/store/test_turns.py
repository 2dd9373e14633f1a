"""Whether others wait: anybody else's due row does, and nothing of one's own."""

import psycopg
import pytest
from fix_store import Store

from engine.models import CustomerId
from engine.store import turns

pytestmark = pytest.mark.anyio

ROWS = 20_000


async def asked(store: Store, customer_id: CustomerId) -> bool:
    async with store.worker.transaction() as tx:
        return await turns.others_wait(tx, customer_id=customer_id)


async def pair(store: Store) -> tuple[CustomerId, CustomerId]:
    """Two customers, in the order of their ids."""
    first, second = sorted([await store.customer("a"), await store.customer("b")])
    return first, second


async def test_anothers_due_source_waits_on_whichever_side_it_stands(store):
    first, second = await pair(store)
    assert [await asked(store, each) for each in (first, second)] == [False, False]
    source_id = await store.source(first, await store.rag(first))
    assert [await asked(store, each) for each in (first, second)] == [False, True]
    await store.execute("UPDATE sources SET due_at = NULL WHERE id = %(id)s", id=source_id)
    await store.source(second, await store.rag(second))
    assert [await asked(store, each) for each in (first, second)] == [True, False]


@pytest.mark.parametrize(
    "away", ["due_at = now() + interval '1 hour'", "due_at = NULL", "deleted_at = now()"]
)
async def test_what_is_not_due_does_not_wait(store, away):
    first, second = await pair(store)
    await store.source(first, await store.rag(first))
    await store.execute(f"UPDATE sources SET {away}")
    assert not await asked(store, second)


async def test_anothers_due_index_waits_on_whichever_side_it_stands(store):
    first, _ = await pair(store)
    await store.source(first, await store.rag(first))
    claim = await store.ingest()
    await store.execute("UPDATE indexes SET state = 'pending', due_at = now()")
    others: list[CustomerId] = []
    while len({each < claim.customer_id for each in others}) < 2:
        others.append(await store.customer())
    assert all([await asked(store, each) for each in others])
    assert not await asked(store, claim.customer_id)


async def test_what_a_customer_has_waiting_itself_is_passed_over_in_the_index(
    store, admin_database_url
):
    own, _ = await pair(store)
    rag_id = await store.rag(own)
    with psycopg.connect(admin_database_url, autocommit=True) as admin:
        admin.execute(
            "INSERT INTO sources (customer_id, rag_id, url, name, due_at)"
            " SELECT %s, %s, 'https://a.example/' || n, 'n', now()"
            " FROM generate_series(1, %s) n",
            (own, rag_id, ROWS),
        )
        admin.execute("ANALYZE sources")
    async with store.worker.transaction() as tx:
        pages = await blocks(tx.connection)
        assert not await turns.others_wait(tx, customer_id=own)
        assert await blocks(tx.connection) - pages < 60


async def blocks(connection) -> int:
    """Pages of the sources and their index that this transaction has asked for."""
    row = await (
        await connection.execute(
            "SELECT sum(pg_stat_get_xact_blocks_fetched(oid)) AS pages FROM pg_class"
            " WHERE relname IN ('sources', 'sources_due')"
        )
    ).fetchone()
    return int(row["pages"] or 0)
