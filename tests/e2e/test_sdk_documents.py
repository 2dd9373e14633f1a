"""Documents, folders, lists and searches of the knowledge base, through the official SDK.

One engine for the module; every test is a customer of its own.
"""

import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import fix_sdk
import httpx
import pytest
from elevenlabs.core.api_error import ApiError
from fix_sdk import MISTRAL, Sdk, is_unknown, plain_client, refused
from fix_web import Web

from engine.config import Settings

engine = fix_sdk.engine
web = fix_sdk.web
sdk = fix_sdk.sdk
stranger = fix_sdk.stranger

HARBOUR = (
    "The ferry to the island leaves the harbour at seven in the morning and at three in the "
    "afternoon. In winter only the morning ferry runs. Bicycles travel free of charge."
)
BAKERY = "The bakery sells rye bread on Tuesdays, and rolls with poppy seed every morning."
PAGE = f"<html><head><title>Harbour</title></head><body><main><p>{HARBOUR}</p></main></body></html>"


# --- one document -----------------------------------------------------------------------------


def test_a_text_can_be_read_back_as_soon_as_it_is_created(sdk: Sdk) -> None:
    added = sdk.documents.create_from_text(text=HARBOUR, name="Ferries")
    assert added.name == "Ferries"
    assert sdk.documents.get_content(added.id) == HARBOUR
    document = sdk.documents.get(added.id)
    assert (document.type, document.name) == ("text", "Ferries")
    assert HARBOUR in document.extracted_inner_html
    assert document.metadata.size_bytes == len(HARBOUR.encode())
    now = time.time()
    assert now - 60 < document.metadata.created_at_unix_secs <= now + 1
    assert document.metadata.last_updated_at_unix_secs >= document.metadata.created_at_unix_secs
    assert document.access_info.role == "admin"
    assert fix_sdk.SAFE_ID.fullmatch(added.id)


def test_a_text_comes_back_with_its_accents_and_without_a_json_reading(sdk: Sdk) -> None:
    text = '{"ålesund": "ø – 漢字"}'
    assert sdk.documents.get_content(sdk.text(text)) == text


def test_a_url_is_fetched_and_its_page_is_the_content(sdk: Sdk, web: Web) -> None:
    url = web.add("/page", body=PAGE)
    added = sdk.documents.create_from_url(url=url, name="The harbour")
    assert HARBOUR in sdk.documents.get_content(added.id)
    document = sdk.documents.get(added.id)
    assert (document.type, document.name, document.url) == ("url", "The harbour", url)
    assert HARBOUR in document.extracted_inner_html


def test_the_same_url_may_be_added_twice(sdk: Sdk, web: Web) -> None:
    url = web.add("/twice", body=PAGE)
    first = sdk.documents.create_from_url(url=url)
    second = sdk.documents.create_from_url(url=url)
    assert first.id != second.id
    assert set(sdk.listed()) == {first.id, second.id}


def test_a_url_that_cannot_be_read_is_a_document_without_content(sdk: Sdk, web: Web) -> None:
    added = sdk.documents.create_from_url(url=web.url("/nowhere"))
    refusal = refused(sdk.documents.get_content, added.id)
    assert 400 <= refusal.code < 500
    assert refusal.code not in (408, 409, 429)
    assert sdk.documents.get(added.id).extracted_inner_html == ""
    assert sdk.indexed(added.id).status == "failed"


def test_a_file_keeps_its_filename_and_takes_the_name_that_is_given(sdk: Sdk) -> None:
    added = sdk.documents.create_from_file(
        file=("täglich brot.txt", BAKERY.encode(), "text/plain"), name="Bread"
    )
    document = sdk.documents.get(added.id)
    assert (document.type, document.name) == ("file", "Bread")
    assert document.filename == "täglich brot.txt"
    assert sdk.documents.get_content(added.id) == BAKERY


def test_a_file_without_a_name_is_called_after_its_file(sdk: Sdk) -> None:
    added = sdk.documents.create_from_file(file=("bread.txt", BAKERY.encode()))
    assert added.name == "bread.txt"


def test_explicit_nulls_mean_that_nothing_was_given(sdk: Sdk) -> None:
    added = sdk.documents.create_from_text(text=BAKERY, name=None, parent_folder_id=None)
    assert added.name
    sdk.indexed(added.id)
    before = sdk.documents.get(added.id)
    after = sdk.documents.update(added.id, name=None, content=None)
    assert (after.name, after.extracted_inner_html) == (before.name, before.extracted_inner_html)


def test_the_older_call_adds_a_file_or_a_url(sdk: Sdk, web: Web) -> None:
    file = sdk.cai.add_to_knowledge_base(name="Bread", file=("bread.txt", BAKERY.encode()))
    url = sdk.cai.add_to_knowledge_base(url=web.add("/older", body=PAGE))
    assert sdk.documents.get(file.id).name == "Bread"
    assert sdk.documents.get_content(file.id) == BAKERY
    assert HARBOUR in sdk.documents.get_content(url.id)


