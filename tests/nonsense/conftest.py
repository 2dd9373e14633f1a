"""The engine that is told nonsense: one API process as `serve` starts it, a worker, two customers.

`make nonsense` (NONSENSE=all) draws more and longer; a plain run takes a part of each kind.
"""

import sys
from pathlib import Path

import pytest

sys.path += [str(Path(__file__).parents[1] / folder) for folder in ("e2e", "faults")]

from fix_served import home, own_settings, served

__all__ = ["home", "own_settings", "served"]

MEASURED: list[str] = []


@pytest.fixture(scope="session")
def measured() -> list[str]:
    """Lines that the end of the run prints."""
    return MEASURED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if MEASURED:
        terminalreporter.section("measured")
        for line in MEASURED:
            terminalreporter.write_line(line)
