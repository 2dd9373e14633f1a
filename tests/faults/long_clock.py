"""A worker whose clocks are wrong: leases, due times and the sweep go by the database's clock."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from fix_corpus import LONG, SHORT
from fix_world import World

pytestmark = pytest.mark.anyio

DAY_S = 86_400

# Loaded by every Python process that finds it on its path, before anything else is imported.
SHIFTED = """
import pathlib, time
pathlib.Path(__file__).with_name("loaded").touch()
shift_s = {shift_s}
for name in ("time", "monotonic"):
    def shifted(real=getattr(time, name)):
        return real() + shift_s
    setattr(time, name, shifted)
def shifted_ns(real=time.time_ns):
    return real() + int(shift_s * 1e9)
time.time_ns = shifted_ns
"""


def clock(folder: Path, *, shift_s: float) -> Mapping[str, str]:
    """An environment whose Python processes live so much later."""
    made = folder / f"clock{shift_s:+.0f}"
    made.mkdir()
    (made / "sitecustomize.py").write_text(SHIFTED.format(shift_s=shift_s))
    return {"PYTHONPATH": os.pathsep.join([str(made), os.environ.get("PYTHONPATH", "")])}


@pytest.mark.parametrize("shift_s", [400 * DAY_S, -3_000.0])
async def test_a_worker_with_a_wrong_clock_takes_nothing_away_and_gives_nothing_up(
    world: World, tmp_path: Path, shift_s: float
) -> None:
    """One worker in its own time, one in ours: neither ends the other's leases."""
    wrong = world.hire(environ=clock(tmp_path, shift_s=shift_s))
    right = world.hire()
    await world.site.until("SELECT count(*) = 2 FROM workers")
    rag = await world.load(LONG[0], LONG[1], *SHORT[:6])
    await world.expect_sound(rag)
    rows = await world.site.fetch("SELECT max(attempt) AS attempt FROM sources")
    assert rows == [{"attempt": 1}], "a lease was ended although its worker lived"
    assert list(tmp_path.glob("clock*/loaded")), "the clock was not wrong at all"
    assert wrong.lines("ready"), "the worker with the wrong clock has done nothing"
    assert right.process.poll() is wrong.process.poll() is None
