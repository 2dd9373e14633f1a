"""Disks of a few MiB that a test fills: tmpfs, where this user may mount one."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fix_services import make_folder

DISK_MIB = 4


class Disk:
    """A file system of its own at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self) -> None:
        """Leave not a single byte."""
        with self._ballast.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(1 << 16)):
                    pass
            except OSError:
                return

    def free(self) -> None:
        self._ballast.unlink()


@pytest.fixture
def disk() -> Iterator[Disk]:
    path = make_folder()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(path)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    path.chmod(0o777)
    yield Disk(path)
    subprocess.run(["umount", "--lazy", str(path)], check=True)
    path.rmdir()
