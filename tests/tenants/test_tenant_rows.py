"""Row-level security alone: raw statements as the engine's roles, over every table there is.

The tables come from the catalog, so that a new one cannot be forgotten.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, LiteralString

import psycopg
import pytest
from fix_tenants import CHANGED_BY_THE_API, NOBODY, READ_BY_THE_API, House, tenant_tables
from psycopg import sql

Rows = psycopg.Connection[tuple[Any, ...]]

# Of nobody in particular: what is in them, and who may read it.
OF_NOBODY: Mapping[str, set[str]] = {
    "schema_versions": {"rag_api", "rag_worker", "rag_operator"},
    "signing_keys": {"rag_api", "rag_operator"},
    "workers": {"rag_worker", "rag_operator"},
}
ANN_TABLES = ("ann_{}", "ann_{}_vectors")
ANN_TABLE = re.compile(r"ann_\d+(_vectors)?")
ROLES = ("rag_api", "rag_worker", "rag_operator")


@contextmanager
def acting(house: House, *, role: LiteralString, customer_id: str | None = None) -> Iterator[Rows]:
    """A connection of the login role that acts as the engine does; nothing it does stays."""
    with psycopg.connect(house.settings.database_url) as connection:
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
        if customer_id is not None:
            connection.execute(
                "SELECT set_config('rag_engine.customer_id', %s, true)", [customer_id]
            )
        yield connection
        connection.rollback()


@pytest.fixture(scope="module")
def tables(house: House) -> dict[str, str]:
    with psycopg.connect(house.admin_url) as connection:
        return tenant_tables(connection)


def refused() -> AbstractContextManager[object]:
    return pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security")


def owners(connection: Rows, *, table: str, column: str) -> set[str]:
    """Whose rows a statement without any condition sees."""
    query = sql.SQL("SELECT DISTINCT {}::text FROM {}").format(
        sql.Identifier(column), sql.Identifier(table)
    )
    return {row[0] for row in connection.execute(query).fetchall()}


def test_every_table_is_a_customers_or_known_to_be_nobodys(
    house: House, tables: dict[str, str]
) -> None:
    with psycopg.connect(house.admin_url) as connection:
        rows = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            " AND relkind IN ('r', 'p', 'v', 'm', 'f') AND relname !~ '^ann_[0-9]+(_vectors)?$'"
        ).fetchall()
    assert {row[0] for row in rows} == {*tables, *OF_NOBODY}
    assert set(tables) == CHANGED_BY_THE_API | READ_BY_THE_API


def test_every_table_of_customers_is_filled_for_both_of_them(
    house: House, tables: dict[str, str]
) -> None:
    """Else the tests below could not fail."""
    with psycopg.connect(house.admin_url) as connection:
        for table, column in tables.items():
            seen = owners(connection, table=table, column=column)
            assert {house.mine.customer_id, house.theirs.customer_id} <= seen, table


@pytest.mark.parametrize("customer_id", [None, "", NOBODY])
def test_without_a_customer_nothing_is_seen_of_anybody(
    house: House, tables: dict[str, str], customer_id: str | None
) -> None:
    with acting(house, role="rag_api", customer_id=customer_id) as connection:
        for table, column in tables.items():
            assert owners(connection, table=table, column=column) == set(), table


def test_a_customer_sees_its_own_rows_in_every_table_and_no_others(
    house: House, tables: dict[str, str]
) -> None:
    whose = house.mine.customer_id
    with acting(house, role="rag_api", customer_id=whose) as connection:
        for table, column in tables.items():
            assert owners(connection, table=table, column=column) == {whose}, table


def test_a_customer_whose_name_is_no_id_is_an_error_and_not_everybody(house: House) -> None:
    with (
        acting(house, role="rag_api", customer_id="' OR true --") as connection,
        pytest.raises(psycopg.errors.InvalidTextRepresentation),
    ):
        connection.execute("SELECT * FROM rags")


def test_a_customer_changes_and_deletes_no_row_of_another_in_any_table(
    house: House, tables: dict[str, str]
) -> None:
    before = house.digest(house.theirs)
    whose, theirs = house.mine.customer_id, house.theirs.customer_id
    for table, column in tables.items():
        names = {"table": sql.Identifier(table), "column": sql.Identifier(column)}
        for statement in (
            "UPDATE {table} SET {column} = {column} WHERE {column} = %s",
            "DELETE FROM {table} WHERE {column} = %s",
        ):
            with psycopg.connect(house.settings.database_url) as connection:
                connection.execute("SET ROLE rag_api")
                connection.execute(
                    "SELECT set_config('rag_engine.customer_id', %s, false)", [whose]
                )
                query = sql.SQL(statement).format(**names)  # type: ignore[arg-type]
                if table in CHANGED_BY_THE_API:
                    assert connection.execute(query, [theirs]).rowcount == 0, table
                    continue
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(query, [theirs])
                connection.rollback()
    assert house.digest(house.theirs) == before


def copied(connection: Rows, *, table: str, column: str, whose: str) -> int:
    """Insert a copy of one's own rows in the name of `whose`."""
    rows = connection.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
        " AND NOT attisdropped AND attidentity = '' AND attgenerated = ''",
        [table],
    ).fetchall()
    kept = [sql.Identifier(row[0]) for row in rows if row[0] not in (column, "id")]
    query = sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {} LIMIT 1").format(
        sql.Identifier(table),
        sql.SQL(", ").join([sql.Identifier(column), *kept]),
        sql.SQL(", ").join([sql.Literal(whose) + sql.SQL("::uuid"), *kept]),
        sql.Identifier(table),
    )
    return connection.execute(query).rowcount


