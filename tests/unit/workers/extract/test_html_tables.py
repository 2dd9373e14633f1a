"""Tables too wide for the content finder: nothing of them is lost, and none of them is slow."""

import pytest

from workers.extract.html import _main_content, _parsed, read_html
from workers.extract.html_table import CELL_LOOKS_MAX, cell_looks

WORDS = "What stands beside the table is some sentences long, so that it is a page of its own."


def page(table: str) -> str:
    return f"<html><head><title>T</title></head><body><p>{WORDS}</p>{table}</body></html>"


def looks(table: str) -> int:
    return cell_looks(_parsed(page(table))[0])


def row(columns: int, *, cell: str = "<td>x") -> str:
    return "<tr>" + cell * columns


def test_a_row_twice_as_wide_counts_four_times_and_a_second_row_twice():
    one = looks(f"<table>{row(1_000)}</table>")
    assert looks(f"<table>{row(2_000)}</table>") == pytest.approx(4 * one, rel=0.01)
    assert looks(f"<table>{row(1_000) * 2}</table>") == 2 * one


def test_columns_that_a_cell_spans_count_as_cells():
    wide = looks(f"<table>{row(50, cell='<td colspan=100>x')}</table>")
    assert wide > 50 * looks(f"<table>{row(50)}</table>")
    # trafilatura does not follow further, nor what is no number.
    assert looks("<table>" + row(50, cell="<td colspan=9999999999999>x") + "</table>") == wide
    assert looks("<table>" + row(50, cell="<td colspan=many>x") + "</table>") == looks(
        f"<table>{row(50)}</table>"
    )


def test_cells_that_reach_down_widen_the_rows_below_until_they_end():
    plain = row(100)
    below = looks(f"<table>{row(100, cell='<td rowspan=3>x')}{plain * 9}</table>")
    without = looks(f"<table>{plain * 10}</table>")
    # Two rows have a hundred columns more, before and under their own.
    assert without + 2 * 100 * 100 < below < without + 4 * 100 * 100


@pytest.mark.parametrize("around", ["<tbody>{}</tbody>", "<thead>{}</thead>", "{}"])
def test_cells_without_a_row_are_one_row_wherever_they_stand(around):
    loose = "".join(around.format("<td>x</td>") for _ in range(500))
    assert looks(f"<table>{loose}</table>") >= 500 * 500 / 2


def test_a_table_of_an_honest_size_is_left_to_the_content_finder():
    tree, _ = _parsed(page(f"<table>{row(20) * 500}</table>"))
    assert cell_looks(tree) < CELL_LOOKS_MAX / 500
    assert _main_content(tree) is not None


def test_a_row_that_is_too_wide_for_it_is_laid_out_whole():
    tree, _ = _parsed(page(f"<table>{row(20_000)}</table>"))
    assert _main_content(tree) is None
    document = read_html(page(f"<table>{row(20_000)}</table>"), base_url="", warnings=())
    assert WORDS in document.text
    assert document.text.count("| x") == 20_000
    assert document.coverage.tables == 1


def test_neither_a_caption_nor_a_cell_without_a_row_is_lost_with_it():
    broken = "<caption>What it is.</caption><td>Alone.</td>"
    document = read_html(page(f"<table>{broken}{row(20_000)}</table>"), base_url="", warnings=())
    assert "What it is." in document.text
    assert "| Alone." in document.text
    assert document.text.count("| x") == 20_000
