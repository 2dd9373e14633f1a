from pathlib import Path

import pytest

from engine.errors import UnsupportedFormat
from workers.extract.sniff import (
    Format,
    archive_format,
    is_pdf,
    refuse_archive,
    refuse_binary,
    text_format,
)
from workers.shapes import Fetched

PAGE = (
    "\ufeff<?xml version='1.0'?>\n<!-- a --><!-- b -->\n<!DOCTYPE html><html><body>x</body></html>"
)


def claimed(*, filename="", media_type="", final_url=""):
    return Fetched(
        path=Path("x"),
        byte_count=1,
        sha256=b"",
        filename=filename,
        media_type=media_type,
        final_url=final_url,
    )


@pytest.mark.parametrize(
    ("text", "claims", "expected"),
    [
        (PAGE, {"filename": "a.txt", "media_type": "text/plain"}, Format.HTML),
        (PAGE, {"filename": "a.md", "media_type": "text/markdown"}, Format.HTML),
        ("Hi <b>you</b>", {"filename": "x.php", "media_type": "text/html"}, Format.HTML),
        ("Hi <b>you</b>", {"filename": "x.html"}, Format.HTML),
        ("no tags at all", {"filename": "x", "media_type": "text/html"}, Format.PLAIN),
        ("# a\n\ntext", {"filename": "a.md", "media_type": "text/html"}, Format.MARKDOWN),
        ("<div align='center'>\n# a", {"filename": "README.md"}, Format.MARKDOWN),
        ("<div>a</div>", {"media_type": "text/plain"}, Format.HTML),
        ("# a\n\ntext", {"filename": "a.md", "media_type": "text/plain"}, Format.MARKDOWN),
        ("# a\n- b", {"filename": "a.txt"}, Format.PLAIN),
        ("# a\n\n- b\n- c", {"media_type": "text/plain"}, Format.MARKDOWN),
        ("a,b\n1,2", {"media_type": "text/csv"}, Format.CSV),
        ("a,b\n1,2", {"filename": "a.CSV", "media_type": "text/plain"}, Format.CSV),
        ("a\tb", {"filename": "a.tsv"}, Format.TSV),
        ("{}", {"media_type": "application/vnd.api+json"}, Format.JSON),
        ('{"a": [1,2]}', {}, Format.JSON),
        ('{"a": "' + "x" * 20_000, {}, Format.JSON),
        ("{not json}", {}, Format.PLAIN),
        ("a: 1", {"final_url": "https://x.org/a.yaml?b=c.html"}, Format.YAML),
        ("<?php echo 1;", {"filename": "a.php"}, Format.CODE),
        ("<?xml version='1.0'?><a/>", {}, Format.XML),
        ("print(1)", {"media_type": "text/x-python"}, Format.CODE),
        ("all: x", {"filename": "Makefile"}, Format.CODE),
        ("plain words", {"filename": "a.pdf", "media_type": "application/pdf"}, Format.PLAIN),
        ("plain words", {"media_type": "application/octet-stream"}, Format.PLAIN),
    ],
)
def test_content_then_type_then_extension_decide(text, claims, expected):
    assert text_format(text, fetched=claimed(**claims)) is expected


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "Office file that is old or has a password"),
        (b"PK\x03\x04rest", "ZIP"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"ID3\x04", "MP3"),
        (b"RIFF\x00\x00\x00\x00WAVE", "WAV"),
        (b"\x00\x00\x00\x20ftypisom", "MP4"),
        (b"{\\rtf1", "RTF"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"\x7fELF", "program"),
        (b"a" * 257 + b"ustar", "tar"),
        (bytes(range(256)) * 4, "binary"),
    ],
)
def test_what_is_no_text_is_refused_by_its_name(head, name):
    with pytest.raises(UnsupportedFormat, match=name) as caught:
        refuse_binary(head)
    assert caught.value.code == "unsupported_format"


