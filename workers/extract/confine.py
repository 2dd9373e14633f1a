"""What a child gives up before it looks at a document: limits, syscalls, the file system.

Called once, by the child itself, after the fork, with nets that its template has made ready for all
children: that takes 5 ms, a third of what a short page takes to read. Each net stands alone: where
the kernel or libseccomp lacks one, the others still hold, and `missing_nets` names it for the log.
"""

import ctypes
import functools
import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

_PR_SET_PDEATHSIG = 1
_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2
_INSTRUCTION_BYTES = 8
# Stands for the child's own id in the filter that its template compiles: greater than any id is.
_OWN_PID = 0x7F5A_A5F7
_FILES_MAX = 64
# glibc aborts a thread by these two; anything else than signalling itself is refused.
_OWN_SIGNALS = ("kill", "tgkill")
_REFUSED = (
    # The network, and io_uring, which would open sockets past this filter.
    *("socket", "socketpair", "connect", "bind", "listen", "accept", "accept4"),
    *("sendto", "sendmsg", "sendmmsg", "io_uring_setup", "io_uring_enter", "io_uring_register"),
    # Other processes, and new ones.
    *("execve", "execveat", "fork", "vfork", "clone", "ptrace", "tkill", "setsid", "setpgid"),
    *("process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "rt_sigqueueinfo"),
    *("setpriority", "ioprio_set", "sched_setaffinity", "sched_setscheduler", "sched_setattr"),
    *("sched_setparam", "rt_tgsigqueueinfo", "pidfd_open", "pidfd_getfd", "pidfd_send_signal"),
    # Changes to files; writing through open is refused below.
    *("creat", "unlink", "unlinkat", "rename", "renameat", "renameat2", "mkdir", "mkdirat"),
    *("rmdir", "link", "linkat", "symlink", "symlinkat", "mknod", "mknodat", "truncate"),
    *("chmod", "fchmod", "fchmodat", "chown", "fchown", "lchown", "fchownat", "setxattr"),
    *("lsetxattr", "fsetxattr", "utime", "utimes", "utimensat", "futimesat", "name_to_handle_at"),
    # Privileges, limits and the kernel's darker corners.
    *("setrlimit", "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid"),
    *("setgroups", "capset", "mount", "umount2", "pivot_root", "chroot", "unshare", "setns"),
    *("bpf", "perf_event_open", "userfaultfd", "keyctl", "add_key", "request_key"),
    *("open_by_handle_at", "init_module", "finit_module", "kexec_load", "reboot", "swapon"),
    *("shmget", "shmat", "msgget", "semget", "mq_open", "personality", "quotactl", "acct"),
)

# F_SETOWN, F_SETSIG and F_SETOWN_EX; FIOSETOWN and SIOCSPGRP: asm-generic, as on x86-64 and arm64.
_OWNER_COMMANDS = (8, 10, 15)
_OWNER_REQUESTS = (0x8901, 0x8902)

# Landlock: the syscalls have the same numbers on every architecture.
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_LANDLOCK_READ = (1 << 2) | (1 << 3)
_LANDLOCK_ALL = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1}
_O_PATH = getattr(os, "O_PATH", 0)


