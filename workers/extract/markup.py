"""How rendered text is written, the same for all formats: blanks, links, pipe tables. Pure."""

import re
from collections.abc import Sequence

_BLANKS = re.compile(r"[ \t\n\r\v\f]+")
_RAISED = str.maketrans("0123456789+-\u2212", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻")
_LINKED_SCHEMES = ("http:", "https:", "mailto:")
# Rows of very different widths are left ragged: the padding would outgrow the text.
_PADDED_CELLS_MAX = 2_000_000


def squeezed(text: str) -> str:
    """One line, each run of blanks one space."""
    return _BLANKS.sub(" ", text).strip()


def tidy(text: str) -> str:
    """Blanks squeezed, but the line breaks that the document asked for kept."""
    lines = (_BLANKS.sub(" ", line).strip() for line in text.split("\n"))
    return "\n".join(line for line in lines if line)


def raised(number: str) -> str:
    """A number in superscript characters."""
    return number.translate(_RAISED)


def linked(said: str, *, url: str) -> str:
    """ "[said](url)"; `said` alone where the URL leads nowhere outside, or says the same."""
    url = url.strip()
    if not said or not url.lower().startswith(_LINKED_SCHEMES) or url == said:
        return said
    return f"[{said}]({url.replace(' ', '%20').replace(')', '%29')})"


def pipe_table(rows: Sequence[list[str]], *, header_rows: int) -> tuple[str, str]:
    """The table's text and the beginning of it that is its header, "" without `header_rows`.

    Rows without any text are left out. Markdown has a header of one row, so the line that ends it
    stands after the first. Where no row would be left below, the header is the first row alone.
    """
    header_rows = sum(any(cells) for cells in rows[:header_rows])
    rows = [cells for cells in rows if any(cells)]
    if not rows:
        return "", ""
    width = max(len(cells) for cells in rows)
    if width * len(rows) > _PADDED_CELLS_MAX:
        width = len(rows[0])
    lines = [_row(cells, width=width) for cells in rows]
    if not header_rows:
        return "\n".join(lines), ""
    lines.insert(1, "|" + " --- |" * width)
    kept = 1 if header_rows == len(rows) else header_rows
    return "\n".join(lines), "\n".join((*lines[: kept + 1], ""))


def _row(cells: list[str], *, width: int) -> str:
    escaped = [cell.replace("|", "\\|") for cell in cells]
    return "| " + " | ".join(escaped + [""] * (width - len(cells))) + " |"
