"""`doctor`: looks at everything the engine stands on, and says for each what to do."""

import asyncio
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import Parameter

from engine.cli.exits import CliError, Exit
from engine.cli.place import HERE, Place, Running, Where, settings_of
from engine.config import Settings

if TYPE_CHECKING:
    from engine.embedding import Registry

DISK_BYTES_MIN = 2 * 1024**3
START = "Start one with `rag-engine up`, or set {setting}."


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the answer. `remedy` is empty when it is well."""

    name: str
    ok: bool
    found: str
    remedy: str = ""


def doctor(*, json: Annotated[bool, Parameter(negative=())] = False, where: Where = HERE) -> int:
    """Check the database, pgvector, queue, storage, model, disk and port, and say what to do.

    Prepares the schema of a new database, as every start of the engine does. Exits with 1 if
    something is wrong.

    Parameters
    ----------
    json
        Print the checks as JSON.
    """
    from engine.cli.terminal import say, say_json

    settings = settings_of(where)
    running = Place(settings.data_dir).running()
    checks = list(_checks(settings, running=running))
    well = all(check.ok for check in checks)
    if json:
        say_json({"ok": well, "checks": checks})
    else:
        for check in checks:
            say(f"{'ok   ' if check.ok else 'WRONG'}  {check.name:<9} {check.found}")
            if check.remedy:
                say(f"                 {check.remedy}")
    return Exit.DONE if well else Exit.FAILED


def _checks(settings: Settings, *, running: Running | None) -> Iterator[Check]:
    yield from _database(settings)
    yield _redis(settings)
    yield _storage(settings)
    yield _model(settings)
    yield _disk(settings)
    yield _port(settings, running=running)


def _database(settings: Settings) -> Iterator[Check]:
    from engine.errors import DatabaseUnavailable
    from engine.store.schema import VECTOR_MIN, VERSION, SchemaError, apply_schema

    wanted = ".".join(map(str, VECTOR_MIN))
    unknown = Check(name="pgvector", ok=False, found="unknown without a database")
    if not settings.database_url:
        remedy = START.format(setting="RAG_ENGINE_DATABASE_URL")
        yield Check(name="postgres", ok=False, found="no engine runs here", remedy=remedy)
        yield unknown
        return
    try:
        asyncio.run(apply_schema(settings.database_url))
    except DatabaseUnavailable as error:
        remedy = "Start PostgreSQL, or correct RAG_ENGINE_DATABASE_URL."
        yield Check(name="postgres", ok=False, found=cause_of(error), remedy=remedy)
        yield unknown
    except SchemaError as error:
        about_vector = "pgvector" in str(error)
        yield Check(
            name="postgres",
            ok=about_vector,
            found="answers",
            remedy=_if(not about_vector, str(error)),
        )
        yield Check(
            name="pgvector", ok=not about_vector, found="", remedy=_if(about_vector, str(error))
        )
    else:
        yield Check(name="postgres", ok=True, found=f"answers, schema version {VERSION}")
        yield Check(name="pgvector", ok=True, found=f"{wanted} or later")


def _redis(settings: Settings) -> Check:
    from engine.errors import QueueUnavailable
    from engine.jobs import Bell

    if not settings.redis_url:
        remedy = START.format(setting="RAG_ENGINE_REDIS_URL")
        return Check(name="redis", ok=False, found="no engine runs here", remedy=remedy)

    async def ping() -> None:
        bell = Bell(settings.redis_url)
        try:
            await bell.ping()
        finally:
            await bell.close()

    remedy = "Start Redis, or correct RAG_ENGINE_REDIS_URL."
    return _tried("redis", lambda: asyncio.run(ping()), QueueUnavailable, remedy=remedy)


def _storage(settings: Settings) -> Check:
    from engine.blobs import Blobs
    from engine.errors import StorageUnavailable

    remedy = "Correct RAG_ENGINE_STORAGE_URL, or give the folder to this user."

    def ping() -> None:
        asyncio.run(Blobs(settings.blobs_url).ping())

    return _tried("storage", ping, StorageUnavailable, remedy=remedy)


def _tried(
    name: str, attempt: Callable[[], None], error_kind: type[Exception], *, remedy: str
) -> Check:
    try:
        attempt()
    except error_kind as error:
        return Check(name=name, ok=False, found=cause_of(error), remedy=remedy)
    return Check(name=name, ok=True, found="answers")


def _model(settings: Settings) -> Check:
    from engine.embedding import Registry, is_installed

    registry = Registry.from_settings(settings)
    spec, here = registry.default, registry.default.on_disk
    if here is not None and not is_installed(here, models_path=settings.models_path):
        remedy = f"Run `rag-engine models pull {here.name}`."
        return Check(name="model", ok=False, found=f"{here.name} is not installed", remedy=remedy)
    if spec.endpoint is None:
        return Check(name="model", ok=True, found=f"{spec.name} is ready")
    return _served(registry, settings=settings)


def _served(registry: "Registry", *, settings: Settings) -> Check:
    """Of a model behind a server: whether the server answers as the models file says."""
    from engine.embedding import Models
    from engine.errors import ModelUnavailable

    async def ask() -> None:
        models = Models(registry=registry, settings=settings)
        try:
            await (await models.open_default()).warm_up()
        finally:
            models.close()
            await asyncio.sleep(0)  # a task of its own closes the connection

    try:
        asyncio.run(ask())
    except ModelUnavailable as error:
        remedy = "Start that server, or correct its table in RAG_ENGINE_MODELS_FILE."
        return Check(name="model", ok=False, found=error.message, remedy=remedy)
    return Check(name="model", ok=True, found=f"{registry.default_name} answers")


def _disk(settings: Settings) -> Check:
    folder = next(each for each in _upwards(settings.data_dir.absolute()) if each.is_dir())
    free = shutil.disk_usage(folder).free
    found = f"{free / 1024**3:.1f} GiB free in {folder}"
    remedy = _if(free < DISK_BYTES_MIN, "Free some space, or choose another folder: --data-dir.")
    return Check(name="disk", ok=free >= DISK_BYTES_MIN, found=found, remedy=remedy)


def _port(settings: Settings, *, running: Running | None) -> Check:
    from engine.cli.client import Client
    from engine.cli.port import busy

    if running is None:
        remedy = busy(settings.host, port=settings.port)
        found = f"{settings.port} is {'in use' if remedy else 'free'}"
        return Check(name="port", ok=not remedy, found=found, remedy=remedy)
    try:
        with Client(running.url) as client:
            client.readiness()
    except CliError as error:
        remedy = "Look into the logs of the engine, or start it again."
        return Check(name="port", ok=False, found=str(error), remedy=remedy)
    return Check(name="port", ok=True, found=f"the engine answers at {running.url}")


def cause_of(error: BaseException) -> str:
    """The first line of what the driver said: the operator may read what customers may not."""
    lines = str(error.__cause__ or error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _if(condition: bool, text: str) -> str:
    return text if condition else ""


def _upwards(folder: Path) -> list[Path]:
    return [folder, *folder.parents]
