"""Where an attempt is, for its log lines, and how long each stage took it."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from engine import logs
from engine.models import Stage


class Stages:
    """The clock of one attempt. `seconds`: wall time by stage."""

    def __init__(self) -> None:
        self.seconds: defaultdict[Stage, float] = defaultdict(float)

    @contextmanager
    def at(self, stage: Stage) -> Iterator[None]:
        began = time.monotonic()
        try:
            with logs.bind(stage=stage):
                yield
        finally:
            self.seconds[stage] += time.monotonic() - began
