"""The one error of the embedded services, and how the system's errors become its sentences."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)


class LocalError(Exception):
    """The embedded services cannot run here; the message is one sentence for the operator."""


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an OSError about `path` into a LocalError with a sentence that names it."""
    try:
        yield
    except OSError as error:
        raise LocalError(_sentence(path, error)) from error


def no_space(path: Path) -> str:
    """The sentence for a full disk under `path`."""
    return f"There is not enough space left in {path}: free some, or choose another data folder."


def _sentence(path: Path, error: OSError) -> str:
    if error.errno in NO_SPACE:
        return no_space(path)
    if error.errno in NOT_WRITABLE:
        return f"The folder {path} is not writable for this user: choose another data folder."
    return f"The folder {path} cannot be used as a data folder: {error.strerror}."
