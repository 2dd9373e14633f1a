"""PostgreSQL with pgvector: making the database folder, and how its server is launched.

The first role, database and extension are made in single-user mode before the server ever
listens, in a folder that gets its final name last: an interrupted first start leaves nothing that
a later one could mistake for a database.
"""

import os
import re
import shutil
import signal
import tempfile
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import msgspec

from engine.local.account import Account
from engine.local.errors import LocalError, explained, no_space
from engine.local.process import MARK_PREFIX, Launch, cause_in, command_line

MAJOR = "18"
PORT = 5432
SUPERUSER = "postgres"
ROLE = "rag_engine"
DATABASE = "rag_engine"
UNFINISHED = "postgres.init-"
FIRST_START_BYTES = 256 * 1024 * 1024
SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    # The folder around the sockets is the guard: nobody else can enter it.
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "huge_pages": "off",
    "jit": "off",
    "log_destination": "stderr",
    "logging_collector": "off",
    "log_checkpoints": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
MIB = 1024 * 1024
BUFFERS_BYTES = (128 * MIB, 4096 * MIB)
MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of the container that we may be in
# For tests: a crash of the machine may lose everything, a crash of the server nothing. That is why
# synchronous_commit stays on; without fsync it costs one write to the page cache.
NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}
ROLE_AND_DATABASE = (
    f"CREATE ROLE {ROLE} LOGIN NOSUPERUSER CREATEROLE\nCREATE DATABASE {DATABASE} OWNER {ROLE}\n"
)
# Not a trusted extension: only the superuser can create and update it.
CREATE_VECTOR = "CREATE EXTENSION vector\n"
UPDATE_VECTOR = "ALTER EXTENSION vector UPDATE\n"


