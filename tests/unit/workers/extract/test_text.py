import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.extract.canonical import canonical
from workers.extract.sniff import Format
from workers.extract.text import text_blocks

KINDS = [Format.PLAIN, Format.CSV, Format.TSV, Format.JSON, Format.YAML, Format.CODE, Format.XML]


@given(st.text(alphabet=st.sampled_from('a1,";\t\n |\xa0')), st.sampled_from(KINDS))
def test_blocks_cover_every_character_that_is_not_blank_in_order(source, kind):
    text = canonical(source)
    at = 0
    for block in text_blocks(text, kind=kind):
        assert at <= block.start < block.end <= len(text)
        assert not text[at : block.start].strip()
        at = block.end
    assert not text[at:].strip()


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("name,age\nA,1\n", "name,age\n"),
        ('"na\nme",age\nA,1\n', '"na\nme",age\n'),
        ("A,1\nB,2\n", ""),
        ("name;when\nA;2020-01-01", "name;when\n"),
        ("x,2024-01-02\ny,2024-01-03", ""),
        ("name,age", "name,age"),
        ('name;"first, or\nlast"\nA;"x"\n', 'name;"first, or\nlast"\n'),
        ("sep=;\nname;age\nA;1\n", "sep=;\nname;age\n"),
        ("sep=;\nA;1\nB;2\n", ""),
        ('size 5" or 6",price\nA,1\n', 'size 5" or 6",price\n'),
        ('"never closed,age\nA,1\n', ""),
        (f"{'long name,' * 600}age\nA,1\n", f"{'long name,' * 600}age\n"),
        (f"{'long name,' * 1_700}age\nA,1\n", ""),
    ],
)
def test_a_header_is_the_first_record_unless_a_number_stands_in_it(text, header):
    (block,) = text_blocks(text, kind=Format.CSV)
    assert block.kind == "table"
    assert text[block.start : block.header_end] == header


def test_code_and_prose_are_split_at_blank_lines():
    text = "def f():\n    x\n\n    y\n"
    assert [text[b.start : b.end] for b in text_blocks(text, kind=Format.CODE)] == [
        "def f():\n    x",
        "    y",
    ]
    assert {b.kind for b in text_blocks(text, kind=Format.CODE)} == {"code"}
    assert {b.kind for b in text_blocks(text, kind=Format.PLAIN)} == {"paragraph"}
