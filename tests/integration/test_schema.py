"""The schema: applied once however often, upgraded by steps, refused when it is newer."""

import asyncio
import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from fix_services import REPOSITORY, ROLE, drop_database, execute, on_database
from psycopg import sql

from engine.errors import DatabaseUnavailable
from engine.local import Services
from engine.store.schema import MIGRATIONS, VERSION, SchemaError, apply_schema, schema_sql

pytestmark = pytest.mark.anyio

_numbers = itertools.count()
PROCESSES = 4
APPLY = """
import asyncio, sys
from engine.store.schema import apply_schema
print(asyncio.run(apply_schema(sys.argv[1])))
"""


@pytest.fixture
def empty_url(services: Services) -> Iterator[str]:
    """A database that has nothing but the extension; the role owns it and is no superuser."""
    name = f"rag_empty_{next(_numbers)}"
    create = sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), ROLE)
    execute(services.admin_url, create)
    execute(
        on_database(services.admin_url, database=name), sql.SQL("CREATE EXTENSION vector").format()
    )
    yield on_database(services.database_url, database=name)
    drop_database(services, name=name)


def shape(url: str) -> list[tuple[object, ...]]:
    """Everything that a schema consists of, in an order of its own."""
    with psycopg.connect(url) as connection:
        return connection.execute(
            """
            SELECT 'column', table_name, column_name,
                   concat_ws(' ', udt_name, is_nullable, column_default, is_identity)
            FROM information_schema.columns WHERE table_schema = 'public'
            UNION ALL
            SELECT 'index', tablename, indexname, indexdef FROM pg_indexes
            WHERE schemaname = 'public'
            UNION ALL
            SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid)
            FROM pg_constraint WHERE connamespace = 'public'::regnamespace
            UNION ALL
            SELECT 'policy', tablename, policyname, concat_ws(' ', roles, cmd, qual, with_check)
            FROM pg_policies WHERE schemaname = 'public'
            UNION ALL
            SELECT 'table', relname, relrowsecurity::text, relforcerowsecurity::text
            FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
            UNION ALL
            SELECT 'grant', table_name, grantee, string_agg(privilege_type, ' '
                                                            ORDER BY privilege_type)
            FROM information_schema.role_table_grants WHERE table_schema = 'public'
            GROUP BY 1, 2, 3
            UNION ALL
            SELECT 'grant on columns', attrelid::regclass::text, attname, attacl::text
            FROM pg_attribute WHERE attacl IS NOT NULL
              AND attrelid IN (SELECT oid FROM pg_class
                               WHERE relnamespace = 'public'::regnamespace)
            ORDER BY 1, 2, 3, 4
            """
        ).fetchall()


def versions(url: str) -> list[int]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT version FROM schema_versions ORDER BY 1").fetchall()
    return [row[0] for row in rows]


async def test_applying_it_twice_is_applying_it_once(empty_url: str) -> None:
    assert await apply_schema(empty_url) == 0
    once = shape(empty_url)
    assert await apply_schema(empty_url) == VERSION
    assert (shape(empty_url), versions(empty_url)) == (once, [VERSION])


async def test_the_text_itself_may_run_again_over_its_own_result(empty_url: str) -> None:
    await apply_schema(empty_url)
    once = shape(empty_url)
    with psycopg.connect(empty_url) as connection:
        connection.execute(schema_sql().encode())
    assert shape(empty_url) == once


async def test_the_owner_needs_no_rights_of_a_superuser(empty_url: str) -> None:
    await apply_schema(empty_url)
    with psycopg.connect(empty_url) as connection:
        row = connection.execute(
            "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
    assert row == (False,)


def test_several_processes_may_apply_it_at_the_same_moment(empty_url: str) -> None:
    children = [
        subprocess.Popen(
            [sys.executable, "-c", APPLY, empty_url],
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
        )
        for _ in range(PROCESSES)
    ]
    found = sorted(child.communicate(timeout=60)[0].strip() for child in children)
    assert [child.returncode for child in children] == [0] * PROCESSES
    assert found == sorted(["0"] + [str(VERSION)] * (PROCESSES - 1))
    assert versions(empty_url) == [VERSION]


async def test_a_newer_database_is_refused_with_a_sentence(empty_url: str) -> None:
    await apply_schema(empty_url)
    with psycopg.connect(empty_url) as connection:
        connection.execute("INSERT INTO schema_versions (version) VALUES (%s)", (VERSION + 1,))
    before = shape(empty_url)
    with pytest.raises(SchemaError) as caught:
        await apply_schema(empty_url)
    assert str(caught.value) == (
        f"The database has schema version {VERSION + 1}, this program knows {VERSION}: "
        "upgrade rag-engine on this machine."
    )
    assert shape(empty_url) == before


async def test_an_older_database_is_upgraded_by_the_numbered_steps_in_order(
    empty_url: str, tmp_path: Path
) -> None:
    await apply_schema(empty_url)
    steps = (
        (VERSION + 1, "words", "CREATE TABLE words (word text);"),
        (VERSION + 2, "more", "INSERT INTO words VALUES ('a'); INSERT INTO words VALUES ('b');"),
    )
    for number, name, text in steps:
        (tmp_path / f"{number:04d}_{name}.sql").write_text(text)
    assert await apply_schema(empty_url, version=VERSION + 2, migrations=tmp_path) == VERSION
    with psycopg.connect(empty_url) as connection:
        words = connection.execute("SELECT word FROM words ORDER BY word").fetchall()
    assert words == [("a",), ("b",)]
    assert versions(empty_url) == [VERSION, VERSION + 2]
    again = await apply_schema(empty_url, version=VERSION + 2, migrations=tmp_path)
    assert again == VERSION + 2


async def test_a_step_that_fails_leaves_the_database_as_it_was(
    empty_url: str, tmp_path: Path
) -> None:
    await apply_schema(empty_url)
    before = shape(empty_url)
    broken = "CREATE TABLE words (word text); SELECT nonsense;"
    (tmp_path / f"{VERSION + 1:04d}_broken.sql").write_text(broken)
    with pytest.raises(psycopg.errors.UndefinedColumn):
        await apply_schema(empty_url, version=VERSION + 1, migrations=tmp_path)
    assert (shape(empty_url), versions(empty_url)) == (before, [VERSION])


async def test_a_missing_step_is_named(empty_url: str, tmp_path: Path) -> None:
    await apply_schema(empty_url)
    with pytest.raises(SchemaError, match=f"step {VERSION + 1:04d} is missing"):
        await apply_schema(empty_url, version=VERSION + 1, migrations=tmp_path)


async def test_the_steps_end_in_the_same_schema_as_the_text(
    empty_url: str, database_url: str
) -> None:
    """The first version's text is kept in tests/data."""
    first = REPOSITORY / "tests" / "data" / "schema_0001.sql"
    text = first.read_text("utf-8")
    with psycopg.connect(empty_url) as connection:
        connection.execute(text.encode())
        connection.execute("INSERT INTO schema_versions (version) VALUES (1)")
    assert await apply_schema(empty_url) == 1
    assert shape(empty_url) == shape(database_url)
    numbers = [int(path.name[:4]) for path in MIGRATIONS.glob("*.sql")]
    assert sorted(numbers) == list(range(2, VERSION + 1))


async def test_a_database_that_is_away_is_called_so(empty_url: str) -> None:
    with pytest.raises(DatabaseUnavailable):
        async with asyncio.timeout(10):
            await apply_schema(empty_url.replace("/tmp/", "/tmp/nowhere-"))
