"""The command line as people and scripts use it: real processes, a data folder of their own."""

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fix_services import REPOSITORY, free_port, make_folder

TIMEOUT_S = 60.0


class Ended:
    """How a command ended."""

    def __init__(self, done: "subprocess.CompletedProcess[str]") -> None:
        self.code = done.returncode
        self.out, self.err = done.stdout, done.stderr
        assert "Traceback" not in self.err, self.err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Place:
    """A data folder, a port, and the environment of commands that use them."""

    def __init__(self, data_dir: Path, **settings: str) -> None:
        self.data_dir = data_dir
        self.port = free_port()
        models = os.environ.get("RAG_ENGINE_TEST_MODELS_DIR") or REPOSITORY / ".data" / "models"
        others = {k: v for k, v in os.environ.items() if not k.startswith("RAG_ENGINE_")}
        self.environment = others | {
            "RAG_ENGINE_DATA_DIR": str(data_dir),
            "RAG_ENGINE_MODELS_DIR": str(models),
            "RAG_ENGINE_PORT": str(self.port),
            **settings,
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self, *arguments: str | Path) -> Ended:
        """Run one command to its end."""
        done = subprocess.run(
            [sys.executable, "-m", "engine", *map(str, arguments)],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        return Ended(done)

    @contextlib.contextmanager
    def up(self, *arguments: str) -> Iterator["Up"]:
        """`up` in the foreground of a process, ready; stopped in order unless it has ended."""
        process = Up(
            subprocess.Popen(
                [sys.executable, "-m", "engine", "up", *arguments],
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
        try:
            process.until("  try ")
            yield process
        finally:
            if process.popen.poll() is None:
                process.popen.send_signal(signal.SIGTERM)
            process.close()
            time.sleep(0.05)

    def processes(self) -> list[int]:
        """Ids of all processes whose environment names this data folder."""
        wanted = f"RAG_ENGINE_DATA_DIR={self.data_dir}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
        return found


class Up:
    """A running `up`: its lines are collected as they come."""

    def __init__(self, popen: "subprocess.Popen[str]") -> None:
        self.popen = popen
        self.lines: list[str] = []
        self._queue: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def until(self, words: str) -> str:
        """The first line, from now on, that contains these words."""
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            line = self._queue.get(timeout=max(0.0, deadline - time.monotonic()))
            assert line is not None, "".join(self.lines)
            if words in line:
                return line

    def stop(self, number: signal.Signals) -> int:
        self.popen.send_signal(number)
        return self.popen.wait(TIMEOUT_S)

    def close(self) -> None:
        self.popen.wait(TIMEOUT_S)
        self._reader.join()
        assert self.popen.stdout
        self.popen.stdout.close()

    def _read(self) -> None:
        assert self.popen.stdout
        for line in self.popen.stdout:
            self.lines.append(line)
            self._queue.put(line)
        self._queue.put(None)


@contextlib.contextmanager
def place(**settings: str) -> Iterator[Place]:
    """A place in a temporary folder, removed afterwards; nothing of it may run then."""
    folder = make_folder()
    try:
        made = Place(folder / "data", **settings)
        yield made
        assert made.processes() == []
    finally:
        shutil.rmtree(folder)


def eventually(condition: Any, *, timeout_s: float = 10.0) -> None:
    """Wait until the condition holds; fails when it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)
