"""Rag indexes and their chunks through the official SDK: what they answer with, and when.

One engine for the module; every test is a customer of its own.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import fix_sdk
import pytest
from elevenlabs import GetOrCreateRagIndexRequestModel
from elevenlabs.errors import UnprocessableEntityError
from fix_engine import new_customer
from fix_sdk import GEMINI, MISTRAL, MULTILINGUAL, Sdk, is_unknown, plain_client, refused, uncovered
from fix_web import Web

from engine.config import Settings

engine = fix_sdk.engine
web = fix_sdk.web
sdk = fix_sdk.sdk

BATCH_TIMEOUT_S = 120.0


def story(subject: str, *, sentences: int = 12) -> str:
    """A text about one subject: about 65 bytes a sentence, no two alike."""
    return " ".join(
        f"The {subject} number {n} stands in room {n * 7} and has {n + 2} handles made of brass."
        for n in range(1, sentences + 1)
    )


def chapters(*subjects: str, sentences: int = 12) -> str:
    """A longer text with a heading for each subject."""
    return "\n\n".join(f"# {s}\n\n{story(s, sentences=sentences)}" for s in subjects)


OLD, NEW = story("kettle"), story("bicycle")


def page(text: str) -> str:
    return f"<html><head><title>t</title></head><body><main><p>{text}</p></main></body></html>"


# --- the way to succeeded ---------------------------------------------------------------------


def test_an_index_is_made_when_it_is_asked_for_and_ends_succeeded(sdk: Sdk) -> None:
    id_ = sdk.text(OLD)
    first = sdk.index(id_)
    assert first.status in {"created", "processing", "succeeded"}
    index = sdk.indexed(id_)
    assert (index.id, index.model, index.status) == (first.id, MISTRAL, "succeeded")
    assert index.progress_percentage == 100
    assert index.document_model_index_usage.used_bytes == len(OLD.encode())
    assert fix_sdk.SAFE_ID.fullmatch(index.id)


def test_asking_again_makes_no_second_index(sdk: Sdk) -> None:
    id_ = sdk.text(OLD)
    indexes = {sdk.index(id_).id for _ in range(3)} | {sdk.indexed(id_).id}
    before = sdk.chunks(id_)
    indexes.add(sdk.kb.document.compute_rag_index(id_, model=MISTRAL).id)
    indexes.add(sdk.index(id_, create=False).id)
    assert len(indexes) == 1
    assert sdk.indexed(id_).status == "succeeded"
    assert sdk.chunks(id_) == before
    assert len(sdk.cai.get_document_rag_indexes(id_).indexes) == 1


def test_the_older_call_is_polled_to_the_same_index(sdk: Sdk) -> None:
    id_ = sdk.text(OLD)
    deadline = time.monotonic() + 30
    while (index := sdk.kb.document.compute_rag_index(id_, model=MISTRAL)).status != "succeeded":
        assert index.status in fix_sdk.GOING_ON
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert sdk.index(id_).id == index.id


def test_progress_never_falls_and_is_100_when_succeeded(sdk: Sdk) -> None:
    id_ = sdk.text(chapters(*(f"{color} lamp" for color in ("red", "blue", "green")), sentences=80))
    seen, status = [], "created"
    order = ["created", "processing", "succeeded"]
    deadline = time.monotonic() + 60
    while status != "succeeded":
        index = sdk.index(id_)
        assert order.index(index.status) >= order.index(status)
        status = index.status
        seen.append(index.progress_percentage)
        assert time.monotonic() < deadline
    assert seen == sorted(seen)
    assert seen[-1] == 100
    assert all(progress < 100 for progress in seen[:-1])


# --- chunks -----------------------------------------------------------------------------------


def test_chunks_are_paged_without_gap_or_repeat_and_cover_the_whole_text(sdk: Sdk) -> None:
    text = chapters(*(f"tower {n}" for n in range(5)), sentences=25)
    id_ = sdk.text(text, name="Towers")
    assert sdk.indexed(id_).status == "succeeded"
    whole = sdk.chunks(id_)
    assert len(whole) > 5
    for page_size in (1, 2, 30):
        assert sdk.chunks(id_, page_size=page_size) == whole
    content = sdk.documents.get_content(id_)
    assert content == text
    assert uncovered(content, parts=[chunk.content for chunk in whole]) == ""
    assert all(chunk.name for chunk in whole)


def test_a_single_chunk_is_the_one_of_the_list(sdk: Sdk) -> None:
    id_ = sdk.text(chapters("tower", "bridge", sentences=20))
    sdk.indexed(id_)
    sdk.indexed(id_, model=MULTILINGUAL)
    mistral, other = sdk.chunks(id_), sdk.chunks(id_, model=MULTILINGUAL)
    for chunk in mistral:
        # The model may be left out: it has a default.
        assert sdk.documents.chunk.get(id_, chunk.id) == chunk
    get = sdk.documents.chunk.get
    assert get(id_, other[0].id, embedding_model=MULTILINGUAL) == other[0]
    assert refused(get, id_, other[0].id, embedding_model=MISTRAL).code == 404
    assert refused(get, id_, str(uuid4()), embedding_model=MISTRAL).code == 404
    assert refused(get, id_, "no-chunk", embedding_model=MISTRAL).code == 404


def test_chunks_without_an_index_are_a_404_that_is_not_about_the_document(sdk: Sdk) -> None:
    id_ = sdk.text(OLD)
    refusal = refused(sdk.documents.chunks.list, id_, embedding_model=MISTRAL)
    assert refusal.code == 404
    assert not is_unknown(refusal)


@pytest.mark.parametrize(
    "asked",
    [
        {"embedding_model": GEMINI},
        {"embedding_model": MISTRAL, "page_size": 0},
        {"embedding_model": MISTRAL, "page_size": 101},
        {"embedding_model": MISTRAL, "cursor": "not a cursor"},
    ],
    ids=str,
)
def test_chunks_that_cannot_be_asked_for_are_a_422(sdk: Sdk, asked: dict[str, Any]) -> None:
    id_ = sdk.text(OLD)
    sdk.index(id_)
    with pytest.raises(UnprocessableEntityError):
        sdk.documents.chunks.list(id_, **asked)


# --- batches ----------------------------------------------------------------------------------


def test_two_models_of_one_document_are_both_computed_and_the_last_one_answers(sdk: Sdk) -> None:
    id_ = sdk.text(OLD)
    values = sdk.batch((id_, MISTRAL), (id_, MULTILINGUAL))
    assert set(values) == {id_}
    assert values[id_].data.model == MULTILINGUAL
    indexes = sdk.cai.get_document_rag_indexes(id_).indexes
    assert {index.model for index in indexes} == {MISTRAL, MULTILINGUAL}
    assert len({index.id for index in indexes}) == 2
    contents = []
    for model in (MISTRAL, MULTILINGUAL):
        assert sdk.indexed(id_, model=model).status == "succeeded"
        contents.append(sdk.indexed_text(id_, model=model))
    assert contents[0] == contents[1] != ""


def test_the_same_document_twice_in_a_batch_is_one_index(sdk: Sdk) -> None:
    id_ = sdk.text(OLD)
    values = sdk.batch((id_, MISTRAL), (id_, MISTRAL))
    assert values[id_].status == "success"
    assert len(sdk.cai.get_document_rag_indexes(id_).indexes) == 1


def test_create_if_missing_false_makes_nothing_and_is_a_failure_with_404(sdk: Sdk) -> None:
    id_ = sdk.text(OLD)
    value = sdk.batch((id_, MISTRAL), create=False)[id_]
    assert (value.status, value.error_code) == ("failure", 404)
    assert value.error_status
    assert value.error_message
    assert sdk.cai.get_document_rag_indexes(id_).indexes == []


@pytest.fixture(scope="module")
def hundred(engine: Settings) -> Iterator[tuple[Sdk, list[str]]]:
    """A customer with a hundred documents, no two alike."""
    with plain_client() as http:
        sdk = Sdk(engine, token=new_customer(engine, "hundred"), http=http)
        yield sdk, [sdk.text(story(f"cupboard {n}", sentences=11)) for n in range(100)]


def test_a_hundred_documents_succeed_in_one_batch(hundred: tuple[Sdk, list[str]]) -> None:
    sdk, ids = hundred
    asked = [(id_, MISTRAL) for id_ in ids]
    began = time.monotonic()
    while True:
        values = sdk.batch(*asked)
        assert set(values) == set(ids)
        statuses = [values[id_].data.status for id_ in ids]
        if not set(statuses) & fix_sdk.GOING_ON:
            break
        assert time.monotonic() - began < BATCH_TIMEOUT_S, statuses
        time.sleep(0.1)
    print(f"a batch of 100 documents: {time.monotonic() - began:.1f} s")
    assert set(statuses) == {"succeeded"}
    assert "cupboard 42 number 3" in sdk.indexed_text(ids[42])


@pytest.mark.parametrize(
    "unknown", ["0b9d2c55-6f0e-4d3a-9a51-2f6f3f1f7a10", "21m00Tcm4TlvDq8ikWAM", "", "a/b c"]
)
def test_a_bad_id_in_a_hundred_spoils_only_its_own_entry(
    hundred: tuple[Sdk, list[str]], unknown: str
) -> None:
    sdk, ids = hundred
    values = sdk.batch(*((id_, MISTRAL) for id_ in [*ids[:50], unknown, *ids[51:]]))
    assert len(values) == 100
    failure = values.pop(unknown)
    assert (failure.status, failure.error_code, failure.error_status) == (
        "failure",
        404,
        fix_sdk.UNKNOWN,
    )
    assert {value.status for value in values.values()} == {"success"}


@pytest.mark.parametrize("count", [0, 101])
def test_a_batch_of_less_than_1_or_more_than_100_items_is_a_422(sdk: Sdk, count: int) -> None:
    item = GetOrCreateRagIndexRequestModel(
        document_id=str(uuid4()), create_if_missing=False, model=MISTRAL
    )
    with pytest.raises(UnprocessableEntityError) as caught:
        sdk.kb.get_or_create_rag_indexes(items=[item] * count)
    assert caught.value.body["detail"][0]["loc"] == ["body", "items"]


@pytest.mark.parametrize("model", [GEMINI, "all-MiniLM-L6-v2"])
def test_a_model_outside_the_enum_is_a_422_that_names_the_allowed_ones(
    sdk: Sdk, model: str
) -> None:
    id_ = sdk.text(OLD)
    calls: list[Callable[[], Any]] = [
        lambda: sdk.batch((id_, MISTRAL), (id_, model)),
        lambda: sdk.kb.document.compute_rag_index(id_, model=model),
    ]
    for call in calls:
        with pytest.raises(UnprocessableEntityError) as caught:
            call()
        problem = caught.value.body["detail"][0]
        assert MISTRAL in problem["msg"]
        assert MULTILINGUAL in problem["msg"]
        assert GEMINI not in problem["msg"].replace(repr(model), "")
        assert problem["loc"][-1] == "model"
    assert sdk.cai.get_document_rag_indexes(id_).indexes == []


# --- what cannot be indexed -------------------------------------------------------------------


def test_a_document_below_500_bytes_is_too_small_and_uses_nothing(sdk: Sdk) -> None:
    small, enough = sdk.text("x" * 20 + " " + "y" * 478), sdk.text("word " * 100)
    index = sdk.indexed(small)
    assert index.status == "document_too_small"
    assert index.document_model_index_usage.used_bytes == 0
    assert index.progress_percentage < 100
    assert sdk.chunks(small) == []
    assert sdk.indexed(enough).status == "succeeded"


def test_a_folder_cannot_be_indexed_and_says_so_as_a_status(sdk: Sdk) -> None:
    folder = sdk.documents.create_folder(name="Folder").id
    index = sdk.index(folder)
    assert index.status == "cannot_index_folder"
    assert index.document_model_index_usage.used_bytes == 0
    assert sdk.kb.document.compute_rag_index(folder, model=MISTRAL).status == index.status
    assert sdk.cai.get_document_rag_indexes(folder).indexes == []


def test_a_document_over_the_limit_of_all_is_not_indexed_and_spoils_nothing(sdk: Sdk) -> None:
    comment = f"<!-- {'x' * fix_sdk.INDEXED_BYTES_MAX} -->"
    file = ("large.html", (page(OLD) + comment).encode(), "text/html")
    large, small = sdk.documents.create_from_file(file=file).id, sdk.text(NEW)
    index = sdk.indexed(large)
    assert index.status == "rag_limit_exceeded"
    assert index.document_model_index_usage.used_bytes == 0
    assert sdk.chunks(large) == []
    assert sdk.indexed(small).status == "succeeded"
    overview = sdk.cai.rag_index_overview()
    assert overview.total_used_bytes == len(NEW.encode())
    assert overview.total_max_bytes == fix_sdk.INDEXED_BYTES_MAX


# --- when the text changes --------------------------------------------------------------------


def edit_text(sdk: Sdk, web: Web) -> tuple[str, Callable[[], Any]]:
    id_ = sdk.text(OLD)
    return id_, lambda: sdk.documents.update(id_, content=NEW)


def edit_url(sdk: Sdk, web: Web) -> tuple[str, Callable[[], Any]]:
    id_ = sdk.documents.create_from_url(url=web.add("/edited", body=page(OLD))).id
    return id_, lambda: sdk.documents.update(id_, content=NEW)


def refresh_url(sdk: Sdk, web: Web) -> tuple[str, Callable[[], Any]]:
    id_ = sdk.documents.create_from_url(url=web.add("/changing", body=page(OLD))).id

    def change() -> None:
        web.add("/changing", body=page(NEW))
        sdk.kb.document.refresh(id_)

    return id_, change


def new_file(sdk: Sdk, web: Web) -> tuple[str, Callable[[], Any]]:
    id_ = sdk.documents.create_from_file(file=("old.txt", OLD.encode())).id
    return id_, lambda: sdk.kb.document.update_file(id_, file=("new.txt", NEW.encode()))


@pytest.mark.parametrize("change_of", [edit_text, edit_url, refresh_url, new_file])
def test_after_a_change_the_old_index_answers_until_the_next_one_has_only_the_new_text(
    sdk: Sdk, web: Web, change_of: Callable[[Sdk, Web], tuple[str, Callable[[], Any]]]
) -> None:
    id_, change = change_of(sdk, web)
    assert sdk.indexed(id_).status == "succeeded"
    before = sdk.indexed_text(id_)
    assert "kettle" in before
    change()
    answers = [sdk.indexed_text(id_)]
    deadline = time.monotonic() + 30
    while sdk.index(id_).status != "succeeded":
        answers.append(sdk.indexed_text(id_))
        assert time.monotonic() < deadline
    after = sdk.indexed_text(id_)
    assert "bicycle" in after
    assert "kettle" not in after
    assert set(answers) <= {before, after}
    assert (
        uncovered(
            sdk.documents.get_content(id_), parts=[chunk.content for chunk in sdk.chunks(id_)]
        )
        == ""
    )


def test_a_change_that_fails_leaves_the_old_index_answering(sdk: Sdk, web: Web) -> None:
    id_ = sdk.documents.create_from_url(url=web.add("/gone", body=page(OLD))).id
    assert sdk.indexed(id_).status == "succeeded"
    web.routes.pop("/gone")
    sdk.kb.document.refresh(id_)
    sdk.indexed(id_)
    assert "kettle" in sdk.indexed_text(id_)
    assert "kettle" in sdk.documents.get_content(id_)


# --- lists, deletion, use ---------------------------------------------------------------------


def test_deleting_an_index_answers_with_it_and_leaves_the_others(sdk: Sdk) -> None:
    id_ = sdk.text(OLD)
    mistral, other = sdk.indexed(id_), sdk.indexed(id_, model=MULTILINGUAL)
    deleted = sdk.cai.delete_document_rag_index(id_, mistral.id)
    assert (deleted.id, deleted.model) == (mistral.id, MISTRAL)
    assert [i.id for i in sdk.cai.get_document_rag_indexes(id_).indexes] == [other.id]
    assert refused(sdk.documents.chunks.list, id_, embedding_model=MISTRAL).code == 404
    assert sdk.chunks(id_, model=MULTILINGUAL) != []
    assert refused(sdk.cai.delete_document_rag_index, id_, mistral.id).code == 404
    assert sdk.documents.get_content(id_) == OLD
    assert sdk.indexed(id_).status == "succeeded"


def test_the_overview_sums_what_succeeded(sdk: Sdk) -> None:
    empty = sdk.cai.rag_index_overview()
    assert (empty.total_used_bytes, sum(m.used_bytes for m in empty.models)) == (0, 0)
    first, second, small = sdk.text(OLD), sdk.text(NEW * 2), sdk.text("small")
    for id_ in (first, second, small):
        sdk.indexed(id_)
    sdk.indexed(first, model=MULTILINGUAL)
    overview = sdk.cai.rag_index_overview()
    used = {each.model: each.used_bytes for each in overview.models}
    assert used[MISTRAL] == len(OLD.encode()) + len(NEW.encode()) * 2
    assert used[MULTILINGUAL] == len(OLD.encode())
    assert overview.total_used_bytes == sum(used.values())
    sdk.documents.delete(second)
    assert sdk.cai.rag_index_overview().total_used_bytes == 2 * len(OLD.encode())


def test_the_indexes_of_a_deleted_document_are_gone_with_it(sdk: Sdk) -> None:
    id_ = sdk.text(OLD)
    index = sdk.indexed(id_)
    sdk.documents.delete(id_)
    assert is_unknown(refused(sdk.documents.chunks.list, id_, embedding_model=MISTRAL))
    assert is_unknown(refused(sdk.cai.delete_document_rag_index, id_, index.id))
    assert sdk.batch((id_, MISTRAL))[id_].error_code == 404
