"""Lets the starter use the fixtures of the running engine, which live beside the e2e tests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))

from fix_engine import module_settings

__all__ = ["module_settings"]
