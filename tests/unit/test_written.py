from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import written
from engine.config import Limits
from engine.errors import InvalidRequest
from engine.text import clean_text
from workers.extract.canonical import canonical
from workers.extract.parse import document_of
from workers.shapes import Fetched

LINES = st.text(
    st.characters(codec="utf-8", exclude_characters="<")
    | st.sampled_from(list("#-*|,;\t\n {}[]`=:0123")),
    min_size=1,
    max_size=400,
)


def extracted(text, *, name="a name"):
    """The document that the extractor makes of a text that was sent in a request."""
    data = written.encoded(text)
    fetched = Fetched(
        path=Path("x"),
        byte_count=len(data),
        sha256=b"",
        filename=written.filename(name, characters_max=255),
        media_type="text/plain",
        charset="utf-8",
    )
    return document_of(data, fetched=fetched, limits=Limits())


@pytest.mark.parametrize(
    "text",
    [
        "# A heading\n\n- a list\n- of two\n\n[a](https://example.org)",
        "a,b,c\n1,2,3\n",
        "a\tb\n1\t2\n",
        '{"a": [1, 2]}',
        "key: value\nother: value\n",
        "def f():\n    return 1\n",
        "GIF89a is how a picture begins.",
        "BZh and PAR1 begin other things.",
        "{\\rtf1 is not what this is}",
        "%!PS",
        "PAR1",
        "RIFF, and then some",
        "x" * 257 + "ustar",
        "A PDF begins with %PDF-1.4 and goes on.",
        "%PDF-1.4 is how this begins",
        "grüße 漢字",
    ],
)
def test_a_text_is_read_as_the_plain_text_that_it_is(text):
    document = extracted(text)
    assert (document.media_type, document.text) == ("text/plain", text)


@given(text=LINES, name=LINES)
def test_any_text_without_tags_is_read_to_the_letter(text, name):
    try:
        checked = written.checked(text, field="text")
    except InvalidRequest:
        assert not canonical(clean_text(text)).strip()
        return
    document = extracted(checked, name=name)
    assert (document.media_type, document.text) == ("text/plain", canonical(checked))


@pytest.mark.parametrize(
    "text", ["", " ", "\n\t \r\n", "\x00", "\ufeff \n", "\u2003\u00a0", "\ud800"]
)
def test_a_blank_text_is_refused_by_its_field(text):
    with pytest.raises(InvalidRequest) as caught:
        written.checked(text, field="content")
    assert [detail.field for detail in caught.value.details] == ["content"]


def test_what_cannot_be_stored_is_left_out():
    assert written.checked("\ufeffa\x00b\x07c\ud800\n\td", field="text") == "abc\n\td"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("One line", "One line"),
        ("\n\n  The  first\tline \r\nthe second", "The first line"),
        ("x" * 200, "x" * 80),
        ("a\u2028b", "a"),
        (" " * 5_000 + "late", "late"),
    ],
)
def test_a_text_is_called_by_its_first_line(text, name):
    assert written.name_of(text) == name


@given(LINES)
def test_any_text_has_a_name(text):
    try:
        checked = written.checked(text, field="text")
    except InvalidRequest:
        return
    assert 1 <= len(written.name_of(checked)) <= 80


@given(name=st.text(), characters_max=st.integers(10, 255))
def test_a_filename_is_one_short_segment_that_ends_in_txt(name, characters_max):
    filename = written.filename(name, characters_max=characters_max)
    assert len(filename) <= characters_max
    assert PurePosixPath(filename).suffix == ".txt"
    assert PurePosixPath(filename.replace("\\", "/")).name == filename