@pytest.mark.parametrize("table", sorted(CHANGED_BY_THE_API))
def test_a_row_cannot_be_inserted_for_another_nor_given_to_it(house: House, table: str) -> None:
    whose, theirs = house.mine.customer_id, house.theirs.customer_id
    given = sql.SQL("UPDATE {} SET customer_id = %s").format(sql.Identifier(table))
    with acting(house, role="rag_api", customer_id=whose) as connection, refused():
        copied(connection, table=table, column="customer_id", whose=theirs)
    with acting(house, role="rag_api", customer_id=whose) as connection, refused():
        connection.execute(given, [theirs])


def test_nobody_marks_another_customers_words_as_dead(house: House) -> None:
    whose, theirs = house.mine.customer_id, house.theirs.customer_id
    with acting(house, role="rag_api", customer_id=whose) as connection, refused():
        connection.execute(
            "INSERT INTO dead_members (member_id, customer_id, profile_id)"
            " VALUES (-1, %s, gen_random_uuid())",
            [theirs],
        )


# A row of one's own that hangs on a row of another: foreign keys alone do not ask whose it is.
LINKS = (
    ("sources", "rag_id", "rag"),
    ("sources", "file_id", "file"),
    ("sources", "edit_id", "file"),
    ("sources", "folder_id", "folder"),
)
# Made by statements that take these from rows which they read under the policies, never from a
# request; a profile even in the statement that makes its RAG, which no policy could see yet.
# A policy cannot ask its own table (Postgres calls that an infinite recursion): a folder's parent
# is looked for by the verbs alone, under the customer's lock.
NOT_HELD = {
    ("folders", "parent_id"),
    ("profiles", "rag_id"),
    ("indexes", "source_id"),
    ("indexes", "profile_id"),
}


@pytest.mark.parametrize(("table", "column", "kind"), LINKS)
def test_a_row_cannot_be_hung_on_a_row_of_another(
    house: House, table: str, column: str, kind: str
) -> None:
    query = sql.SQL("UPDATE {} SET {} = %s WHERE customer_id = %s").format(
        sql.Identifier(table), sql.Identifier(column)
    )
    whose = house.mine
    with acting(house, role="rag_api", customer_id=whose.customer_id) as connection, refused():
        connection.execute(query, [house.theirs.ids[kind], whose.customer_id])


