"""Named places where a test may have a worker die or freeze: RAG_ENGINE_FAILPOINT.

`store:3` means: killed as if by kill -9 at the third passing of the place `store`.
`extract@poison` counts only passings with a text that contains that word, and `batch!stop` freezes
the process as SIGSTOP does. Unset (always, outside of tests) it costs one comparison.
"""

import os
import signal


class Failpoint:
    """Counts the passings of one named place and ends the process at the chosen one."""

    def __init__(self, setting: str) -> None:
        place, _, action = setting.partition("!")
        place, _, self._word = place.partition("@")
        self._name, _, number = place.partition(":")
        self._left = int(number or 1)
        self._signal = signal.SIGSTOP if action == "stop" else signal.SIGKILL

    def hit(self, name: str, *, text: str = "") -> None:
        if name != self._name or self._word not in text:
            return
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), self._signal)


NOWHERE = Failpoint("")
