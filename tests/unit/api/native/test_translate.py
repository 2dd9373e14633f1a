import json
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from engine import hits, models
from engine.api.native import translate
from engine.models import State

CUSTOMER = UUID("5e4a0680-804e-41ec-8477-2fea5968d85b")
RAG = UUID("a1b2c3d4-e5f6-4890-abcd-ef1234567890")
SOURCE = UUID("f1a2b3c4-d5e6-4890-abcd-ef1234567891")
FILE = UUID("d4e5f6a7-b8c9-4123-defa-456789012345")
AT = datetime(2026, 3, 15, 9, 0, 0, 42, tzinfo=UTC)
TEXT = "2026-03-15T09:00:00.000042Z"


def plain(shape: msgspec.Struct) -> object:
    return json.loads(msgspec.json.encode(shape))


def source(**given_fields) -> models.Source:
    fields = {
        "id": SOURCE,
        "customer_id": CUSTOMER,
        "rag_id": RAG,
        "file_id": None,
        "url": "https://docs.example.com/faq",
        "name": "faq",
        "state": State.PENDING,
        "stage": None,
        "done": 0,
        "total": 0,
        "attempt": 0,
        "chunk_count": 0,
        "searchable": False,
        "due_at": None,
        "failure": None,
        "coverage": None,
        "created_at": AT,
        "updated_at": AT,
    }
    return models.Source(**{**fields, **given_fields})


WAITING = {
    "id": str(SOURCE),
    "customer_id": str(CUSTOMER),
    "source_url": "https://docs.example.com/faq",
    "name": "faq",
    "attributes": {},
    "status": "pending",
    "status_message": "",
    "progress": {"stage": "", "done": 0, "total": 0},
    "chunk_count": 0,
    "attempt": 0,
    "tm_create": TEXT,
    "tm_update": TEXT,
}


def test_a_waiting_source_has_no_key_without_a_value():
    assert plain(translate.source(source())) == WAITING


def test_a_source_of_a_file_has_its_id_and_no_url():
    found = plain(translate.source(source(url=None, file_id=FILE)))
    assert found["storage_file_id"] == str(FILE)
    assert "source_url" not in found


def test_the_place_in_the_queue_is_part_of_the_progress():
    found = plain(translate.source(source(), queue_position=3))
    assert found["progress"] == {"stage": "", "done": 0, "total": 0, "queue_position": 3}


def test_a_source_at_work_says_how_far_it_is():
    at_work = source(state=State.PROCESSING, stage=models.Stage.EMBED, done=120, total=400)
    assert plain(translate.source(at_work)) == {
        **WAITING,
        "status": "processing",
        "status_message": "embedding 120 of 400 chunks",
        "progress": {"stage": "embed", "done": 120, "total": 400},
    }


def test_a_failed_source_carries_cause_and_remedy():
    failure = models.Failure(
        code="fetch_timeout", message="No answer.", retryable=True, remedy="Refresh."
    )
    failed = source(state=State.ERROR, failure=failure, attempt=3, due_at=AT)
    assert plain(translate.source(failed)) == {
        **WAITING,
        "status": "error",
        "status_message": "No answer. Refresh.",
        "error": {
            "code": "fetch_timeout",
            "message": "No answer.",
            "retryable": True,
            "remedy": "Refresh.",
        },
        "attempt": 3,
        "next_attempt_at": TEXT,
    }


def test_coverage_has_pages_only_where_the_format_has_them():
    warned = models.Warned(code="refresh_failed", message="No answer.")
    text = models.Coverage(characters=9, tables=1, warnings=(warned,))
    paged = models.Coverage(characters=9, pages_total=3, pages_with_text=2)
    ready = source(state=State.READY, chunk_count=1, coverage=text)
    assert plain(translate.source(ready))["coverage"] == {
        "characters": 9,
        "tables": 1,
        "warnings": [{"code": "refresh_failed", "message": "No answer."}],
    }
    assert plain(translate.source(source(coverage=paged)))["coverage"] == {
        "characters": 9,
        "tables": 0,
        "warnings": [],
        "pages_total": 3,
        "pages_with_text": 2,
    }