def test_the_older_call_without_file_and_url_is_a_422(sdk: Sdk) -> None:
    with pytest.raises(ApiError) as caught:
        sdk.cai.add_to_knowledge_base(name="nothing")
    assert caught.value.status_code == 422


def test_a_new_name_stays_and_leaves_the_text_alone(sdk: Sdk) -> None:
    id_ = sdk.text(BAKERY, name="Bread")
    assert sdk.documents.update(id_, name="Rolls").name == "Rolls"
    assert sdk.documents.get(id_).name == "Rolls"
    assert sdk.documents.get_content(id_) == BAKERY


def test_new_content_replaces_the_text_of_every_kind_of_document(sdk: Sdk, web: Web) -> None:
    made = [
        sdk.text(BAKERY),
        sdk.documents.create_from_url(url=web.add("/edited", body=PAGE)).id,
        sdk.documents.create_from_file(file=("bread.txt", BAKERY.encode())).id,
    ]
    for id_ in made:
        sdk.documents.get_content(id_)
        sdk.documents.update(id_, content="Something else altogether.")
        assert content_is(sdk, id_, "Something else altogether.")


def content_is(sdk: Sdk, id_: str, text: str, *, timeout_s: float = 15.0) -> bool:
    """Whether the content becomes this; it may take a moment."""
    deadline = time.monotonic() + timeout_s
    while text not in (seen := sdk.documents.get_content(id_)):
        assert time.monotonic() < deadline, seen
        time.sleep(0.05)
    return True


def test_update_file_brings_content_name_and_size_of_the_new_file(sdk: Sdk) -> None:
    id_ = sdk.documents.create_from_file(file=("old.txt", BAKERY.encode())).id
    sdk.documents.get_content(id_)
    answer = sdk.kb.document.update_file(id_, file=("new.txt", HARBOUR.encode(), "text/plain"))
    assert answer.id == id_
    assert content_is(sdk, id_, HARBOUR)
    document = sdk.documents.get(id_)
    assert (document.filename, document.name) == ("new.txt", "new.txt")
    assert document.metadata.size_bytes == len(HARBOUR.encode())


def test_only_a_file_takes_a_new_file(sdk: Sdk) -> None:
    id_ = sdk.text(BAKERY)
    refusal = refused(sdk.kb.document.update_file, id_, file=("new.txt", HARBOUR.encode()))
    assert refusal.code == 400


def test_refresh_brings_a_page_that_has_changed(sdk: Sdk, web: Web) -> None:
    url = web.add("/changing", body=PAGE)
    id_ = sdk.documents.create_from_url(url=url).id
    assert HARBOUR in sdk.documents.get_content(id_)
    web.add("/changing", body=PAGE.replace(HARBOUR, BAKERY))
    assert sdk.kb.document.refresh(id_).id == id_
    assert content_is(sdk, id_, BAKERY)


def test_the_source_file_is_behind_a_link_that_needs_no_key(sdk: Sdk) -> None:
    id_ = sdk.documents.create_from_file(file=("bread.txt", BAKERY.encode())).id
    link = sdk.documents.get_source_file_url(id_).signed_url
    answer = httpx.get(link)
    assert (answer.status_code, answer.content) == (200, BAKERY.encode())
    middle = len(link) - 12
    altered = link[:middle] + ("A" if link[middle] != "A" else "B") + link[middle + 1 :]
    refusal = httpx.get(altered)
    assert refusal.status_code == 404
    assert refusal.json()["detail"]["status"]


def test_a_url_has_no_source_file(sdk: Sdk, web: Web) -> None:
    id_ = sdk.documents.create_from_url(url=web.add("/nofile", body=PAGE)).id
    assert refused(sdk.documents.get_source_file_url, id_).code == 400


def test_a_link_to_a_deleted_document_leads_nowhere(sdk: Sdk) -> None:
    id_ = sdk.documents.create_from_file(file=("bread.txt", BAKERY.encode())).id
    link = sdk.documents.get_source_file_url(id_).signed_url
    sdk.documents.delete(id_)
    assert httpx.get(link).status_code == 404


def test_no_agent_depends_on_a_document(sdk: Sdk) -> None:
    id_ = sdk.text(BAKERY)
    for page in (
        sdk.documents.get_agents(id_, dependent_type="all", page_size=10),
        sdk.documents.get_bulk_agents(document_ids=[id_], dependent_type="direct"),
    ):
        assert (page.agents, page.has_more) == ([], False)


# --- what is not there ------------------------------------------------------------------------

