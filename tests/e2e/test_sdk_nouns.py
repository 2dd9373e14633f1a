"""The two doors show the same nouns, and every format that the vendor takes comes through.

A document of the knowledge base is a source of a RAG; what one door deletes is gone behind both.
"""

import time
from typing import Any

import fix_archives
import fix_sdk
import pytest
from fix_engine import Caller
from fix_sdk import MISTRAL, Sdk, is_unknown, knowledge_base, refused, uncovered
from fpdf import FPDF

engine = fix_sdk.engine
web = fix_sdk.web
sdk = fix_sdk.sdk
native = fix_sdk.native

WORDS = " ".join(
    f"Valve number {n} of the pump is closed by turning its wheel {n + 1} times to the right."
    for n in range(1, 13)
)


@pytest.fixture
def rag(native: Caller) -> dict[str, Any]:
    """A RAG of the native door with one file, ready."""
    files = [("files", ("pump.md", f"# Pump\n\n{WORDS}\n".encode(), "text/markdown"))]
    made = native.ok("POST", "/rags", data={"name": "Pumps"}, files=files)
    ready: dict[str, Any] = native.until_done(made["id"])
    assert ready["status"] == "ready", ready
    return ready


def test_a_source_of_a_native_rag_is_read_here_by_its_id(
    sdk: Sdk, native: Caller, rag: dict[str, Any]
) -> None:
    id_ = rag["sources"][0]["id"]
    document = sdk.documents.get(id_)
    assert (document.type, document.filename) == ("file", "pump.md")
    assert [d.id for d in sdk.kb.list().documents] == [id_]
    text = native.get(f"/rags/{rag['id']}/sources/{id_}/text").text
    assert sdk.documents.get_content(id_) == text
    assert sdk.cai.get_document_rag_indexes(id_).indexes == []
    assert sdk.indexed(id_).status == "succeeded"
    chunks = sdk.chunks(id_)
    assert uncovered(text, parts=[chunk.content for chunk in chunks]) == ""
    assert native.ok("GET", f"/rags/{rag['id']}")["status"] == "ready"


def test_a_rag_index_changes_nothing_for_the_native_door(
    sdk: Sdk, native: Caller, rag: dict[str, Any]
) -> None:
    id_ = rag["sources"][0]["id"]
    chunks = native.ok("GET", f"/rags/{rag['id']}/sources/{id_}/chunks")
    ask = {"query": "How is the valve closed?", "top_k": 5}
    hits = native.ok("POST", f"/rags/{rag['id']}/query", json=ask)
    index = sdk.indexed(id_)
    assert native.ok("GET", f"/rags/{rag['id']}/sources/{id_}/chunks") == chunks
    assert native.ok("POST", f"/rags/{rag['id']}/query", json=ask) == hits
    sdk.cai.delete_document_rag_index(id_, index.id)
    assert native.ok("POST", f"/rags/{rag['id']}/query", json=ask) == hits


def test_a_document_made_here_is_a_source_of_an_ordinary_rag(sdk: Sdk, native: Caller) -> None:
    id_ = sdk.text(WORDS, name="Pump")
    rag = knowledge_base(native)
    assert [source["id"] for source in rag["sources"]] == [id_]
    assert rag["status"] == "ready"
    ask = {"query": "How is valve number 7 closed?", "top_k": 3}
    hits = native.ok("POST", f"/rags/{rag['id']}/query", json=ask)["results"]
    assert {hit["source_id"] for hit in hits} == {id_}


def test_a_source_deleted_by_the_native_door_is_unknown_here(
    sdk: Sdk, native: Caller, rag: dict[str, Any]
) -> None:
    id_ = rag["sources"][0]["id"]
    sdk.indexed(id_)
    native.ok("DELETE", f"/rags/{rag['id']}/sources/{id_}")
    assert is_unknown(refused(sdk.documents.get, id_))
    assert is_unknown(refused(sdk.documents.chunks.list, id_, embedding_model=MISTRAL))
    assert sdk.kb.list().documents == []


