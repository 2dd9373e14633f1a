"""A profile that grows gets its graph when it has grown: before, more is scanned than usual, and
the answers are the same."""

from typing import LiteralString

import pytest
from fix_ann import grouped
from fix_large import Large

from workers import ann

pytestmark = pytest.mark.anyio

MOST = 80  # chunks without an entry, while a profile grows; 50 otherwise
WORK: dict[str, LiteralString] = {
    "a new text is due": "UPDATE indexes SET due_at = now()",
    "a text is embedded": "UPDATE indexes SET lease_until = now() + interval '1 minute'",
    "a source is due": "UPDATE sources SET due_at = now() - interval '1 minute'",
    "a source is fetched": "UPDATE sources SET lease_until = now() + interval '1 minute'",
}
NO_WORK: dict[str, LiteralString] = {
    "only later": "UPDATE sources SET due_at = now() + interval '1 minute'",
    "a text only later": "UPDATE indexes SET due_at = now() + interval '1 minute'",
    "a lease that nobody renewed": "UPDATE indexes SET lease_until = now() - interval '1 second'",
    "in a deleted source": "UPDATE sources SET due_at = now(), deleted_at = now()"
    " WHERE id = (SELECT id FROM sources ORDER BY position LIMIT 1)",
}
ALL_DONE: LiteralString = """
WITH idle AS (UPDATE indexes SET due_at = NULL, lease_until = NULL)
UPDATE sources SET due_at = NULL, lease_until = NULL
"""


@pytest.fixture(autouse=True)
def most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ann, "GROWING_MAX", MOST)


async def expect_as_scanned(large: Large) -> None:
    for question in grouped(5, seed=7):
        assert await large.ask(question) == await large.scan(question)


@pytest.mark.parametrize("work", WORK)
async def test_a_growing_profile_waits_for_its_first_graph(large: Large, work: str) -> None:
    large.source(grouped(MOST))
    await large.store.execute(WORK[work])
    assert await large.keep() == 0
    assert await large.number() is None
    await expect_as_scanned(large)
    await large.store.execute(ALL_DONE)
    assert await large.keep() > 0
    assert await large.number()
    await expect_as_scanned(large)


@pytest.mark.parametrize("state", NO_WORK)
async def test_what_nobody_can_work_at_now_is_not_waited_for(large: Large, state: str) -> None:
    large.source(grouped(5))
    large.source(grouped(MOST - 5))
    await large.store.execute(NO_WORK[state])
    assert await large.keep() > 0
    assert await large.number()


async def test_not_for_ever_and_not_beyond_what_is_scanned_soon_enough(large: Large) -> None:
    large.source(grouped(MOST))
    large.source(grouped(1, seed=1))
    await large.store.execute(WORK["a new text is due"])
    assert await large.keep() > 0
    assert await large.number()
    await expect_as_scanned(large)


async def test_what_comes_is_entered_when_a_profile_has_grown(large: Large) -> None:
    large.source(grouped(400))
    await large.keep()
    first = await large.number()
    late = large.source(grouped(30, seed=1))
    await large.store.execute(WORK["a source is fetched"])
    assert await large.keep() == 0
    await expect_as_scanned(large)
    await large.store.execute(ALL_DONE)
    assert await large.keep() > 0
    assert await large.number() == first
    rows = await large.store.fetch(
        "SELECT FROM indexes WHERE source_id = %(id)s AND ann_generation = generation_live", id=late
    )
    assert len(rows) == 1
    await expect_as_scanned(large)


@pytest.mark.parametrize(("more", "rebuilt"), [(200, False), (201, True)])
async def test_a_growing_graph_is_built_anew_at_half_as_many_again(
    large: Large, more: int, rebuilt: bool
) -> None:
    large.source(grouped(400))
    await large.keep()
    first = await large.number()
    large.source(grouped(more, seed=1))
    await large.store.execute(WORK["a text is embedded"])
    await large.keep()
    assert (await large.number() != first) is rebuilt
    await expect_as_scanned(large)