def buffers_bytes() -> int:
    """A quarter of the memory. What a question walks through lies all over its graph: out of the
    buffers a page costs less than a microsecond, out of the system's cache ten."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError):  # no such file, or "max"
        total = min(total, int(MEMORY_LIMIT.read_text()))
    least, most = BUFFERS_BYTES
    return min(max(total // 4, least), most)


class Postgres(msgspec.Struct, frozen=True, kw_only=True):
    """Where one database server has its things. `mark` is the name that its processes carry."""

    data_dir: Path
    services: Path
    sockets: Path
    bin: Path
    account: Account
    mark: str
    durable: bool

    @property
    def cluster(self) -> Path:
        """What PostgreSQL calls its data directory."""
        return self.services / "postgres"

    def url(self, *, role: str, database: str) -> str:
        """The address for psycopg, over the Unix socket."""
        return f"postgresql://{role}@/{database}?host={quote(str(self.sockets))}&port={PORT}"

    def launch(self) -> Launch:
        """How to start, recognise and stop the server."""
        options = SETTINGS | {
            "unix_socket_directories": str(self.sockets),
            "shared_buffers": f"{buffers_bytes() // MIB}MB",
        }
        if not self.durable:
            options |= NOT_DURABLE
        # cluster_name goes first: with it each process of the server shows the mark in its title.
        program = self.bin / "postgres"
        arguments = [str(program), "-c", f"cluster_name={self.mark}", "-D", str(self.cluster)]
        for name, value in options.items():
            arguments += ["-c", f"{name}={value}"]
        leader = rf".*/postgres -c cluster_name={self.mark} "
        return Launch(
            name="PostgreSQL",
            arguments=tuple(arguments),
            executable=program,
            log=self.data_dir / "postgres.log",
            account=self.account,
            leader=re.compile(leader, re.DOTALL),
            member=re.compile(rf"{leader}|postgres: {self.mark}: ", re.DOTALL),
            stop_signal=signal.SIGINT,
            ready=self._is_ready,
            stale=self._stale_files,
        )

    def prepare(self) -> None:
        """Make the database on the first start, bring the extension up to date on later ones.

        The server must not be running. Raises LocalError.
        """
        with explained(self.services):
            self._remove_unfinished()
            if self.cluster.is_dir():
                self._check_version()
                self._update_vector()
            else:
                self._make_cluster()

    def _make_cluster(self) -> None:
        if shutil.disk_usage(self.services).free < FIRST_START_BYTES:
            raise LocalError(no_space(self.services))
        scratch = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=self.services))
        self.account.take(scratch)
        self._initdb(scratch)
        self._single_user(scratch, database=SUPERUSER, statements=ROLE_AND_DATABASE)
        self._single_user(scratch, database=DATABASE, statements=CREATE_VECTOR)
        self._vector_marker.write_text(self._vector_version(), encoding="ascii")
        scratch.rename(self.cluster)
        if self.durable:
            _sync(self.services)

    def _initdb(self, folder: Path) -> None:
        arguments: list[str | Path] = [self.bin / "initdb", "-D", folder, "-U", SUPERUSER]
        arguments += ["--auth-local=trust", "--auth-host=reject", "--encoding=UTF8"]
        # The builtin provider sorts the same on every machine and after every system update.
        arguments += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        arguments += ["--no-instructions"] + ([] if self.durable else ["--no-sync"])
        self._demand(self.account.call(arguments))

    def _single_user(self, folder: Path, *, database: str, statements: str) -> None:
        arguments: list[str | Path] = [self.bin / "postgres", "--single", "-D", folder]
        arguments += ["-c", "exit_on_error=on", "-c", "log_checkpoints=off"]
        if not self.durable:
            arguments += ["-c", "fsync=off"]
        self._demand(self.account.call([*arguments, database], text=statements))

    def _demand(self, result: tuple[int, str]) -> None:
        status, output = result
        if "No space left on device" in output:
            raise LocalError(no_space(self.services))
        if status != 0:
            raise LocalError(f"The database could not be made: {cause_in(output)}.")

    def _check_version(self) -> None:
        found = (self.cluster / "PG_VERSION").read_text(encoding="ascii").strip()
        if found != MAJOR:
            raise LocalError(
                f"The database in {self.cluster} is of PostgreSQL {found}, this engine brings "
                f"{MAJOR}: dump it with the old version, or choose another data folder."
            )

    def _update_vector(self) -> None:
        version = self._vector_version()
        marker = self._vector_marker
        if marker.exists() and marker.read_text(encoding="ascii") == version:
            return
        self._single_user(self.cluster, database=DATABASE, statements=UPDATE_VECTOR)
        marker.write_text(version, encoding="ascii")

    @property
    def _vector_marker(self) -> Path:
        # Written by the engine's user, so not in the folder of the servers' user.
        return self.data_dir / "vector.version"

    def _vector_version(self) -> str:
        control = self.bin.parent / "share" / "postgresql" / "extension" / "vector.control"
        text = control.read_text(encoding="utf-8")
        found = re.search(r"default_version\s*=\s*'([^']+)'", text)
        return found[1] if found else ""

    def _remove_unfinished(self) -> None:
        for folder in self.services.glob(UNFINISHED + "*"):
            shutil.rmtree(folder, ignore_errors=True)

    def _is_ready(self, pid: int) -> bool:
        """What pg_ctl asks as well: the eighth line of the server's own pid file."""
        lines = self._pid_lines()
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7] == "ready"

    def _pid_lines(self) -> list[str]:
        try:
            text = (self.cluster / "postmaster.pid").read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        return [line.strip() for line in text.splitlines()]

    def _stale_files(self) -> tuple[Path, ...]:
        """Sockets that nobody listens on, and a pid file whose number somebody else has now.

        A pid file with a free number stays: PostgreSQL sees that itself, and looks for more. So
        does one of a server that somebody started by hand: it must not be disturbed.
        """
        sockets = (self.sockets / f".s.PGSQL.{PORT}", self.sockets / f".s.PGSQL.{PORT}.lock")
        lines = self._pid_lines()
        pid = int(lines[0]) if lines and lines[0].isdigit() else 0
        line = command_line(pid, uid=self.account.owner_uid)
        if line is None or ("postgres" in line and MARK_PREFIX not in line):
            return sockets
        return (*sockets, self.cluster / "postmaster.pid")


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
