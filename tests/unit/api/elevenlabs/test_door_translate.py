from datetime import UTC, datetime
from uuid import UUID, uuid4

import msgspec
import pytest

from engine.api.elevenlabs import translate
from engine.entries import (
    Entry,
    EntryHit,
    EntryKind,
    EntryText,
    FolderRef,
    RagIndex,
    RagIndexStatus,
)
from engine.errors import RagIndexNotFound
from engine.models import Chunk, ChunkId, CustomerId, FolderId, IndexId

FOLDER = FolderRef(id=FolderId(UUID(int=7)), name="Box")
AT = datetime(2026, 3, 15, 9, 0, 0, 900_000, tzinfo=UTC)


def entry(kind: EntryKind, **more: object) -> Entry:
    return Entry(
        id=UUID(int=1),
        customer_id=CustomerId(UUID(int=2)),
        kind=kind,
        name="Moon",
        created_at=AT,
        updated_at=AT,
        **more,  # type: ignore[arg-type]
    )


def wire(shape: object) -> dict[str, object]:
    return msgspec.json.decode(msgspec.json.encode(shape))


@pytest.mark.parametrize(
    ("kind", "own"),
    [
        (EntryKind.FILE, set()),
        (EntryKind.TEXT, set()),
        (EntryKind.URL, {"url"}),
        (EntryKind.FOLDER, {"children_count", "document_count"}),
    ],
)
def test_a_summary_has_the_fields_of_its_kind_and_no_others(kind, own):
    found = wire(translate.summary(entry(kind, url="https://example.com/a"), owner="Ada"))
    common = {"type", "id", "name", "metadata", "supported_usages", "access_info"}
    common |= {"folder_parent_id", "folder_path", "dependent_agents"}
    assert set(found) == common | own
    assert found["type"] == kind


@pytest.mark.parametrize(
    ("kind", "own"),
    [
        (EntryKind.FILE, {"filename", "extracted_inner_html", "content_format"}),
        (EntryKind.TEXT, {"extracted_inner_html", "content_format"}),
        (EntryKind.URL, {"url", "extracted_inner_html", "content_format"}),
        (EntryKind.FOLDER, {"children_count", "document_count"}),
    ],
)
def test_a_document_has_the_fields_of_its_kind_and_no_others(kind, own):
    read = EntryText(entry=entry(kind, url="https://example.com/a"), text="Hello")
    found = wire(translate.document(read, owner="Ada"))
    assert own <= set(found)
    others = {"filename", "extracted_inner_html", "content_format", "url", "children_count"}
    assert not (others - own) & set(found)


def test_the_text_of_a_document_is_escaped_paragraph_by_paragraph():
    read = EntryText(entry=entry(EntryKind.TEXT), text="A <b> & c\n\n\nSecond\nline\n")
    html = translate.document(read, owner="Ada").extracted_inner_html
    assert html == "<p>A &lt;b&gt; &amp; c</p><p>Second\nline</p>"


def test_a_document_that_has_no_text_yet_has_an_empty_one():
    read = EntryText(entry=entry(EntryKind.URL, url="https://example.com"))
    assert translate.document(read, owner="Ada").extracted_inner_html == ""


def test_times_are_whole_seconds_and_folders_lead_from_the_root():
    outer = FolderRef(id=FolderId(UUID(int=6)), name="Shelf")
    found = wire(
        translate.summary(
            entry(EntryKind.FILE, folder_path=(outer, FOLDER), byte_count=5), owner="Ada"
        )
    )
    seconds = int(AT.timestamp())
    assert found["metadata"] == {
        "created_at_unix_secs": seconds,
        "last_updated_at_unix_secs": seconds,
        "size_bytes": 5,
    }
    assert found["folder_parent_id"] == str(FOLDER.id)
    assert found["folder_path"] == [
        {"id": str(outer.id), "name": "Shelf"},
        {"id": str(FOLDER.id), "name": "Box"},
    ]


def test_a_chunk_is_called_after_its_innermost_heading_else_after_its_document():
    chunk = Chunk(
        id=ChunkId(uuid4()), ordinal=0, text="t", start=0, end=1, headings=("A", "B"), tokens=1
    )
    assert translate.chunk(chunk, document_name="Moon").name == "B"
    bare = msgspec.structs.replace(chunk, headings=())
    assert translate.chunk(bare, document_name="Moon").name == "Moon"


def test_an_entry_of_a_batch_is_a_success_with_data_or_a_failure():
    index = RagIndex(
        id=IndexId(UUID(int=9)),
        model="e5_mistral_7b_instruct",
        status=RagIndexStatus.SUCCEEDED,
        progress=100.0,
        used_bytes=12,
    )
    assert wire(translate.outcome(index, translate.index)) == {
        "status": "success",
        "data": {
            "id": str(index.id),
            "model": "e5_mistral_7b_instruct",
            "status": "succeeded",
            "progress_percentage": 100.0,
            "document_model_index_usage": {"used_bytes": 12},
        },
    }
    failure = wire(translate.outcome(RagIndexNotFound("None."), translate.index))
    assert failure == {
        "status": "failure",
        "error_code": 404,
        "error_status": "rag_index_not_found",
        "error_message": "None.",
    }
    assert wire(translate.outcome(None, translate.index))["error_code"] == 404


def test_a_search_hit_shows_where_the_words_of_the_question_stand():
    hit = EntryHit(entry=entry(EntryKind.TEXT), text="The moon is bright.", score=0.5)
    found = translate.found(hit, owner="Ada", query="moon")
    assert [(each.value, each.is_hit) for each in found.search_snippet] == [
        ("The ", False),
        ("moon", True),
        (" is bright.", False),
    ]
