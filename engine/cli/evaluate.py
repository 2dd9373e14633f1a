"""`evaluate`: golden questions to a RAG, how well it answers them, and what got lost since.

Which questions there may be is in golden.py, what counts as found in scoring.py.
"""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from engine.cli.exits import CliError, Exit
from engine.cli.place import HERE, Where
from engine.cli.query import Mode

if TYPE_CHECKING:
    from engine.cli.answers import Rag
    from engine.cli.client import Client
    from engine.cli.golden import Question
    from engine.cli.scoring import Answered, Change, Comparison, Report, Settings

NOTE_EVERY_S = 5.0
SHOWN_MAX = 50


def evaluate(
    rag: str,
    questions: Path,
    /,
    *,
    top_k: int = 10,
    mode: Mode | None = None,
    out: Path | None = None,
    against: Path | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
    where: Where = HERE,
) -> int:
    """Ask golden questions and report recall, MRR and what was not found.

    Against an earlier report also what got lost and what was gained; exits with 5 if anything got
    lost, so that a new chunk size or model can be judged before it is trusted.

    Parameters
    ----------
    rag
        Name or id of the RAG.
    questions
        A file with one JSON object a line: {"question": "…", "find": [{"source": "a.md", "text":
        "an excerpt"}]}. A source is an id, a name or a URL; instead of a text there may be start
        and end, its character offsets.
    top_k
        How many passages to look at.
    mode
        The query's mode; the engine's default if not given.
    out
        Where to write the report, as JSON.
    against
        An earlier report to compare with.
    json
        Print the report as JSON.
    """
    from engine.cli.client import connected
    from engine.cli.golden import read_questions
    from engine.cli.scoring import Settings, compared

    if top_k < 1:
        raise CliError("--top-k must be at least 1.", exit_code=Exit.USAGE)
    if out:
        _check_out(out)
    asked = read_questions(questions)
    earlier = _read_report(against, asked=asked) if against else None
    settings = Settings(top_k=top_k, mode=mode or "")
    with connected(where) as client:
        found = client.rag(rag)
        answers = _ask(client, found, asked, settings=settings)
    report = _report(found, answers, settings=settings)
    comparison = compared(earlier, report) if earlier else None
    try:
        _tell(report, earlier=earlier, comparison=comparison, json=json)
    finally:
        # Shown even if it cannot be written, and written even if whoever reads goes away.
        if out:
            _write(out, report)
    return Exit.LOST if comparison and comparison.lost else Exit.DONE


def _ask(
    client: "Client", rag: "Rag", questions: "list[Question]", *, settings: "Settings"
) -> "list[Answered]":
    """One after the other; an engine that is busy is waited for by the client."""
    from time import monotonic

    from engine.cli.scoring import answered
    from engine.cli.terminal import note

    answers: list[Answered] = []
    noted_s = monotonic()
    for question in questions:
        try:
            hits = client.query(rag.id, question.question, top_k=settings.top_k, mode=settings.mode)
        except CliError as error:
            place = f"line {question.line}, {len(answers)} of {len(questions)} questions asked"
            raise CliError(f"{error} ({place})", exit_code=error.exit_code) from error
        answers.append(answered(question, hits))
        if monotonic() - noted_s > NOTE_EVERY_S:
            note(f"asked {len(answers)} of {len(questions)} questions")
            noted_s = monotonic()
    return answers


def _report(rag: "Rag", answers: "list[Answered]", *, settings: "Settings") -> "Report":
    from datetime import UTC, datetime

    from engine.cli.scoring import Report, figures

    return Report(
        made_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        rag=rag.name,
        rag_id=rag.id,
        embedding_model=rag.embedding_model,
        settings=settings,
        figures=figures(answers, top_k=settings.top_k),
        questions=tuple(answers),
    )


