"""The worker's side of the sandbox: one fresh child per call, and how it ended.

The template process (template.py) forks; here orders are sent, results are read under a limit of
size and of time, and an ending becomes a value or an error. Nothing here blocks the event loop,
and nothing here knows of formats.
"""

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import msgspec

from engine.errors import (
    DocumentTooComplex,
    ExtractFailed,
    PermanentError,
    SourceError,
    StorageUnavailable,
)
from engine.text import clean_line
from workers.extract.confine import Confines, missing_nets
from workers.extract.lanes import Lanes
from workers.extract.template import (
    ENDED,
    HEADER,
    STARTED,
    Crash,
    Ending,
    Order,
    OutOfMemory,
    Refusal,
    Success,
    TooNested,
)

_LOG = logging.getLogger(__name__)
_START_TIMEOUT_S = 30.0
_END_TIMEOUT_S = 10.0
_CLOSE_TIMEOUT_S = 2.0
_READ_BYTES = 1 << 20
# A child that used this share of its memory and then crashed most probably ran out of it.
_MEMORY_SHARE = 0.7
_CRASHES = (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGTRAP, signal.SIGILL)
_BOOT = (
    "import sys; sys.path[:] = {path!r}; sys.dont_write_bytecode = True;"
    " from workers.extract.template import main; main({control}, {preload!r}, {scratch!r})"
)


class Allowance(msgspec.Struct, frozen=True, kw_only=True):
    """What one call may take. `memory_bytes` counts above the preloaded libraries.

    `cpu_s` is the kernel's own clock, which ends a child even when nobody watches it.
    """

    memory_bytes: int
    cpu_s: int
    timeout_s: float
    result_bytes_max: int


class _End(msgspec.Struct, frozen=True, kw_only=True):
    """How a child ended: exactly one of exit status and signal tells, and its peak memory."""

    status: int
    resident_kib: int

    @property
    def signal(self) -> int:
        return os.WTERMSIG(self.status) if os.WIFSIGNALED(self.status) else 0


class Sandbox:
    """Runs importable functions in throw-away processes. One per worker process.

    `preload` names the modules that children find loaded. `children_max` bounds how many run at
    once, and with it their memory together; lanes.py says who has to yield. `seccomp` is off only
    where it is to be tested.
    """

    def __init__(
        self, *, preload: tuple[str, ...] = (), children_max: int = 2, seccomp: bool = True
    ) -> None:
        self._preload = preload
        self._lanes = Lanes(children_max)
        self._seccomp = seccomp
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    @property
    def pid(self) -> int | None:
        """The template process, None while there is none."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the template; it loads its modules while the caller goes on."""
        if missing := missing_nets():
            _LOG.warning(
                "documents are parsed without %s: not on this system", " and ".join(missing)
            )
        self._spawn()

    def close(self) -> None:
        """End the template and every child. May be called twice."""
        if self._control:
            self._control.close()
        if self._process:
            try:
                self._process.wait(timeout=_CLOSE_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._control, self._process = None, None

    async def run(
        self, function: str, path: Path, *, argument: bytes, allowance: Allowance
    ) -> bytes:
        """What `function` ("module:name") returns for the open file and `argument`.

        Raises what it raised if that is a PermanentError; DocumentTooComplex when it hit a limit;
        ExtractFailed when it ended in any other way; Overloaded when it has to come back because
        others wait. Cancelling kills the child.
        """
        async with self._lanes.slot():
            with self._fork(function, path, argument=argument, allowance=allowance) as child:
                await child.started()  # parsers that are still being loaded are no slow document
                return await self._lanes.run(child.result(allowance))

    def _fork(
        self, function: str, path: Path, *, argument: bytes, allowance: Allowance
    ) -> "_Child":
        try:
            if self._process is None or self._process.poll() is not None:
                self._respawn()
            return self._ordered(function, path, argument=argument, allowance=allowance)
        except FileNotFoundError as error:
            raise ExtractFailed("The document is no longer there to be read.") from error
        except OSError as error:  # no descriptor, no process or no disk left: not the document's
            raise StorageUnavailable("The parser cannot be started at the moment.") from error

    def _ordered(
        self, function: str, path: Path, *, argument: bytes, allowance: Allowance
    ) -> "_Child":
        order = Order(
            function=function,
            argument=argument,
            confines=Confines(
                memory_bytes=allowance.memory_bytes,
                cpu_s=allowance.cpu_s,
                seccomp=self._seccomp,
            ),
        )
        with suppress(ConnectionError):
            return self._send(order, path)
        self._respawn()
        return self._send(order, path)

    def _send(self, order: Order, path: Path) -> "_Child":
        """One call to the kernel, which takes all of a few KiB or nothing: no lock is needed."""
        assert self._control is not None
        body = msgspec.msgpack.encode(order)
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        child = _Child()
        try:
            passed = [descriptor, child.result_writer.fileno(), child.lifeline_far.fileno()]
            sent = socket.send_fds(self._control, [HEADER.pack(len(body)) + body], passed)
            if sent < HEADER.size + len(body):
                self._control.close()
                raise ConnectionError("half an order was sent")
        except OSError:
            child.close()
            raise
        finally:
            os.close(descriptor)
        child.handed_over()
        return child

    def _respawn(self) -> None:
        _LOG.warning("the process that documents are parsed from is gone; starting another")
        if self._process:
            self._process.kill()
        self._spawn()

    def _spawn(self) -> None:
        self.close()
        near, far = socket.socketpair()
        near.setblocking(False)
        boot = _BOOT.format(
            path=[folder for folder in sys.path if folder],  # nothing from where it stands
            control=far.fileno(),
            preload=self._preload,
            scratch=tempfile.gettempdir(),
        )
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", boot],
            env={},
            cwd="/",
            stdin=subprocess.DEVNULL,
            pass_fds=[far.fileno()],
            start_new_session=True,
        )
        far.close()
        self._control = near


