"""Folders, lists, searches and sizes of the knowledge base, through the official SDK.

One engine for the module; every test is a customer of its own.
"""

import time
from typing import Any
from uuid import uuid4

import fix_sdk
import pytest
from elevenlabs.core.api_error import ApiError
from fix_engine import Caller
from fix_sdk import Sdk, is_unknown, knowledge_base, refused
from fix_web import Web

engine = fix_sdk.engine
web = fix_sdk.web
sdk = fix_sdk.sdk
native = fix_sdk.native
stranger = fix_sdk.stranger

HARBOUR = (
    "The ferry to the island leaves the harbour at seven in the morning and at three in the "
    "afternoon. In winter only the morning ferry runs. Bicycles travel free of charge."
)
BAKERY = "The bakery sells rye bread on Tuesdays, and rolls with poppy seed every morning."
PAGE = f"<html><head><title>Harbour</title></head><body><main><p>{HARBOUR}</p></main></body></html>"


# --- folders ----------------------------------------------------------------------------------


def test_documents_lie_in_folders_and_folders_in_folders(sdk: Sdk) -> None:
    outer = sdk.documents.create_folder(name="Outer").id
    added = sdk.documents.create_folder(name="Inner", parent_folder_id=outer)
    assert [step.id for step in added.folder_path] == [outer]
    deep = sdk.text(BAKERY, name="Deep", parent_folder_id=added.id)
    shallow = sdk.text(HARBOUR, name="Shallow", parent_folder_id=outer)
    document = sdk.documents.get(deep)
    assert document.folder_parent_id == added.id
    assert [step.id for step in document.folder_path] == [outer, added.id]
    folder = sdk.documents.get(outer)
    assert (folder.type, folder.children_count, folder.document_count) == ("folder", 2, 2)
    assert set(sdk.listed(parent_folder_id=outer)) == {added.id, shallow}
    assert set(sdk.listed(ancestor_folder_id=outer)) == {added.id, shallow, deep}
    assert set(sdk.listed(ancestor_folder_id=outer, types=["text"])) == {shallow, deep}


def test_a_url_and_a_file_may_be_created_in_a_folder(sdk: Sdk, web: Web) -> None:
    folder = sdk.documents.create_folder(name="Folder").id
    url = sdk.documents.create_from_url(url=web.add("/in", body=PAGE), parent_folder_id=folder)
    file = sdk.documents.create_from_file(file=("a.txt", b"words"), parent_folder_id=folder)
    assert [step.id for step in file.folder_path] == [folder]
    assert set(sdk.listed(parent_folder_id=folder)) == {url.id, file.id}


def test_moving_puts_a_document_into_a_folder_and_back_to_the_root(sdk: Sdk) -> None:
    folder = sdk.documents.create_folder(name="Folder").id
    id_ = sdk.text(BAKERY)
    sdk.documents.move(id_, move_to=folder)
    assert sdk.documents.get(id_).folder_parent_id == folder
    sdk.documents.move(id_)
    assert sdk.documents.get(id_).folder_parent_id is None
    sdk.documents.move(id_, move_to=folder)
    sdk.documents.move(id_, move_to=None)
    assert sdk.documents.get(id_).folder_parent_id is None


def test_many_move_together_or_not_at_all(sdk: Sdk) -> None:
    folder = sdk.documents.create_folder(name="Folder").id
    made = [sdk.text(BAKERY), sdk.text(HARBOUR)]
    call = sdk.documents.bulk_move
    assert refused(call, document_ids=[*made, str(uuid4())], move_to=folder).code == 404
    assert sdk.listed(parent_folder_id=folder) == []
    sdk.documents.bulk_move(document_ids=made, move_to=folder)
    assert set(sdk.listed(parent_folder_id=folder)) == set(made)


def test_a_folder_does_not_move_into_itself(sdk: Sdk) -> None:
    outer = sdk.documents.create_folder(name="Outer").id
    inner = sdk.documents.create_folder(name="Inner", parent_folder_id=outer).id
    assert refused(sdk.documents.move, outer, move_to=inner).code == 400


def test_a_folder_that_is_not_there_takes_nothing(sdk: Sdk) -> None:
    nowhere = str(uuid4())
    assert refused(sdk.documents.create_from_text, text="a", parent_folder_id=nowhere).code == 404
    assert refused(sdk.documents.create_folder, name="a", parent_folder_id=nowhere).code == 404
    assert refused(sdk.documents.move, sdk.text(BAKERY), move_to=nowhere).code == 404
    assert refused(sdk.kb.list, parent_folder_id=nowhere).code == 404