SINGLE: dict[str, Callable[[Sdk, str], Any]] = {
    "get": lambda sdk, id_: sdk.documents.get(id_),
    "update": lambda sdk, id_: sdk.documents.update(id_, name="x"),
    "delete": lambda sdk, id_: sdk.documents.delete(id_),
    "get_content": lambda sdk, id_: sdk.documents.get_content(id_),
    "get_source_file_url": lambda sdk, id_: sdk.documents.get_source_file_url(id_),
    "get_agents": lambda sdk, id_: sdk.documents.get_agents(id_),
    "move": lambda sdk, id_: sdk.documents.move(id_),
    "bulk_move": lambda sdk, id_: sdk.documents.bulk_move(document_ids=[id_]),
    "chunks": lambda sdk, id_: sdk.documents.chunks.list(id_, embedding_model=MISTRAL),
    "chunk": lambda sdk, id_: sdk.documents.chunk.get(id_, str(uuid4())),
    "refresh": lambda sdk, id_: sdk.kb.document.refresh(id_),
    "update_file": lambda sdk, id_: sdk.kb.document.update_file(id_, file=("a.txt", b"a")),
    "compute_rag_index": lambda sdk, id_: sdk.kb.document.compute_rag_index(id_, model=MISTRAL),
    "rag_indexes": lambda sdk, id_: sdk.cai.get_document_rag_indexes(id_),
    "delete_rag_index": lambda sdk, id_: sdk.cai.delete_document_rag_index(id_, str(uuid4())),
}


def refusals(sdk: Sdk, id_: str) -> dict[str, fix_sdk.Refusal]:
    """How each call about this document is refused, unless it is because it is unknown."""
    answers = {name: refused(call, sdk, id_) for name, call in SINGLE.items()}
    return {name: refusal for name, refusal in answers.items() if not is_unknown(refusal)}


@pytest.mark.parametrize("id_", [str(uuid4()), "21m00Tcm4TlvDq8ikWAM"], ids=["uuid", "their own"])
def test_an_unknown_document_is_a_404_with_the_status_that_clients_match_on(
    sdk: Sdk, id_: str
) -> None:
    assert refusals(sdk, id_) == {}


def test_another_customers_document_is_unknown(sdk: Sdk, stranger: Sdk) -> None:
    id_ = sdk.text(BAKERY, name="Bread")
    assert refusals(stranger, id_) == {}
    assert sdk.documents.get(id_).name == "Bread"


def test_a_deleted_document_is_gone_and_a_second_delete_is_a_404(sdk: Sdk) -> None:
    id_ = sdk.text(BAKERY)
    sdk.documents.delete(id_)
    assert sdk.listed() == []
    assert is_unknown(refused(sdk.documents.get, id_))
    assert is_unknown(refused(sdk.documents.delete, id_, force=True))
    assert sdk.kb.search(query="rye bread").results == []


def test_a_wrong_key_is_a_401_that_says_so(sdk: Sdk) -> None:
    with plain_client(sdk.base_url) as http:
        wrong = http.get(fix_sdk.ELEVENLABS, headers={"xi-api-key": "wrong"})
        without = http.get(fix_sdk.ELEVENLABS)
    assert (wrong.status_code, wrong.json()["detail"]["status"]) == (401, "invalid_api_key")
    assert without.status_code == 401
    assert without.json()["detail"]["status"]


def test_crawling_is_refused_with_a_400(sdk: Sdk) -> None:
    jobs = sdk.kb.crawl_jobs
    for call in (
        lambda: jobs.create(url="https://example.org"),
        jobs.list,
        lambda: jobs.get(str(uuid4())),
        lambda: jobs.cancel(str(uuid4())),
    ):
        refusal = refused(call)
        assert (refusal.code, refusal.status) == (400, "crawl_not_supported")


def test_a_file_of_another_kind_is_refused_with_a_400(sdk: Sdk) -> None:
    png = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4
    refusal = refused(sdk.documents.create_from_file, file=("a.png", png, "image/png"))
    assert refusal.code == 400
    assert refused(sdk.documents.create_from_file, file=png).code == 400
    assert sdk.listed() == []


def test_a_file_over_the_limit_is_refused_with_a_413_and_leaves_nothing(sdk: Sdk) -> None:
    file = ("large.txt", b"words " * (fix_sdk.FILE_BYTES_MAX // 6 + 1), "text/plain")
    assert refused(sdk.documents.create_from_file, file=file).code == 413
    assert sdk.listed() == []


def test_settings_of_syncs_that_change_nothing_are_taken(sdk: Sdk, web: Web) -> None:
    unsynced = {"enable_auto_sync": False, "auto_remove": False, "minimum_frequency_days": 7}
    url = web.add("/unsynced", body=PAGE)
    id_ = sdk.documents.create_from_url(url=url, **unsynced).id
    assert sdk.documents.update(id_, name="Page", tighten_only=True, **unsynced).name == "Page"
    assert sdk.documents.create_folder(name="Folder", **unsynced).name == "Folder"


def test_a_client_with_a_wrong_key_raises(engine: Settings) -> None:
    with plain_client() as http, pytest.raises(ApiError) as caught:
        Sdk(engine, token="wrong", http=http).index(str(uuid4()))
    assert caught.value.status_code == 401
