"""Brings a database to the schema of this version: schema.sql when empty, steps when older.

A database that is newer than this program is refused: an old worker must not write into tables
whose rules it does not know.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from engine.store.database import translated

VERSION = 4
LOCK = 7_261_043_001  # an arbitrary key that only this program uses
ENGINE = Path(__file__).parent.parent
MIGRATIONS = Path(__file__).parent / "migrations"
VECTOR_MIN = (0, 8, 4)


class SchemaError(RuntimeError):
    """The database cannot be used as it is; the message says why and what to do."""


def schema_sql() -> str:
    """The text of schema.sql: inside the package when installed, at the top of a checkout."""
    packaged = ENGINE / "schema.sql"
    return (packaged if packaged.exists() else ENGINE.parent / "schema.sql").read_text("utf-8")


async def apply_schema(
    database_url: str, *, version: int = VERSION, migrations: Path = MIGRATIONS
) -> int:
    """Create or upgrade the schema under an advisory lock; returns the version found before.

    Raises SchemaError for a newer database or an old pgvector, DatabaseUnavailable when away.
    """
    with translated(), _explained():
        async with await psycopg.AsyncConnection.connect(
            database_url, connect_timeout=5
        ) as connection:
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
            found = await _version(connection)
            if found > version:
                raise SchemaError(
                    f"The database has schema version {found}, this program knows {version}: "
                    "upgrade rag-engine on this machine."
                )
            await _upgrade(connection, found=found, version=version, migrations=migrations)
            await _check_vector(connection)
            return found


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        raise SchemaError(
            f"The database user may not prepare this database ({error.diag.message_primary}): "
            "have a superuser run CREATE EXTENSION vector, and give the user CREATEROLE."
        ) from error
    except (psycopg.errors.UndefinedFile, psycopg.errors.FeatureNotSupported) as error:
        raise SchemaError(
            "The database server has no pgvector: install the extension `vector` 0.8.4 or later."
        ) from error


async def _version(connection: psycopg.AsyncConnection) -> int:
    row = await (
        await connection.execute("SELECT to_regclass('schema_versions') IS NOT NULL")
    ).fetchone()
    if row is None or not row[0]:
        return 0
    row = await (await connection.execute("SELECT max(version) FROM schema_versions")).fetchone()
    return 0 if row is None or row[0] is None else int(row[0])


async def _upgrade(
    connection: psycopg.AsyncConnection, *, found: int, version: int, migrations: Path
) -> None:
    if found == version:
        return
    steps = [schema_sql()] if found == 0 else _steps(migrations, found=found, version=version)
    for step in steps:
        await connection.execute(step)
    await connection.execute("INSERT INTO schema_versions (version) VALUES (%s)", (version,))


def _steps(migrations: Path, *, found: int, version: int) -> list[str]:
    files = {int(path.name[:4]): path for path in migrations.glob("[0-9][0-9][0-9][0-9]_*.sql")}
    missing = [number for number in range(found + 1, version + 1) if number not in files]
    if missing:
        raise SchemaError(f"The upgrade step {missing[0]:04d} is missing in {migrations.name}/.")
    return [files[number].read_text("utf-8") for number in range(found + 1, version + 1)]


async def _check_vector(connection: psycopg.AsyncConnection) -> None:
    row = await (
        await connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
    ).fetchone()
    found = tuple(int(part) for part in re.findall(r"\d+", row[0])) if row else ()
    if found < VECTOR_MIN:
        wanted = ".".join(map(str, VECTOR_MIN))
        raise SchemaError(
            f"pgvector is {row[0] if row else 'missing'}, {wanted} or later is needed: install it "
            "and run ALTER EXTENSION vector UPDATE."
        )
