"""What a page says of its tables is kept, whichever way the page is laid out."""

import pytest

from workers.extract.canonical import Layout
from workers.extract.html import lay_chapter, read_html
from workers.extract.html_table import _SPANNED_MAX

LONG = f"<p>{'The page goes on and says more of what it is about. ' * 80}</p>"


@pytest.fixture(params=["", LONG], ids=["short", "long"])
def document_of(request):
    def read(said):
        page = f"<html><body><h1>T</h1>{request.param}{said}</body></html>"
        return read_html(page, base_url="", warnings=())

    return read


@pytest.fixture
def table_of(document_of):
    """The lines of the header of the page's table, and those below it."""

    def read(table):
        document = document_of(table)
        (block,) = (block for block in document.blocks if block.kind == "table")
        header = document.text[block.start : block.header_end]
        return header.splitlines(), document.text[block.header_end : block.end].splitlines()

    return read


def rows(*lines):
    """Cells apart at blanks, heads with a star; a "-" is an empty cell."""
    said = [["" if cell == "-" else cell for cell in line.split()] for line in lines]
    shown = [[f"<th>{c[1:]}" if c[:1] == "*" else f"<td>{c}" for c in cells] for cells in said]
    return "".join(f"<tr>{''.join(cells)}</tr>" for cells in shown)


BODY = rows("1 2 3", "4 5 6")
BELOW = ["| 1 | 2 | 3 |", "| 4 | 5 | 6 |"]
LINE = "| --- | --- | --- |"


def test_all_leading_rows_of_heads_are_the_header(table_of):
    header, below = table_of(f"<table>{rows('*A - *B', '*C *D *E')}{BODY}</table>")
    assert header == ["| A |  | B |", LINE, "| C | D | E |"]
    assert below == BELOW


def test_rows_in_a_thead_are_the_header_whatever_their_cells(table_of):
    head = f"<thead>{rows('A B C', '*D E F')}</thead>"
    header, below = table_of(f"<table>{head}<tbody>{BODY}</tbody></table>")
    assert header == ["| A | B | C |", LINE, "| D | E | F |"]
    assert below == BELOW


def test_cells_of_a_thead_that_has_no_row_are_one(table_of):
    header, below = table_of(f"<table><thead><th>A<th>B<th>C</thead>{BODY}</table>")
    assert header == ["| A | B | C |", LINE]
    assert below == BELOW


@pytest.mark.parametrize("corner", ["-", "Name"])
def test_the_corner_of_a_header_need_not_be_a_head(table_of, corner):
    header, below = table_of(f"<table>{rows(f'{corner} *B *C', '*r 1 2')}</table>")
    assert header == [f"| {corner.strip('-')} | B | C |", LINE]
    assert below == ["| r | 1 | 2 |"]


@pytest.mark.parametrize("value", ["5", "-"])
def test_heads_of_rows_are_no_header(table_of, value):
    header, below = table_of(f"<table>{rows(f'*Height {value}', '*Width 6', '*Depth 7')}</table>")
    assert header == []
    assert len(below) == 3


def test_a_row_of_heads_further_down_is_no_header(table_of):
    header, below = table_of(f"<table>{rows('*A *B *C', '1 2 3', '*D *E *F', '4 5 6')}</table>")
    assert header == ["| A | B | C |", LINE]
    assert len(below) == 3


def test_where_all_rows_are_heads_the_first_is_the_header(table_of):
    header, below = table_of(f"<table>{rows('*A *B *C', '*1 *2 *3')}</table>")
    assert header == ["| A | B | C |", LINE]
    assert below == ["| 1 | 2 | 3 |"]


def test_a_row_without_text_neither_ends_the_header_nor_is_it(table_of):
    blank = "<tr><td><br></td><td>&nbsp;</td></tr>"
    table = f"<table>{blank}{rows('*A *B *C')}{blank}{rows('*D *E *F')}{blank}{BODY}</table>"
    header, below = table_of(table)
    assert header == ["| A | B | C |", LINE, "| D | E | F |"]
    assert below == BELOW


@pytest.mark.parametrize(
    "caption",
    [
        "<caption>Limits of <b>plans</b></caption>",
        '<caption class="comment" id="comments">Limits <i>of</i> plans',
        "<caption><p>Limits of plans</p></caption>",
    ],
)
def test_a_caption_is_a_paragraph_before_its_table(document_of, caption):
    document = document_of(f"<table>{caption}{rows('*A *B *C')}{BODY}</table>")
    said, table = document.blocks[-2:]
    assert (said.kind, table.kind) == ("paragraph", "table")
    assert document.text[said.start : said.end] == "Limits of plans"
    header = f"| A | B | C |\n{LINE}\n"
    assert document.text[table.start : table.header_end] == header


def test_captions_stay_with_their_tables_and_in_their_order(document_of):
    tables = "".join(f"<table><caption>Table {n}</caption>{rows(n)}</table>" for n in "12")
    document = document_of(tables)
    kinds = [block.kind for block in document.blocks[-4:]]
    assert kinds == ["paragraph", "table"] * 2
    said = [document.text[block.start : block.end] for block in document.blocks[-4::2]]
    assert said == ["Table 1", "Table 2"]


PRICES = "<tr><th>Item</th><th colspan=2>Price</th><th>Qty</th></tr>"
BOLT = rows("Bolt EUR USD 77")


def test_a_cell_over_several_columns_keeps_them_apart(table_of):
    header, below = table_of(f"<table>{PRICES}{BOLT}</table>")
    assert header == ["| Item | Price |  | Qty |", "| --- | --- | --- | --- |"]
    assert below == ["| Bolt | EUR | USD | 77 |"]


def test_a_cell_over_several_rows_moves_what_is_beside_it(table_of):
    down = "<tr><td rowspan=2>Bolt</td><td>S</td><td rowspan=2>77</td></tr><tr><td>M</td></tr>"
    _, below = table_of(f"<table>{rows('*A *B *C')}{down}{BODY}</table>")
    assert below == ["| Bolt | S | 77 |", "|  | M |  |", *BELOW]


def test_a_header_of_two_rows_keeps_its_columns(table_of):
    head = "<tr><th rowspan=2>Item<th colspan=2>Price</tr>" + rows("*EUR *USD")
    header, below = table_of(f"<table>{head}{BODY}</table>")
    assert header == ["| Item | Price |  |", LINE, "|  | EUR | USD |"]
    assert below == BELOW


@pytest.mark.parametrize("span", ["0", "-1", "many", ""])
def test_a_span_that_is_none_is_ignored(table_of, span):
    wide = f"<tr><td colspan='{span}' rowspan='{span}'>1<td>2<td>3</tr>"
    _, below = table_of(f"<table>{rows('*A *B *C')}{wide}{rows('4 5 6')}</table>")
    assert below == BELOW


def test_a_chapter_keeps_its_columns_too():
    layout = Layout()
    lay_chapter(layout, f"<html><body><table>{PRICES}{BOLT}</table></body></html>")
    assert "| Item | Price |  | Qty |" in layout.text


def test_spans_that_add_too_many_cells_are_ignored():
    layout = Layout()
    wide = "<tr>" + "<td colspan=100 rowspan=100>x" * 50 + "</tr>"
    lay_chapter(layout, f"<html><body><table>{wide * 2_000}</table></body></html>")
    assert layout.text.count("x") == 100_000
    assert len(layout.text) < 60 * _SPANNED_MAX
