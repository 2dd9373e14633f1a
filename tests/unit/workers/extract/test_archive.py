import struct
import zipfile

import pytest
from fix_archives import zipped
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import MIB, Limits
from engine.errors import DocumentBroken, DocumentTooLarge, PermanentError, UnsupportedFormat
from workers.extract.archive import Archive, is_archive


def opened(data, **limits):
    return Archive(data, limits=Limits(**limits))


def patched(data, *, at, value, layout="<I", mark=b"PK\x01\x02"):
    """The archive with a field of its first directory entry changed."""
    changed = bytearray(data)
    struct.pack_into(layout, changed, data.index(mark) + at, value)
    return bytes(changed)


def test_members_are_found_whatever_their_case():
    archive = opened(zipped({"Word/Document.xml": "text", "b": "2"}))
    assert archive.names == ("Word/Document.xml", "b")
    assert "word/document.XML" in archive
    assert "c" not in archive
    assert archive.read("WORD/document.xml") == b"text"


def test_what_begins_like_an_archive_is_one():
    assert is_archive(zipped({"a": ""}))
    assert not is_archive(zipped({}))
    assert not is_archive(b"%PDF-1.7")


def test_a_missing_part_is_named():
    with pytest.raises(DocumentBroken, match="missing"):
        opened(zipped({"a": ""})).read("b")


def test_too_many_members_are_refused():
    with pytest.raises(DocumentTooLarge, match="more than 2 files"):
        opened(zipped(dict.fromkeys("abc", "")), archive_members_max=2)
    opened(zipped(dict.fromkeys("ab", "")), archive_members_max=2)


def test_the_members_count_together():
    with pytest.raises(DocumentTooLarge, match="20 bytes once it is decompressed; the limit is 19"):
        opened(zipped({"a": "x" * 10, "b": "x" * 10}), archive_inflated_bytes_max=19)


def test_a_bomb_is_refused_before_it_is_inflated():
    bomb = zipped({"a": bytes(64 * MIB)})
    with pytest.raises(DocumentTooLarge, match="times when it is decompressed; the limit is 200"):
        opened(bomb)
    with pytest.raises(DocumentTooLarge, match="67108864 bytes"):
        opened(bomb, archive_inflated_bytes_max=MIB)


def test_small_archives_may_be_packed_as_tightly_as_they_like():
    assert len(opened(zipped({"a": bytes(4 * MIB)})).read("a")) == 4 * MIB


def test_a_directory_that_declares_too_little_inflates_no_more():
    bomb = zipped({"a": bytes(64 * MIB)})
    lying = patched(bomb, at=24, value=100)
    with pytest.raises(DocumentBroken) as caught:
        opened(lying).read("a")
    assert caught.value.code == "document_broken"


def test_what_is_declared_counts_even_where_less_is_there():
    data = patched(zipped({"a": b"abc"}), at=24, value=5_000)
    assert opened(data).read("a") == b"abc"
    with pytest.raises(DocumentTooLarge):
        opened(data, archive_inflated_bytes_max=4_999)


def test_a_directory_that_does_not_name_what_lies_there_is_broken():
    data = zipped({"name": b"abc"}).replace(b"name", b"nome", 1)
    with pytest.raises(DocumentBroken):
        opened(data).read("name")


def test_changed_content_is_broken():
    data = zipped({"a": b"abcdefgh"}, method=zipfile.ZIP_STORED).replace(b"abcd", b"abcx")
    with pytest.raises(DocumentBroken):
        opened(data).read("a")


def test_encrypted_members_are_named():
    data = patched(zipped({"a": b"abc"}), at=8, value=1, layout="<H")
    with pytest.raises(UnsupportedFormat, match="encrypted"):
        opened(data).read("a")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_would_be_inflated_without_a_bound_is_not(method):
    with pytest.raises(UnsupportedFormat, match="compressed in a way"):
        opened(zipped({"a": b"abc"}, method=method)).read("a")


@pytest.mark.parametrize("cut", [10, 30, 60, -1])
def test_a_cut_archive_is_broken(cut):
    with pytest.raises(DocumentBroken, match="archive is damaged"):
        opened(zipped({"a": b"abc"})[:cut])


@settings(deadline=None)
@given(
    st.dictionaries(st.text("ab/", min_size=1, max_size=3), st.binary(max_size=200), max_size=4),
    st.lists(st.tuples(st.integers(0, 999), st.integers(0, 255)), max_size=4),
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_any_damage_is_a_permanent_error(members, changes):
    data = bytearray(zipped(members))
    for at, value in changes:
        data[at % len(data)] = value
    try:
        archive = opened(bytes(data))
        for name in archive.names:
            archive.read(name)
    except PermanentError:
        pass
