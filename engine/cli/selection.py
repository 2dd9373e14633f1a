"""From the arguments of `ingest` to what is to be in the RAG: local files with names, and URLs."""

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from engine.addresses import normalise_url
from engine.cli.exits import CliError, Exit
from engine.text import clean_line

NAME_CHARACTERS_MAX = 255
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class LocalFile(msgspec.Struct, frozen=True, kw_only=True):
    """`name` is the path relative to the folder that was asked for: what identifies the file."""

    name: str
    path: Path

    def sha256(self) -> str:
        """64 hexadecimal digits. Raises OSError."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    files: tuple[LocalFile, ...]
    urls: tuple[str, ...]


def select(arguments: Sequence[str]) -> Selection:
    """Files as they are, folders with all that is below them, URLs once each.

    Raises CliError for what does not exist, and when two files would have the same name.
    """
    # An empty path is the current folder: a script's variable that was never set is not meant so.
    if not all(argument.strip() for argument in arguments):
        wrong = "An argument is empty: name a file, a folder or a URL."
        raise CliError(wrong, exit_code=Exit.USAGE)
    urls = {normalise_url(text): text for text in reversed(arguments) if _URL.match(text)}
    found: dict[str, LocalFile] = {}
    for argument in arguments:
        if _URL.match(argument):
            continue
        for file in _files(Path(argument)):
            earlier = found.setdefault(file.name, file)
            if earlier.path.resolve() != file.path.resolve():
                raise CliError(
                    f"{earlier.path} and {file.path} would both be called {file.name!r}: ingest "
                    "them into different RAGs, or the folder that contains them both.",
                    exit_code=Exit.USAGE,
                )
    return Selection(files=tuple(found.values()), urls=tuple(reversed(urls.values())))


def _files(path: Path) -> list[LocalFile]:
    if path.is_file():
        return [_local(path, name=path.name)]
    if not path.is_dir():
        raise CliError(f"{path} is neither a file, a folder nor a URL.", exit_code=Exit.USAGE)
    return [_local(each, name=each.relative_to(path).as_posix()) for each in _inside(path)]


def _inside(folder: Path) -> list[Path]:
    """Every file below, sorted; what is hidden, and what hidden folders hold, is passed over."""
    found = []
    for parent, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = [Path(parent, name) for name in names if not name.startswith(".")]
        found += [path for path in paths if path.is_file()]
    return sorted(found)


def _refuse(error: OSError) -> None:
    raise CliError(f"The folder {error.filename} cannot be read: {error.strerror}.") from error


def _local(path: Path, *, name: str) -> LocalFile:
    # The name as the engine keeps it, so that it is recognised in the next run.
    return LocalFile(name=clean_line(name, limit=NAME_CHARACTERS_MAX), path=path)
