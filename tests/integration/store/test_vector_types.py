"""pgvector's type on many connections."""

import gc
from collections.abc import Iterator
from typing import Any

import pytest
from fix_store import Store
from pgvector import HalfVector

from engine.store.vectortypes import know_vectors

pytestmark = pytest.mark.anyio


def dumpers() -> set[type[Any]]:
    """All classes by which psycopg sends anything."""
    from psycopg.adapt import Dumper

    def below(kind: type[Any]) -> Iterator[type[Any]]:
        for child in kind.__subclasses__():
            yield child
            yield from below(child)

    gc.collect()
    return set(below(Dumper))


async def on_a_new_connection(store: Store) -> list[float]:
    async with store.worker.dedicated() as tx:
        await know_vectors(tx)
        found = await tx.connection.execute("SELECT %b AS vector", (HalfVector([1.0, 2.5]),))
        row = await found.fetchone()
    assert row
    vector: list[float] = row["vector"].to_list()
    return vector


async def test_a_new_connection_knows_vectors_and_leaves_no_class_behind(store: Store) -> None:
    assert await on_a_new_connection(store) == [1.0, 2.5]
    before = dumpers()
    for _ in range(5):
        assert await on_a_new_connection(store) == [1.0, 2.5]
    assert dumpers() - before == set()
