"""`status`: is the engine well, what waits, and how far each RAG or source is."""

import re
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from engine.cli.exits import Exit
from engine.cli.place import HERE, Where

if TYPE_CHECKING:
    from engine.cli.answers import Rag, Source
    from engine.cli.client import Client

_SAMPLE = re.compile(r"^(rag_engine_\w+)(?:\{[^}]*\})? (\S+)$", re.MULTILINE)
STATES = ("pending", "processing", "ready", "error")


def status(
    rag: str | None = None,
    /,
    *,
    json: Annotated[bool, Parameter(negative=())] = False,
    where: Where = HERE,
) -> int:
    """Show the engine's health, its queue and all RAGs, or the sources of one RAG.

    Exits with 3 when the engine, or what it stands on, is away.

    Parameters
    ----------
    rag
        Name or id of a RAG: shows its sources.
    json
        Print it as JSON.
    """
    from engine.cli.client import connected
    from engine.cli.terminal import say_json

    with connected(where) as client:
        client.readiness()
        if rag is not None:
            found = client.rag(rag)
            sources = list(client.sources(found.id))
            if json:
                say_json({"rag": found, "sources": sources})
            else:
                _say_rag(found, sources)
            return Exit.DONE
        queue, rags = queue_of(client.metrics()), list(client.rags())
        if json:
            say_json({"url": client.url, "status": "ok", "queue": queue, "rags": rags})
        else:
            _say_engine(client, queue=queue, rags=rags)
    return Exit.DONE


def queue_of(metrics: str) -> dict[str, float]:
    """What of the Prometheus text concerns the queue and the workers."""
    samples = [(found[1], float(found[2])) for found in _SAMPLE.finditer(metrics)]
    values = dict(samples)
    running = [value for name, value in samples if name == "rag_engine_worker_running"]
    return {
        "depth": int(values.get("rag_engine_queue_depth", 0)),
        "age_s": round(values.get("rag_engine_queue_age_seconds", 0.0), 1),
        "workers": len(running),
        "running": int(sum(running)),
    }


def _say_engine(client: "Client", *, queue: dict[str, float], rags: "list[Rag]") -> None:
    from engine.cli.terminal import say, say_columns

    say(f"engine   ready at {client.url}")
    say(f"queue    {queue['depth']:.0f} waiting, the oldest for {queue['age_s']:.0f} s")
    say(f"workers  {queue['workers']:.0f}, working on {queue['running']:.0f}")
    say()
    if not rags:
        say("There is no RAG yet: `rag-engine ingest FOLDER --rag NAME` makes one.")
        return
    head = ("RAG", "STATUS", *(state.upper() for state in STATES), "ID")
    counts = [[str(getattr(each.source_counts, state)) for state in STATES] for each in rags]
    rows = [
        (each.name, each.status, *count, each.id) for each, count in zip(rags, counts, strict=True)
    ]
    say_columns([head, *rows])


def _say_rag(rag: "Rag", sources: "list[Source]") -> None:
    from engine.cli.terminal import say, say_columns

    say(f"{rag.name}  {rag.status}  {rag.id}")
    if sources:
        say()
        rows = [(each.name, each.status, each.status_message) for each in sources]
        say_columns([("SOURCE", "STATUS", ""), *rows])
