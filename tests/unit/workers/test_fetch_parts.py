"""workers.fetch without a server: names of files, and inflating in bounded steps."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.fetch import _filename
from workers.inflate import inflater_of


@pytest.mark.parametrize(
    ("disposition", "path", "filename"),
    [
        ("", "/a/report.pdf", "report.pdf"),
        ("", "/a/", ""),
        ("", "/", ""),
        ("", "/..", ""),
        ("", "/a/b/..\\c.txt", "c.txt"),
        ("inline", "/page", "page"),
        ('attachment; filename="report 1.pdf"', "/x", "report 1.pdf"),
        ("attachment; filename=report.pdf; size=1", "/x", "report.pdf"),
        ("attachment; FileName = report.pdf", "/x", "report.pdf"),
        ('attachment; filename="a\\"b.pdf"', "/x", 'a"b.pdf'),
        ("attachment; filename*=UTF-8''k%C3%B6ln.pdf; filename=plain.pdf", "/x", "köln.pdf"),
        ("attachment; filename=plain.pdf; filename*=utf-8'de'k%C3%B6ln.pdf", "/x", "köln.pdf"),
        ("attachment; filename*=iso-8859-1''k%F6ln.pdf", "/x", "köln.pdf"),
        ('attachment; filename="../../etc/passwd"', "/x", "passwd"),
        ('attachment; filename="C:/windows/a.txt"', "/x", "a.txt"),
        ("attachment; filename*=utf-8''..%2F..%2Fetc%2Fpasswd", "/x", "passwd"),
        ("attachment; filename*=utf-8''a%00b%0A.txt", "/x", "ab.txt"),
        ('attachment; filename=".."', "/x", ""),
        ('attachment; filename="' + "a" * 400 + '.pdf"', "/x", "a" * 251 + ".pdf"),
    ],
)
def test_the_filename_is_a_plain_name_without_folders(
    disposition: str, path: str, filename: str
) -> None:
    assert _filename(disposition, path=path) == filename


@given(st.text(max_size=80), st.text(max_size=80))
def test_no_filename_ever_leads_out_of_its_folder(disposition: str, path: str) -> None:
    for value in (disposition, f'attachment; filename="{disposition}"'):
        name = _filename(value, path=path)
        assert not set(name) & set("/\\\0\r\n")
        assert name not in {".", ".."}
        assert len(name) <= 255


@given(
    st.lists(st.binary(max_size=40) | st.integers(0, 200_000).map(bytes), max_size=4),
    st.integers(1, 50_000),
    st.sampled_from(["gzip", "deflate", "bare"]),
)
def test_inflating_gives_back_every_byte_however_the_answer_is_cut(
    parts: list[bytes], cut: int, kind: str
) -> None:
    body = b"".join(parts)
    wbits = {"gzip": 31, "deflate": 15, "bare": -15}[kind]
    coded = zlib.compress(body, wbits=wbits)
    inflater = inflater_of("gzip" if kind == "gzip" else "deflate")
    steps = [
        step
        for start in range(0, len(coded), cut)
        for step in inflater.feed(coded[start : start + cut])
    ]
    inflater.check_end()
    assert b"".join(steps) == body
    assert all(len(step) <= 65_536 for step in steps)
