"""Real PostgreSQL and Redis for the tests, started by the same code as `rag-engine up`.

One pair of servers for the session, a database for each test copied from a template with the
schema, and a Redis database of its own, emptied.
"""

import asyncio
import itertools
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import redis
from psycopg import sql

from engine.config import Settings
from engine.local import LocalServices, Services

REPOSITORY = Path(__file__).parent.parent
ROLE = sql.Identifier("rag_engine")
REDIS_DATABASES = 16
_numbers = itertools.count()


def free_port() -> int:
    """A TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def make_folder() -> Path:
    """A temporary folder that the servers' user can pass through; the caller removes it.

    Not pytest's tmp_path, because under root that is private to root.
    """
    folder = Path(tempfile.mkdtemp(prefix="rag-test-", dir="/tmp"))
    folder.chmod(0o711)
    return folder


def on_database(url: str, *, database: str) -> str:
    """The same server and role, another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))


def execute(admin_url: str, statement: sql.Composed) -> None:
    """Run one statement outside of a transaction."""
    with psycopg.connect(admin_url, autocommit=True) as connection:
        connection.execute(statement)


@pytest.fixture(scope="session")
def services() -> Iterator[Services]:
    """Both servers, for the whole session."""
    folder = make_folder()
    with LocalServices(folder / "data", durable=False) as local:
        yield local.services
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def template_database(services: Services) -> str:
    """The name of a database with the extension and the schema, to be copied and left alone."""
    from engine.store.schema import apply_schema

    name = "rag_template"
    create = sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), ROLE)
    execute(services.admin_url, create)
    execute(
        on_database(services.admin_url, database=name),
        sql.SQL("CREATE EXTENSION vector").format(),
    )
    asyncio.run(apply_schema(on_database(services.database_url, database=name)))
    return name


def copy_database(services: Services, *, template: str, name: str) -> str:
    """A new database with the schema; its URL. The role owns it and is no superuser."""
    # Without fsync a copy of the files is faster than one through the log.
    create = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {} STRATEGY FILE_COPY").format(
        sql.Identifier(name), sql.Identifier(template), ROLE
    )
    execute(services.admin_url, create)
    return on_database(services.database_url, database=name)


def drop_database(services: Services, *, name: str) -> None:
    """Whoever is still connected to it; none by that name is no error."""
    drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
    execute(services.admin_url, drop)


@contextmanager
def own_database(services: Services, *, template: str) -> Iterator[str]:
    """The URL of a copy of the template that is dropped behind it."""
    name = f"rag_test_{next(_numbers)}"
    yield copy_database(services, template=template, name=name)
    drop_database(services, name=name)


@pytest.fixture
def database_url(services: Services, template_database: str) -> Iterator[str]:
    """A database of the test's own."""
    with own_database(services, template=template_database) as url:
        yield url


@pytest.fixture
def redis_url(services: Services) -> str:
    """An empty Redis database; sixteen tests later the same one comes round again."""
    url = f"{services.redis_url}?db={next(_numbers) % REDIS_DATABASES}"
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture(scope="session")
def models_path() -> Path:
    """A folder that all sessions share, with the default model in it."""
    from engine.embedding import Registry, pull

    given = os.environ.get("RAG_ENGINE_TEST_MODELS_DIR")
    path = Path(given) if given else REPOSITORY / ".data" / "models"
    pull(Registry.from_settings(Settings()).default, models_path=path)
    return path


@pytest.fixture
def settings(database_url: str, redis_url: str, tmp_path: Path, models_path: Path) -> Settings:
    """Settings as `up` would make them, with models cached across sessions."""
    return Settings(
        database_url=database_url,
        redis_url=redis_url,
        data_dir=tmp_path / "data",
        models_dir=models_path,
        port=free_port(),
    )