def test_the_links_that_are_tried_are_all_that_there_are(house: House) -> None:
    """From the catalog: references of tables that the API changes to tables of customers."""
    with psycopg.connect(house.admin_url) as connection:
        rows = connection.execute(
            """
            SELECT c.conrelid::regclass::text, a.attname FROM pg_constraint c
            JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey)
            WHERE c.contype = 'f' AND c.connamespace = 'public'::regnamespace
              AND a.attname <> 'customer_id' AND c.conrelid::regclass::text = ANY (%s)
              -- a key that names the customer as well can only be of the same one
              AND NOT EXISTS (SELECT FROM pg_attribute o WHERE o.attrelid = c.conrelid
                              AND o.attnum = ANY (c.conkey) AND o.attname = 'customer_id')
            """,
            [sorted(CHANGED_BY_THE_API)],
        ).fetchall()
    assert set(rows) == {(table, column) for table, column, _ in LINKS} | NOT_HELD


def test_a_presented_key_opens_its_own_row_for_reading_and_no_other_table(
    house: House, tables: dict[str, str]
) -> None:
    digest = hashlib.sha256(house.theirs.token.encode()).hexdigest()
    with acting(house, role="rag_api") as connection:
        connection.execute("SELECT set_config('rag_engine.token_hash', %s, true)", [digest])
        for table, column in tables.items():
            seen = owners(connection, table=table, column=column)
            assert seen == ({house.theirs.customer_id} if table == "accesskeys" else set()), table
        assert len(connection.execute("SELECT id FROM accesskeys").fetchall()) == 1
        assert connection.execute("DELETE FROM accesskeys").rowcount == 0
        assert connection.execute("UPDATE accesskeys SET expires_at = NULL").rowcount == 0


@pytest.mark.parametrize("role", ROLES)
def test_a_role_that_serves_has_no_power_of_its_own(house: House, role: str) -> None:
    with psycopg.connect(house.admin_url) as connection:
        row = connection.execute(
            "SELECT rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication"
            " FROM pg_roles WHERE rolname = %s",
            [role],
        ).fetchone()
        owned = connection.execute(
            "SELECT relname FROM pg_class WHERE pg_get_userbyid(relowner) = %s", [role]
        ).fetchall()
        above = connection.execute(
            "SELECT g.rolname FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid"
            " JOIN pg_roles r ON r.oid = m.member WHERE r.rolname = %s",
            [role],
        ).fetchall()
        creates = connection.execute(
            "SELECT has_schema_privilege(%s, 'public', 'CREATE')", [role]
        ).fetchone()
    assert row == (False,) * 6
    assert (owned, above, creates) == ([], [], (False,))


