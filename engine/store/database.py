"""Connections, transactions and the translation of driver errors. No statement about a table."""

import asyncio
import logging
import select
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Literal, LiteralString, NamedTuple, TypeVar
from uuid import UUID

import msgspec
import psycopg
from psycopg import sql
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row
from psycopg.types.json import set_json_dumps, set_json_loads
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from engine.errors import DatabaseUnavailable, Overloaded, StorageFileNotFound
from engine.models import CustomerId
from engine.store.lines import Lines
from engine.store.strings import clean_strings

log = logging.getLogger(__name__)

Role = Literal["rag_api", "rag_worker", "rag_operator"]
Params = Mapping[str, Any]
NO_SETTINGS: Mapping[str, str] = {}
T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)

# A path that went silent must end somewhere: here after 25 s, at the server as well, so that a host
# that vanished inside a transaction does not keep its locks. No effect on Unix sockets. A process
# that is frozen inside a transaction keeps its locks for no longer than the last of these.
BOUNDS: Mapping[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "options": "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
    " -c idle_in_transaction_session_timeout=15000",
}

ANSWER_TIMEOUT_S = 60.0  # longer than any statement of the engine takes, locks included
BUILD_TIMEOUT_S = 12 * 3600.0  # an index over millions of vectors takes hours on a slow machine
CHECK_TIMEOUT_S = 2.0  # of a connection before it is handed out, which is nothing but a round trip
# One that has just been used is only asked whether the server has closed it, without a round trip:
# those were a fifth of all that a worker sends.
FRESH_S = 0.5

set_json_dumps(msgspec.json.encode)
set_json_loads(msgspec.json.decode)


class Connection(psycopg.AsyncConnection[dict[str, Any]]):
    """Waits for no answer without end: something in between may keep a dead path alive."""

    answer_timeout_s = ANSWER_TIMEOUT_S
    used_at = 0.0

    def is_fresh(self) -> bool:
        """Whether it was used just now, and nothing came since: not even an end."""
        if time.monotonic() - self.used_at > FRESH_S:
            return False
        silent = select.poll()
        silent.register(self.fileno(), select.POLLIN)
        return not silent.poll(0)

    async def wait(self, gen: PQGen[T], *args: Any, **kwargs: Any) -> T:
        kwargs.setdefault("timeout", self.answer_timeout_s)
        try:
            return await super().wait(gen, *args, **kwargs)
        except psycopg.OperationalError:
            # Still waiting: nobody may use the connection again, nor wait for it to be rolled back.
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.pgconn.finish()
            raise


class OwnerConnection(Connection):
    """For statements that take as long as they take. The server looks every few seconds whether
    anybody is still there, so that what a killed process began does not go on without it."""

    answer_timeout_s = BUILD_TIMEOUT_S


class Opening(NamedTuple):
    """A statement that is sent together with what begins a transaction. Each session keeps it
    prepared under `name`, of parameters `$1`, `$2` and so on that are ids or hashes."""

    name: LiteralString
    statement: LiteralString
    values: tuple[UUID | bytes, ...] = ()


class Tx:
    """An open transaction, opaque outside of engine.store. `opened`: the rows of its opening."""

    def __init__(
        self,
        connection: psycopg.AsyncConnection[dict[str, Any]],
        *,
        opened: Sequence[dict[str, Any]] = (),
    ) -> None:
        self.connection = connection
        self.opened = opened

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

    async def many(self, kind: Lines[S], query: LiteralString, params: Params) -> list[S]:
        """As `all`, for a thousand rows that are asked for again and again."""
        cursor = await self.connection.execute(kind.of(query), params)
        gathered = await cursor.fetchone()
        assert gathered  # an aggregate is always one row
        return kind.rows(gathered["lines"])

    async def value(
        self, kind: type[T], query: LiteralString, params: Params | None = None
    ) -> T | None:
        """The only column of the first row as `kind`, or None."""
        row = await (await self.connection.execute(query, params)).fetchone()
        return None if row is None else msgspec.convert(next(iter(row.values())), kind | None)


