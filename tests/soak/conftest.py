"""What the soak needs of the other folders, and servers that it may kill."""

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


@pytest.fixture
def soaked_services() -> Iterator[LocalServices]:
    """Servers that the soak may stop and kill."""
    folder = make_folder()
    with LocalServices(folder / "data", durable=False) as local:
        asyncio.run(apply_schema(local.services.database_url))
        yield local
    shutil.rmtree(folder)
