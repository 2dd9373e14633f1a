"""The process that children are forked from: parsers loaded once, one thread, no secrets.

It is started by sandbox.py with an empty environment and one socket, holds nothing else of the
worker, and does three things: fork on request, kill whom it is told to, report how a child ended.
It never looks at a stranger's document. The wire, both ways, is described at `Order` and `Ending`.
"""

import gc
import importlib
import os
import selectors
import signal
import socket
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import BinaryIO, NoReturn

import msgspec

from engine.errors import SourceError
from workers.extract.confine import Confines, Nets, confine, nets

HEADER = struct.Struct("<I")
STARTED = struct.Struct("<i")
ENDED = struct.Struct("<iq")
DESCRIPTORS = 3
_TRACEBACK_CHARACTERS = 8_000
_DOCUMENT, _RESULT, _RULESET = 3, 4, 5


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A request for one child.

    Comes over the control socket as HEADER (its length), together with three descriptors: the
    document, the result pipe, the lifeline. Then the order itself, msgpack. Over the lifeline the
    template answers STARTED (pid), later ENDED (wait status, peak resident KiB). The far end of
    the lifeline being closed, or shut for writing, means: kill.
    """

    function: str
    argument: bytes
    confines: Confines


class Success(msgspec.Struct, frozen=True, kw_only=True, tag="success"):
    """What the function returned."""

    value: bytes


class Refusal(msgspec.Struct, frozen=True, kw_only=True, tag="refusal"):
    """The function raised a SourceError: its code and message."""

    code: str
    message: str


class OutOfMemory(msgspec.Struct, frozen=True, kw_only=True, tag="out_of_memory"):
    """The function ran into the memory limit and could still say so."""


class TooNested(msgspec.Struct, frozen=True, kw_only=True, tag="too_nested"):
    """The function ran out of stack."""


class Crash(msgspec.Struct, frozen=True, kw_only=True, tag="crash"):
    """The function raised what it should not; the traceback is for the log."""

    trace: str


Ending = Success | Refusal | OutOfMemory | TooNested | Crash


class Template:
    """The loop. `control` is the socket that orders come in on; its end is the end of all. `nets`
    are what children are shut in by."""

    def __init__(self, control: socket.socket, *, nets: Nets) -> None:
        self._control = control
        self._nets = nets
        self._selector = selectors.DefaultSelector()
        self._lifelines: dict[int, socket.socket] = {}
        self._woken, self._waker = socket.socketpair()

    def run(self) -> None:
        """Serve until the control socket is closed, then leave no child behind."""
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        self._selector.register(self._control, selectors.EVENT_READ, self._accept)
        self._selector.register(self._woken, selectors.EVENT_READ, self._reap)
        try:
            while True:
                for key, _ in self._selector.select():
                    key.data()
        except EOFError:
            for pid in self._lifelines:
                _kill(pid)

    def _accept(self) -> None:
        header, descriptors, _, _ = socket.recv_fds(self._control, HEADER.size, DESCRIPTORS)
        if len(header) < HEADER.size:
            raise EOFError
        order = msgspec.msgpack.decode(self._rest(HEADER.unpack(header)[0]), type=Order)
        document, result, lifeline = descriptors
        started_by = os.getpid()
        pid = os.fork()
        if pid == 0:
            _child(order, (document, result), parent=started_by, nets=self._nets)
        os.close(document)
        os.close(result)
        self._watch(pid, socket.socket(fileno=lifeline))

    def _rest(self, length: int) -> bytes:
        parts = bytearray()
        while len(parts) < length:
            part = self._control.recv(length - len(parts))
            if not part:
                raise EOFError
            parts += part
        return bytes(parts)

    def _watch(self, pid: int, lifeline: socket.socket) -> None:
        lifeline.setblocking(False)
        self._lifelines[pid] = lifeline
        self._selector.register(lifeline, selectors.EVENT_READ, lambda: self._let_go(pid, lifeline))
        with suppress(OSError):
            lifeline.send(STARTED.pack(pid))

    def _let_go(self, pid: int, lifeline: socket.socket) -> None:
        """The worker wants this child no more, or has died itself."""
        # The child may have been reaped by an earlier event of the same round.
        if self._lifelines.get(pid) is lifeline:
            self._selector.unregister(lifeline)
            _kill(pid)

    def _reap(self) -> None:
        with suppress(BlockingIOError):
            self._woken.recv(4_096)
        while (pid := _ended_child()) is not None:
            # The group goes first: until its leader is reaped, nobody else can get its number.
            _kill(pid)
            _, status, usage = os.wait4(pid, 0)
            lifeline = self._lifelines.pop(pid)
            with suppress(KeyError):
                self._selector.unregister(lifeline)
            with suppress(OSError):
                lifeline.send(ENDED.pack(status, usage.ru_maxrss))
            lifeline.close()


def _ended_child() -> int | None:
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return found.si_pid if found else None


def _kill(pid: int) -> None:
    """The child's whole group, or the child alone when it has not yet made its group."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _child(order: Order, pipes: tuple[int, int], *, parent: int, nets: Nets) -> NoReturn:
    """Everything between the fork and the exit. Never returns into the template's loop."""
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        nets = _keep_only(*pipes, nets=nets)
        with _Report() as report:
            function = _found(order.function)
            confine(order.confines, parent=parent, nets=nets)
            with open(_DOCUMENT, "rb") as file:
                report.ending = Success(value=function(file, order.argument))
        _write(report.encoded())
    finally:
        os._exit(0)


