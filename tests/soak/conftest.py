"""What the soak needs of the other folders, and the table that ends it."""

import asyncio
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fix_services import make_folder

from engine.local import LocalServices
from engine.store.schema import apply_schema

TESTS = Path(__file__).parents[1]
sys.path += [str(TESTS / folder) for folder in ("e2e", "faults", "hostile")]

TABLE: list[str] = []


@pytest.fixture
def table() -> list[str]:
    """Lines that the end of the run prints."""
    return TABLE


@pytest.fixture
def soaked_services() -> Iterator[LocalServices]:
    """Servers that the soak may stop and kill."""
    folder = make_folder()
    with LocalServices(folder / "data", durable=False) as local:
        asyncio.run(apply_schema(local.services.database_url))
        yield local
    shutil.rmtree(folder)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TABLE:
        terminalreporter.section("soak")
        for line in TABLE:
            terminalreporter.write_line(line)
