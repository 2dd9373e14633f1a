"""What is not torn: code and rows that fit, and sentences of scripts without spaces.

One word, one mark or one ideograph is one token here.
"""

from itertools import pairwise

import pytest
from fix_chunks import document_of, plain, texts_of, words


@pytest.mark.parametrize("mark", ["。", "．", "！", "।", "۔", "။", "។", "։", "།"])
def test_a_sentence_ends_at_the_mark_of_its_script(mark: str) -> None:
    sentence = words(5) + mark
    found = texts_of(plain(sentence * 6))
    assert len(found) > 1
    assert all(text.endswith(mark) for text in found)


def test_a_wide_point_inside_of_a_number_ends_no_sentence() -> None:
    sentence = words(5) + "３．" + "１４" + words(5) + "．"
    assert all(text.endswith("．") for text in texts_of(plain(sentence * 6)))


def test_code_that_fits_is_never_torn_however_little_stands_before_it() -> None:
    code = "\n\n".join(words(5, name=letter) for letter in "abc")
    document = document_of(
        ("paragraph", words(8)), ("code", code), ("paragraph", words(3)), ("code", code)
    )
    assert texts_of(document) == [words(8), f"{code}\n\n{words(3)}", code]


def test_a_crumb_behind_code_does_not_tear_it() -> None:
    code = "\n\n".join(words(6, name=letter) for letter in "abc")
    assert texts_of(document_of(("code", code), ("paragraph", words(4)))) == [code, words(4)]


def test_code_over_the_cap_begins_where_the_text_before_it_leaves_room() -> None:
    code = "\n".join(words(5, name=letter) for letter in "abcdef")
    found = texts_of(document_of(("paragraph", words(6)), ("code", code)))
    assert [text.count("\n") for text in found] == [3, 3]


def test_an_overlap_gives_way_to_code_that_would_not_fit_behind_it() -> None:
    code = "\n".join(words(6, name=letter) for letter in "abc")
    document = document_of(("paragraph", f"{words(8)}. {words(6, name='W')}."), ("code", code))
    assert code in texts_of(document, overlap_tokens=8)


def test_a_row_that_fits_is_never_torn() -> None:
    row = " | ".join(words(4, name=letter) for letter in "abc")
    document = document_of(("paragraph", words(8)), ("table", "\n".join([row, row, row])))
    assert texts_of(document) == [words(8), row, row, row]


def test_an_overlap_never_begins_inside_of_a_row_that_fits() -> None:
    rows = [" | ".join(words(3, name=letter) for letter in one) for one in ("abc", "def", "ghi")]
    document = document_of(("table", "\n".join(["x | y | z", *rows])))
    for text in texts_of(document, overlap_tokens=8):
        assert set(text.split("\n")) <= {"x | y | z", *rows}


def test_an_overlap_takes_whole_rows_with_it() -> None:
    rows = [words(3, name=letter) for letter in "abcdefgh"]
    found = texts_of(document_of(("table", "\n".join(["x", *rows]))), overlap_tokens=8)
    assert len(found) > 1
    for before, after in pairwise(found):
        assert after.split("\n")[0] in before.split("\n")
