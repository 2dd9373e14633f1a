"""What every test may use; services and the small web are in plugins of their own."""

import pytest

pytest_plugins = ["fix_services", "fix_local", "fix_web"]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"
