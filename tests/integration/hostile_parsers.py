"""What a sandboxed child runs in test_sandbox.py: parsers that misbehave on purpose."""

import ctypes
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

from engine.errors import FetchTimeout, PdfImageOnly


def echo(file, argument):
    return argument + file.read()


def where(file, argument):
    """What a child can see of the machine."""
    return json.dumps(
        {
            "pid": os.getpid(),
            "environment": dict(os.environ),
            "initial_environment": attempt(lambda: Path("/proc/self/environ").read_text()),
            "folder": attempt(os.getcwd),
            "descriptors": sorted(_open_descriptors()),
            "session": os.getsid(0),
        }
    ).encode()


def _open_descriptors():
    for number in range(256):
        try:
            os.fstat(number)
        except OSError:
            continue
        yield number


def attempts(file, argument):
    """Each of these must fail; the answer names the error of each, or what it gave."""
    found = {name: attempt(one) for name, one in tries(int(argument)).items()}
    return json.dumps(found).encode()


def tries(worker):
    """What a parser has no business to do; `worker` is the process that wants the result."""
    return {
        "socket": lambda: socket.socket(socket.AF_INET).close(),
        "unix socket": lambda: socket.socket(socket.AF_UNIX),
        "socketpair": socket.socketpair,
        "fork": os.fork,
        "execute": lambda: os.execv("/bin/true", ["true"]),
        "program": lambda: subprocess.run(["/bin/true"], check=False),
        "kill the worker": lambda: os.kill(worker, 0),
        "have the kernel kill the worker": lambda: _signalled_by_pipe(worker),
        "slow the worker down": lambda: os.setpriority(os.PRIO_PROCESS, worker, 19),
        "kill the template": lambda: os.kill(os.getppid(), 0),
        "write": lambda: Path("file").write_text("x"),
        "make a folder": lambda: os.mkdir("folder"),
        "remove": lambda: os.unlink("/tmp/nothing-of-that-name"),
        "read the worker's environment": lambda: Path(f"/proc/{worker}/environ").read_bytes(),
        "read passwords": lambda: Path("/etc/passwd").read_text(),
        "list the root": lambda: os.listdir("/"),
        "raise limits": _raise_limit,
        "trace": lambda: _traced(worker),
    }


def signals_itself(file, argument):
    """As the C library does when it aborts."""
    os.kill(os.getpid(), 0)
    return attempt(lambda: os.kill(1, 0)).encode()


def attempt(one):
    try:
        return f"succeeded: {one()!r}"[:200]
    except (OSError, ValueError) as error:
        return type(error).__name__


def _signalled_by_pipe(worker):
    import fcntl

    reader, _ = os.pipe()
    fcntl.fcntl(reader, fcntl.F_SETOWN, worker)


def _raise_limit():
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))


def _traced(worker):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(16, worker, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "ptrace")


def memory_bomb(file, argument):
    held = []
    while True:
        held.append(bytearray(1 << 20))


def native_memory_bomb(file, argument):
    """Like a library that aborts when it gets no memory."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.memset.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)
    while block := libc.malloc(1 << 20):
        libc.memset(block, 1, 1 << 20)
    os.abort()


def endless_loop(file, argument):
    while True:
        pass


def endless_sleep(file, argument):
    while True:
        time.sleep(60)


def brood(file, argument):
    """Leaves a grandchild behind, which holds the result open, and writes its number down."""
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
    return str(pid).encode()


def brood_and_wait(file, argument):
    if os.fork() == 0:
        time.sleep(600)
    time.sleep(600)


def crash(file, argument):
    raise KeyError("a bug in a parser")


def segfault(file, argument):
    ctypes.string_at(0)


def leave(file, argument):
    os._exit(0)


def refuse(file, argument):
    raise PdfImageOnly("no text in here")


def pretend(file, argument):
    """An error that is none of a parser's business."""
    raise FetchTimeout("not mine to say")


def recurse(file, argument):
    return recurse(file, argument)


def large_result(file, argument):
    return bytes(int(argument))


def lie(file, argument):
    """Bytes on the result that are no answer."""
    os.write(4, b"\xc1\xc1\xc1")
    os._exit(0)
