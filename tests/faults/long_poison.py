"""A document that kills whoever works on it: run alone, charged for that, and nobody else is."""

import pytest
from fix_corpus import MIDDLE, POISON, SHORT
from fix_world import World

pytestmark = pytest.mark.anyio


async def test_a_document_that_kills_its_worker_is_run_alone_and_alone_is_charged(
    world: World,
) -> None:
    """It dies after its text is committed, so it is its index that is charged."""
    rag = await world.load(POISON, MIDDLE[0], *SHORT[:3])
    poison = rag.sources[0]
    with world.supervised(workers=2, failpoint="chunk@arsenic"):
        await world.expect_sound(
            rag,
            errors={poison.id: "worker_killed"},
            charges=world.settings.limits.faults_max,
        )
    rows = await world.site.fetch("SELECT bool_and(alone) AS alone FROM charges")
    assert rows == [{"alone": True}], "a death in company was charged"
