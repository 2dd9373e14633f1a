"""Memory of processes over time, and whether it grows.

Anonymous memory is weighed, because pages of files come and go as the machine likes.
"""

import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

MIB = 1024 * 1024
WINDOW_S = 10.0
# An allocator keeps what the largest document so far needed, in steps of a few MiB: over a short
# run this noise is all there is to see. Beyond it nothing may grow by more than this an hour.
NOISE_MIB = 16.0
GROWTH_MIB_PER_H = 10.0
LIFE_S_MIN = 240.0  # a process that lived for less has shown its start and nothing else


class Weights:
    """One curve: seconds since the start, and MiB."""

    def __init__(self) -> None:
        self.points: list[tuple[float, float]] = []

    def add(self, at_s: float, mib: float) -> None:
        self.points.append((at_s, mib))

    def lasted_s(self) -> float:
        return self.points[-1][0] - self.points[0][0] if self.points else 0.0

    def minutes(self) -> str:
        """The least of each minute, for whoever wants to see the shape."""
        return " ".join(f"{mib:.0f}" for _, mib in lows(self.points)[:: round(60 / WINDOW_S)])

    def most(self) -> float:
        return max((mib for _, mib in self.points), default=0.0)

    def growth(self) -> tuple[float, float]:
        """MiB that were added over the second half, and how many it might have been.

        By the median slope (Theil and Sen) of the least weight in each ten seconds: what a
        document takes while it is read is not what stays.
        """
        half = self.points[len(self.points) // 2 :]
        if not half:
            return 0.0, NOISE_MIB
        lasted_s = half[-1][0] - half[0][0]
        allowed = NOISE_MIB + GROWTH_MIB_PER_H * lasted_s / 3600
        return theil_sen(lows(half)) * lasted_s, allowed


def lows(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    least: dict[int, tuple[float, float]] = {}
    for at_s, mib in points:
        window = int(at_s // WINDOW_S)
        least[window] = min(least.get(window, (at_s, mib)), (at_s, mib), key=lambda each: each[1])
    return sorted(least.values())


def theil_sen(points: list[tuple[float, float]]) -> float:
    """The median of the slopes between any two points."""
    slopes = [
        (later[1] - earlier[1]) / (later[0] - earlier[0])
        for number, earlier in enumerate(points)
        for later in points[number + 1 :]
    ]
    return statistics.median(slopes) if slopes else 0.0


def anonymous_mib(pid: int) -> float:
    """0 for a process that is no more."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    found = [line for line in status.splitlines() if line.startswith("RssAnon:")]
    return int(found[0].split()[1]) / 1024 if found else 0.0


def below(pid: int) -> list[int]:
    """All processes below this one."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        try:
            tasks = list(Path(f"/proc/{waiting.pop()}/task").iterdir())
            children = [int(c) for task in tasks for c in (task / "children").read_text().split()]
        except OSError:
            continue
        found += children
        waiting += children
    return found


class Scale:
    """Weighs once a second, in a thread of its own. `whom` names the processes of the moment."""

    def __init__(self, whom: Callable[[], dict[str, int | None]]) -> None:
        self.curves: dict[str, Weights] = {}
        self._whom = whom
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._weigh, daemon=True)

    def __enter__(self) -> "Scale":
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join()

    def _weigh(self) -> None:
        while not self._closing.wait(1.0):
            at_s = time.monotonic() - self._began
            for name, pid in self._whom().items():
                if pid is not None and (own := anonymous_mib(pid)):
                    children = sum(map(anonymous_mib, below(pid)))
                    self._curve(f"{name} {pid}").add(at_s, own)
                    self._curve(f"{name} {pid}, its children").add(at_s, children)

    def _curve(self, name: str) -> Weights:
        return self.curves.setdefault(name, Weights())
