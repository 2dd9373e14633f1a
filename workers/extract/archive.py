"""ZIP archives of strangers: looked through before anything is inflated. Owns zipfile.

The directory says how much an archive holds, and may lie: no member gives more than it declares.
"""

import io
import lzma
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, BinaryIO, cast

from engine.config import MIB, Limits
from engine.errors import DocumentBroken, DocumentTooLarge, UnsupportedFormat

_DIRECTORY_MARK = b"PK\x01\x02"
_ENCRYPTED_FLAGS = 0x1 | 0x40 | 0x2000
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# Blanks and repetitions shrink a thousandfold without any malice; up to here they do no harm.
_RATIO_COUNTS_FROM_BYTES = 8 * MIB
# What zipfile is seen to raise on malformed archives, besides its own error.
_FAULTS = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    ValueError,
    NotImplementedError,
    IndexError,
    OverflowError,
    OSError,
)


def is_archive(head: bytes) -> bool:
    """Whether the bytes begin as a ZIP archive with a member."""
    return head.startswith(b"PK\x03\x04")


class Archive:
    """The members of an archive that is within the limits.

    Raises DocumentBroken when its directory cannot be read, DocumentTooLarge when it holds too
    much, UnsupportedFormat when it is encrypted. Names are found whatever their case.
    """

    def __init__(self, data: bytes, *, limits: Limits) -> None:
        # zipfile keeps half a kilobyte for each entry, so they are counted before it looks.
        _check_count(data.count(_DIRECTORY_MARK), limits=limits)
        with _faults_named():
            self._zip = zipfile.ZipFile(io.BytesIO(data))
        members = self._zip.infolist()
        _check_inflated(members, packed_bytes=len(data), limits=limits)
        self._members = {member.filename.lower(): member for member in members}
        names = Counter(member.filename.lower() for member in members)
        self._repeated = {name for name, count in names.items() if count > 1}

    @property
    def names(self) -> tuple[str, ...]:
        """All members, in the order of the directory."""
        return tuple(self._zip.namelist())

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._members

    @contextmanager
    def opened(self, name: str) -> Iterator[BinaryIO]:
        """The member's content as a stream. DocumentBroken when it is missing or damaged."""
        member = self._members.get(name.lower())
        if member is None:
            raise DocumentBroken("A part that the document needs is missing.")
        # Programs differ in which one they show, so to choose one would lose the other in silence.
        if name.lower() in self._repeated:
            raise DocumentBroken("The document's archive holds two parts of the same name.")
        if member.flag_bits & _ENCRYPTED_FLAGS:
            raise UnsupportedFormat("The document is encrypted, so it cannot be read.")
        # Others are inflated by zipfile without a bound, and no office program writes them.
        if member.compress_type not in _METHODS:
            raise UnsupportedFormat("The document is compressed in a way that is not read.")
        with _faults_named():
            file = self._zip.open(member)
        with file:
            yield cast("BinaryIO", _Member(file, bytes_max=member.file_size))

    def read(self, name: str) -> bytes:
        """The member's whole content."""
        with self.opened(name) as file:
            return file.read()


class _Member(io.RawIOBase):
    """A member's content, up to as much as was declared and therefore checked."""

    def __init__(self, file: IO[bytes], *, bytes_max: int) -> None:
        self._file = file
        self._left = bytes_max

    def read(self, size: int = -1, /) -> bytes:
        wanted = self._left + 1 if size < 0 else min(size, self._left + 1)
        with _faults_named():
            found = self._file.read(wanted)
        self._left -= len(found)
        if self._left < 0:
            raise DocumentBroken("A part of the document is larger than its archive says.")
        return found


def _check_count(count: int, *, limits: Limits) -> None:
    if count > limits.archive_members_max:
        raise DocumentTooLarge(
            f"The document is an archive of more than {limits.archive_members_max} files."
        )


def _check_inflated(members: list[zipfile.ZipInfo], *, packed_bytes: int, limits: Limits) -> None:
    inflated_bytes = sum(member.file_size for member in members)
    if inflated_bytes > limits.archive_inflated_bytes_max:
        raise DocumentTooLarge(
            f"The document holds {inflated_bytes} bytes once it is decompressed;"
            f" the limit is {limits.archive_inflated_bytes_max}."
        )
    ratio = inflated_bytes // max(1, packed_bytes)
    if inflated_bytes > _RATIO_COUNTS_FROM_BYTES and ratio > limits.archive_ratio_max:
        raise DocumentTooLarge(
            f"The document grows {ratio} times when it is decompressed;"
            f" the limit is {limits.archive_ratio_max} times."
        )


@contextmanager
def _faults_named() -> Iterator[None]:
    try:
        yield
    except _FAULTS as error:
        raise DocumentBroken("The document's archive is damaged.") from error
