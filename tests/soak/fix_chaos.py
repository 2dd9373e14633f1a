"""An engine whose every part is killed, frozen and restarted at random: API, workers, services."""

import asyncio
import os
import random
import signal
import subprocess
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import fix_engine
import psycopg
import redis
from fix_engine import api_child, worker_process
from fix_hands import Hand
from fix_world import lives

from engine.config import Settings
from engine.local import LocalServices

PAUSE_S = (2.0, 7.0)
# An API that starts beside all this work shares its cores with every parser.
fix_engine.START_TIMEOUT_S = 180.0


class Engine:
    """An API, a supervisor with workers, and one worker that is spared: its memory is weighed."""

    def __init__(self, settings: Settings, *, services: LocalServices, folder: Path) -> None:
        self.settings = settings
        self.services = services
        self._folder = folder
        self._api = ExitStack()
        self._crew = ExitStack()
        self.api: subprocess.Popen[bytes]
        self.crew: subprocess.Popen[bytes]
        self.spared = Hand(settings, log=folder / "spared.log")

    def start_api(self) -> None:
        child = api_child(self.settings, log=self._folder / "api.log")
        self.api = self._api.enter_context(child)

    def kill_api(self) -> None:
        self.api.kill()
        self.api.wait()
        self._api.close()
        self.start_api()

    def start_crew(self) -> None:
        child = worker_process(self.settings, log=self._folder / "workers.log")
        self.crew = self._crew.enter_context(child)

    def deploy(self) -> None:
        """A new release: the old workers are told to stop, new ones come."""
        self._crew.close()
        self.start_crew()

    def workers(self) -> list[int]:
        """The processes below the supervisor that may be killed at any time."""
        try:
            text = Path(f"/proc/{self.crew.pid}/task/{self.crew.pid}/children").read_text()
        except OSError:
            return []
        return [pid for pid in map(int, text.split()) if lives(pid)]

    def close(self) -> None:
        self.spared.close()
        self._crew.close()
        self._api.close()


class Chaos:
    """One disaster after another, from one seed."""

    def __init__(self, engine: Engine, *, admin_url: str, seed: int) -> None:
        self.done: Counter[str] = Counter()
        self._engine = engine
        self._admin_url = admin_url
        self._dice = random.Random(seed)

    async def reign(self, over: asyncio.Event, *, spare_api: asyncio.Event) -> None:
        """Until `over`. `spare_api`: from then on the API lives, so that it can be weighed."""
        acts = {
            self.kill_worker: 34,
            self.freeze_worker: 12,
            self.deploy: 12,
            self.kill_api: 8,
            self.restart_redis: 10,
            self.flush_redis: 6,
            self.restart_postgres: 6,
            self.kill_postgres: 4,
            self.end_sessions: 8,
        }
        while not over.is_set():
            await asyncio.sleep(self._dice.uniform(*PAUSE_S))
            act = self._dice.choices(list(acts), weights=list(acts.values()))[0]
            if act == self.kill_api and spare_api.is_set():
                continue
            await act()
            self.done[act.__name__.replace("_", " ")] += 1

    async def kill_worker(self) -> None:
        if pids := self._engine.workers():
            os.kill(self._dice.choice(pids), signal.SIGKILL)

    async def freeze_worker(self) -> None:
        """For one to three leases."""
        pids = [*self._engine.workers(), self._engine.spared.process.pid]
        pid, lease_s = self._dice.choice(pids), self._engine.settings.limits.lease_s
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(lease_s * self._dice.uniform(1.0, 3.0))
        os.kill(pid, signal.SIGCONT)

    async def deploy(self) -> None:
        await asyncio.to_thread(self._engine.deploy)

    async def kill_api(self) -> None:
        await asyncio.to_thread(self._engine.kill_api)

    async def restart_redis(self) -> None:
        await asyncio.to_thread(self._engine.services.restart_redis)

    async def flush_redis(self) -> None:
        with redis.Redis.from_url(self._engine.services.services.redis_url) as client:
            await asyncio.to_thread(client.flushall)

    async def restart_postgres(self) -> None:
        await asyncio.to_thread(self._engine.services.restart_postgres)

    async def kill_postgres(self) -> None:
        """As a machine dies; its own recovery brings it back."""
        pid = self._engine.services.postgres_pid
        assert pid
        os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(self._dice.uniform(0.5, 3.0))
        await asyncio.to_thread(self._engine.services.start)

    async def end_sessions(self) -> None:
        def end() -> None:
            with psycopg.connect(self._admin_url, autocommit=True) as admin:
                admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE random() < 0.5"
                    " AND pid <> pg_backend_pid() AND usename = 'rag_engine'"
                )

        await asyncio.to_thread(end)
