"""Breadth-first through every state of the protocol: the first violation, and who can never end.

Breadth-first, so that the trace of a violation is the shortest one there is.
"""

from array import array
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

from model import Setup, State, Step, canonical, settled, stale, start, violations
from model_requests import bells, requests, time
from model_sweep import sweep
from model_workers import beats, found_unknown, work

STATES_MAX = 1_000_000


class Report(NamedTuple):
    """`violation` is "" when every state holds and has an end within reach."""

    states: int
    steps: int
    settled: int
    violation: str
    trace: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{self.states:,} states, {self.steps:,} steps", self.violation, *self.trace]
        return "\n  ".join(lines)


class Search:
    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.states: list[State] = []
        self.numbers: dict[State, int] = {}
        self.came_from: list[tuple[int, str]] = []
        self.hopeful: list[array[int]] = []  # for each state: those from which it is one hope away
        self.steps = 0

    def run(self) -> Report:
        self._find(canonical(start(self.setup), merged=self.setup.merged), before=-1, label="start")
        at = 0
        while at < len(self.states):
            state = self.states[at]
            for violation in self._violations(state):
                return self._report(violation, at=at)
            for step in successors(state, self.setup):
                self._follow(at, step)
            at += 1
            if at > STATES_MAX:
                raise AssertionError(f"more than {STATES_MAX:,} states: choose a smaller setup")
        return self._endings()

    def _violations(self, state: State) -> Iterator[str]:
        yield from violations(state)
        if settled(state) and stale(state, self.setup):
            yield "settled on an old text without a warning"

    def _follow(self, at: int, step: Step) -> None:
        self.steps += 1
        number = self._find(
            canonical(step.state, merged=self.setup.merged), before=at, label=step.label
        )
        if step.hopeful:
            self.hopeful[number].append(at)

    def _find(self, state: State, *, before: int, label: str) -> int:
        number = self.numbers.setdefault(state, len(self.states))
        if number == len(self.states):
            self.states.append(state)
            self.came_from.append((before, label))
            self.hopeful.append(array("I"))
        return number

    def _endings(self) -> Report:
        """Backwards from the settled states along hopeful steps: what is not met is stuck."""
        ends = [number for number, state in enumerate(self.states) if settled(state)]
        reached = bytearray(len(self.states))
        ahead = list(ends)
        while ahead:
            number = ahead.pop()
            if not reached[number]:
                reached[number] = 1
                ahead.extend(self.hopeful[number])
        stuck = reached.find(0)
        if stuck >= 0:
            return self._report("no end can be reached any more", at=stuck)
        return Report(len(self.states), self.steps, len(ends), "", ())

    def _report(self, violation: str, *, at: int) -> Report:
        state, trace = self.states[at], []
        while at > 0:
            at, label = self.came_from[at]
            trace.append(label)
        return Report(
            len(self.states), self.steps, 0, violation, (*reversed(trace), f"then: {state}")
        )


def successors(state: State, setup: Setup) -> Iterator[Step]:
    return chain(
        requests(state, setup),
        work(state, setup),
        sweep(state, setup),
        time(state) if setup.leases_end else (),
        beats(state),
        found_unknown(state) if setup.answers_lost else (),
        bells(state, setup),
    )


def explore(setup: Setup) -> Report:
    return Search(setup).run()
