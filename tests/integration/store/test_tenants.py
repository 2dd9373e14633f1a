"""Row-level security: the role of the API sees one customer, even where a statement forgets to."""

from typing import LiteralString
from uuid import uuid4

import msgspec
import psycopg
import pytest
from fix_store import Store

from engine.access import Access, Operator, token_hash
from engine.errors import DatabaseUnavailable, InvalidCredentials
from engine.models import CustomerId, Upload
from engine.store import Database, accesskeys, blobs, files, idempotency

pytestmark = pytest.mark.anyio

READS: dict[str, LiteralString] = {
    "customers": "SELECT id AS whose FROM customers",
    "accesskeys": "SELECT customer_id AS whose FROM accesskeys",
    "idempotency_keys": "SELECT customer_id AS whose FROM idempotency_keys",
    "blobs": "SELECT customer_id AS whose FROM blobs",
    "files": "SELECT customer_id AS whose FROM files",
    "rags": "SELECT customer_id AS whose FROM rags",
    "profiles": "SELECT customer_id AS whose FROM profiles",
    "sources": "SELECT customer_id AS whose FROM sources",
    "documents": "SELECT customer_id AS whose FROM documents",
    "indexes": "SELECT customer_id AS whose FROM indexes",
    "chunks": "SELECT customer_id AS whose FROM chunks",
}
UPDATES: dict[str, LiteralString] = {
    "accesskeys": "UPDATE accesskeys SET name = 'mine'",
    "idempotency_keys": "UPDATE idempotency_keys SET answer = ''",
    "blobs": "UPDATE blobs SET file_bytes = 0",
    "files": "UPDATE files SET name = 'mine'",
    "rags": "UPDATE rags SET name = 'mine'",
    "profiles": "UPDATE profiles SET chunk_tokens = 1",
    "sources": "UPDATE sources SET name = 'mine'",
    "indexes": "UPDATE indexes SET done = 0",
}
DELETES: dict[str, LiteralString] = {
    "accesskeys": "DELETE FROM accesskeys",
    "idempotency_keys": "DELETE FROM idempotency_keys",
    "files": "DELETE FROM files",
}


