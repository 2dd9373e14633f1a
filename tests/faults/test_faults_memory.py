"""What must not grow with every batch and every query."""

import gc

import pytest
from fix_store import Store, store

from engine.store.vectortypes import know_vectors

__all__ = ["store"]

pytestmark = pytest.mark.anyio


async def test_vectors_are_made_known_to_a_connection_once_and_leave_nothing_behind(
    store: Store,
) -> None:
    async with store.worker.transaction() as tx:
        await know_vectors(tx)
        before = count_of_classes()
        for _ in range(20):
            await know_vectors(tx)
    assert count_of_classes() == before


def count_of_classes() -> int:
    gc.collect()
    return sum(isinstance(each, type) for each in gc.get_objects())
