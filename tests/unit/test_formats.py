import io
import zipfile

import pytest

from engine.formats import HEAD_BYTES, foreign


def zip_of(*names, content=b"some words", method=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name in names:
            archive.writestr(name, content)
    return file.getvalue()[:HEAD_BYTES]


def book(mimetype, *names):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("mimetype", *names):
            archive.writestr(name, mimetype if name == "mimetype" else b"x")
    return file.getvalue()[:HEAD_BYTES]


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "a PNG image"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "a JPEG image"),
        (b"\x00\x00\x00\x20ftypisom", "an MP4 or HEIF media file"),
        (b"{\\rtf1\\ansi", "an RTF document"),
        (b"\x1f\x8b\x08\x00", "a gzip archive"),
        (b"\x7fELF\x02\x01\x01", "a program"),
        (b"MZ\x90\x00", "a program"),
        (b"PK\x05\x06" + b"\x00" * 18, "an empty ZIP archive"),
        (b"\x00\x01\x02", "binary data"),
        (b"words, and then \x00", "binary data"),
        (bytes(range(1, 32)) * 4, "binary data"),
    ],
)
def test_what_no_reader_takes_is_named_by_its_first_bytes(head, name):
    assert foreign(head) == name


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"plain words",
        b"# Markdown\n\n- a",
        b"<!doctype html><p>x",
        b"a,b\n1,2",
        "grüße, 漢字".encode(),
        "grüße".encode("latin-1"),
        "grüße".encode("utf-16"),
        "grüße".encode("utf-32"),
        b"\x00\x00\xfe\xff" + "words".encode("utf-32-be"),
        "wide enough without a mark".encode("utf-16-le"),
        b"\x1b[31mcoloured log\x1b[0m\n",
        b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\x00\x00",
        b"\r\n\r\n%PDF-1.4\n\x00\x01\x02\x03\x04\x05\x06",
    ],
)
def test_what_a_reader_may_take_passes(head):
    assert foreign(head) is None


@pytest.mark.parametrize(
    "head",
    [
        zip_of("[Content_Types].xml", "_rels/.rels", "word/document.xml"),
        zip_of("word/numbering.xml", "word/document.xml"),
        zip_of("_rels/.rels", "docProps/app.xml"),
        book(b"application/epub+zip", "META-INF/container.xml"),
        zip_of("META-INF/container.xml", "OEBPS/book.opf"),
        zip_of("content.opf", "toc.ncx"),
    ],
)
def test_an_archive_passes_that_may_be_a_docx_or_an_epub(head):
    assert foreign(head) is None


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (zip_of("photo.jpg", "notes.txt"), "a ZIP archive"),
        (zip_of("[Content_Types].xml", "xl/workbook.xml"), "an Excel workbook (XLSX)"),
        (
            zip_of("[Content_Types].xml", "ppt/presentation.xml"),
            "a PowerPoint presentation (PPTX)",
        ),
        (book(b"application/vnd.oasis.opendocument.text", "content.xml"), "an OpenDocument file"),
        (zip_of("about.txt", content=b"the xl/ and word/ folders"), "a ZIP archive"),
    ],
)
def test_an_archive_without_a_reader_is_named(head, name):
    assert foreign(head) == name


def test_the_contents_of_members_are_not_taken_for_names():
    told = b"xl/workbook.xml and ppt/ are names, word/document.xml as well"
    stored = {"content": told, "method": zipfile.ZIP_STORED}
    assert foreign(zip_of("[Content_Types].xml", **stored)) is None
    assert foreign(zip_of("about.txt", **stored)) == "a ZIP archive"


def test_an_archive_whose_head_holds_no_whole_name_is_left_to_the_worker():
    assert foreign(zip_of("a-long-name.txt")[:33]) is None
    assert foreign(b"PK\x03\x04") is None
