"""Corners of the status rules: facts that stand beside a state and must not speak for it."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest

from engine.entries import IndexFacts, RagIndexStatus, rag_index_progress, rag_index_status
from engine.models import CustomerId, RagId, Source, SourceId, Stage, State, status_message

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def facts(**changes: object) -> IndexFacts:
    """An index that answers with the newest text, but for the changes."""
    known: dict[str, object] = {
        "state": State.READY,
        "attempt": 1,
        "done": 8,
        "total": 8,
        "generation_live": 1,
        "failure": None,
        "source_state": State.READY,
        "source_revision": 1,
        "source_due": False,
    }
    return IndexFacts(**(known | changes))


@pytest.mark.parametrize("stage", [stage for stage in Stage if stage is not Stage.EMBED])
def test_the_count_of_an_earlier_attempt_does_not_show_at_another_stage(stage: Stage) -> None:
    source = Source(
        id=SourceId(uuid4()), customer_id=CustomerId(uuid4()), rag_id=RagId(uuid4()), file_id=None,
        url="https://example.org/", name="a source", state=State.PROCESSING, stage=stage, done=3,
        total=9, attempt=2, chunk_count=0, searchable=False, due_at=None, failure=None,
        coverage=None, created_at=NOW, updated_at=NOW,
    )  # fmt: skip
    assert "9" not in status_message(source)


def test_an_index_in_error_has_failed_whatever_generation_stands_beside_it() -> None:
    assert rag_index_status(facts(state=State.ERROR)) is RagIndexStatus.FAILED


def test_an_index_at_work_is_processing_from_its_first_moment() -> None:
    at_work = facts(state=State.PROCESSING, attempt=0, generation_live=None)
    assert rag_index_status(at_work) is RagIndexStatus.PROCESSING


@pytest.mark.parametrize(("done", "percent"), [(0, 0.0), (2, 25.0), (4, 50.0), (8, 99.0)])
def test_the_progress_of_an_index_at_work_is_the_share_that_is_stored(
    done: int, percent: float
) -> None:
    at_work = facts(state=State.PROCESSING, done=done)
    assert rag_index_progress(at_work, status=RagIndexStatus.PROCESSING) == percent
