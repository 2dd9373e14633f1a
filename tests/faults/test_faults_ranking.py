"""Workers killed in the background's work; the next one ends it, and every answer is right."""

import pytest
from fix_ranking import (
    Ranking,
    killed_while_merging,
    killed_while_switching,
    ranking,
)

__all__ = ["ranking"]  # fixtures

pytestmark = pytest.mark.anyio


async def test_a_worker_killed_while_it_merges_leaves_all_words_once(ranking: Ranking) -> None:
    await killed_while_merging(ranking, "merge_writing")


async def test_a_worker_killed_while_a_profile_switches_has_switched_nothing(
    ranking: Ranking,
) -> None:
    await killed_while_switching(ranking, "switching")
