"""Records of a table of values, and that the chunker cuts between them."""

import csv
import io
from itertools import pairwise

import pytest
from fix_chunks import passages_of, plain
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from engine.models import Block, Document
from workers.records import record_starts, records

CELLS = st.text(alphabet="ab ,;\"\n'|", max_size=8)


def as_table(text: str, *, header_end: int = 0) -> Document:
    block = Block(kind="table", start=0, end=len(text), header_end=header_end)
    return replace(plain(text, blocks=[block]), media_type="text/csv")


@given(st.lists(st.lists(CELLS, min_size=2, max_size=3), min_size=1), st.sampled_from(",;\t"))
def test_records_are_what_was_written(rows: list[list[str]], delimiter: str) -> None:
    file = io.StringIO(newline="")
    quoting = csv.writer(file, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL)
    # A header says what stands between the cells.
    quoting.writerows([["one", "two", "three"], *rows])
    text = file.getvalue()
    found = [text[start:end] for start, end in records(text, start=0, end=len(text))]
    assert "".join(found) == text
    cells = [next(csv.reader(io.StringIO(each, newline=""), delimiter=delimiter)) for each in found]
    assert cells[1:] == rows


@given(st.text(alphabet='a",;\n'))
def test_record_starts_are_starts_of_lines_and_the_first_is_the_first(text: str) -> None:
    found = record_starts(text, start=0, end=len(text))
    if found is not None:
        assert found[0] == 0
        assert list(found) == sorted(set(found))
        assert all(text[start - 1] == "\n" for start in found[1:])


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1,2\n",
        'a,b\n"1",2\n3,4',
        'a,b\n5",2\n3,4\n',
        'a,b\n"5,2\n3,4\n',
        '"' + "a\n" * 200_000,
    ],
)
def test_where_nothing_is_quoted_over_lines_or_a_quote_is_none_the_lines_are_the_records(
    text: str,
) -> None:
    assert record_starts(text, start=0, end=len(text)) is None


def test_a_record_that_fits_is_never_torn_and_each_one_stands_below_the_header() -> None:
    rows = [
        f'{number},"Question {number}?\n\nAn answer of\nthree lines."\n' for number in range(20)
    ]
    text = "number,said\n" + "".join(rows)
    first, *others = passages_of(as_table(text, header_end=12), chunk_tokens=40)
    assert first.text.startswith("number,said\n0,")
    for passage in (first, *others):
        held = passage.text.removeprefix("number,said\n") + "\n"
        assert held == "".join(row for row in rows if row in held)
    assert all(passage.embedded.startswith("number,said\n") for passage in others)
    assert len(others) > 2


def test_an_overlap_takes_whole_records_with_it() -> None:
    rows = [f'{number},"one two\nthree four"\n' for number in range(20)]
    passages = passages_of(as_table("".join(rows)), chunk_tokens=30, overlap_tokens=12)
    assert all(f"{passage.text}\n".startswith(tuple(rows)) for passage in passages)
    assert any(one.end > other.start for one, other in pairwise(passages))


def test_a_record_over_the_cap_is_cut_at_its_lines() -> None:
    lines = [f"line {number} of one answer" for number in range(12)]
    text = '1,"' + "\n".join(lines) + '"\n2,"short\nanswer"'
    *torn, last = passages_of(as_table(text), chunk_tokens=20)
    assert all(passage.text.removeprefix('1,"').startswith("line") for passage in torn)
    assert last.text.endswith('2,"short\nanswer"')