class Database:
    """A pool of connections that all act as one role. Opens lazily: the server may be away.

    `waiting_max`: how many may wait for a connection before others are sent away; 0: any number.
    """

    def __init__(
        self,
        url: str,
        *,
        role: Role,
        connections: int = 10,
        timeout_s: float = 10.0,
        waiting_max: int = 0,
    ) -> None:
        self.url = url
        self.role: Role = role
        self.connections = connections
        self._waiting_max = waiting_max
        self._waiting = 0
        self._endings: set[asyncio.Task[None]] = set()
        self._pool = AsyncConnectionPool(
            url,
            min_size=min(2, connections),
            max_size=connections,
            timeout=timeout_s,
            open=False,
            connection_class=Connection,
            kwargs={
                # A worker says the same few things for ever, in many sessions: planned once.
                "prepare_threshold": 0 if role == "rag_worker" else 5,
                "autocommit": True,  # a transaction begins with a message of its own, see _begin
                "row_factory": dict_row,
                "application_name": role,
                **BOUNDS,
            },
            configure=self._configure,
            check=_check,
            reconnect_timeout=5.0,
        )

    async def open(self) -> "Database":
        """Start connecting in the background. Raises nothing when the server is away."""
        await self._pool.open(wait=False)
        return self

    async def close(self) -> None:
        await asyncio.gather(*self._endings, return_exceptions=True)
        await self._pool.close()

    async def _configure(self, connection: psycopg.AsyncConnection[Any]) -> None:
        await take_role(connection, self.role)

    @asynccontextmanager
    async def transaction(
        self,
        *,
        customer_id: CustomerId | None = None,
        snapshot: bool = False,
        settings: Mapping[str, str] = NO_SETTINGS,
        opening: Opening | None = None,
    ) -> AsyncIterator[Tx]:
        """One transaction: committed at the end, rolled back on any error.

        `customer_id` is what row-level security lets rag_api see. `snapshot`: all statements see
        what the first one saw, so only for reading; nobody waits for its end. `settings` of the
        session hold for this transaction, and are the engine's own, no caller's. `opening` costs no
        round trip of its own. Raises DatabaseUnavailable when the server is away.
        """
        named = {**settings, "rag_engine.customer_id": customer_id.hex} if customer_id else settings
        with translated():
            async with self._lent(reading=snapshot) as connection:
                begin = _begin(named, snapshot=snapshot)
                if opening is None:
                    await connection.execute(begin, prepare=False)
                    yield Tx(connection)
                else:
                    yield Tx(connection, opened=await _opened(connection, begin, opening))
                if connection.closed:
                    # The driver would leave out the COMMIT without a word.
                    raise psycopg.OperationalError("the connection closed before its commit")

    async def glance(self, kind: type[T], opening: Opening, *, token_hash: bytes) -> T | None:
        """The first row of `opening` as `kind`, by a transaction of its own that sees the one
        access key with this hash, all of it in one message: it comes with every request."""
        identity = _set({"rag_engine.token_hash": token_hash.hex()})
        with translated():
            async with self._lent() as connection:
                rows = await _opened(connection, identity.encode(), opening)
        return msgspec.convert(rows[0], kind) if rows else None

    @asynccontextmanager
    async def _lent(self, *, reading: bool = False) -> AsyncIterator[Connection]:
        """A connection of the pool, for which only so many may wait. `reading`: it is taken back
        without keeping the caller.

        Counted here: the pool's own count keeps those who gave up until a connection comes, and
        with a full count it refuses everybody before it looks for one. It would stay away for ever.
        """
        idle = self._pool.get_stats().get("pool_available", 0)
        if self._waiting_max and self._waiting >= self._waiting_max + idle:
            raise Overloaded("Too many requests wait for the database: come back soon.")
        self._waiting += 1
        try:
            connection = await self._pool.getconn()
        finally:
            self._waiting -= 1
        async with AsyncExitStack() as ending:
            ending.push_async_callback(self._taken_back, connection)
            # At its end it commits what it finds begun, or rolls it back.
            await ending.enter_async_context(connection)
            yield connection
            if reading:
                self._ends_later(ending.pop_all())

    async def _taken_back(self, connection: Connection) -> None:
        connection.used_at = time.monotonic()
        await self._pool.putconn(connection)

    def _ends_later(self, ending: AsyncExitStack) -> None:
        """Nobody waits for a COMMIT that changes nothing."""
        task = asyncio.create_task(ending.aclose())
        self._endings.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._endings.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.info("a reading session was lost", extra={"reason": str(error)})

    @asynccontextmanager
    async def dedicated(self) -> AsyncIterator[Tx]:
        """A connection outside of the pool, each statement its own transaction."""
        with translated():
            connection = await Connection.connect(
                self.url, autocommit=True, row_factory=dict_row, **BOUNDS
            )
            async with connection:
                await take_role(connection, self.role)
                yield Tx(connection)

    @asynccontextmanager
    async def owned(self) -> AsyncIterator[Tx]:
        """A connection outside of the pool that acts as the login role, each statement its own
        transaction: for what no role of the engine may do, in the background."""
        with translated():
            connection = await OwnerConnection.connect(
                self.url, autocommit=True, row_factory=dict_row, **BOUNDS
            )
            async with connection:
                clean_strings(connection)
                await connection.execute(
                    "SELECT set_config('client_connection_check_interval', '2s', false)"
                )
                yield Tx(connection)