def test_the_documents_of_a_deleted_rag_are_unknown_here(
    sdk: Sdk, native: Caller, rag: dict[str, Any]
) -> None:
    id_ = rag["sources"][0]["id"]
    native.ok("DELETE", f"/rags/{rag['id']}")
    assert is_unknown(refused(sdk.documents.get, id_))
    assert sdk.kb.list().documents == []
    assert sdk.batch((id_, MISTRAL))[id_].error_code == 404


def test_a_knowledge_base_deleted_by_the_native_door_is_made_anew(sdk: Sdk, native: Caller) -> None:
    first = sdk.text(WORDS)
    native.ok("DELETE", f"/rags/{knowledge_base(native)['id']}")
    second = sdk.text(WORDS)
    assert [d.id for d in sdk.kb.list().documents] == [second]
    assert is_unknown(refused(sdk.documents.get, first))


def test_a_document_deleted_here_is_gone_for_the_native_door(
    sdk: Sdk, native: Caller, rag: dict[str, Any]
) -> None:
    id_ = rag["sources"][0]["id"]
    sdk.documents.delete(id_)
    assert native.get(f"/rags/{rag['id']}/sources/{id_}").status_code == 404
    ask = {"query": "How is the valve closed?", "top_k": 5}
    assert native.post(f"/rags/{rag['id']}/query", json=ask).json().get("results", []) == []


# --- formats ----------------------------------------------------------------------------------


def pdf() -> bytes:
    document = FPDF()
    document.add_page()
    document.set_font("helvetica", size=12)
    document.multi_cell(0, text=WORDS)
    return bytes(document.output())


def docx() -> bytes:
    document = fix_archives.word()
    document.add_heading("Pump", level=1)
    document.add_paragraph(WORDS)
    return fix_archives.saved(document)


def epub() -> bytes:
    chapter = f"<h1>Pump</h1><p>{WORDS}</p>"
    return fix_archives.epub_of({"one.xhtml": chapter})


HTML = f"<html><head><title>Pump</title></head><body><main><p>{WORDS}</p></main></body></html>"
FORMATS = {
    "pump.pdf": pdf,
    "pump.txt": WORDS.encode,
    "pump.html": HTML.encode,
    "pump.docx": docx,
    "pump.epub": epub,
}


def words(text: str) -> str:
    """The text in one line."""
    return " ".join(text.split())


@pytest.mark.parametrize("named", [True, False], ids=["named", "bytes only"])
@pytest.mark.parametrize("filename", FORMATS)
def test_a_file_of_each_format_is_read_and_indexed(sdk: Sdk, filename: str, named: bool) -> None:
    content = FORMATS[filename]()
    added = sdk.documents.create_from_file(file=(filename, content) if named else content)
    text = sdk.documents.get_content(added.id)
    assert WORDS in words(text)
    assert sdk.indexed(added.id).status == "succeeded"
    chunks = [chunk.content for chunk in sdk.chunks(added.id)]
    assert uncovered(text, parts=chunks) == ""
    assert sdk.documents.get(added.id).metadata.size_bytes == len(content)


def test_a_broken_file_is_a_document_whose_index_fails(sdk: Sdk) -> None:
    broken = pdf()[:200] + b"\x00" * 900
    id_ = sdk.documents.create_from_file(file=("broken.pdf", broken)).id
    index = sdk.indexed(id_)
    assert (index.status, index.document_model_index_usage.used_bytes) == ("failed", 0)
    refusal = refused(sdk.documents.get_content, id_)
    assert 400 <= refusal.code < 500


def test_texts_are_there_soon_after_they_are_created(sdk: Sdk) -> None:
    began = time.monotonic()
    for filename, made in FORMATS.items():
        id_ = sdk.documents.create_from_file(file=(filename, made())).id
        assert sdk.documents.get_content(id_)
    assert time.monotonic() - began < 20