@pytest.mark.parametrize(
    ("names", "mimetype", "expected"),
    [
        (["[Content_Types].xml", "word/document.xml"], b"", Format.DOCX),
        (["word/document2.xml", "[content_types].xml"], b"", Format.DOCX),
        (["mimetype", "OPS/book.opf"], b"application/epub+zip", Format.EPUB),
        (["mimetype", "word/x", "[Content_Types].xml"], b"application/epub+zip\r\n", Format.EPUB),
    ],
)
def test_an_archive_is_what_its_members_say(names, mimetype, expected):
    assert archive_format(names, mimetype=mimetype) is expected


@pytest.mark.parametrize(
    ("names", "mimetype", "name"),
    [
        (["[Content_Types].xml", "xl/workbook.xml"], b"", "XLSX"),
        (["[Content_Types].xml", "ppt/presentation.xml"], b"", "PPTX"),
        (["mimetype"], b"application/vnd.oasis.opendocument.text", "OpenDocument"),
        (["[Content_Types].xml", "else/x.xml"], b"", "a ZIP archive"),
        (["word/document.xml"], b"", "a ZIP archive"),
        (["notes.txt"], b"", "a ZIP archive"),
        ([], b"", "a ZIP archive"),
    ],
)
def test_an_archive_without_a_reader_is_refused_by_its_name(names, mimetype, name):
    with pytest.raises(UnsupportedFormat, match=name):
        archive_format(names, mimetype=mimetype)


def test_an_archive_that_cannot_be_opened_is_named_by_its_beginning():
    head = b"PK\x03\x04" + b"\x00" * 26
    refuse_archive(head + b"word/document.xml")
    refuse_archive(head + b"mimetypeapplication/epub+zip")
    refuse_archive(head + b"mimetype" + b"\x00" * 60 + b"META-INF/container.xml")
    for rest, name in ((b"xl/workbook.xml", "XLSX"), (b"", "ZIP")):
        with pytest.raises(UnsupportedFormat, match=name):
            refuse_archive(head + rest)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"plain",
        b"one NUL \x00 in an otherwise fine text",
        b"BM is how this sentence begins",
        b"MZ too",
        "grüße".encode("utf-16"),
        "wide enough".encode("utf-16-le"),
        b"\x1b[31mcoloured log\x1b[0m\n",
    ],
)
def test_text_is_not_refused(head):
    refuse_binary(head)


def test_a_pdf_may_begin_late():
    assert is_pdf(b"\r\n" * 100 + b"%PDF-1.7")
    assert not is_pdf(b" " * 2_000 + b"%PDF-1.7")


def test_many_comments_are_passed_in_linear_time():
    text_format("<!-- a -->" * 800 + "x", fetched=claimed())


@pytest.mark.parametrize(
    "text",
    [
        b"Every PDF file begins with %PDF-1.7 and a comment, each of its objects with a number.",
        b"ID3 is an algorithm for decision trees.",
        b"The ftyp box comes first in an MP4 file.",
    ],
)
def test_prose_may_mention_a_magic(text):
    assert not is_pdf(text)
    refuse_binary(text)


@pytest.mark.parametrize("before", [b"", b" \r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"\x00\x01junk"])
def test_a_pdf_may_have_junk_in_front(before):
    assert is_pdf(before + b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<<>>\nendobj\n")


@pytest.mark.parametrize("head", [b"ID3\x04\x00", b"\x00\x00\x00\x18ftypmp42"])
def test_recordings_and_videos_are_still_named(head):
    with pytest.raises(UnsupportedFormat, match=r"MP3|MP4"):
        refuse_binary(head + bytes(40))


@pytest.mark.parametrize(
    "lead",
    ["\r\n" * 5_000, f"<!--{'x' * 9_000}-->", f"<?xml version='1.0'?>\n<!-- {'y' * 9_000} -->\n"],
    ids=["blanks", "comment", "declaration"],
)
def test_a_page_may_begin_after_kilobytes_of_lead(lead):
    fetched = claimed(media_type="text/html", filename="index.asp")
    assert text_format(f"{lead}<html><body>words</body></html>", fetched=fetched) is Format.HTML


def test_a_lead_that_never_ends_is_no_page():
    assert text_format("<!-- <html>" + "x" * 9_000, fetched=claimed()) is Format.PLAIN
