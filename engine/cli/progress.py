"""How the way of sources is shown: bars in a terminal, plain lines anywhere else, or nothing.

Bars are for what is being worked on; what has ended becomes a line above them, so that a folder
of thousands of files still fits on a screen. All of it goes to stderr.
"""

import sys
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from engine.cli.answers import Source
from engine.cli.terminal import note

NAME_CHARACTERS_SHOWN = 48
BARS_MAX = 12
STAGES_SHOWN_MAX = 20


class Display(Protocol):
    """Two ways of showing, one of not showing."""

    def expect(self, total: int) -> None:
        """So many more sources are waited for."""

    def show(self, source: Source) -> None:
        """Where a source is now; called at every look at it."""

    def end(self, name: str, *, word: str, message: str) -> None:
        """A source has ended, well or not."""

    def close(self) -> None: ...


class Silent:
    """For scripts that read the JSON answer."""

    def expect(self, total: int) -> None:
        return

    def show(self, source: Source) -> None:
        return

    def end(self, name: str, *, word: str, message: str) -> None:
        return

    def close(self) -> None:
        return


class Lines:
    """A line for the end of each source, and of a few sources also one for each stage."""

    def __init__(self) -> None:
        self._shown: dict[str, str] = {}
        self._total = 0

    def expect(self, total: int) -> None:
        self._total += total
        note(f"working on {total} source{'' if total == 1 else 's'}")

    def show(self, source: Source) -> None:
        stage = source.progress.stage
        if source.terminal or not stage or self._shown.get(source.id) == stage:
            return
        if self._total > STAGES_SHOWN_MAX:
            return
        self._shown[source.id] = stage
        note(f"  {stage:<8} {source.name}")

    def end(self, name: str, *, word: str, message: str) -> None:
        note(f"  {word:<8} {name}: {message}" if message else f"  {word:<8} {name}")

    def close(self) -> None:
        return


class Bars:
    """A bar over all sources, and one below it for each that is being worked on."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[stage]}", markup=False),
            console=self._console,
            transient=True,
        )
        self._whole: TaskID | None = None
        self._bars: dict[str, TaskID] = {}
        self._total = 0

    def expect(self, total: int) -> None:
        self._total += total
        if self._whole is None:
            self._whole = self._progress.add_task("sources", total=self._total, stage="")
            self._progress.start()
        self._progress.update(self._whole, total=self._total)

    def show(self, source: Source) -> None:
        if source.terminal or source.status == "pending":
            self._drop(source.id)
            return
        if source.id not in self._bars and len(self._bars) < BARS_MAX:
            self._bars[source.id] = self._progress.add_task(shortened(source.name), stage="")
        if source.id in self._bars:
            now = source.progress
            self._progress.update(
                self._bars[source.id],
                completed=now.done,
                total=now.total or None,
                stage=now.stage,
            )

    def end(self, name: str, *, word: str, message: str) -> None:
        line = f"  {word:<8} {name}: {message}" if message else f"  {word:<8} {name}"
        self._console.print(line, markup=False, soft_wrap=True)
        if self._whole is not None:
            self._progress.advance(self._whole)

    def close(self) -> None:
        self._progress.stop()

    def _drop(self, source_id: str) -> None:
        if (bar := self._bars.pop(source_id, None)) is not None:
            self._progress.remove_task(bar)


def display(*, silent: bool) -> Display:
    """What fits where stderr goes."""
    if silent:
        return Silent()
    return Bars() if sys.stderr.isatty() else Lines()


def shortened(name: str) -> str:
    """The end of a path says more than its beginning."""
    over = len(name) - NAME_CHARACTERS_SHOWN
    return f"…{name[over + 1 :]}" if over > 0 else name
