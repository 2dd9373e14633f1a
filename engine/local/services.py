"""Both servers of one data folder, started and stopped together."""

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import msgspec

from engine.local.account import Account
from engine.local.binaries import SYSTEM_FOLDER, postgres_bin, redis_server
from engine.local.folder import (
    FolderLock,
    drop_short_folder,
    make_data_dir,
    services_folder,
    socket_folder,
)
from engine.local.postgres import DATABASE, ROLE, SUPERUSER, Postgres
from engine.local.process import Server, mark_of
from engine.local.redis import Redis


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """Where the servers listen. A server that was not asked for has empty addresses.

    `database_url` is for the engine: a role without superuser rights that owns its database.
    `admin_url` is for the tests: the superuser.
    """

    database_url: str = ""
    admin_url: str = ""
    redis_url: str = ""


class LocalServices:
    """PostgreSQL and Redis over a data folder. Not thread-safe; blocking.

    `durable=False` gives up safety against a crash of the machine, for tests. The servers outlive
    an owner that is killed; the next start on the folder stops them and begins anew.
    """

    def __init__(
        self, data_dir: Path, *, durable: bool = True, postgres: bool = True, redis: bool = True
    ) -> None:
        self.data_dir = data_dir
        self._durable = durable
        self._wanted = (postgres, redis)
        self._lock: FolderLock | None = None
        self._folder: Path | None = None
        self._sockets: Path | None = None
        self._services = Services()
        self._postgres: tuple[Postgres, Server] | None = None
        self._redis: Server | None = None

    def __enter__(self) -> "LocalServices":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def services(self) -> Services:
        """What the last start returned."""
        return self._services

    @property
    def folder(self) -> Path | None:
        """Where the database and the sockets really are, while started."""
        return self._folder

    @property
    def postgres_pid(self) -> int | None:
        """None while it does not run."""
        return self._postgres[1].pid if self._postgres else None

    @property
    def redis_pid(self) -> int | None:
        """None while it does not run."""
        return self._redis.pid if self._redis else None

    def start(self) -> Services:
        """Start what does not run, including a server that died since. Raises LocalError.

        After an error nothing runs and the folder is free again.
        """
        with ExitStack() as undo:
            undo.callback(self.stop)
            if self._lock is None:
                self._open()
            self._start_postgres()
            self._start_redis()
            undo.pop_all()
        return self._services

    def stop(self) -> None:
        """Stop both in order and let go of the folder. Without effect when nothing runs."""
        with ExitStack() as steps:
            # Run in reverse: the folder is let go of last, whatever fails before.
            if self._lock:
                steps.callback(self._lock.release)
            if self._folder and self._sockets:
                steps.callback(drop_short_folder, self._folder, sockets=self._sockets)
            if self._postgres:
                steps.callback(self._postgres[1].stop)
            if self._redis:
                steps.callback(self._redis.stop)
            self._lock = self._folder = self._sockets = self._postgres = self._redis = None

    def restart_postgres(self) -> None:
        """Stop PostgreSQL in order and start it again, at the same address."""
        if self._postgres:
            self._postgres[1].stop()
            self._start_postgres()

    def restart_redis(self) -> None:
        """Stop Redis in order and start it again, empty, at the same address."""
        if self._redis:
            self._redis.stop()
            self._start_redis()

    def _open(self) -> None:
        data_dir = make_data_dir(self.data_dir)
        self._lock = FolderLock(data_dir)
        self._lock.acquire()
        folder, account = services_folder(data_dir)
        if folder.parent == SYSTEM_FOLDER:
            self._lock.extend(folder)
        self._folder = folder
        self._sockets = socket_folder(folder, account=account)
        self._services = self._prepare(data_dir, folder=folder, account=account)

    def _prepare(self, data_dir: Path, *, folder: Path, account: Account) -> Services:
        """Say what is to be started; nothing runs yet."""
        postgres_wanted, redis_wanted = self._wanted
        sockets = self._sockets or folder
        mark = mark_of(folder)
        database_url = admin_url = redis_url = ""
        if postgres_wanted:
            postgres = Postgres(
                data_dir=data_dir,
                services=folder,
                sockets=sockets,
                bin=postgres_bin(account),
                account=account,
                mark=mark,
                durable=self._durable,
            )
            self._postgres = (postgres, Server(postgres.launch()))
            database_url = postgres.url(role=ROLE, database=DATABASE)
            admin_url = postgres.url(role=SUPERUSER, database=SUPERUSER)
        if redis_wanted:
            redis = Redis(
                services=folder,
                sockets=sockets,
                log=data_dir / "redis.log",
                program=redis_server(account),
                account=account,
                mark=mark,
            )
            self._redis = Server(redis.launch())
            redis_url = redis.url
        return Services(database_url=database_url, admin_url=admin_url, redis_url=redis_url)

    def _start_postgres(self) -> None:
        if self._postgres is None or self._postgres[1].pid:
            return
        postgres, server = self._postgres
        server.clear()
        postgres.prepare()
        server.start()

    def _start_redis(self) -> None:
        if self._redis is None or self._redis.pid:
            return
        self._redis.clear()
        self._redis.start()
