"""How much memory the embedded Postgres buffers in: a share of what there is, within bounds."""

from pathlib import Path

import pytest

from engine.local import postgres

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("limit", "buffers"),
    [
        (f"{2048 * MIB}\n", 512 * MIB),
        (f"{64 * MIB}\n", 128 * MIB),
        (f"{300 * MIB}\n", 128 * MIB),
    ],
)
def test_a_container_gives_a_quarter_of_its_limit_and_128_mib_at_least(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, buffers: int
) -> None:
    path = tmp_path / "memory.max"
    path.write_text(limit)
    monkeypatch.setattr(postgres, "MEMORY_LIMIT", path)
    assert postgres.buffers_bytes() == buffers


@pytest.mark.parametrize("limit", ["max\n", "", None])
def test_without_a_limit_the_machine_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str | None
) -> None:
    path = tmp_path / "memory.max"
    if limit is not None:
        path.write_text(limit)
    monkeypatch.setattr(postgres, "MEMORY_LIMIT", path)
    names = {"SC_PHYS_PAGES": 10 * 1024 * MIB // 4096, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(postgres.os, "sysconf", names.__getitem__)
    assert postgres.buffers_bytes() == 2560 * MIB
    names["SC_PHYS_PAGES"] *= 100
    assert postgres.buffers_bytes() == 4096 * MIB
