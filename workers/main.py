"""The composition root of a worker process, and the supervisor that keeps such processes alive."""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterable
from functools import partial
from uuid import uuid4

import uvloop

from engine import jobs, logs
from engine.addresses import AllowList
from engine.blobs import Blobs, clear_spool
from engine.config import Settings, SettingsError
from engine.embedding import Models, Registry
from engine.errors import EngineError, Unavailable
from engine.models import CustomerId, WorkerId
from engine.store import Database, turns
from engine.store.schema import SchemaError, apply_schema
from workers import memory
from workers.ann import AnnKeeper
from workers.crew import Crew
from workers.extract.extractor import Extractor
from workers.failpoint import Failpoint
from workers.fetch import Fetcher
from workers.ingest import Conductor
from workers.lanes import FetchLanes
from workers.listener import listen
from workers.merge import Merge
from workers.sweep import Sweep

log = logging.getLogger(__name__)

RESTART_PAUSE_S = 1.0
CANCEL_AGAIN_S = 0.5
BESIDE_JOBS = 4  # connections of the pool for what runs beside the jobs: sweep, merges, ANN, claims
STOP_TIMEOUT_S = 60.0  # whoever has not given back by then is killed: its leases end by themselves
SPOOL_AGE_S = 24 * 3600  # nothing is received or fetched for so long: its process was killed


async def work(settings: Settings, *, parent: int) -> None:
    """Run one worker process until SIGTERM, SIGINT or the death of `parent`, a process id."""
    memory.steady_allocator()
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with _opened(settings) as (crew, sweep, merge, keeper):
        loops = [
            asyncio.create_task(coroutine)
            for coroutine in (
                crew.beat(),
                crew.poll(),
                sweep.run(),
                merge.run(),
                keeper.run(),
                listen(crew, redis_url=settings.redis_url),
                _watch(parent, stopped=stopped),
            )
        ]
        stopping = asyncio.create_task(_until(stopped))
        done, _ = await asyncio.wait([*loops, stopping], return_when=asyncio.FIRST_COMPLETED)
        await crew.stop()
        await end(loops)
    for task in done:
        task.result()


async def end(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel, and again whatever still runs: a library may take a cancellation for the end of its
    own time limit, and go on."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_S)


async def _until(stopped: asyncio.Event) -> None:
    await stopped.wait()


@contextlib.asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[tuple[Crew, Sweep, Merge, AnnKeeper]]:
    limits = settings.limits
    await asyncio.to_thread(clear_spool, settings.data_dir / "spool", age_s=SPOOL_AGE_S)
    database = await Database(
        settings.database_url, role="rag_worker", connections=settings.worker_jobs + BESIDE_JOBS
    ).open()
    blobs, bell = Blobs(settings.blobs_url), jobs.Bell(settings.redis_url)
    models = Models(registry=Registry.from_settings(settings), settings=settings)
    extractor = Extractor()
    extractor.start()
    conductor = Conductor(
        worker_id=WorkerId(uuid4()),
        database=database,
        blobs=blobs,
        fetcher=Fetcher(
            limits=limits,
            allow_list=AllowList.parse(settings.allow_networks),
            lanes=FetchLanes(
                places=settings.worker_jobs, others_wait=partial(_others_wait, database)
            ),
        ),
        extractor=extractor,
        models=models,
        settings=settings,
    )
    crew = Crew(
        conductor=conductor,
        database=database,
        bell=bell,
        limits=limits,
        jobs=settings.worker_jobs,
    )
    failpoint = Failpoint(settings.failpoint)
    sweep = Sweep(database=database, blobs=blobs, bell=bell, limits=limits, failpoint=failpoint)
    merge = Merge(database=database, limits=limits, failpoint=failpoint)
    keeper = AnnKeeper(database=database, limits=limits, failpoint=failpoint)
    warming = asyncio.create_task(conductor.warm_up())
    warming.add_done_callback(_warmed)
    try:
        yield crew, sweep, merge, keeper
    finally:
        warming.cancel()
        extractor.close()
        models.close()
        await bell.close()
        await database.close()


def _warmed(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log.error("model not warm", exc_info=error)


async def _others_wait(database: Database, customer_id: CustomerId) -> bool:
    """Nobody who could be served, while the database is away."""
    try:
        async with database.transaction() as tx:
            return await turns.others_wait(tx, customer_id=customer_id)
    except Unavailable:
        return False


async def _watch(parent: int, *, stopped: asyncio.Event) -> None:
    """A worker whose supervisor is gone must not go on unseen. The supervisor's id is told to it,
    because the supervisor may be gone before anybody looks."""
    while os.getppid() == parent:  # noqa: ASYNC110 - nothing announces a parent's death
        await asyncio.sleep(1.0)
    stopped.set()


async def supervise(settings: Settings) -> None:
    """Keep `settings.workers` processes alive; on SIGTERM let them give back what they hold."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    keepers = [
        asyncio.create_task(_keep(settings, stopped=stopped)) for _ in range(settings.workers)
    ]
    await stopped.wait()
    await asyncio.gather(*keepers)


async def _keep(settings: Settings, *, stopped: asyncio.Event) -> None:
    environment = os.environ | settings.env()
    command = (sys.executable, "-m", "workers", "--one", f"--parent={os.getpid()}")
    while not stopped.is_set():
        try:
            process = await asyncio.create_subprocess_exec(*command, env=environment)
        except OSError as error:  # no memory or no process left for the moment
            log.error("worker not started", extra={"cause": str(error)})
            await _pause(stopped)
            continue
        stopping = asyncio.create_task(stopped.wait())
        ending = asyncio.create_task(process.wait())
        await asyncio.wait([stopping, ending], return_when=asyncio.FIRST_COMPLETED)
        if ending.done():
            log.error("worker ended", extra={"pid": process.pid, "code": process.returncode})
            await _pause(stopped)
            continue
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
            await asyncio.wait([ending], timeout=STOP_TIMEOUT_S)
            process.kill()
        await ending


async def _pause(stopped: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stopped.wait(), RESTART_PAUSE_S)


def main(arguments: list[str]) -> int:
    """`python -m workers`: the supervisor. `--one`: a single worker process, which ends with the
    process of `--parent=ID` or, without it, with the one that started it."""
    options = argparse.ArgumentParser(prog="workers")
    options.add_argument("--one", action="store_true")
    options.add_argument("--parent", type=int, default=os.getppid())
    chosen = options.parse_args(arguments)
    try:
        settings = Settings.from_env()
        logs.configure(settings.log_level)
        Registry.from_settings(settings)  # a broken models file is told once, not by every child
        if chosen.one:
            # A worker talks with its database all the time: a fifth less processor time for that.
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(work(settings, parent=chosen.parent))
        else:
            asyncio.run(apply_schema(settings.database_url))
            asyncio.run(supervise(settings))
    except (SchemaError, SettingsError, EngineError) as error:
        log.error("cannot work: %s", error)
        return 1
    return 0
