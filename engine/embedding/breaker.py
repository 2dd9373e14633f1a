"""A circuit breaker: after some failures in a row nothing is tried for a while, then one probe.

Pure but for the clock. Not here: what counts as a failure (`provider`).
"""

import time
from collections.abc import Callable


class Resting(Exception):
    """Nothing may be tried for `wait_s` seconds."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"resting for {wait_s:.0f} s")
        self.wait_s = wait_s


class Breaker:
    """Closed: all calls go. Open: none goes for `cooling_s`. Then one goes as the probe, and only
    when one has succeeded all go again."""

    def __init__(
        self, *, failures_max: int, cooling_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._failures_max = failures_max
        self._cooling_s = cooling_s
        self._clock = clock
        self._failures = 0
        self._open_until: float | None = None
        self._probing = False

    def look(self) -> None:
        """Raises Resting when none may go now."""
        if self._open_until is None:
            return
        wait_s = self._open_until - self._clock()
        if wait_s > 0:
            raise Resting(wait_s)
        if self._probing:
            raise Resting(1.0)

    def admit(self) -> bool:
        """Whether the call that goes now is the probe, which has to end with `probed`.

        Raises Resting when none may go.
        """
        self.look()
        if self._open_until is None:
            return False
        self._probing = True
        return True

    def probed(self) -> None:
        """The probe has ended, in whatever way: without a verdict the next call is one."""
        self._probing = False

    def succeeded(self) -> None:
        self._failures = 0
        self._open_until = None

    def failed(self, *, rest_s: float | None = None, at_once: bool = False) -> None:
        """`at_once` opens without waiting for more failures; `rest_s` is how long, if known."""
        self._failures += 1
        if at_once or self._open_until is not None or self._failures >= self._failures_max:
            until = self._clock() + (self._cooling_s if rest_s is None else rest_s)
            # A call that went before it opened may fail later; the longer rest counts.
            self._open_until = max(until, self._open_until or until)
