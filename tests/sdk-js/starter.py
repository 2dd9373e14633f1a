"""Runs journey.mjs, the official JavaScript SDK, against a real API and a real worker.

Not among the tests that are always run, because it needs node and npm and installs the SDK into
node_modules beside it. It is named on the command line:

    python -m pytest tests/sdk-js/starter.py
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from fix_engine import api_child, new_customer, worker_process

from engine.config import Settings

HERE = Path(__file__).parent
INSTALL_TIMEOUT_S = 300
JOURNEY_TIMEOUT_S = 90


@pytest.fixture(scope="module")
def node() -> str:
    """The path of node, once the SDK of package.json lies beside the journey."""
    node, npm = shutil.which("node"), shutil.which("npm")
    assert node, "node is needed; see package.json for the version"
    assert npm, "npm is needed to install the SDK"
    subprocess.run(
        [npm, "install", "--loglevel=error"], cwd=HERE, check=True, timeout=INSTALL_TIMEOUT_S
    )
    return node


@pytest.mark.timeout(INSTALL_TIMEOUT_S + JOURNEY_TIMEOUT_S + 60)
def test_the_javascript_sdk_goes_from_a_file_to_its_chunks_and_back(
    node: str, module_settings: Settings, tmp_path: Path
) -> None:
    settings = module_settings
    with (
        api_child(settings, log=tmp_path / "api.log"),
        worker_process(settings, log=tmp_path / "worker.log"),
    ):
        given = {"BASE_URL": settings.base_url, "API_KEY": new_customer(settings, "javascript")}
        done = subprocess.run(
            [node, "journey.mjs"],
            check=False,
            cwd=HERE,
            env=os.environ | given,
            capture_output=True,
            text=True,
            timeout=JOURNEY_TIMEOUT_S,
        )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing is left" in done.stdout
