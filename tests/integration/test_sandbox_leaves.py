"""What the sandbox of a worker that is killed leaves on the machine: nothing."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fix_local import wait_until_gone
from fix_services import REPOSITORY

pytestmark = pytest.mark.anyio

WORK = """
import asyncio, sys
from pathlib import Path
from workers.extract.sandbox import Allowance, Sandbox

async def main():
    sandbox = Sandbox(preload=("tests.integration.hostile_parsers",))
    sandbox.start()
    allowance = Allowance(
        memory_bytes=1 << 27, cpu_s=20, timeout_s=20.0, result_bytes_max=1 << 20
    )
    for name in ("where", "endless_sleep"):
        answer = await sandbox.run(
            f"tests.integration.hostile_parsers:{name}",
            Path(sys.argv[1]),
            argument=b"",
            allowance=allowance,
        )
        print(answer.decode(), sandbox.pid, sep="\\n", flush=True)

asyncio.run(main())
"""


@contextmanager
def working(document: Path, *, scratch: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that parses, and goes on with a document that has no end."""
    worker = subprocess.Popen(
        [sys.executable, "-c", WORK, str(document)],
        env={**os.environ, "TMPDIR": str(scratch)},
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
    )
    try:
        yield worker
    finally:
        worker.kill()
        worker.communicate()


async def test_a_worker_killed_while_it_parses_leaves_no_process_and_no_folder(
    tmp_path: Path,
) -> None:
    scratch, document = tmp_path / "scratch", tmp_path / "document"
    scratch.mkdir()
    document.write_bytes(b"a text")
    with working(document, scratch=scratch) as worker:
        assert worker.stdout
        seen = json.loads(await asyncio.to_thread(worker.stdout.readline))
        template = int(await asyncio.to_thread(worker.stdout.readline))
        assert seen["folder"] == "FileNotFoundError", "the child stands where something may lie"
        worker.send_signal(signal.SIGKILL)
        assert await asyncio.to_thread(worker.wait, 10) == -signal.SIGKILL
        wait_until_gone(template)
    assert list(scratch.iterdir()) == []
