"""Copies of one vector in an ANN table: each vector is in the graph once, whoever has it."""

import numpy as np
import pytest
from fix_ann import Vectors, grouped
from fix_large import Large

from engine import retrieval

pytestmark = pytest.mark.anyio

COPIES, PASSAGES = 400, 6
ALIKE = grouped(PASSAGES + 20, seed=1)
BOOK, SINGLES = ALIKE[:PASSAGES], ALIKE[PASSAGES:]


async def copied(large: Large) -> None:
    """Ten sources with the same passages, each forty times, and one with others."""
    for _ in range(10):
        large.source(np.tile(BOOK, (COPIES // 10, 1)))
    large.source(SINGLES)
    await large.keep()
    assert await large.number()


def vectors_in(large: Large, number: int | None) -> int:
    return large.filler.count(f"ann_{number}_vectors")


async def lost(large: Large, questions: Vectors) -> int:
    """How many of these are not what is found first when they are asked for."""
    return sum([await large.ask(each, limit=1) != await large.scan(each, limit=1)
                for each in questions])  # fmt: skip


async def test_what_stands_beside_many_copies_is_found(large: Large):
    await copied(large)
    assert await lost(large, SINGLES) == 0
    number = await large.number()
    assert vectors_in(large, number) == PASSAGES + len(SINGLES)
    assert large.filler.count(f"ann_{number}") == COPIES * PASSAGES + len(SINGLES)


async def test_all_copies_are_found_and_in_the_order_of_a_scan(large: Large):
    await copied(large)
    for question in (BOOK[3], SINGLES[5]):
        for limit in (10, 50):
            assert await large.ask(question, limit=limit) == await large.scan(question, limit=limit)


async def test_copies_that_come_later_are_entered_without_another_vector(large: Large, monkeypatch):
    monkeypatch.setattr(retrieval, "WALKED_COST", 0)  # or so few are scanned, and not walked for
    await copied(large)
    number = await large.number()
    late = [large.source(BOOK) for _ in range(2)]
    large.source(grouped(5, seed=3))
    await large.keep()
    assert await large.number() == number
    assert vectors_in(large, number) == PASSAGES + len(SINGLES) + 5
    assert large.filler.count(f"ann_{number}") == (COPIES + 2) * PASSAGES + len(SINGLES) + 5
    found = await large.ask(BOOK[0], limit=2, source_ids=late)
    assert found == await large.scan(BOOK[0], limit=2, source_ids=late)
    assert len(found) == 2
    assert await lost(large, grouped(5, seed=3)) == 0


async def test_a_copy_that_goes_takes_no_other_along(large: Large):
    first = [large.source(BOOK) for _ in range(2)]
    large.source(BOOK)
    large.source(grouped(600, seed=4))
    await large.keep()
    number = await large.number()
    for source_id in first:
        large.filler.delete(source_id)
        for kept in (False, True):
            if kept:
                await large.keep()
            for question in BOOK:
                assert await large.ask(question) == await large.scan(question)
    assert await large.number() == number
    assert large.filler.count(f"ann_{number}") == PASSAGES + 600


async def test_a_vector_that_came_back_is_found(large: Large):
    """All its copies were taken out; what is left of it in the graph serves the next one."""
    gone = large.source(BOOK)
    large.source(grouped(600, seed=4))
    await large.keep()
    number = await large.number()
    large.filler.delete(gone)
    await large.keep()
    assert await lost(large, BOOK) == 0
    large.source(BOOK)
    await large.keep()
    assert await large.number() == number
    assert vectors_in(large, number) == PASSAGES + 600
    assert await lost(large, BOOK) == 0
