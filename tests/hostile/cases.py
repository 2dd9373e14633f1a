"""What a hostile file is in the tables beside this: how it is made, and the outcome it must have.

The tables are the corpus_* modules. What runs them is test_hostile_files.py.
"""

import zlib
from collections.abc import Callable

import msgspec

MIB = 1024 * 1024
READY = "ready"


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One file. `outcome` is "ready" or the code of the error.

    A ready document contains each of `says`, none of `hides`, and has exactly the warnings
    `warns`. `heavy` ones take more than a blink, so a short run takes a sample of them.
    """

    name: str
    make: Callable[[], bytes]
    outcome: str
    says: tuple[str, ...] = ()
    hides: tuple[str, ...] = ()
    warns: tuple[str, ...] = ()
    media_type: str = ""
    charset: str = ""
    limits: dict[str, float] = {}
    heavy: bool = False


def ready(name, data, *says, warns=(), hides=(), **more):
    """A file that must come out as a document; `data` is bytes, text, or makes them."""
    return Case(
        name=name, make=_maker(data), outcome=READY, says=says, hides=hides, warns=warns, **more
    )


def error(name, data, code, **more):
    """A file that must end in the error of that code."""
    return Case(name=name, make=_maker(data), outcome=code, **more)


def _maker(data):
    if callable(data):
        return lambda: _bytes(data())
    return lambda: _bytes(data)


def _bytes(data):
    return data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data


def deflated(data, *, times=1):
    for _ in range(times):
        data = zlib.compress(data, 9)
    return data


def zeros_deflated(mebibytes, *, byte=b"\x00"):
    """Many MiB of one byte as a zlib stream, made without holding them."""
    stream = zlib.compressobj(9)
    block = byte * MIB
    return b"".join(stream.compress(block) for _ in range(mebibytes)) + stream.flush()
