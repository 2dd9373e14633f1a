"""What the command line keeps in the data folder, and how a verb finds a local engine by it.

    DATA_DIR/
      key           the access key of the local customer (0600), the only place that has it
      engine.json   where the running engine is (0600); gone after a clean stop
      logs/         what the API and the workers of `up` write

The servers' own files are engine.local's matter.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
from cyclopts import Parameter

from engine.cli.exits import CliError, Exit
from engine.config import Settings, SettingsError


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """A local engine: `pid` is the process of `up`."""

    url: str
    pid: int
    database_url: str
    redis_url: str


class Place:
    """The files of one data folder. Raises CliError for what cannot be read or written."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.key_path = data_dir / "key"
        self.engine_path = data_dir / "engine.json"
        self.logs_path = data_dir / "logs"

    def key(self) -> str | None:
        """The local access key, None when there is none."""
        data = _read(self.key_path)
        return data.decode("utf-8", "replace").strip() or None if data else None

    def keep_key(self, token: str) -> None:
        _write(self.key_path, token.encode() + b"\n")

    def running(self) -> Running | None:
        """The engine that runs on this folder; None when it has stopped or was killed."""
        try:
            found = msgspec.json.decode(_read(self.engine_path) or b"", type=Running)
        except msgspec.DecodeError:
            return None
        return found if is_alive(found.pid) else None

    def keep_running(self, running: Running) -> None:
        _write(self.engine_path, msgspec.json.encode(running))

    def forget_running(self) -> None:
        self.engine_path.unlink(missing_ok=True)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Where:
    """Which engine a verb talks to: the local one of a data folder unless told otherwise.

    A dataclass, because the command-line library makes options of its fields.

    Parameters
    ----------
    url
        Address of the engine, if not the local one.
    key_file
        File that holds the access key, if not the local one.
    data_dir
        Data folder of the local engine.
    """

    url: str | None = None
    key_file: Path | None = None
    data_dir: Path | None = None


HERE = Where()


def settings_of(where: Where) -> Settings:
    """The settings, with the database and queue of the local engine where none are given."""
    settings = Settings.from_env(data_dir=where.data_dir)
    running = Place(settings.data_dir).running()
    if running is None:
        return settings
    return msgspec.structs.replace(
        settings,
        database_url=settings.database_url or running.database_url,
        redis_url=settings.redis_url or running.redis_url,
    )


def database_settings(where: Where) -> Settings:
    """As settings_of, for a verb that works on the database. Raises CliError without one."""
    settings = settings_of(where)
    if not settings.database_url:
        raise CliError(
            f"No engine runs on the folder {settings.data_dir}: start one with `rag-engine up`, "
            "or set RAG_ENGINE_DATABASE_URL.",
            exit_code=Exit.UNREACHABLE,
        )
    return settings


def address_of(where: Where) -> str:
    """The URL of the engine: given, else of the local one, else from the settings."""
    if where.url:
        return where.url.rstrip("/")
    settings = Settings.from_env(data_dir=where.data_dir)
    running = Place(settings.data_dir).running()
    if running:
        return running.url
    return settings.base_url if settings.public_url else local_url(settings)


def key_of(where: Where) -> str:
    """The access key: from the file given, else the local one, else the bootstrap key."""
    settings = Settings.from_env(data_dir=where.data_dir)
    place = Place(settings.data_dir)
    if where.key_file:
        data = _read(where.key_file)
        if data is None:
            raise SettingsError(f"--key-file: {where.key_file} does not exist")
        if not (given := data.decode("utf-8", "replace").strip()):
            raise SettingsError(f"--key-file: {where.key_file} is empty")
        return _checked(given)
    if token := place.key() or settings.bootstrap_key:
        return _checked(token)
    raise CliError(
        f"There is no access key in {place.key_path}: start a local engine with `rag-engine up`, "
        "or name a file that holds a key with --key-file.",
        exit_code=Exit.UNAUTHORISED,
    )


def _checked(token: str) -> str:
    if not (token.isascii() and token.isprintable()):
        raise CliError(
            "The access key has characters that no key has.", exit_code=Exit.UNAUTHORISED
        )
    return token


def local_url(settings: Settings) -> str:
    """The address for clients on this machine: a wildcard is for listening only."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)  # noqa: S104
    return f"http://{host}:{settings.port}"


def is_alive(pid: int) -> bool:
    """Whether a process with this id exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _read(path: Path) -> bytes | None:
    with _explained(path):
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all, readable for this user only from its first moment."""
    with _explained(path):
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        Path(name).replace(path)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CliError(f"The file {path} cannot be used: {error.strerror}.") from error
