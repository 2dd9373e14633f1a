"""The engine that is told nonsense: one API process as `serve` starts it, a worker, two customers.

`make nonsense` (NONSENSE=all) draws more and longer; a plain run takes a part of each kind.
"""

import sys
from pathlib import Path

sys.path += [str(Path(__file__).parents[1] / folder) for folder in ("e2e", "faults")]

from fix_served import home, own_settings, served

__all__ = ["home", "own_settings", "served"]
