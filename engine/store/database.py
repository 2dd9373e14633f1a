"""Connections, transactions and the translation of driver errors. No statement about a table."""

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal, LiteralString, TypeVar

import msgspec
import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import set_json_dumps, set_json_loads
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from engine.errors import DatabaseUnavailable, StorageFileNotFound
from engine.models import CustomerId

log = logging.getLogger(__name__)

Role = Literal["rag_api", "rag_worker", "rag_operator"]
Params = Mapping[str, Any]
T = TypeVar("T")

# A path that went silent must end somewhere: here after 25 s, at the server as well, so that a host
# that vanished inside a transaction does not keep its locks. No effect on Unix sockets.
BOUNDS: Mapping[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "options": "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
    " -c idle_in_transaction_session_timeout=600000",
}

set_json_dumps(msgspec.json.encode)
set_json_loads(msgspec.json.decode)


class Tx:
    """An open transaction, opaque outside of engine.store."""

    def __init__(self, connection: psycopg.AsyncConnection[dict[str, Any]]) -> None:
        self.connection = connection

    async def run(self, query: LiteralString, params: Params | None = None) -> int:
        """Execute; returns the number of rows touched."""
        return (await self.connection.execute(query, params)).rowcount

    async def one(
        self, kind: type[T], query: LiteralString, params: Params | None = None
    ) -> T | None:
        """The first row as `kind`, or None."""
        row = await (await self.connection.execute(query, params)).fetchone()
        return None if row is None else msgspec.convert(row, kind)

    async def all(
        self, kind: type[T], query: LiteralString, params: Params | None = None
    ) -> list[T]:
        """Every row as `kind`."""
        rows = await (await self.connection.execute(query, params)).fetchall()
        return msgspec.convert(rows, list[kind])  # type: ignore[valid-type]

    async def value(
        self, kind: type[T], query: LiteralString, params: Params | None = None
    ) -> T | None:
        """The only column of the first row as `kind`, or None."""
        row = await (await self.connection.execute(query, params)).fetchone()
        return None if row is None else msgspec.convert(next(iter(row.values())), kind | None)

    async def many(self, query: LiteralString, rows: Sequence[Params]) -> None:
        """The same statement for each of `rows`, pipelined into one round trip."""
        async with self.connection.cursor() as cursor:
            await cursor.executemany(query, rows)


class Database:
    """A pool of connections that all act as one role. Opens lazily: the server may be away."""

    def __init__(
        self, url: str, *, role: Role, connections: int = 10, timeout_s: float = 10.0
    ) -> None:
        self.url = url
        self.role: Role = role
        self.connections = connections
        self._pool = AsyncConnectionPool(
            url,
            min_size=min(2, connections),
            max_size=connections,
            timeout=timeout_s,
            open=False,
            kwargs={"row_factory": dict_row, "application_name": role, **BOUNDS},
            configure=self._configure,
            check=AsyncConnectionPool.check_connection,
            reconnect_timeout=5.0,
        )

    async def open(self) -> "Database":
        """Start connecting in the background. Raises nothing when the server is away."""
        await self._pool.open(wait=False)
        return self

    async def close(self) -> None:
        await self._pool.close()

    async def _configure(self, connection: psycopg.AsyncConnection[Any]) -> None:
        await take_role(connection, self.role)
        await connection.commit()

    @asynccontextmanager
    async def transaction(
        self, *, customer_id: CustomerId | None = None, token_hash: bytes | None = None
    ) -> AsyncIterator[Tx]:
        """One transaction: committed at the end, rolled back on any error.

        `customer_id` is what row-level security lets rag_api see; `token_hash` opens the one
        access key that a caller presented. Raises DatabaseUnavailable when the server is away.
        """
        with translated():
            async with self._pool.connection() as connection, connection.transaction():
                if customer_id or token_hash:
                    await connection.execute(
                        "SELECT set_config('rag_engine.customer_id', %s, true),"
                        " set_config('rag_engine.token_hash', %s, true)",
                        (str(customer_id or ""), token_hash.hex() if token_hash else ""),
                    )
                yield Tx(connection)

    @asynccontextmanager
    async def dedicated(self) -> AsyncIterator[Tx]:
        """A connection outside of the pool, each statement its own transaction."""
        with translated():
            connection = await psycopg.AsyncConnection.connect(
                self.url, autocommit=True, row_factory=dict_row, **BOUNDS
            )
            async with connection:
                await take_role(connection, self.role)
                yield Tx(connection)


async def take_role(connection: psycopg.AsyncConnection[Any], role: str) -> None:
    """SET ROLE, so that no superuser or owner session serves requests."""
    await connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
    await connection.execute("SET timezone TO 'UTC'")


class translated:  # noqa: N801 - reads as a statement: with translated()
    """Turns driver errors into the engine's tree at the edge of the store."""

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: Any
    ) -> None:
        if isinstance(error, psycopg.errors.ForeignKeyViolation):
            if error.diag.constraint_name == "sources_file":
                raise StorageFileNotFound("One of the files was deleted meanwhile.") from error
            # A row that another one points to went or came at the same moment: try again.
            raise DatabaseUnavailable("The data changed at the same moment.") from error
        elif isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout)):
            raise DatabaseUnavailable("The database is away at the moment.") from error
