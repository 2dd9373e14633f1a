"""Which operating system user the servers run as, and starting programs as that user.

PostgreSQL refuses to run as root, so under root both servers run as an account that is there
already; no account is ever created. Otherwise they run as whoever runs the engine.
"""

import os
import pwd
import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec

from engine.local.errors import LocalError

# In this order: the first names the purpose, the second is on every Unix.
ACCOUNT_NAMES = ("postgres", "nobody")
# Nothing of the caller's environment reaches the servers: PG* variables would redirect them.
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
PROGRAM_TIMEOUT_S = 120.0


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """`uid` and `gid` of None mean the user that runs the engine."""

    uid: int | None = None
    gid: int | None = None

    @property
    def owner_uid(self) -> int:
        """The uid that the servers have, and that owns their files."""
        return os.geteuid() if self.uid is None else self.uid

    def call(self, arguments: Sequence[str | Path], *, text: str = "") -> tuple[int, str]:
        """Run a program to its end with `text` as input: its exit status and its output.

        Raises OSError if it cannot be executed, LocalError if it takes over two minutes.
        """
        try:
            done = subprocess.run(
                arguments,
                input=text,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=PROGRAM_TIMEOUT_S,
                check=False,
                cwd="/",
                env=ENVIRONMENT,
                start_new_session=True,
                umask=0o077,
                user=self.uid,
                group=self.gid,
                extra_groups=self._extra_groups,
            )
        except subprocess.TimeoutExpired as error:
            raise LocalError(f"{arguments[0]} did not end in {PROGRAM_TIMEOUT_S:.0f} s.") from error
        return done.returncode, done.stdout

    def spawn(
        self, arguments: Sequence[str], *, executable: Path, log: int
    ) -> subprocess.Popen[bytes]:
        """Start a server that writes to the descriptor `log`.

        It has a session of its own, so that a Ctrl-C in the terminal reaches the engine only,
        which then stops its servers in order.
        """
        return subprocess.Popen(
            arguments,
            executable=executable,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=ENVIRONMENT,
            start_new_session=True,
            umask=0o077,
            user=self.uid,
            group=self.gid,
            extra_groups=self._extra_groups,
        )

    def can_write(self, folder: Path) -> bool:
        """Whether the servers' user can reach `folder` through all of its parents and write."""
        status, _ = self.call(["/bin/sh", "-c", 'test -x "$1" && test -w "$1"', "sh", folder])
        return status == 0

    def take(self, folder: Path) -> None:
        """Make `folder`, which must be one that the engine made, private to the servers' user.

        Goes through a descriptor that follows no link: a link put there in between must not
        get something else a new owner. Raises OSError.
        """
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            if self.uid is not None and self.gid is not None:
                os.fchown(descriptor, self.uid, self.gid)
            os.fchmod(descriptor, 0o700)
        finally:
            os.close(descriptor)

    @property
    def _extra_groups(self) -> list[int] | None:
        return None if self.uid is None else []


def new_account() -> Account:
    """The account for a new folder. Raises LocalError under root without one to drop to."""
    if os.geteuid() != 0:
        return Account()
    for name in ACCOUNT_NAMES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(uid=entry.pw_uid, gid=entry.pw_gid)
    raise LocalError(
        "PostgreSQL cannot run as root and there is neither a user 'postgres' nor 'nobody': "
        "start the engine as an ordinary user."
    )


def account_of(folder: Path) -> Account:
    """The account that a folder from an earlier start belongs to.

    Going on as its owner keeps it usable for root after an ordinary user made it. Raises
    LocalError if this user may not act for the owner, OSError if the folder cannot be read.
    """
    found = folder.stat()
    if found.st_uid == os.geteuid() and found.st_uid != 0:
        return Account()
    if found.st_uid == 0 and os.geteuid() == 0:
        raise LocalError(
            f"The folder {folder} belongs to root, and PostgreSQL cannot run as root: "
            "give it with all it contains to another user, or choose another data folder."
        )
    if os.geteuid() != 0:
        raise LocalError(
            f"The folder {folder} belongs to user {found.st_uid}: "
            "start the engine as the user who made it, or choose another data folder."
        )
    return Account(uid=found.st_uid, gid=found.st_gid)