def _begin(settings: Mapping[str, str], *, snapshot: bool) -> bytes:
    """All that a transaction begins with as one message, which is one round trip and not two. Such
    a message takes no parameters: but hexadecimal digits and our own constants hold no quotes."""
    level = " ISOLATION LEVEL REPEATABLE READ" if snapshot else ""
    return f"BEGIN{level}; {_set(settings)}".encode()


async def _opened(
    connection: Connection, begin: bytes, opening: Opening
) -> Sequence[dict[str, Any]]:
    """Begins, and gives the rows of an opening. A session that does not know it yet learns it."""
    message = b"%b; EXECUTE %b" % (begin, _listed(opening.name, [*map(_written, opening.values)]))
    try:
        cursor = await connection.execute(message, prepare=False)
    except psycopg.errors.InvalidSqlStatementName:
        await connection.rollback()
        kinds = ["bytea" if isinstance(each, bytes) else "uuid" for each in opening.values]
        named = _listed(opening.name, kinds)
        await connection.execute(b"PREPARE %b AS %b" % (named, opening.statement.encode()))
        cursor = await connection.execute(message, prepare=False)
    while cursor.nextset():
        pass
    return await cursor.fetchall()


def _written(value: UUID | bytes) -> str:
    """As PostgreSQL reads it, in hexadecimal digits."""
    return f"'\\x{value.hex()}'" if isinstance(value, bytes) else f"'{value.hex}'"


def _listed(name: str, values: Sequence[str]) -> bytes:
    """With its values in brackets, which SQL leaves out where there are none."""
    return f"{name} ({', '.join(values)})".encode() if values else name.encode()


def _set(settings: Mapping[str, str]) -> str:
    """For this transaction."""
    named = [f"set_config('{name}', '{value}', true)" for name, value in settings.items()]
    return "SELECT " + ", ".join(named) if named else ""


async def _check(connection: Connection) -> None:
    if connection.is_fresh():
        return
    connection.answer_timeout_s = CHECK_TIMEOUT_S
    await AsyncConnectionPool.check_connection(connection)
    del connection.answer_timeout_s  # back to that of the class


async def take_role(connection: psycopg.AsyncConnection[Any], role: str) -> None:
    """SET ROLE, so that no superuser or owner session serves requests; and clean strings."""
    clean_strings(connection)
    await connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
    await connection.execute("SET timezone TO 'UTC'")


# A session that the server ended for its silence is told so in a class of errors of its own.
AWAY = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.IdleInTransactionSessionTimeout,
    PoolTimeout,
)


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
        elif isinstance(error, AWAY):
            raise DatabaseUnavailable("The database is away at the moment.") from error
