"""Named places where a test may have a worker die as if by kill -9: RAG_ENGINE_FAILPOINT.

`store:3` means: at the third passing of the place `store`. Unset (always, outside of tests) it
costs one comparison.
"""

import os
import signal


class Failpoint:
    """Counts the passings of one named place and ends the process at the chosen one."""

    def __init__(self, setting: str) -> None:
        self._name, _, number = setting.partition(":")
        self._left = int(number or 1)

    def hit(self, name: str) -> None:
        if name != self._name:
            return
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