def _keep_only(document: int, result: int, *, nets: Nets) -> Nets:
    """Standard streams to nowhere, the descriptors at their numbers, all others closed."""
    kept = [document, result, *(() if nets.ruleset is None else (nets.ruleset,))]
    # Moved out of the way first: each may already sit at another's number.
    moved = [os.dup(number) for number in kept]
    while min(moved) <= _RULESET:
        moved = [os.dup(number) for number in moved]
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    for number, descriptor in enumerate(moved, start=_DOCUMENT):
        os.dup2(descriptor, number)
    os.closerange(_DOCUMENT + len(kept), max(1_024, os.sysconf("SC_OPEN_MAX")))
    return nets if nets.ruleset is None else nets._replace(ruleset=_RULESET)


def _found(function: str) -> Callable[[BinaryIO, bytes], bytes]:
    module, _, name = function.partition(":")
    found: Callable[[BinaryIO, bytes], bytes] = getattr(importlib.import_module(module), name)
    return found


def _write(payload: bytes) -> None:
    rest = memoryview(payload)
    with suppress(BrokenPipeError):
        while rest:
            rest = rest[os.write(_RESULT, rest) :]


class _Report:
    """Turns however the block ends into an Ending: the child's last word to its worker."""

    def __init__(self) -> None:
        self.ending: Ending = Crash(trace="the function did not finish")

    def __enter__(self) -> "_Report":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        match error:
            case None:
                pass
            case SourceError():
                self.ending = Refusal(code=error.code, message=error.message)
            case MemoryError():
                self.ending = OutOfMemory()
            case RecursionError():
                self.ending = TooNested()
            case _:
                lines = "".join(traceback.format_exception(error))
                self.ending = Crash(trace=lines[-_TRACEBACK_CHARACTERS:])
        return True

    def encoded(self) -> bytes:
        try:
            return msgspec.msgpack.encode(self.ending)
        except MemoryError:
            self.ending = OutOfMemory()
            return msgspec.msgpack.encode(self.ending)


def _stand_nowhere(scratch: str) -> None:
    """In a folder that has no name any more: nothing can be found or made there, and nothing of it
    is left behind, however this process and its worker end."""
    with suppress(OSError):  # where nothing can be written at all, "/" is as good
        folder = tempfile.mkdtemp(prefix="rag-engine-sandbox-", dir=scratch)
        os.chdir(folder)
        os.rmdir(folder)


def main(control: int, preload: tuple[str, ...], scratch: str) -> None:
    """What sandbox.py starts: load the parsers, then serve."""
    _stand_nowhere(scratch)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for name in preload:
        module = importlib.import_module(name)
        if warm_up := getattr(module, "warm_up", None):
            warm_up()
    # Time zones are read from a file that children cannot open.
    time.tzset()
    made = nets()
    gc.collect()
    gc.freeze()
    Template(socket.socket(fileno=control), nets=made).run()
    sys.exit(0)
