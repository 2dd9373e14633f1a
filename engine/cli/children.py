"""The API and the workers as children of `up`: started, started again when they die, stopped.

They have sessions of their own, so that a Ctrl-C in the terminal reaches `up` alone, which stops
everything in order. What they log goes to files.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from engine.cli.exits import CliError
from engine.cli.terminal import note
from engine.config import PREFIX, Limits, Settings

PAUSE_S_MIN, PAUSE_S_MAX = 1.0, 30.0
STEADY_S = 60.0  # a child that ran so long did not die of how it was started
STOP_TIMEOUT_S = 60.0
LAST_WORDS_BYTES = 4_096


class Child:
    """One child: `name` is for people, `verb` what `python -m engine` is to do."""

    def __init__(self, name: str, *, verb: str, settings: Settings, log: Path) -> None:
        self.name = name
        self.log = log
        self._verb = verb
        self._environment = environment_of(settings)
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._again_at: float | None = None
        self._pause_s = PAUSE_S_MIN

    @property
    def pid(self) -> int | None:
        """None while it does not run."""
        process = self._process
        return process.pid if process and process.poll() is None else None

    def start(self) -> None:
        """Start it; its output goes to the end of its log. From the main thread only, because
        the kernel ties the child's life to the thread that made it."""
        arguments = [sys.executable, "-m", "engine", self._verb, f"--parent={os.getpid()}"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )
        self._started_at, self._again_at = time.monotonic(), None

    def stop(self) -> None:
        """Stop it in order, or by force after a minute. Without effect when it does not run."""
        process, self._process, self._again_at = self._process, None, None
        if process is None:
            return
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                note(f"{self.name} did not stop in time and was killed")
        _signal_group(process.pid, signal.SIGKILL)
        process.wait()

    def restart(self, settings: Settings) -> None:
        """Stop it in order and start it with other settings."""
        self.stop()
        self._environment = environment_of(settings)
        self.start()

    def tend(self) -> None:
        """Start it again a little after it has died; each time later, if it keeps dying."""
        now = time.monotonic()
        if self._process is None or self._process.poll() is None:
            return
        if self._again_at is None:
            steady = now - self._started_at > STEADY_S
            self._pause_s = PAUSE_S_MIN if steady else self._pause_s
            self._again_at = now + self._pause_s
            self._pause_s = min(PAUSE_S_MAX, self._pause_s * 2)
            _signal_group(self._process.pid, signal.SIGTERM)
            code = self._process.returncode
            note(f"{self.name} ended ({code}) and is started again: see {self.log}")
        elif now >= self._again_at:
            _signal_group(self._process.pid, signal.SIGKILL)
            self.start()

    def demand(self) -> None:
        """Raises CliError with its last words if it has ended."""
        process = self._process
        if process and process.poll() is not None:
            raise CliError(f"{self.name} ended at its start: {self._last_words()} ({self.log})")

    def _last_words(self) -> str:
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - LAST_WORDS_BYTES))
            lines = file.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


def environment_of(settings: Settings) -> Mapping[str, str]:
    """The environment with exactly these settings: a variable of the user's that names a file
    would win over the one next to it. Others, like the keys of models, stay."""
    fields = (*Settings.__struct_fields__, *Limits.__struct_fields__)
    names = {PREFIX + field.upper() for field in fields}
    dropped = names | {f"{name}_FILE" for name in names}
    others = {name: value for name, value in os.environ.items() if name not in dropped}
    return others | settings.env()


def fresh_log(folder: Path, *, name: str) -> Path:
    """The path of a child's log; that of the start before is kept next to it."""
    folder.mkdir(mode=0o700, exist_ok=True)
    log = folder / f"{name}.log"
    if log.exists():
        log.replace(folder / f"{name}.log.1")
    log.touch(mode=0o600)
    return log


def _signal_group(pid: int, number: signal.Signals) -> None:
    """Whatever a dead child has left behind: its session is its own, so nobody else is hit."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return
