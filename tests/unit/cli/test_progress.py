"""Plain lines for logs, bars for people."""

import pytest

from engine.cli.answers import Progress, Source
from engine.cli.progress import Bars, Lines, Silent, display, shortened


def source(status: str, **progress: object) -> Source:
    return Source(
        id="1",
        name="[red]a.md",
        status=status,
        progress=Progress(**progress),  # type: ignore[arg-type]
    )


def test_lines_tell_each_stage_once_and_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    lines.expect(1)
    for each in (
        source("pending"),
        source("processing", stage="fetch"),
        source("processing", stage="embed", done=1, total=9),
        source("processing", stage="embed", done=9, total=9),
        source("ready"),
    ):
        lines.show(each)
    lines.end("[red]a.md", word="ready", message="9 chunks created")
    lines.close()
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines() == [
        "working on 1 source",
        "  fetch    [red]a.md",
        "  embed    [red]a.md",
        "  ready    [red]a.md: 9 chunks created",
    ]


def test_a_log_of_many_sources_is_not_filled_with_their_stages(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = Lines()
    lines.expect(1_000)
    lines.show(source("processing", stage="fetch"))
    lines.end("a.md", word="failed", message="Not found.")
    shown = capsys.readouterr().err.splitlines()
    assert shown == ["working on 1000 sources", "  failed   a.md: Not found."]


def test_bars_take_names_literally_and_leave_only_what_has_ended(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bars = Bars()
    bars.expect(1)
    bars.show(source("processing", stage="embed", done=1, total=2))
    bars.show(source("ready"))
    bars.end("[red]a.md", word="ready", message="")
    bars.close()
    shown = capsys.readouterr().err
    assert "  ready    [red]a.md\n" in shown
    assert "embed" not in shown.rpartition("ready")[2]


def test_a_script_that_reads_json_sees_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    silent = display(silent=True)
    assert isinstance(silent, Silent)
    silent.expect(3)
    silent.show(source("ready"))
    silent.end("a", word="ready", message="b")
    silent.close()
    assert capsys.readouterr() == ("", "")


def test_a_long_path_is_cut_at_its_beginning() -> None:
    name = "folder/" * 20 + "file.md"
    assert len(shortened(name)) == 48
    assert shortened(name).startswith("…")
    assert name.endswith(shortened(name)[1:])
    assert shortened("file.md") == "file.md"
