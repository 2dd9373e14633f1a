"""ZIP archives written field by field, so that headers, directory and content can disagree."""

import struct
import zlib

import msgspec


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A member; what is None is told truly, in both headers."""

    name: str
    data: bytes
    method: int = 8
    packed: bytes | None = None
    flags: int = 0
    crc: int | None = None
    size: int | None = None
    packed_size: int | None = None
    offset: int | None = None
    local_name: str | None = None
    extra: bytes = b""


def archive(
    *members, count=None, directory_offset=None, directory_size=None, comment=b"", head=b""
):
    """The archive; the keyword arguments lie in its end record."""
    out, directory = bytearray(head), bytearray()
    for member in members:
        entry = _entry(member, offset=len(out))
        out += _local(member)
        directory += entry
    at = len(out)
    out += directory
    told = len(members) if count is None else count
    where = at if directory_offset is None else directory_offset
    size = len(directory) if directory_size is None else directory_size
    out += b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, told, told, size, where, len(comment))
    return bytes(out + comment)


def _packed(member):
    if member.packed is not None:
        return member.packed
    if member.method != 8:
        return member.data
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    return stream.compress(member.data) + stream.flush()


def _sizes(member):
    crc = zlib.crc32(member.data) if member.crc is None else member.crc
    packed = len(_packed(member)) if member.packed_size is None else member.packed_size
    size = len(member.data) if member.size is None else member.size
    return struct.pack("<III", crc, packed, size)


def _local(member):
    name = (member.name if member.local_name is None else member.local_name).encode()
    fixed = struct.pack("<HHHHH", 20, member.flags, member.method, 0, 0x21)
    return (
        b"PK\x03\x04"
        + fixed
        + _sizes(member)
        + struct.pack("<HH", len(name), 0)
        + name
        + _packed(member)
    )


def _entry(member, *, offset):
    name = member.name.encode()
    fixed = struct.pack("<HHHHHH", 20, 20, member.flags, member.method, 0, 0x21)
    where = offset if member.offset is None else member.offset
    lengths = struct.pack("<HHHHHII", len(name), len(member.extra), 0, 0, 0, 0, where)
    return b"PK\x01\x02" + fixed + _sizes(member) + lengths + name + member.extra
