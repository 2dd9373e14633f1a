"""How a command ends: its exit code, and the error that carries one sentence and a code."""

from enum import IntEnum


class Exit(IntEnum):
    """Stable: scripts may match on it. The package's docstring says when each one is used."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    UNAUTHORISED = 4
    LOST = 5
    INTERRUPTED = 130


class CliError(Exception):
    """The command ends here; the message is one sentence for the person at the terminal."""

    def __init__(self, message: str, *, exit_code: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code
