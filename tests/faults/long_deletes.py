"""The long form: a thousand deletions at random moments."""

from pathlib import Path

import pytest
from test_faults_deletes import SEED, crowded, expect_gone, play, told

from engine.config import Settings

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(900)]

DELETIONS = 1_000


async def test_a_thousand_deletions_leave_nothing_to_be_found(
    settings: Settings, tmp_path: Path, measured: list[str]
) -> None:
    async with crowded(settings, folder=tmp_path, seed=SEED + 1) as crowd:
        await play(crowd, deletions=DELETIONS)
        measured.append(told(crowd))
        await expect_gone(crowd, deletions=DELETIONS)
