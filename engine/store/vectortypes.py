"""pgvector's types on a connection: they have to be made known to psycopg, and once is enough."""

from typing import Any
from weakref import WeakSet

import psycopg
from pgvector.psycopg import register_vector_async

from engine.store.database import Tx

_knowing: WeakSet[psycopg.AsyncConnection[Any]] = WeakSet()


async def know_vectors(tx: Tx) -> None:
    """Before a vector is sent or read. Each registration makes classes that are never freed: done
    at every batch and every query it let a process grow without end."""
    if tx.connection not in _knowing:
        await register_vector_async(tx.connection)
        _knowing.add(tx.connection)
