"""pgvector's type on a connection: it has to be made known to psycopg, and once is enough."""

from functools import cache
from typing import Any
from weakref import WeakSet

import psycopg
from pgvector import HalfVector
from pgvector.psycopg.halfvec import (
    HalfVectorBinaryDumper,
    HalfVectorBinaryLoader,
    HalfVectorDumper,
    HalfVectorLoader,
)
from psycopg.abc import Dumper
from psycopg.types import TypeInfo

from engine.store.database import Tx

_knowing: WeakSet[psycopg.AsyncConnection[Any]] = WeakSet()


async def know_vectors(tx: Tx) -> None:
    """Before a vector is sent or read.

    pgvector's own registration makes new classes every time, which are never freed: a process that
    had to connect anew now and then would grow without end.
    """
    if tx.connection in _knowing:
        return
    info = await TypeInfo.fetch(tx.connection, "halfvec")
    if info is None:
        raise psycopg.OperationalError("the database has no type halfvec")
    info.register(tx.connection)
    adapters = tx.connection.adapters
    for dumper in _dumpers(info.oid):
        adapters.register_dumper(HalfVector, dumper)
    for loader in (HalfVectorLoader, HalfVectorBinaryLoader):
        adapters.register_loader(info.oid, loader)
    _knowing.add(tx.connection)


@cache
def _dumpers(oid: int) -> tuple[type[Dumper], type[Dumper]]:
    """As pgvector makes them, once for each number that a database gives the type."""
    text = type("HalfVectorText", (HalfVectorDumper,), {"oid": oid})
    binary = type("HalfVectorBinary", (HalfVectorBinaryDumper,), {"oid": oid})
    return text, binary
