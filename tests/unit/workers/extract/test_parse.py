import io
import zipfile
from pathlib import Path

import msgspec
import pytest
from fix_archives import docx_of, epub_of, paragraph, zipped
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import Limits
from engine.errors import (
    DocumentBroken,
    DocumentTooComplex,
    DocumentTooLarge,
    EmptyText,
    PermanentError,
    UnsupportedFormat,
)
from engine.models import Document
from workers.extract.parse import document_of, parse
from workers.shapes import Fetched


def fetched(filename="a.txt", *, media_type="", final_url=""):
    return Fetched(
        path=Path("x"),
        byte_count=1,
        sha256=b"",
        filename=filename,
        media_type=media_type,
        final_url=final_url,
    )


def read(data, *, limits=None, **claims):
    return document_of(data, fetched=fetched(**claims), limits=limits or Limits())


@pytest.mark.parametrize(
    ("data", "filename", "media_type", "kinds"),
    [
        (b"# T\n\ntext", "a.md", "text/markdown", ["heading", "paragraph"]),
        (b"one\n\ntwo", "a.txt", "text/plain", ["paragraph", "paragraph"]),
        (b"a,b\n1,2", "a.csv", "text/csv", ["table"]),
        (b"a\tb\n1\t2", "a.tsv", "text/tab-separated-values", ["table"]),
        (b'{"a":\n1}', "a.json", "application/json", ["code"]),
        (b"a: 1\n\nb: 2", "a.yml", "application/yaml", ["code", "code"]),
        (b"import x\n\nx()", "a.py", "text/x-code", ["code", "code"]),
        (b"2024 INFO started\n2024 WARN slow", "a.log", "text/plain", ["paragraph"]),
        (b"<html><body><p>words</p></body></html>", "a.txt", "text/html", ["paragraph"]),
    ],
)
def test_each_format_has_its_blocks(data, filename, media_type, kinds):
    document = read(data, filename=filename)
    assert document.media_type == media_type
    assert [block.kind for block in document.blocks] == kinds
    assert document.coverage.characters == len(document.text)


@pytest.mark.parametrize("data", [b"", b" \n\t\r\n", b"\x00\x00", "\ufeff \u2003".encode()])
def test_blank_documents_are_empty(data):
    with pytest.raises(EmptyText) as caught:
        read(data)
    assert caught.value.code == "empty_text"


def test_binary_data_is_unsupported_whatever_it_claims():
    with pytest.raises(UnsupportedFormat):
        read(b"\x89PNG\r\n\x1a\n" + bytes(100), filename="a.md", media_type="text/markdown")


def test_pdf_bytes_in_a_text_file_are_read_as_pdf():
    with pytest.raises(DocumentBroken):
        read(b"%PDF-1.7 and nothing more", filename="a.txt", media_type="text/plain")


def test_archives_are_read_by_what_is_in_them():
    book = epub_of({"one.xhtml": "<p>words</p>"}, metadata="<dc:title>A  book</dc:title>")
    assert read(book, filename="a.docx").title == "A book"
    document = read(docx_of(paragraph("words")), filename="notes.zip", media_type="text/plain")
    assert (document.text, document.title) == ("words", "notes")


@pytest.mark.parametrize(
    "data", [docx_of(paragraph("words" * 50)), epub_of({"one.xhtml": "<p>words</p>"})]
)
def test_a_document_in_a_cut_archive_is_broken(data):
    with pytest.raises(DocumentBroken, match="archive is damaged"):
        read(data[:-40])


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (zipped({"notes.txt": "words"}), "a ZIP archive"),
        (zipped({"notes.txt": "words"})[:-10], "a ZIP archive"),
        (zipped({"[Content_Types].xml": "", "xl/workbook.xml": ""}), "XLSX"),
        (zipped({"a.pdf": b"%PDF-1.7"}, method=zipfile.ZIP_STORED), "a ZIP archive"),
    ],
)
def test_other_archives_are_unsupported(data, name):
    with pytest.raises(UnsupportedFormat, match=name):
        read(data, filename="a.docx")


def test_too_many_characters_are_refused():
    with pytest.raises(DocumentTooLarge, match="11 characters of text; the limit is 10"):
        read(b"elevenchars", limits=Limits(document_characters_max=10))


@pytest.mark.parametrize(
    ("claims", "title"),
    [
        ({"filename": "notes.2024.txt"}, "notes.2024"),
        ({"filename": "", "final_url": "https://x.org/a/some%20page.txt?q"}, "some page"),
        ({"filename": "", "final_url": "https://x.org/"}, "x.org"),
        ({"filename": ""}, "untitled"),
    ],
)
def test_a_document_without_a_title_has_the_name_of_its_file(claims, title):
    assert read(b"words", **claims).title == title


def test_nul_bytes_leave_offsets_exact():
    document = read(b"a\x00b\r\n\r\ncd")
    assert document.text == "ab\n\ncd"
    assert [document.text[b.start : b.end] for b in document.blocks] == ["ab", "cd"]


def test_the_answer_decodes_to_the_document():
    task = {"fetched": fetched("a.md"), "limits": Limits()}
    answer = parse(io.BytesIO(b"# T"), msgspec.msgpack.encode(task, enc_hook=str))
    assert msgspec.msgpack.decode(answer, type=Document) == read(b"# T", filename="a.md")


@settings(deadline=None)
@given(
    st.one_of(st.binary(), st.text().map(str.encode), st.text().map(lambda t: t.encode("utf-16"))),
    st.sampled_from(["a", "a.md", "a.csv", "a.html", "a.json", "a.py", "a.txt"]),
)
def test_any_bytes_become_a_covered_document_or_a_permanent_error(data, filename):
    try:
        document = read(data, filename=filename)
    except PermanentError:
        return
    document.text.encode("utf-8")
    at = 0
    for block in document.blocks:
        assert at <= block.start < block.end
        assert not document.text[at : block.start].strip()
        at = block.end
    assert not document.text[at:].strip()


@pytest.mark.parametrize("charset", ["utf-16le", "utf-16be", "utf-32le"])
@pytest.mark.parametrize("text", ["Это документ о чае. " * 20, "这是一个关于茶叶的文档。" * 20])
def test_wide_text_without_a_mark_is_read_where_it_is_declared(text, charset):
    claims = msgspec.structs.replace(fetched(), charset=charset)
    document = document_of(text.encode(charset), fetched=claims, limits=Limits())
    assert document.text.strip() == text.strip()


def test_a_picture_that_claims_to_be_wide_text_is_refused():
    claims = msgspec.structs.replace(fetched(), charset="utf-16le")
    with pytest.raises(UnsupportedFormat, match="PNG"):
        document_of(b"\x89PNG\r\n\x1a\n" + b"\x01" * 100, fetched=claims, limits=Limits())


def test_too_many_blocks_are_refused(monkeypatch):
    monkeypatch.setattr("workers.extract.parse._BLOCKS_MAX", 10)
    assert len(read(b"a\n\n" * 10).blocks) == 10
    with pytest.raises(DocumentTooComplex, match="11 paragraphs, tables and headings") as caught:
        read(b"a\n\n" * 11)
    assert caught.value.code == "document_too_complex"
