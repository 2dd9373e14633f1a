"""How rendered text is written, the same for all formats: blanks, links, pipe tables. Pure."""

import re
from collections.abc import Sequence

_BLANKS = re.compile(r"[ \t\n\r\v\f]+")
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


def linked(said: str, *, url: str) -> str:
    """ "[said](url)"; `said` alone where the URL leads nowhere outside, or says the same."""
    url = url.strip()
    if not said or not url.lower().startswith(_LINKED_SCHEMES) or url == said:
        return said
    return f"[{said}]({url.replace(' ', '%20').replace(')', '%29')})"


def pipe_table(rows: Sequence[list[str]], *, headed: bool) -> tuple[str, str]:
    """The table's text and the beginning of it that is its header, "" unless `headed`.

    Rows without any text are left out. The header is the first row that is left.
    """
    rows = [cells for cells in rows if any(cells)]
    if not rows:
        return "", ""
    width = max(len(cells) for cells in rows)
    if width * len(rows) > _PADDED_CELLS_MAX:
        width = len(rows[0])
    lines = [_row(cells, width=width) for cells in rows]
    if not headed:
        return "\n".join(lines), ""
    lines.insert(1, "|" + " --- |" * width)
    return "\n".join(lines), "\n".join((*lines[:2], ""))


def _row(cells: list[str], *, width: int) -> str:
    escaped = [cell.replace("|", "\\|") for cell in cells]
    return "| " + " | ".join(escaped + [""] * (width - len(cells))) + " |"
