"""What the conductor decides by itself: who is charged, and what an embedding is keyed by."""

import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.blobs import clear_spool
from engine.errors import (
    DatabaseUnavailable,
    EmptyText,
    FetchTimeout,
    ModelUnavailable,
    QueueUnavailable,
    StorageUnavailable,
)
from workers.build import _embedding_key
from workers.failpoint import Failpoint
from workers.outcome import failure_of

DAY_S = 86_400


@pytest.mark.parametrize(
    "error",
    [
        None,
        DatabaseUnavailable("away"),
        QueueUnavailable("away"),
        StorageUnavailable("away"),
        ModelUnavailable("away"),
    ],
)
def test_what_the_surroundings_did_is_charged_to_nobody(error: Exception | None) -> None:
    assert failure_of(error) is None


def test_a_fault_of_the_source_is_told_as_it_is() -> None:
    failure = failure_of(EmptyText("There is no text in it."))
    assert failure is not None
    assert (failure.code, failure.message) == ("empty_text", "There is no text in it.")
    assert (failure.retryable, failure.remedy) == (False, EmptyText.remedy)
    passing = failure_of(FetchTimeout("It took too long."))
    assert passing is not None
    assert passing.retryable


def test_what_nobody_foresaw_is_tried_again_and_tells_nothing_of_the_inside() -> None:
    failure = failure_of(KeyError("/srv/secret/path"))
    assert failure is not None
    assert (failure.code, failure.retryable) == ("internal_fault", True)
    assert "secret" not in failure.message + failure.remedy


def model(name: str, version: str) -> Any:
    return SimpleNamespace(spec=SimpleNamespace(name=name, version=version))


def test_an_embedding_is_the_same_only_for_the_same_text_model_and_version() -> None:
    keys = [
        _embedding_key(model(name, version), text)
        for name, version, text in (
            ("a", "1", "text"),
            ("b", "1", "text"),
            ("a", "2", "text"),
            ("a", "1", "another text"),
            ("a", "1\0text", ""),
        )
    ]
    assert len(set(keys)) == len(keys)
    assert _embedding_key(model("a", "1"), "text") == keys[0]
    assert all(len(key) == 32 for key in keys)


def test_a_failpoint_elsewhere_or_further_on_lets_the_worker_live() -> None:
    for failpoint in (Failpoint(""), Failpoint("store:3"), Failpoint("claim")):
        failpoint.hit("store")
        failpoint.hit("store")


def test_only_old_leftovers_are_cleared_from_the_spool(tmp_path: Path) -> None:
    for name in ("old", "young"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "upload").write_bytes(b"half a text")
    os.utime(tmp_path / "old", (time.time() - 100_000, time.time() - 100_000))
    clear_spool(tmp_path, age_s=DAY_S)
    assert [path.name for path in tmp_path.iterdir()] == ["young"]
    clear_spool(tmp_path / "none", age_s=DAY_S)