def test_a_folder_with_something_in_it_is_deleted_by_force_only(sdk: Sdk) -> None:
    outer = sdk.documents.create_folder(name="Outer").id
    inner = sdk.documents.create_folder(name="Inner", parent_folder_id=outer).id
    deep = sdk.text(BAKERY, parent_folder_id=inner)
    assert refused(sdk.documents.delete, outer).code == 400
    assert sdk.documents.get_content(deep) == BAKERY
    sdk.documents.delete(outer, force=True)
    for id_ in (outer, inner, deep):
        assert is_unknown(refused(sdk.documents.get, id_))


def test_a_folder_has_a_new_name_but_no_content(sdk: Sdk) -> None:
    folder = sdk.documents.create_folder(name="Folder").id
    assert sdk.documents.update(folder, name="Renamed").name == "Renamed"
    assert refused(sdk.documents.update, folder, content="words").code == 400
    assert refused(sdk.documents.get_content, folder).code == 400
    assert refused(sdk.kb.document.refresh, folder).code == 400


def test_bulk_delete_says_for_each_id_what_became_of_it(sdk: Sdk) -> None:
    folder = sdk.documents.create_folder(name="Folder").id
    inside = sdk.text(BAKERY, parent_folder_id=folder)
    alone, unknown = sdk.text(HARBOUR), str(uuid4())
    values = sdk.documents.bulk_delete(document_ids=[alone, unknown, folder])
    assert (values[alone].status, values[alone].data.id) == ("success", alone)
    assert (values[unknown].status, values[unknown].error_code) == ("failure", 404)
    assert (values[folder].status, values[folder].error_code) == ("failure", 400)
    assert set(sdk.listed()) == {folder, inside}
    assert sdk.documents.bulk_delete(document_ids=[folder], force=True)[folder].status == "success"
    assert sdk.listed() == []


def test_summaries_have_an_entry_for_each_id(sdk: Sdk) -> None:
    folder = sdk.documents.create_folder(name="Folder").id
    id_, unknown = sdk.text(BAKERY, name="Bread"), str(uuid4())
    values = sdk.documents.summaries.get(document_ids=[id_, unknown, "no-uuid", folder])
    assert set(values) == {id_, unknown, "no-uuid", folder}
    assert (values[id_].data.type, values[id_].data.name) == ("text", "Bread")
    assert values[folder].data.type == "folder"
    for missing in (unknown, "no-uuid"):
        assert values[missing].status == "failure"
        assert (values[missing].error_code, values[missing].error_status) == (
            404,
            fix_sdk.UNKNOWN,
        )


# --- lists ------------------------------------------------------------------------------------


@pytest.fixture
def library(sdk: Sdk, native: Caller, web: Web) -> dict[str, str]:
    """One entry of each kind, by name, and one more text. Nothing changes them any more."""
    made = {
        "alpha": sdk.text("a" * 30, name="alpha"),
        "Beta": sdk.documents.create_from_file(file=("b.txt", b"b" * 20), name="Beta").id,
        "gamma": sdk.documents.create_from_url(url=web.add("/g", body=PAGE), name="gamma").id,
        "delta": sdk.documents.create_folder(name="delta").id,
        "alphabet": sdk.text("c" * 10, name="alphabet"),
    }
    knowledge_base(native)
    return made


def test_a_list_is_filtered_by_type_and_by_how_names_start(
    sdk: Sdk, library: dict[str, str]
) -> None:
    assert set(sdk.listed(types=["url", "folder"])) == {library["gamma"], library["delta"]}
    assert sdk.listed(types="file") == [library["Beta"]]
    assert set(sdk.listed(search="ALPHA")) == {library["alpha"], library["alphabet"]}
    assert sdk.listed(search="lpha") == []
    assert sdk.listed(search="a%") == []


