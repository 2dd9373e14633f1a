"""Whole embedded servers for one test: folders for them, traces in them, and ways to die."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis
from fix_services import make_folder

from engine.local import LocalServices, Services, binaries
from engine.local.process import find, mark_of

OWNER = """
import sys, time
from pathlib import Path
from engine.local import LocalServices
local = LocalServices(Path(sys.argv[1]), durable=False)
print(local.start().admin_url, local.postgres_pid, local.redis_pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A place for data folders that the servers' user can reach; emptied with what it led to."""
    made = make_folder()
    yield made
    for link in made.rglob("services"):
        if link.is_symlink() and link.readlink().parent == binaries.SYSTEM_FOLDER:
            shutil.rmtree(link.readlink(), ignore_errors=True)
    shutil.rmtree(made)


def local(data_dir: Path, *, postgres: bool = True, redis: bool = True) -> LocalServices:
    return LocalServices(data_dir, durable=False, postgres=postgres, redis=redis)


def remember(services: Services, *, word: str) -> None:
    with psycopg.connect(services.database_url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS words (word text)")
        connection.execute("INSERT INTO words VALUES (%s)", (word,))


def remembered(services: Services) -> list[str]:
    with psycopg.connect(services.database_url) as connection:
        return [row[0] for row in connection.execute("SELECT word FROM words ORDER BY word")]


def answers(services: Services) -> bool:
    with (
        psycopg.connect(services.database_url) as connection,
        redis.Redis.from_url(services.redis_url) as client,
    ):
        row = connection.execute("SELECT '[1,2]'::vector(2) <-> '[1,3]'").fetchone()
        return row == (1.0,) and bool(client.ping())


def wait_until_gone(pid: int) -> None:
    """Wait for a process that is not our child, or that nobody has reaped yet."""
    for _ in range(500):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return
        if state == "Z":
            return
        time.sleep(0.01)
    raise AssertionError(f"process {pid} lives")


def kill(pid: int | None) -> None:
    assert pid
    os.kill(pid, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def marked(services_folder: Path) -> list[int]:
    """Every process on the machine that belongs to the folder, by its mark, whoever runs it."""
    mark, uid = mark_of(services_folder), services_folder.stat().st_uid
    return find(re.compile(rf"(?s).*{mark}"), uid=uid)


def kill_owner(data_dir: Path) -> tuple[str, int, int]:
    """Let another process start the services and kill it: the admin URL and the orphans' ids."""
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, data_dir], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout
    with owner.stdout:
        admin_url, postgres_pid, redis_pid = owner.stdout.readline().split()
    owner.kill()
    owner.wait()
    return admin_url, int(postgres_pid), int(redis_pid)