def test_a_rag_is_told_with_its_sources_and_the_counts_over_all_of_them():
    rag = models.Rag(
        id=RAG,
        customer_id=CUSTOMER,
        name="KB",
        description="",
        embedding_model="m",
        chunk_tokens=200,
        chunk_overlap_tokens=0,
        created_at=AT,
        updated_at=AT,
        counts=models.Counts(ready=2, error=1),
        sources=(source(),),
    )
    assert plain(translate.rag(rag)) == {
        "id": str(RAG),
        "customer_id": str(CUSTOMER),
        "name": "KB",
        "description": "",
        "status": "ready",
        "sources": [WAITING],
        "embedding_model": "m",
        "chunk_tokens": 200,
        "chunk_overlap_tokens": 0,
        "source_counts": {"pending": 0, "processing": 0, "ready": 2, "error": 1, "total": 3},
        "tm_create": TEXT,
        "tm_update": TEXT,
    }


def test_a_file_says_where_its_bytes_are():
    file = models.File(
        id=FILE,
        customer_id=CUSTOMER,
        type="rag",
        name="Manual",
        filename="manual.pdf",
        file_bytes=7,
        media_type="application/pdf",
        sha256=bytes(range(32)),
        kept=True,
        created_at=AT,
        updated_at=AT,
    )
    assert plain(translate.file(file, base_url="https://rag.example.com")) == {
        "id": str(FILE),
        "customer_id": str(CUSTOMER),
        "type": "rag",
        "name": "Manual",
        "filename": "manual.pdf",
        "filesize": 7,
        "media_type": "application/pdf",
        "sha256": bytes(range(32)).hex(),
        "uri_download": f"https://rag.example.com/storage_files/{FILE}/file",
        "tm_create": TEXT,
        "tm_update": TEXT,
    }


def test_a_chunk_and_a_hit_have_a_page_only_where_there_is_one():
    chunk = models.Chunk(
        id=RAG, ordinal=0, text="ab", start=3, end=5, headings=("A",), tokens=1, page=2
    )
    assert plain(translate.chunk(chunk)) == {
        "id": str(RAG),
        "ordinal": 0,
        "text": "ab",
        "start": 3,
        "end": 5,
        "page": 2,
        "headings": ["A"],
        "tokens": 1,
    }
    hit = hits.Hit(
        chunk_id=RAG,
        source_id=SOURCE,
        text="ab",
        score=0.5,
        dense=0.25,
        start=3,
        end=5,
        headings=(),
        source_name="faq",
        file_id=None,
        url="https://docs.example.com/faq",
    )
    assert plain(translate.hit(hit)) == {
        "chunk_id": str(RAG),
        "source_id": str(SOURCE),
        "text": "ab",
        "score": 0.5,
        "scores": {"dense": 0.25},
        "start": 3,
        "end": 5,
        "headings": [],
        "source": {"name": "faq", "source_url": "https://docs.example.com/faq"},
    }


def test_an_access_key_shows_its_token_once():
    key = models.AccessKey(
        id=RAG, customer_id=CUSTOMER, name="ci", prefix="re_12345678", created_at=AT
    )
    listed = {"id": str(RAG), "name": "ci", "prefix": "re_12345678", "tm_create": TEXT}
    assert plain(translate.access_key(key)) == listed
    assert plain(translate.access_key(key, token="re_x")) == {**listed, "token": "re_x"}


@given(
    at=st.datetimes(timezones=st.just(UTC), min_value=datetime(2, 1, 1)),
    hours=st.integers(-12, 14),
)
def test_times_are_utc_with_six_digits_in_any_zone(at, hours):
    there = at if at.year > 9000 else at.astimezone(timezone(timedelta(hours=hours)))
    text = translate.time_text(there)
    assert len(text) == 27
    assert text.endswith("Z")
    assert datetime.fromisoformat(text) == at
