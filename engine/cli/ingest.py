"""`ingest`: files, folders and URLs into a RAG. How it is done is ingestion.py."""

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from engine.cli.exits import CliError, Exit
from engine.cli.place import HERE, Where

if TYPE_CHECKING:
    from engine.cli.ingestion import Ingestion


def ingest(
    sources: Annotated[list[str], Parameter(negative=())],
    /,
    *,
    rag: str,
    wait: bool = True,
    json: Annotated[bool, Parameter(negative=())] = False,
    where: Where = HERE,
) -> int:
    """Bring files, folders and URLs into a RAG; what it has already is skipped.

    A changed file replaces its source once it is ready. Exits with 1 if any source failed.

    Parameters
    ----------
    sources
        Files, folders (with all that is below them but hidden files) and URLs.
    rag
        Name or id of the RAG: the newest one of that name, or a new one.
    wait
        Wait until every source has ended.
    json
        Print the summary as JSON.
    """
    from engine.cli.client import connected
    from engine.cli.ingestion import Ingestion, Outcome, tally
    from engine.cli.progress import display
    from engine.cli.selection import select
    from engine.cli.terminal import say_json

    if not sources:
        raise CliError("Name at least one file, folder or URL.", exit_code=Exit.USAGE)
    selection = select(sources)
    shown = display(silent=json)
    with connected(where) as client:
        found = client.rag_or_new(rag)
        ingestion = Ingestion(client, rag_id=found.id, display=shown)
        try:
            ingestion.add(selection)
            if wait:
                ingestion.watch()
            else:
                ingestion.leave()
        finally:
            shown.close()
    results, totals = ingestion.results, tally(ingestion.results)
    if json:
        say_json({"rag": {"id": found.id, "name": found.name}, **totals, "sources": results})
    else:
        _summarise(ingestion, totals=totals)
    return Exit.FAILED if totals[Outcome.FAILED] else Exit.DONE


def _summarise(ingestion: "Ingestion", *, totals: dict[str, int]) -> None:
    from engine.cli.ingestion import Outcome
    from engine.cli.terminal import say, say_columns

    failed = [each for each in ingestion.results if each.outcome is Outcome.FAILED]
    if failed:
        rows = [(each.name, each.code, f"{each.message} {each.remedy}".strip()) for each in failed]
        say_columns([("FAILED", "CODE", "CAUSE AND REMEDY"), *rows])
        say()
    say(", ".join(f"{count} {outcome}" for outcome, count in totals.items()))
