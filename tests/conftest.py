"""What every test may use; services, the small web and figures are in plugins of their own.

Property tests draw the same examples in every run, so that a failure is one of the change at hand.
To search for new ones: pytest --hypothesis-profile=explore.
"""

import hypothesis
import pytest

pytest_plugins = ["fix_services", "fix_local", "fix_web", "fix_measured"]

hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.register_profile("explore", deadline=None, print_blob=True)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"
