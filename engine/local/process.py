"""One server process: started, waited for, stopped, and found again after its owner died.

Servers are recognised by a mark in their command line that is made from the data folder, not by
their process id alone: ids are given out again, and a stranger must never be signalled.
"""

import hashlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from engine.local.account import Account
from engine.local.errors import LocalError, explained, no_space

# A database that recovers from a crash replays up to a gigabyte of its log first.
START_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 60.0
KILL_TIMEOUT_S = 5.0
POLL_S = 0.01
LOG_BYTES_MAX = 10 * 1024 * 1024
LOG_TAIL_BYTES = 16 * 1024
PROC = Path("/proc")
MARK_PREFIX = "rag-engine-"
CAUSE = re.compile(r"FATAL|PANIC|ERROR|[Ff]ailed|could not|No space left")


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """How a server is started, recognised and stopped.

    `leader` matches the command line of the server itself, `member` that of any of its processes.
    `ready` is asked with the process id until it says yes. `stale` are files that a killed server
    leaves behind; they are removed once none of its processes lives.
    """

    name: str
    arguments: tuple[str, ...]
    executable: Path
    log: Path
    account: Account
    leader: re.Pattern[str]
    member: re.Pattern[str]
    stop_signal: signal.Signals
    ready: Callable[[int], bool]
    stale: Callable[[], tuple[Path, ...]]


class Server:
    """A server process that this process owns."""

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        process = self._process
        return process.pid if process and process.poll() is None else None

    def clear(self) -> None:
        """Stop what a killed owner or a killed server left running, and remove its traces."""
        launch = self._launch
        stop_marked(launch)
        with explained(launch.log.parent):
            for path in launch.stale():
                path.unlink(missing_ok=True)

    def start(self) -> None:
        """Start it and wait until it answers. Raises LocalError with its last words if not."""
        launch = self._launch
        offset = rotate(launch.log)
        with explained(launch.log.parent):
            descriptor = os.open(
                launch.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600
            )
        try:
            process = launch.account.spawn(
                launch.arguments, executable=launch.executable, log=descriptor
            )
        except OSError as error:
            raise LocalError(f"{launch.executable} does not run: {error.strerror}.") from error
        finally:
            os.close(descriptor)
        self._process = process
        self._wait_until_ready(process, offset=offset)

    def stop(self) -> None:
        """Stop it in order, or by force after a minute. Without effect when it does not run."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(self._launch.stop_signal)
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.clear()

    def _wait_until_ready(self, process: subprocess.Popen[bytes], *, offset: int) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        launch = self._launch
        while not launch.ready(process.pid):
            if process.poll() is not None:
                raise LocalError(_last_words(launch, offset=offset))
            if time.monotonic() > deadline:
                raise LocalError(
                    f"{launch.name} did not answer within {START_TIMEOUT_S:.0f} s: "
                    f"see {launch.log}."
                )
            time.sleep(POLL_S)


def stop_marked(launch: Launch) -> None:
    """Stop every process of an earlier start. Raises LocalError if one survives SIGKILL.

    The leader first and in order, so that nothing is lost; then what outlived it, because a
    database backend in the middle of a query does not notice that its server is gone.
    """
    steps = (
        (launch.leader, launch.stop_signal, STOP_TIMEOUT_S),
        (launch.member, signal.SIGQUIT, KILL_TIMEOUT_S),
        (launch.member, signal.SIGKILL, KILL_TIMEOUT_S),
    )
    uid = launch.account.owner_uid
    for pattern, number, timeout_s in steps:
        if not (pids := find(pattern, uid=uid)):
            continue
        for pid in pids:
            _signal(pid, number)
        _wait_until_gone(pattern, uid=uid, timeout_s=timeout_s)
    if left := find(launch.member, uid=uid):
        raise LocalError(
            f"{launch.name} of an earlier start (process {left[0]}) cannot be stopped: stop it."
        )


def mark_of(folder: Path) -> str:
    """The mark of the servers of a folder: stays when it is moved, differs when it is copied."""
    found = folder.stat()
    digest = hashlib.sha256(f"{found.st_dev} {found.st_ino}".encode()).hexdigest()
    return MARK_PREFIX + digest[:12]


def find(pattern: re.Pattern[str], *, uid: int) -> list[int]:
    """The ids of that user's processes whose command line matches from its beginning."""
    lines = _proc_lines(uid) if (PROC / "self").exists() else _ps_lines(uid)
    return [pid for pid, line in lines if pattern.match(line)]


def command_line(pid: int, *, uid: int) -> str | None:
    """The command line of a process of that user, None if there is none with this id."""
    lines = _proc_lines(uid) if (PROC / "self").exists() else _ps_lines(uid)
    return next((line for found, line in lines if found == pid), None)


def rotate(log: Path) -> int:
    """Set a log that has grown too large aside; the offset at which new lines will begin."""
    try:
        size = log.stat().st_size
    except FileNotFoundError:
        return 0
    if size <= LOG_BYTES_MAX:
        return size
    with explained(log.parent):
        log.replace(log.with_suffix(".log.1"))
    return 0


def cause_in(output: str) -> str:
    """The line of a program's output that most likely says why it failed."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    telling = [line for line in lines if CAUSE.search(line)]
    return (telling or lines or ["it said nothing"])[-1]


def _last_words(launch: Launch, *, offset: int) -> str:
    with explained(launch.log), launch.log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(offset, size - LOG_TAIL_BYTES))
        output = file.read().decode("utf-8", "replace")
    if "No space left on device" in output:
        return no_space(launch.log.parent)
    return f"{launch.name} did not start: {cause_in(output)} (see {launch.log})."


def _wait_until_gone(pattern: re.Pattern[str], *, uid: int, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while find(pattern, uid=uid) and time.monotonic() < deadline:
        time.sleep(POLL_S)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def _proc_lines(uid: int) -> Iterator[tuple[int, str]]:
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if entry.stat().st_uid != uid:
                continue
            line = (entry / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        yield int(entry.name), os.fsdecode(line.replace(b"\0", b" "))


def _ps_lines(uid: int) -> Iterator[tuple[int, str]]:
    """Where there is no /proc, as on macOS."""
    output = subprocess.run(
        ["ps", "-axo", "pid=,uid=,args="], capture_output=True, text=True, check=False
    ).stdout
    for line in output.splitlines():
        pid, owner, arguments = (*line.split(None, 2), "")[:3]
        if owner == str(uid):
            yield int(pid), arguments