class _Child:
    """The near ends of one child's result and lifeline. Closing them kills it."""

    def __init__(self) -> None:
        self._result, self.result_writer = socket.socketpair()
        self._lifeline, self.lifeline_far = socket.socketpair()
        self._result.setblocking(False)
        self._lifeline.setblocking(False)

    def __enter__(self) -> "_Child":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def handed_over(self) -> None:
        """The far ends belong to the template and the child alone now."""
        self.result_writer.close()
        self.lifeline_far.close()

    def close(self) -> None:
        for end in (self._result, self._lifeline, self.result_writer, self.lifeline_far):
            end.close()

    async def result(self, allowance: Allowance) -> bytes:
        """The function's value, or its ending as an error. To be asked for once it has started."""
        timed_out = oversized = False
        payload = b""
        try:
            async with asyncio.timeout(allowance.timeout_s):
                payload = await self._payload(allowance.result_bytes_max)
        except TimeoutError:
            timed_out = True
        except OverflowError:
            oversized = True
        end = await self._end()
        if timed_out:
            limit = f"{allowance.timeout_s:g} s"
            raise DocumentTooComplex(f"The document took longer than {limit} to read.")
        if oversized:
            raise DocumentTooComplex("What the document holds is larger than may be kept.")
        return _value(payload, end=end, allowance=allowance)

    async def started(self) -> None:
        """Wait for its first sign of life."""
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                await self._received(STARTED.size)
        except (TimeoutError, EOFError, ConnectionError) as error:
            raise ExtractFailed("The parser could not be started.") from error

    async def _payload(self, bytes_max: int) -> bytes:
        loop = asyncio.get_running_loop()
        found = bytearray()
        while part := await loop.sock_recv(self._result, _READ_BYTES):
            found += part
            if len(found) > bytes_max:
                raise OverflowError
        return bytes(found)

    async def _end(self) -> _End:
        """Kill what is left of the child and wait until it is gone."""
        with suppress(OSError):
            self._lifeline.shutdown(socket.SHUT_WR)
        try:
            async with asyncio.timeout(_END_TIMEOUT_S):
                status, resident = ENDED.unpack(await self._received(ENDED.size))
        except (TimeoutError, EOFError, ConnectionError) as error:
            raise ExtractFailed("The parser was ended from outside.") from error
        return _End(status=status, resident_kib=resident)

    async def _received(self, length: int) -> bytes:
        loop = asyncio.get_running_loop()
        found = b""
        while len(found) < length:
            part = await loop.sock_recv(self._lifeline, length - len(found))
            if not part:
                raise EOFError
            found += part
        return found


def _value(payload: bytes, *, end: _End, allowance: Allowance) -> bytes:
    try:
        ending = msgspec.msgpack.decode(payload, type=Ending) if payload else None
    except msgspec.DecodeError:
        ending = None
    match ending:
        case Success():
            return ending.value
        case Refusal():
            raise _refused(ending)
        case OutOfMemory():
            raise DocumentTooComplex("The document needs more memory to read than is allowed.")
        case TooNested():
            raise DocumentTooComplex("The document is nested too deeply.")
        case Crash():
            _LOG.error("a parser failed: %s", ending.trace[-8_000:])
            raise ExtractFailed("The document could not be read.")
    raise _died(end, allowance=allowance)


def _refused(refusal: Refusal) -> SourceError:
    """Only permanent errors may be named by a child: the rest of the tree is not its to raise."""
    known = {leaf.code: leaf for leaf in PermanentError.__subclasses__()}
    kind = known.get(refusal.code)
    message = clean_line(refusal.message, limit=500)
    return kind(message) if kind else ExtractFailed("The document could not be read.")


def _died(end: _End, *, allowance: Allowance) -> SourceError:
    if end.signal == signal.SIGXCPU:
        return DocumentTooComplex("The document took too much processor time to read.")
    peak = end.resident_kib * 1024
    if end.signal in _CRASHES and peak > allowance.memory_bytes * _MEMORY_SHARE:
        return DocumentTooComplex("The document needs more memory to read than is allowed.")
    _LOG.error("a parser died: signal %d, status %d, %d bytes", end.signal, end.status, peak)
    return ExtractFailed("The document could not be read.")
