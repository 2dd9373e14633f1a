"""`work`: becomes the supervisor of the workers, which are a program of their own."""

import os
import sys

from engine.config import Settings


def work(*, parent: int | None = None) -> int:
    """Run the workers: the same as `python -m workers`.

    Parameters
    ----------
    parent
        Process id of an `up` with which this process ends, whatever happens to it.
    """
    from engine.cli.parent import end_with
    from engine.cli.serve import require_services

    require_services(Settings.from_env())
    if parent is not None:
        end_with(parent)
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "workers"])  # noqa: S606 - ours
