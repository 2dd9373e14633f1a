"""`query`: a question to a RAG, answered with passages and where they stand."""

from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from engine.cli.exits import CliError, Exit
from engine.cli.place import HERE, Where

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.cli.answers import Hit, Neighbour

Mode = Literal["hybrid", "dense", "lexical"]


def query(
    rag: str,
    question: str,
    /,
    *,
    top_k: int = 5,
    mode: Mode | None = None,
    min_score: float | None = None,
    filter: str = "",
    with_neighbours: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
    where: Where = HERE,
) -> int:
    """Find the passages that answer a question, best first, each with its citation.

    Parameters
    ----------
    rag
        Name or id of the RAG.
    question
        The question, in any words.
    top_k
        How many passages at most.
    mode
        Rank by what the words mean (dense), by the words themselves (lexical), or by both.
    min_score
        Leave out passages that score less, from 0 to 1.
    filter
        Only of sources whose attributes match, as JSON: {"eq": {"key": "language", "value": "en"}}.
    with_neighbours
        Show the passages before and after each one as well.
    json
        Print the hits as JSON.
    """
    from engine.cli.client import connected
    from engine.cli.terminal import say_json

    # NaN is not between them either, and JSON has no way to send it.
    if min_score is not None and not 0 <= min_score <= 1:
        raise CliError("--min-score must be from 0 to 1.", exit_code=Exit.USAGE)
    more = {
        "min_score": min_score,
        "filter": read_filter(filter) if filter else None,
        "with_neighbours": with_neighbours or None,
    }
    given = {name: value for name, value in more.items() if value is not None}
    with connected(where) as client:
        hits = client.query(client.rag(rag).id, question, top_k=top_k, mode=mode or "", more=given)
    if json:
        say_json({"results": hits})
    else:
        _show(hits)
    return Exit.DONE


def read_filter(text: str) -> object:
    """What the option says; whether it is a filter, the engine tells. Raises CliError."""
    import msgspec

    try:
        found: object = msgspec.json.decode(text.encode("utf-8", "surrogateescape"))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        wrong = f"--filter is not JSON: {str(error).replace('`', '')}."
        raise CliError(wrong, exit_code=Exit.USAGE) from error
    return found


def _show(hits: "Sequence[Hit]") -> None:
    from engine.cli.terminal import say

    if not hits:
        say("Nothing was found.")
    for number, hit in enumerate(hits, start=1):
        say(f"{number}. {citation(hit)}")
        if hit.before:
            say(beside(hit.before))
        say(passage(hit))
        if hit.after:
            say(beside(hit.after))
        say()


def citation(hit: "Hit") -> str:
    """Score, source, headings or page, and the offsets into the canonical text, on one line."""
    parts = [hit.source.name]
    if hit.headings:
        parts.append(" › ".join(hit.headings))  # noqa: RUF001 - a separator for people
    if hit.page is not None:
        parts.append(f"page {hit.page}")
    parts.append(f"characters {hit.start}-{hit.end}")
    if hit.source.source_url and hit.source.source_url != hit.source.name:
        parts.append(hit.source.source_url)
    return f"[{hit.score:.2f}] {' · '.join(parts)}"


def passage(hit: "Hit") -> str:
    """The text of the passage, filled to the terminal's width."""
    from engine.cli.terminal import wrapped

    return wrapped(hit.text, indent="   ")


def beside(neighbour: "Neighbour") -> str:
    """The passage before or after a hit, set apart from it by a bar."""
    from engine.cli.terminal import wrapped

    return wrapped(neighbour.text, indent="   | ")
