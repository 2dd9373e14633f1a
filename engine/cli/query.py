"""`query`: a question to a RAG, answered with passages and where they stand."""

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from engine.cli.exits import Exit
from engine.cli.place import HERE, Where

if TYPE_CHECKING:
    from engine.cli.answers import Hit


def query(
    rag: str,
    question: str,
    /,
    *,
    top_k: int = 5,
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
    json
        Print the hits as JSON.
    """
    from engine.cli.client import connected
    from engine.cli.terminal import say, say_json

    with connected(where) as client:
        hits = client.query(client.rag(rag).id, question, top_k=top_k)
    if json:
        say_json({"results": hits})
        return Exit.DONE
    for number, hit in enumerate(hits, start=1):
        say(f"{number}. {citation(hit)}")
        say(passage(hit))
        say()
    return Exit.DONE


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
