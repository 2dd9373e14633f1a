"""A child of `up` must not outlive it: an orphan would go on with the port and the old settings."""

import ctypes
import os
import signal
import sys
import threading
import time

from engine.cli.exits import CliError

PR_SET_PDEATHSIG = 1  # linux/prctl.h
POLL_S = 0.5


def end_with(parent: int) -> None:
    """Have this process get SIGTERM when its parent ends, by kill -9 too.

    On Linux the kernel does it, and the request survives an exec. Elsewhere a thread looks.
    Raises CliError if the parent is gone already.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    # Asked after the request, so that a death in between is not missed.
    if os.getppid() != parent:
        raise CliError(f"The process {parent} that started this one is gone.")


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL_S)
    os.kill(os.getpid(), signal.SIGTERM)