def test_the_login_role_which_takes_these_roles_is_no_superuser_either(house: House) -> None:
    with psycopg.connect(house.settings.database_url) as connection:
        row = connection.execute(
            "SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
    assert row == (False, False)


def test_every_session_of_the_running_engine_acts_as_one_of_the_roles(house: House) -> None:
    """SET ROLE is not in pg_stat_activity, but the pools name themselves after their roles."""
    house.client.get("/customer", headers=house.mine.headers(""))
    with psycopg.connect(house.admin_url) as connection:
        rows = connection.execute(
            "SELECT DISTINCT application_name, usesuper FROM pg_stat_activity a"
            " JOIN pg_user u ON u.usename = a.usename"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchall()
    assert rows
    assert {name for name, _ in rows} <= set(ROLES)
    assert not any(is_super for _, is_super in rows)


EVERYTHING = {"SELECT", "INSERT", "UPDATE", "DELETE"}
MADE_BY_WORKERS = {"blobs", "files", "rags", "profiles", "folders", "sources", "documents"}
MADE_BY_WORKERS |= {"indexes", "chunks", "ann_tables", "workers"}
MADE_BY_WORKERS |= {"segments", "segment_members", "dead_members", "postings"}


def wanted(role: str) -> dict[str, set[str]]:
    """What a role may do with which table as a whole."""
    if role == "rag_api":
        return (
            dict.fromkeys(CHANGED_BY_THE_API, EVERYTHING)
            | {table: {"SELECT"} for table in READ_BY_THE_API}
            | {"dead_members": {"SELECT", "INSERT"}}
            | {table: {"SELECT"} for table, readers in OF_NOBODY.items() if role in readers}
        )
    # Nothing that opens a door: no customer, no key and no signature is made by a worker.
    return dict.fromkeys(MADE_BY_WORKERS, EVERYTHING) | {
        "schema_versions": {"SELECT"},
        "customers": {"SELECT", "DELETE"},
        "accesskeys": {"DELETE"},
        "idempotency_keys": {"SELECT", "DELETE"},
    }


@pytest.mark.parametrize("role", ["rag_api", "rag_worker"])
def test_what_a_role_may_do_is_what_it_needs(house: House, role: str) -> None:
    found: dict[str, set[str]] = {}
    with psycopg.connect(house.admin_url) as connection:
        rows = connection.execute(
            "SELECT table_name, privilege_type FROM information_schema.role_table_grants"
            " WHERE table_schema = 'public' AND grantee IN (%s, 'PUBLIC')",
            [role],
        ).fetchall()
    for table, privilege in rows:
        found.setdefault(table, set()).add(privilege)
    entries = [found.pop(table) for table in [*found] if ANN_TABLE.fullmatch(table)]
    assert found == wanted(role)
    assert entries
    may = {"rag_api": {"SELECT"}, "rag_worker": {"SELECT", "INSERT", "DELETE"}}
    assert all(each == may[role] for each in entries)


@pytest.mark.parametrize("name", ANN_TABLES)
def test_rows_of_an_ann_table_are_seen_by_their_customer_alone(house: House, name: str) -> None:
    """They have no column that says whose they are: the policy of each table says it."""
    with psycopg.connect(house.admin_url) as connection:
        rows = connection.execute("SELECT number, customer_id::text FROM ann_tables").fetchall()
    assert {house.mine.customer_id, house.theirs.customer_id} <= {whose for _, whose in rows}
    for number, whose in rows:
        query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(name.format(number)))
        for asking in (house.mine.customer_id, house.theirs.customer_id, NOBODY, "", None):
            with acting(house, role="rag_api", customer_id=asking) as connection:
                (seen,) = connection.execute(query).fetchone() or (0,)
                assert bool(seen) is (asking == whose)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT key FROM signing_keys",
        "SELECT token_hash FROM accesskeys",
        "INSERT INTO customers (name) VALUES ('another')",
        "UPDATE customers SET deleted_at = NULL",
        "INSERT INTO accesskeys (customer_id, prefix, token_hash) SELECT id, '', '' FROM customers",
        "UPDATE accesskeys SET expires_at = NULL",
        "UPDATE idempotency_keys SET answer = ''",
        "CREATE TABLE another (id integer)",
        "COPY customers TO PROGRAM 'id'",
    ],
)
def test_a_worker_opens_no_door(house: House, statement: LiteralString) -> None:
    with (
        acting(house, role="rag_worker") as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement)


def test_policies_are_forced_and_no_role_but_the_engines_has_any(
    house: House, tables: dict[str, str]
) -> None:
    with psycopg.connect(house.admin_url) as connection:
        bound = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            " AND relkind IN ('r', 'p') AND relrowsecurity AND relforcerowsecurity"
        ).fetchall()
        roles = connection.execute(
            "SELECT DISTINCT unnest(roles)::text FROM pg_policies WHERE schemaname = 'public'"
        ).fetchall()
    with psycopg.connect(house.admin_url) as connection:
        numbers = connection.execute("SELECT number FROM ann_tables").fetchall()
    known = {*tables, *(name.format(row[0]) for row in numbers for name in ANN_TABLES)}
    assert known <= {row[0] for row in bound}
    assert all(ANN_TABLE.fullmatch(row[0]) for row in bound if row[0] not in known)
    assert {row[0] for row in roles} == set(ROLES)
