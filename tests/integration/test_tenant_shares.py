"""A tenant's RAG is found in whole however little of the tables it is, and however much is dead."""

import pytest
from fix_ann import grouped
from fix_large import LIMITS, Large

pytestmark = pytest.mark.anyio

TABLE = 10_000
SOURCES = 40
DEAD = (0.0, 0.5, 0.9, 0.99)


@pytest.mark.parametrize("passages", [1, 10, 100, 1_000, 10_000])
async def test_top_k_is_filled_at_any_share_of_the_tables(large: Large, passages: int) -> None:
    """0.01 to 100 %, the rest a stranger's; of the tenant's own, ever more is deleted."""
    if passages < TABLE:
        _, crowd = large.filler.rag(large.filler.customer())
        large.filler.source(crowd, grouped(TABLE - passages, seed=1_000))
    each = max(1, passages // SOURCES)
    alive = [large.source(grouped(each, seed=seed)) for seed in range(passages // each)]
    await large.keep()
    assert (await large.number() is None) is (passages <= LIMITS.exact_chunks_max)
    for dead in DEAD:
        while len(alive) > max(1, round((1 - dead) * passages / each)):
            large.filler.delete(alive.pop())
        for question in grouped(5, seed=2_000):
            for limit in (1, 10, 50):
                found = await large.ask(question, limit=limit)
                assert len(found) == len(set(found)) == min(limit, len(alive) * each)
            nearest = await large.scan(question, limit=10)
            found = await large.ask(question, limit=50)
            assert len(set(found[:10]) & set(nearest)) >= 0.9 * len(nearest)
