"""Makes the running engine's plugin known to the tests of this folder."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "e2e"))

from fix_engine import module_settings

__all__ = ["module_settings"]
