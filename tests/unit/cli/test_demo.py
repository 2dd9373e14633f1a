"""The sample of the demo: what it is made of, and which RAGs are its own."""

from datetime import UTC, datetime
from uuid import uuid4

import msgspec
import pytest

from engine.cli import demo
from engine.models import Counts, CustomerId, Rag, RagId, Source, SourceId, State

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CUSTOMER, RAG = CustomerId(uuid4()), RagId(uuid4())


def source(name: str, *, state: State = State.READY, url: str | None = None) -> Source:
    return Source(
        id=SourceId(uuid4()),
        customer_id=CUSTOMER,
        rag_id=RAG,
        file_id=None,
        url=url,
        name=name,
        state=state,
        stage=None,
        done=0,
        total=0,
        attempt=1,
        chunk_count=1,
        searchable=True,
        due_at=None,
        failure=None,
        coverage=None,
        created_at=NOW,
        updated_at=NOW,
    )


def rag(*sources: Source, more: int = 0) -> Rag:
    return Rag(
        id=RAG,
        customer_id=CUSTOMER,
        name=demo.RAG,
        description="",
        embedding_model="m",
        chunk_tokens=200,
        chunk_overlap_tokens=0,
        created_at=NOW,
        updated_at=NOW,
        counts=Counts(ready=len(sources) + more),
        sources=sources,
    )


HANDBOOK, PDF = source(demo.HANDBOOK), source(demo.GUARANTEE_PDF)
PAGE = source("Brewing", url=f"http://127.0.0.1:4711/{demo.PAGE}")
OWN = source("my notes.md")


def test_a_sample_is_whole_when_its_three_sources_are_ready_whatever_else_is_there() -> None:
    assert demo.is_whole(rag(HANDBOOK, PDF, PAGE))
    assert demo.is_whole(rag(HANDBOOK, PDF, PAGE, OWN))
    failed = msgspec.structs.replace(PAGE, state=State.ERROR)
    assert not demo.is_whole(rag(HANDBOOK, PDF, failed))
    assert not demo.is_whole(rag(HANDBOOK, PDF))


@pytest.mark.parametrize("sources", [(), (HANDBOOK,), (HANDBOOK, PAGE)])
def test_what_an_interrupted_start_has_left_may_be_removed(sources: tuple[Source, ...]) -> None:
    assert demo.is_remains(rag(*sources))


def test_a_rag_with_anything_of_somebody_elses_is_never_removed() -> None:
    assert not demo.is_remains(rag(HANDBOOK, OWN))
    assert not demo.is_remains(rag(HANDBOOK, more=1))


def test_the_pdf_is_the_same_at_every_start() -> None:
    made = demo.guarantee_pdf()
    assert made.startswith(b"%PDF-")
    assert made == demo.guarantee_pdf()
