"""The folders of the embedded services: which one, whose, and who holds it.

    DATA_DIR/
      services.lock     held while the services run; contains the engine's process id
      services/         private to the servers' user: postgres/ (the database), run/ (the sockets)
      postgres.log  redis.log

Under root the servers run as somebody else, who may not be able to enter DATA_DIR; then `services`
is a link into /var/lib/rag-engine. If the path is too long for a socket, or has characters that
URLs quote, `run` is a link to a short private folder. The links are the record of where things are.
"""

import fcntl
import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
from pathlib import Path

from engine.local.account import Account, account_of, new_account
from engine.local.binaries import SYSTEM_FOLDER, make_system_folder
from engine.local.errors import LocalError, explained

# sizeof(sun_path) less the closing NUL.
SOCKET_PATH_BYTES_MAX = 103 if sys.platform == "darwin" else 107
LONGEST_SOCKET_NAME = ".s.PGSQL.5432"
SHORT_PREFIX = "rag-engine-"
# redis-py unquotes the path in a URL and arq does not, so nothing in it may need quoting.
PLAIN_PATH = re.compile(r"[A-Za-z0-9/._-]+")


class FolderLock:
    """One engine for each data folder. The kernel lets go of it however the holder ends."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._descriptors: list[int] = []

    def acquire(self) -> None:
        """Take the data folder. Raises LocalError if another engine has it."""
        path = self._data_dir / "services.lock"
        with explained(self._data_dir):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        self._lock(descriptor, holder=path)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())

    def extend(self, folder: Path) -> None:
        """Take a folder outside of the data folder too: a copied data folder links to it as well.

        Raises LocalError if another engine has it.
        """
        with explained(folder):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        self._lock(descriptor, holder=None)

    def release(self) -> None:
        """Let go. The file stays: removing it would let two engines lock two files."""
        while self._descriptors:
            os.close(self._descriptors.pop())

    def _lock(self, descriptor: int, *, holder: Path | None) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise LocalError(self._in_use(holder)) from error
        except OSError as error:
            os.close(descriptor)
            raise LocalError(
                f"The folder {self._data_dir} cannot be locked: {error.strerror}."
            ) from error
        self._descriptors.append(descriptor)

    def _in_use(self, holder: Path | None) -> str:
        process = holder.read_text(encoding="ascii").strip() if holder else ""
        by = f"another engine (process {process})" if process else "another engine"
        return f"The data folder {self._data_dir} is in use by {by}: stop it, or choose another."


def make_data_dir(data_dir: Path) -> Path:
    """Make the data folder unless it is there, and return its real path. Raises LocalError.

    A folder that was there keeps its mode. Under root a new one can be passed through by others,
    because the servers' user has to reach its own folder inside.
    """
    with explained(data_dir):
        if not data_dir.is_dir():
            data_dir.parent.mkdir(parents=True, exist_ok=True)
            data_dir.mkdir(exist_ok=True)
            data_dir.chmod(0o711 if os.geteuid() == 0 else 0o700)
        return data_dir.resolve(strict=True)


def services_folder(data_dir: Path) -> tuple[Path, Account]:
    """The folder that belongs to the servers, made on the first start, and whose it is.

    Raises LocalError if it cannot be made, has gone, or belongs to somebody else.
    """
    folder = data_dir / "services"
    with explained(data_dir):
        if folder.is_symlink():
            return _elsewhere(folder)
        if folder.is_dir() and not _left_unfinished(folder):
            account = account_of(folder)
            _demand_reach(folder, account=account)
            return folder, account
        return _made(folder)


def socket_folder(services: Path, *, account: Account) -> Path:
    """The private folder for the sockets, short enough for their paths. Raises LocalError."""
    run = services / "run"
    with explained(services):
        if run.is_symlink():
            if _is_private(run.readlink(), account=account):
                return run.readlink()
            run.unlink()
        if not run.is_dir() and _fits(run):
            run.mkdir()
            account.take(run)
        if _fits(run):
            return run
        short = _short_folder(account)
        if run.is_dir():
            shutil.rmtree(run)
        run.symlink_to(short)
        return short


def drop_short_folder(services: Path, *, sockets: Path) -> None:
    """After a clean stop nothing of ours stays outside of the data folder's own places."""
    run = services / "run"
    if run.is_symlink() and sockets.name.startswith(SHORT_PREFIX):
        run.unlink()
        sockets.rmdir()


def _left_unfinished(folder: Path) -> bool:
    """A start was cut off between making the folder and giving it away: begin again."""
    if os.geteuid() != 0 or folder.stat().st_uid != 0 or any(folder.iterdir()):
        return False
    folder.rmdir()
    return True


def _made(folder: Path) -> tuple[Path, Account]:
    account = new_account()
    folder.mkdir()
    try:
        account.take(folder)
        reached = account.uid is None or account.can_write(folder)
    except PermissionError:
        # A file system that does not let root give folders away, such as some network shares.
        reached = False
    if reached:
        return folder, account
    folder.rmdir()
    make_system_folder()
    target = SYSTEM_FOLDER / secrets.token_hex(8)
    target.mkdir()
    account.take(target)
    _demand_reach(target, account=account)
    folder.symlink_to(target)
    return target, account


def _elsewhere(link: Path) -> tuple[Path, Account]:
    target = link.readlink()
    if target.parent != SYSTEM_FOLDER:
        raise LocalError(f"{link} leads to {target}, which the engine did not make: remove it.")
    if not target.is_dir():
        raise LocalError(
            f"The database folder {target} is missing: restore it, "
            f"or delete {link} to begin with an empty database."
        )
    return target, account_of(target)


def _demand_reach(folder: Path, *, account: Account) -> None:
    if account.uid is not None and not account.can_write(folder):
        raise LocalError(
            f"The servers' user (uid {account.uid}) cannot reach {folder}: "
            "give it search permission on the folders above."
        )


def _fits(run: Path) -> bool:
    longest = os.fsencode(run / LONGEST_SOCKET_NAME)
    return len(longest) <= SOCKET_PATH_BYTES_MAX and bool(PLAIN_PATH.fullmatch(str(run)))


def _short_folder(account: Account) -> Path:
    # The folder for temporary files may itself be deep or private to root.
    for parent in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 - mkdtemp makes it private
        short = Path(tempfile.mkdtemp(prefix=SHORT_PREFIX, dir=parent)).resolve()
        account.take(short)
        if _fits(short) and account.can_write(short):
            return short
        short.rmdir()
    raise LocalError("There is no folder with a path short enough for a socket: set TMPDIR to one.")


def _is_private(folder: Path, *, account: Account) -> bool:
    """Whether a short folder from an earlier start is still there and still nobody else's."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return False
    return (
        folder.name.startswith(SHORT_PREFIX)
        and stat.S_ISDIR(found.st_mode)
        and found.st_uid == account.owner_uid
        and stat.S_IMODE(found.st_mode) == 0o700
        and _fits(folder)
    )
