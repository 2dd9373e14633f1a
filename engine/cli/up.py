"""`up`: the whole engine on one machine, in the foreground."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import Parameter

from engine.cli.exits import CliError, Exit
from engine.cli.place import Place, Running, local_url
from engine.config import Settings

if TYPE_CHECKING:
    from engine.cli.children import Child
    from engine.cli.demo import Demo
    from engine.local import LocalServices
    from engine.models import CustomerId

Flag = Annotated[bool, Parameter(negative=())]

READY_TIMEOUT_S = 120.0
READY_POLL_S = 0.05
TEND_S = 0.2
# A killed engine's children are told by the kernel; until they have gone, they have the port.
ORPHANS_TIMEOUT_S = 10.0


class Stopped(KeyboardInterrupt):
    """Ctrl-C or SIGTERM."""


def up(
    *,
    port: int | None = None,
    data_dir: Path | None = None,
    workers: int | None = None,
    demo: Flag = False,
    exit_after_demo: Flag = False,
) -> int:
    """Run the engine on this machine, with a database and a queue of its own, until Ctrl-C.

    Parameters
    ----------
    port
        Port of the API.
    data_dir
        Folder for everything that is kept.
    workers
        Number of worker processes.
    demo
        Ingest a small sample on the first start, and ask it a question.
    exit_after_demo
        As --demo, then stop.
    """
    settings = Settings.from_env(port=port, data_dir=data_dir, workers=workers)
    settings = msgspec.structs.replace(settings, data_dir=settings.data_dir.absolute())
    with signals_raised(), ExitStack() as stack:
        engine = LocalEngine(settings, stack=stack)
        engine.start(demo=demo or exit_after_demo)
        if exit_after_demo:
            return Exit.DONE
        try:
            engine.tend()
        except Stopped:
            from engine.cli.terminal import note

            note("stopping")
    return Exit.DONE


class LocalEngine:
    """Everything that `up` starts. `stack` stops it, in the opposite order."""

    def __init__(self, settings: Settings, *, stack: ExitStack) -> None:
        self._settings = settings
        self._stack = stack
        self._place = Place(settings.data_dir)
        self._services: LocalServices | None = None
        self._embedded = (False, False)
        self._children: list[Child] = []

    def start(self, *, demo: bool) -> None:
        """Start and announce everything. Raises CliError, LocalError, EngineError, SchemaError."""
        demand_port(self._settings, place=self._place)
        self._start_services()
        customer_id = self._prepare()
        shown = self._demo(customer_id) if demo else None
        self._start_children(shown.worker_settings if shown else self._settings)
        self._announce()
        if shown:
            shown.run(self._settings, workers=self._children[0], place=self._place)

    def tend(self) -> None:
        """Start again what dies. Ends by Stopped only."""
        while True:
            time.sleep(TEND_S)
            for child in self._children:
                child.tend()
            services = self._services
            if services and not self._services_run(services):
                self._tend_services(services)

    def _start_services(self) -> None:
        from engine.local import LocalServices

        given = self._settings
        local = LocalServices(
            given.data_dir, postgres=not given.database_url, redis=not given.redis_url
        )
        found = self._stack.enter_context(local).services
        self._services = local
        self._embedded = (not given.database_url, not given.redis_url)
        self._settings = msgspec.structs.replace(
            given,
            database_url=given.database_url or found.database_url,
            redis_url=given.redis_url or found.redis_url,
        )

    def _services_run(self, services: "LocalServices") -> bool:
        pids = (services.postgres_pid, services.redis_pid)
        return all(pid for pid, wanted in zip(pids, self._embedded, strict=True) if wanted)

    def _tend_services(self, services: "LocalServices") -> None:
        from engine.cli.terminal import note
        from engine.local import LocalError

        note("the database or the queue ended and is started again")
        try:
            services.start()
        except LocalError as error:
            raise CliError(f"The engine cannot go on: {error}") from error

    def _prepare(self) -> "CustomerId":
        """Schema, model, first customer and key."""
        from engine.cli.models import pulled
        from engine.cli.operating import first_customer
        from engine.embedding import Registry
        from engine.store.schema import apply_schema

        settings = self._settings
        asyncio.run(apply_schema(settings.database_url))
        pulled(Registry.from_settings(settings).default, models_path=settings.models_path)
        return asyncio.run(first_customer(settings, place=self._place))

    def _demo(self, customer_id: "CustomerId") -> "Demo":
        from engine.cli.demo import Demo

        return self._stack.enter_context(Demo(self._settings, customer_id=customer_id))

    def _start_children(self, worker_settings: Settings) -> None:
        from engine.cli.children import Child, fresh_log

        logs = self._place.logs_path
        workers = Child(
            "the workers",
            verb="work",
            settings=worker_settings,
            log=fresh_log(logs, name="workers"),
        )
        api = Child(
            "the API", verb="serve", settings=self._settings, log=fresh_log(logs, name="api")
        )
        for child in (workers, api):  # stopped the other way round
            self._children.append(child)
            self._stack.callback(child.stop)
            child.start()
        wait_until_ready(local_url(self._settings), api=api)

    def _announce(self) -> None:
        from engine.cli.terminal import say

        url, place = local_url(self._settings), self._place
        place.keep_running(
            Running(
                url=url,
                pid=os.getpid(),
                database_url=self._settings.database_url,
                redis_url=self._settings.redis_url,
            )
        )
        self._stack.callback(place.forget_running)
        token = place.key()
        say(f"rag-engine is up at {url}  (its API: {url}/schema)")
        say()
        say(f"  key   {token}  (kept in {place.key_path})")
        say(f"  logs  {place.logs_path}")
        say(f'  try   curl -H "Authorization: Bearer {token}" {url}/rags')
        say()


def demand_port(settings: Settings, *, place: Place) -> None:
    """Raises CliError unless the port can be listened on, before anything has been started."""
    from engine.cli.port import PORT_MAX, busy

    if not 1 <= settings.port <= PORT_MAX:
        raise CliError(busy(settings.host, port=settings.port), exit_code=Exit.USAGE)
    running = place.running()
    if running and running.url == local_url(settings):
        sentence = f"An engine runs here already, at {running.url} (process {running.pid})."
        if busy(settings.host, port=settings.port):
            raise CliError(sentence)
    killed = running is None and place.engine_path.exists()
    deadline = time.monotonic() + (ORPHANS_TIMEOUT_S if killed else 0.0)
    while sentence := busy(settings.host, port=settings.port):
        if time.monotonic() >= deadline:
            raise CliError(sentence)
        time.sleep(TEND_S)


def wait_until_ready(url: str, *, api: "Child") -> None:
    """Until the API says that it is. Raises CliError when it ends or takes too long."""
    from engine.cli.client import Client

    deadline = time.monotonic() + READY_TIMEOUT_S
    with Client(url) as client:
        while True:
            api.demand()
            try:
                client.readiness()
            except CliError as error:
                if time.monotonic() > deadline:
                    raise CliError(f"The API does not get ready: {error} See {api.log}.") from error
                time.sleep(READY_POLL_S)
            else:
                return


@contextmanager
def signals_raised() -> Iterator[None]:
    """Have Ctrl-C and SIGTERM raise Stopped once; the rest is the unwinding's, undisturbed."""

    def raise_stopped(number: int, frame: FrameType | None) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        raise Stopped

    before = {each: signal.signal(each, raise_stopped) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
