"""`serve`: the API process of an engine whose database and queue are given."""

import asyncio
import os
import time

from engine.cli.exits import Exit
from engine.config import PREFIX, Settings, SettingsError

DATABASE_PATIENCE_S = 30.0
DATABASE_POLL_S = 1.0
SHUTDOWN_TIMEOUT_S = 10


def serve(*, host: str | None = None, port: int | None = None, parent: int | None = None) -> int:
    """Run the API. Applies the schema first, and waits a little for a database that starts.

    Parameters
    ----------
    host
        Address to listen on.
    port
        Port to listen on.
    parent
        Process id of an `up` with which this process ends, whatever happens to it.
    """
    from engine import logs
    from engine.cli.parent import end_with

    if parent is not None:
        end_with(parent)
    settings = Settings.from_env(host=host, port=port)
    require_services(settings)
    logs.configure(settings.log_level)
    _apply_schema(settings)
    os.environ.update(settings.env())
    for variable in (f"{PREFIX}HOST_FILE", f"{PREFIX}PORT_FILE"):
        os.environ.pop(variable, None)  # a file would win over what was just set
    return _listen(settings)


def require_services(settings: Settings) -> None:
    """Raises SettingsError unless the database and the queue are given and the models file, if
    there is one, can be read."""
    from engine.embedding import Registry

    for name, value in (("DATABASE_URL", settings.database_url), ("REDIS_URL", settings.redis_url)):
        if not value:
            raise SettingsError(
                f"{PREFIX}{name}: must be set here; `rag-engine up` brings its own services"
            )
    Registry.from_settings(settings)


def _apply_schema(settings: Settings) -> None:
    from engine.errors import DatabaseUnavailable
    from engine.store.schema import apply_schema

    deadline = time.monotonic() + DATABASE_PATIENCE_S
    while True:
        try:
            asyncio.run(apply_schema(settings.database_url))
        except DatabaseUnavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(DATABASE_POLL_S)
        else:
            return


def _listen(settings: Settings) -> int:
    import uvicorn

    from engine.api.connection import Connection

    try:
        uvicorn.run(
            "engine.api.app:from_env",
            factory=True,
            host=settings.host,
            port=settings.port,
            workers=settings.api_processes,
            timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_S,
            http=Connection,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
        )
    except KeyboardInterrupt:
        return Exit.DONE  # uvicorn has shut down in order and passes the signal on
    return Exit.DONE
