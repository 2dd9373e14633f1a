"""The long form: the background's work is killed at every other place."""

import pytest
from fix_ranking import (
    Ranking,
    killed_while_keeping_ann,
    killed_while_merging,
    killed_while_switching,
    ranking,
)

__all__ = ["ranking"]  # fixtures

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240)]


@pytest.mark.parametrize(
    "place", ["merge_begun", "merge_written", "merge_switching", "merge_switched"]
)
async def test_a_merge(ranking: Ranking, place: str) -> None:
    await killed_while_merging(ranking, place)


@pytest.mark.parametrize(
    "places",
    [
        ("ann_created", "ann_entering"),
        ("ann_filled", "ann_deleted"),
        ("ann_announced",),
        ("ann_indexed", "ann_entered"),
        ("ann_built",),
    ],
)
async def test_an_ann_table(ranking: Ranking, places: tuple[str, ...]) -> None:
    await killed_while_keeping_ann(ranking, *places)


async def test_the_moment_after_a_profile_has_switched(ranking: Ranking) -> None:
    await killed_while_switching(ranking, "switched")