class Two:
    """Two customers with a row in every table."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.mine: CustomerId
        self.other: CustomerId
        self.tokens: dict[CustomerId, str] = {}

    async def set_up(self) -> None:
        self.mine, self.other = await self.furnish(), await self.furnish()

    async def furnish(self) -> CustomerId:
        operator = Operator(database=self.store.operator)
        customer, _, token = await operator.create_customer("tester")
        self.tokens[customer.id] = token
        upload = Upload(
            name="a", filename="a", media_type="", file_bytes=1, sha256=uuid4().bytes * 2
        )
        async with self.store.operator.transaction() as tx:
            await blobs.ensure(tx, customer_id=customer.id, sha256=upload.sha256, file_bytes=1)
            await files.insert(tx, customer_id=customer.id, upload=upload, type="rag", kept=True)
            await idempotency.take(
                tx, customer_id=customer.id, key_hash=b"k", request_hash=b"r", keep_s=60
            )
        await self.store.source(customer.id, await self.store.rag(customer.id))
        await self.store.ingest()
        return customer.id


@pytest.fixture
async def two(store: Store) -> Two:
    made = Two(store)
    await made.set_up()
    return made


async def seen(
    database: Database, query: LiteralString, *, customer_id: CustomerId | None
) -> list[object]:
    """Whose rows a raw statement without any WHERE returns."""
    async with database.transaction(customer_id=customer_id) as tx:
        rows = await (await tx.connection.execute(query)).fetchall()
    return [row["whose"] for row in rows]


async def test_the_api_acts_as_a_role_without_rights_of_its_own(store: Store) -> None:
    async with store.api.transaction() as tx:
        row = await (
            await tx.connection.execute(
                "SELECT current_user AS name, rolsuper, rolbypassrls, rolcreaterole"
                " FROM pg_roles WHERE rolname = current_user"
            )
        ).fetchone()
    assert row == {
        "name": "rag_api",
        "rolsuper": False,
        "rolbypassrls": False,
        "rolcreaterole": False,
    }


@pytest.mark.parametrize("table", READS)
async def test_a_customer_reads_its_own_rows_only_whatever_the_statement(
    two: Two, table: str
) -> None:
    everyone = await seen(two.store.worker, READS[table], customer_id=None)
    assert {two.mine, two.other} <= set(everyone), "the table was to have rows of both"
    assert set(await seen(two.store.api, READS[table], customer_id=two.mine)) == {two.mine}
    assert set(await seen(two.store.api, READS[table], customer_id=two.other)) == {two.other}


@pytest.mark.parametrize("table", READS)
async def test_without_a_customer_nothing_is_seen(two: Two, table: str) -> None:
    assert await seen(two.store.api, READS[table], customer_id=None) == []
    # The same connections, after they have served somebody.
    for _ in range(4):
        assert await seen(two.store.api, READS[table], customer_id=two.mine)
        assert await seen(two.store.api, READS[table], customer_id=None) == []


@pytest.mark.parametrize(("table", "statement"), [*UPDATES.items(), *DELETES.items()])
async def test_a_customer_changes_and_deletes_its_own_rows_only(
    two: Two, table: str, statement: LiteralString
) -> None:
    before = await others_rows(two, table)
    async with two.store.api.transaction(customer_id=two.mine) as tx:
        assert await tx.run(statement) == 1
    assert await others_rows(two, table) == before


async def others_rows(two: Two, table: str) -> list[str]:
    async with two.store.api.transaction(customer_id=two.other) as tx:
        query = psycopg.sql.SQL("SELECT * FROM {}").format(psycopg.sql.Identifier(table))
        rows = await (await tx.connection.execute(query)).fetchall()
    assert rows
    return [str(row) for row in rows]


async def test_a_row_cannot_be_written_into_another_customer(two: Two) -> None:
    insert = "INSERT INTO rags (customer_id, name) VALUES (%(whose)s, 'planted')"
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with two.store.api.transaction(customer_id=two.mine) as tx:
            await tx.run(insert, {"whose": two.other})
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with two.store.api.transaction(customer_id=two.mine) as tx:
            await tx.run("UPDATE rags SET customer_id = %(whose)s", {"whose": two.other})


@pytest.mark.parametrize("table", ["customers", "documents", "chunks", "workers"])
async def test_the_api_cannot_write_what_only_workers_and_operators_write(
    two: Two, table: str
) -> None:
    query = psycopg.sql.SQL("DELETE FROM {}").format(psycopg.sql.Identifier(table))
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with two.store.api.transaction(customer_id=two.mine) as tx:
            await tx.connection.execute(query)


async def test_a_presented_key_opens_its_own_row_and_nothing_else(two: Two) -> None:
    digest = token_hash(two.tokens[two.other])
    found = await accesskeys.find(two.store.api, token_hash=digest)
    assert found
    assert found.customer_id == two.other
    presented = {"rag_engine.token_hash": digest.hex()}
    async with two.store.api.transaction(settings=presented) as tx:
        rows = await (await tx.connection.execute(READS["accesskeys"])).fetchall()
        assert [row["whose"] for row in rows] == [two.other]
        assert await tx.run("UPDATE accesskeys SET name = 'mine'") == 0
        rows = await (await tx.connection.execute(READS["rags"])).fetchall()
        assert rows == []


async def test_a_key_speaks_for_its_customer_and_an_unknown_one_for_nobody(two: Two) -> None:
    access = Access(database=two.store.api)
    for customer_id, token in two.tokens.items():
        assert await access.authenticate(token) == customer_id
    with pytest.raises(InvalidCredentials):
        await access.authenticate("re_" + "x" * 32)


async def test_the_bootstrap_key_speaks_for_the_first_customer(two: Two) -> None:
    access = Access(
        database=two.store.api, operator=two.store.operator, bootstrap_key="a bootstrap key"
    )
    assert await access.authenticate("a bootstrap key") == two.mine
    with pytest.raises(InvalidCredentials):
        await access.authenticate("another key")


async def test_an_expired_or_revoked_key_speaks_for_nobody(two: Two) -> None:
    access = Access(database=two.store.api)
    key, token = await access.create_key(two.mine, name="k", expire_s=3_600)
    assert await access.authenticate(token) == two.mine
    await two.store.execute("UPDATE accesskeys SET expires_at = now() WHERE id = %(id)s", id=key.id)
    with pytest.raises(InvalidCredentials):
        await access.authenticate(token)
    await access.delete_key(two.mine, key.id)
    rows = await two.store.fetch("SELECT name FROM accesskeys WHERE id = %(id)s", id=key.id)
    assert rows == []


async def test_no_token_is_stored(two: Two) -> None:
    rows = [str(row) for row in await two.store.fetch("SELECT * FROM accesskeys")]
    for token in two.tokens.values():
        assert not any(token in row for row in rows)
        assert any(token[:11] in row for row in rows)


async def test_a_database_that_is_away_is_called_so(database_url: str) -> None:
    nowhere = database_url.replace("/tmp/", "/tmp/nowhere-")
    database = await Database(nowhere, role="rag_api", timeout_s=0.5).open()
    try:
        with pytest.raises(DatabaseUnavailable) as caught:
            async with database.transaction():
                pass
        assert "nowhere" not in caught.value.message
        with pytest.raises(DatabaseUnavailable):
            async with database.dedicated():
                pass
    finally:
        await database.close()


async def test_what_is_read_back_is_what_was_written(two: Two) -> None:
    """Nouns survive the way through the driver, with their types."""
    async with two.store.api.transaction(customer_id=two.mine) as tx:
        page = await files.page(tx, customer_id=two.mine, limit=5, after=None)
        again = await files.get(tx, customer_id=two.mine, file_id=page[0].id)
    assert again == page[0]
    assert isinstance(again.sha256, bytes)
    assert msgspec.json.decode(msgspec.json.encode(again), type=type(again)) == again
