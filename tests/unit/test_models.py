"""The pure rules about nouns: the status of a RAG, and the one line that tells a source's state."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.models import (
    Counts,
    CustomerId,
    Failure,
    NewSources,
    RagId,
    Source,
    SourceId,
    Stage,
    State,
    rag_status,
    status_message,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NUMBERS = st.integers(0, 5)


def source(
    state: State,
    *,
    stage: Stage | None = None,
    done: int = 0,
    total: int = 0,
    chunk_count: int = 0,
    failure: Failure | None = None,
) -> Source:
    return Source(
        id=SourceId(uuid4()),
        customer_id=CustomerId(uuid4()),
        rag_id=RagId(uuid4()),
        file_id=None,
        url="https://example.org/",
        name="a source",
        state=state,
        stage=stage,
        done=done,
        total=total,
        attempt=1,
        chunk_count=chunk_count,
        searchable=state is State.READY,
        due_at=None,
        failure=failure,
        coverage=None,
        created_at=NOW,
        updated_at=NOW,
    )


@pytest.mark.parametrize(
    ("counts", "status"),
    [
        (Counts(), State.PENDING),
        (Counts(pending=1), State.PROCESSING),
        (Counts(processing=1), State.PROCESSING),
        (Counts(ready=9, error=9, pending=1), State.PROCESSING),
        (Counts(ready=9, error=9, processing=1), State.PROCESSING),
        (Counts(ready=1), State.READY),
        (Counts(ready=1, error=9), State.READY),
        (Counts(error=1), State.ERROR),
    ],
)
def test_the_status_of_a_rag_has_these_rows(counts: Counts, status: State) -> None:
    assert rag_status(counts) is status


@given(st.builds(Counts, pending=NUMBERS, processing=NUMBERS, ready=NUMBERS, error=NUMBERS))
def test_a_rag_is_terminal_exactly_when_all_of_its_sources_are(counts: Counts) -> None:
    status = rag_status(counts)
    terminal = status in {State.READY, State.ERROR}
    assert terminal == (counts.total > 0 and counts.pending + counts.processing == 0)
    assert (status is State.READY) == (terminal and counts.ready > 0)
    assert (status is State.PENDING) == (counts.total == 0)


FAILURE = Failure(code="empty_text", message="There is no text.", retryable=False, remedy="Add it.")


@pytest.mark.parametrize(
    ("seen", "message"),
    [
        (source(State.PENDING), ""),
        (source(State.PENDING, failure=FAILURE), ""),
        (source(State.PROCESSING), "waiting"),
        (source(State.PROCESSING, stage=Stage.FETCH), "fetching"),
        (source(State.PROCESSING, stage=Stage.EXTRACT), "extracting"),
        (source(State.PROCESSING, stage=Stage.CHUNK), "chunking"),
        (source(State.PROCESSING, stage=Stage.EMBED), "embedding"),
        (
            source(State.PROCESSING, stage=Stage.EMBED, done=120, total=400),
            "embedding 120 of 400 chunks",
        ),
        (source(State.READY, chunk_count=42), "42 chunks created"),
        (source(State.READY, chunk_count=1), "1 chunk created"),
        (source(State.ERROR, failure=FAILURE), "There is no text. Add it."),
        (source(State.ERROR), ""),
    ],
)
def test_one_line_tells_what_a_source_is_at(seen: Source, message: str) -> None:
    assert status_message(seen) == message


@pytest.mark.parametrize("stage", Stage)
def test_every_stage_has_a_word_for_people(stage: Stage) -> None:
    word = status_message(source(State.PROCESSING, stage=stage))
    assert word.endswith("ing")
    assert word != "waiting"


def test_new_sources_are_counted_over_all_kinds() -> None:
    assert NewSources(urls=("https://example.org/", "https://example.org/b")).total == 2
    assert NewSources().total == 0