def _read_report(path: Path, *, asked: "list[Question]") -> "Report":
    """Raises CliError for what none of these questions can be compared with, OSError."""
    import msgspec

    from engine.cli.scoring import VERSION, Report, have_common

    try:
        report = msgspec.json.decode(path.read_bytes(), type=Report)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        wrong = f"{path} is not a report of `evaluate`: {str(error).replace('`', '')}."
        raise CliError(wrong, exit_code=Exit.USAGE) from error
    if report.version != VERSION:
        wrong = f"{path} is a report of version {report.version}, this program reads {VERSION}."
        raise CliError(wrong, exit_code=Exit.USAGE)
    if not have_common(report, asked):
        wrong = f"{path} is a report of other questions: there is nothing to compare."
        raise CliError(wrong, exit_code=Exit.USAGE)
    return report


def _check_out(path: Path) -> None:
    """Before anything is asked: a run may take long, and its report is to have a place."""
    import os

    if path.exists() and not path.is_file():
        fault = "is not a file"
    elif not path.parent.is_dir():
        fault = f"there is no folder {path.parent}"
    elif not os.access(path.parent, os.W_OK | os.X_OK):
        fault = f"the folder {path.parent} cannot be written to"
    else:
        return
    raise CliError(f"--out: {path}: {fault}.", exit_code=Exit.USAGE)


def _write(path: Path, report: "Report") -> None:
    """Whole or not at all: an earlier report may stand there."""
    import msgspec

    beside = path.with_name(path.name + ".new")
    try:
        beside.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
        beside.replace(path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise CliError(f"--out: {path}: {error.strerror}.") from error


def _tell(
    report: "Report",
    *,
    earlier: "Report | None",
    comparison: "Comparison | None",
    json: bool,
) -> None:
    from engine.cli.terminal import say_json

    if json:
        say_json({"report": report, **({"against": comparison} if comparison else {})})
    else:
        _show(report, earlier=earlier, comparison=comparison)


def _show(report: "Report", *, earlier: "Report | None", comparison: "Comparison | None") -> None:
    from engine.cli.terminal import say, say_columns

    count = report.figures.questions
    mode = f", mode {report.settings.mode}" if report.settings.mode else ""
    word = "question" if count == 1 else "questions"
    say(f"{count} {word} to {report.rag}, {report.settings.top_k} hits each{mode}")
    say()
    say_columns(_table(report, earlier=earlier))
    missed = [(each.name, place) for each in report.questions for place in each.missed]
    _show_list("NOT FOUND", [(name, str(place)) for name, place in missed])
    if comparison:
        _show_list("LOST", [_line(each) for each in comparison.lost])
        _show_list("GAINED", [_line(each) for each in comparison.gained])
        say()
        say(_sentence(comparison))


def _table(report: "Report", *, earlier: "Report | None") -> list[tuple[str, ...]]:
    """A column for each of the reports."""
    reports = [report, *([earlier] if earlier else [])]
    cuts = sorted({int(cut) for each in reports for cut in each.figures.recall})
    rows = [("", "now", "before")[: len(reports) + 1]]
    for cut in cuts:
        cells = [each.figures.recall.get(str(cut)) for each in reports]
        rows.append((f"recall@{cut}", *("-" if c is None else f"{c:.3f}" for c in cells)))
    rows.append(("MRR", *(f"{each.figures.mrr:.3f}" for each in reports)))
    return rows


def _line(change: "Change") -> tuple[str, str]:
    rank = f"was at rank {change.before}" if change.before else f"now at rank {change.after}"
    return change.name, f"{change.place} ({rank})"


def _show_list(title: str, lines: list[tuple[str, str]]) -> None:
    from engine.cli.golden import shortened
    from engine.cli.terminal import say, say_columns

    if not lines:
        return
    say()
    say_columns([(title, ""), *((shortened(name), place) for name, place in lines[:SHOWN_MAX])])
    if len(lines) > SHOWN_MAX:
        say(f"and {len(lines) - SHOWN_MAX} more")


def _sentence(comparison: "Comparison") -> str:
    parts = [
        f"{len(comparison.lost)} lost",
        f"{len(comparison.gained)} gained",
        f"{comparison.nearer} nearer",
        f"{comparison.farther} farther",
    ]
    if comparison.only_before:
        parts.append(f"{comparison.only_before} asked before only")
    if comparison.only_after:
        parts.append(f"{comparison.only_after} asked now only")
    return ", ".join(parts) + f" within the first {comparison.top_k} hits"