class Confines(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one child. `memory_bytes` is what it may take above what it began with."""

    memory_bytes: int
    cpu_s: int
    seccomp: bool = True


class Nets(NamedTuple):
    """Made once for many children. `ruleset`: the descriptor of what Landlock lets them read, None
    without Landlock. `program`: what seccomp refuses them, empty without seccomp."""

    ruleset: int | None
    program: bytes


def nets() -> Nets:
    """What this machine has."""
    return Nets(ruleset=_ruleset(), program=_program() if _seccomp_is_there() else b"")


def confine(confines: Confines, *, parent: int, nets: Nets) -> None:
    """Shut the calling process in, and close the descriptor of the nets. Ends the process at once
    if `parent` has died meanwhile. Raises OSError when the kernel refuses a net that it has."""
    _follow(parent)
    _limit(confines)
    if nets.ruleset is not None:
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        _checked(_libc().syscall(_LANDLOCK_RESTRICT, nets.ruleset, 0))
        os.close(nets.ruleset)
    if nets.program and confines.seccomp:
        _refuse_syscalls(nets.program)


def missing_nets() -> tuple[str, ...]:
    """The nets that this machine does not have: any of "seccomp", "landlock"."""
    found = []
    if not _seccomp_is_there():
        found.append("seccomp")
    if _landlock_version() < 1:
        found.append("landlock")
    return tuple(found)


def _seccomp_is_there() -> bool:
    # pyseccomp raises RuntimeError where it finds no libseccomp.
    with suppress(ImportError, RuntimeError, OSError):
        import pyseccomp

        return bool(pyseccomp.get_api() > 0)
    return False


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, first: object, second: object = 0) -> None:
    _checked(_libc().prctl(option, first, second, 0, 0))


def _checked(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _follow(parent: int) -> None:
    """Die with the parent, even when it is killed."""
    if sys.platform == "linux":
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _limit(confines: Confines) -> None:
    memory_bytes = _address_space_bytes() + confines.memory_bytes
    # The soft limit on time comes as SIGXCPU, which says why the child ended; the hard one kills.
    limits = {
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_FSIZE: (0, 0),
        resource.RLIMIT_NOFILE: (_FILES_MAX, _FILES_MAX),
        resource.RLIMIT_CPU: (confines.cpu_s, confines.cpu_s + 1),
        resource.RLIMIT_AS: (memory_bytes, memory_bytes),
    }
    for what, wanted in limits.items():
        # A harder limit that already stands stays; macOS refuses some of these altogether.
        standing = resource.getrlimit(what)[1]
        soft, hard = (w if standing == resource.RLIM_INFINITY else min(w, standing) for w in wanted)
        with suppress(ValueError, OSError):
            resource.setrlimit(what, (soft, hard))


def _address_space_bytes() -> int:
    """What the preloaded libraries have mapped before the document is opened."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (OSError, ValueError):
        return 1 << 30
    return pages * resource.getpagesize()


class _Program(ctypes.Structure):
    """The kernel's struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def _refuse_syscalls(program: bytes) -> None:
    named, own_pid = (each.to_bytes(4, sys.byteorder) for each in (_OWN_PID, os.getpid()))
    own = program.replace(named, own_pid)
    loaded = _Program(len(own) // _INSTRUCTION_BYTES, own)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(loaded))


def _program() -> bytes:
    """The filter as the kernel takes it, with _OWN_PID for the id of the child."""
    import pyseccomp

    refuse = pyseccomp.ERRNO(1)
    rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    for name in _REFUSED:
        _add(rules, refuse, name)
    # clone3 and openat2 hide their flags behind a pointer; without them libc takes the old calls.
    for name in ("clone3", "openat2"):
        _add(rules, pyseccomp.ERRNO(38), name)
    for name in _OWN_SIGNALS:
        _add(rules, refuse, name, pyseccomp.Arg(0, pyseccomp.NE, _OWN_PID))
    # Having the kernel send signals for us: the owner of a descriptor gets them on input.
    for command in _OWNER_COMMANDS:
        _add(rules, refuse, "fcntl", pyseccomp.Arg(1, pyseccomp.EQ, command))
    for request in _OWNER_REQUESTS:
        _add(rules, refuse, "ioctl", pyseccomp.Arg(1, pyseccomp.EQ, request))
    _add(rules, refuse, "prlimit64", pyseccomp.Arg(2, pyseccomp.NE, 0))
    for name, flags_at in (("open", 1), ("openat", 2)):
        for flag in (os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_TRUNC):
            _add(rules, refuse, name, pyseccomp.Arg(flags_at, pyseccomp.MASKED_EQ, flag, flag))
    with os.fdopen(os.memfd_create("filter"), "r+b") as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()


def _add(rules: object, action: int, name: str, *arguments: object) -> None:
    # Not every call exists on every architecture, nor in every version of the library.
    with suppress(OSError, ValueError, RuntimeError):
        rules.add_rule(action, name, *arguments)  # type: ignore[attr-defined]


def _landlock_version() -> int:
    if sys.platform != "linux":
        return 0
    return int(_libc().syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), 1))


def _ruleset() -> int | None:
    """Only Python's own folders can be read: not the data folder, not /proc of the worker."""
    version = _landlock_version()
    if version < 1:
        return None
    libc = _libc()
    handled = ctypes.c_uint64(_LANDLOCK_ALL.get(version, _LANDLOCK_ALL[3]))
    ruleset = libc.syscall(
        _LANDLOCK_CREATE, ctypes.byref(handled), ctypes.c_size_t(ctypes.sizeof(handled)), 0
    )
    if ruleset < 0:
        return None
    for folder in _readable_folders():
        _allow_reading(libc, ruleset, folder)
    return int(ruleset)


def _readable_folders() -> Iterator[str]:
    """What lazy imports and time zones need. The working folder has no name and needs nothing.

    Not sys.path as it is: in a checkout it names the folder that may hold the data folder too.
    """
    yield from {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    yield from (path for path in sys.path if path.endswith(("-packages", "lib-dynload", ".zip")))
    workers = Path(__file__).resolve().parents[1]
    yield from (str(workers), str(workers.with_name("engine")))
    yield "/usr/share/zoneinfo"


def _allow_reading(libc: ctypes.CDLL, ruleset: int, folder: str) -> None:
    try:
        opened = os.open(folder, _O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    is_folder = Path(folder).is_dir()
    allowed = _LANDLOCK_READ if is_folder else _LANDLOCK_READ & ~(1 << 3)
    rule = allowed.to_bytes(8, sys.byteorder) + opened.to_bytes(4, sys.byteorder)
    libc.syscall(_LANDLOCK_ADD, ruleset, 1, rule, 0)
    os.close(opened)