def test_a_list_is_sorted_by_what_is_asked_for(sdk: Sdk, library: dict[str, str]) -> None:
    by_name = sdk.listed(sort_by="name", sort_direction="asc")
    assert by_name == [library[n] for n in ("alpha", "alphabet", "Beta", "delta", "gamma")]
    by_age = sdk.listed(sort_by="created_at", sort_direction="asc")
    assert by_age == list(library.values())
    assert sdk.listed(sort_by="created_at", sort_direction="desc") == by_age[::-1]
    by_size = sdk.listed(sort_by="size", sort_direction="desc", types=["text", "file"])
    assert by_size == [library[n] for n in ("alpha", "Beta", "alphabet")]
    folders_first = sdk.listed(sort_by="name", sort_direction="asc", folders_first=True)
    assert folders_first[0] == library["delta"]
    assert len(folders_first) == 5


ORDERS = [
    {"sort_by": sort_by, "sort_direction": direction, "folders_first": folders_first}
    for sort_by in ("name", "created_at", "updated_at", "size")
    for direction in ("asc", "desc")
    for folders_first in (True, False)
]


def test_pages_of_a_list_have_no_gap_and_no_repeat(sdk: Sdk, library: dict[str, str]) -> None:
    for order in ORDERS:
        whole = sdk.listed(**order)
        assert set(whole) == set(library.values())
        for page_size in (1, 2, 5):
            seen, cursor = [], None
            while True:
                page = sdk.kb.list(page_size=page_size, cursor=cursor, **order)
                seen += [document.id for document in page.documents]
                cursor = page.next_cursor
                assert page.has_more == (cursor is not None)
                if cursor is None:
                    break
            assert seen == whole, (order, page_size)


def test_the_caller_owns_every_document(sdk: Sdk, library: dict[str, str]) -> None:
    assert len(sdk.listed(show_only_owned_documents=True)) == len(library)
    assert len(sdk.listed(created_by_user_id="@me")) == len(library)


@pytest.mark.parametrize(
    "asked",
    [{"page_size": 0}, {"page_size": 101}, {"types": ["book"]}, {"sort_by": "colour"}],
    ids=str,
)
def test_a_list_that_cannot_be_is_a_422(sdk: Sdk, asked: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as caught:
        sdk.kb.list(**asked)
    assert caught.value.status_code == 422


def test_a_list_and_a_search_show_nothing_of_another_customer(
    sdk: Sdk, stranger: Sdk, library: dict[str, str]
) -> None:
    assert stranger.listed() == []
    assert stranger.kb.search(query="harbour").results == []
    values = stranger.documents.summaries.get(document_ids=[library["alpha"]])
    assert values[library["alpha"]].status == "failure"


# --- search and size --------------------------------------------------------------------------


def found(sdk: Sdk, query: str, **asked: Any) -> list[Any]:
    """The results of a search, once there are any."""
    deadline = time.monotonic() + 20
    while not (results := sdk.kb.search(query=query, **asked).results):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return list(results)


def test_a_search_finds_the_document_and_marks_the_words(sdk: Sdk) -> None:
    ferry = sdk.text(HARBOUR, name="Ferries")
    sdk.text(BAKERY, name="Bread")
    found(sdk, "rye bread")
    best = found(sdk, "When does the ferry leave the harbour?")[0]
    assert best.document.id == ferry
    snippet = "".join(segment.value for segment in best.search_snippet)
    assert snippet in HARBOUR
    hits = {segment.value.lower() for segment in best.search_snippet if segment.is_hit}
    assert "ferry" in hits
    assert [r.score for r in found(sdk, "ferry")] == sorted(
        (r.score for r in found(sdk, "ferry")), reverse=True
    )


def test_a_search_has_pages_and_types(sdk: Sdk) -> None:
    ids_ = {sdk.text(f"{BAKERY} Shop {n}.", name=f"Shop {n}") for n in range(5)}
    deadline = time.monotonic() + 20
    while len(sdk.kb.search(query="rye bread", page_size=100).results) < 5:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    seen: list[str] = []
    cursor = None
    while True:
        page = sdk.kb.search(query="rye bread", page_size=2, cursor=cursor)
        seen += [result.document.id for result in page.results]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert len(seen) == 5
    assert set(seen) == ids_
    assert sdk.kb.search(query="rye bread", types=["url", "file"]).results == []


def test_the_size_of_the_knowledge_base_is_in_pages(sdk: Sdk) -> None:
    size = sdk.cai.agents.knowledge_base.size
    assert size("any-agent").number_of_pages == 0
    sdk.documents.get_content(sdk.text("word " * 1_200))
    assert size("any-agent").number_of_pages == pytest.approx(2.0, rel=0.01)
