"""The protocol, proved on its model: every state that faults can lead to holds and has an end.

Then each mechanism is taken away, and the same search must find what it is there for.
"""

from functools import cache

import pytest
from model import CHUNKS, Mechanisms, Setup, canonical, settled, start
from model_search import Report, Search, explore

TROUBLES = (
    "permanent", "flaky", "poison", "cut_permanent", "embed_flaky", "poison_index", "poison_late",
)  # fmt: skip


explored = cache(explore)


def proved(setup: Setup, *, states_min: int) -> Report:
    report = explore(setup)
    assert report.violation == "", str(report)
    assert report.settled > 0
    print(report)
    assert report.states >= states_min, str(report)
    return report


def test_two_workers_survive_kills_zombies_deletes_and_bells_lost_or_doubled() -> None:
    proved(Setup(documents=(("good",),), bells_max=2, merged=True), states_min=10_000)


def test_a_refresh_in_any_state_is_survived_as_well() -> None:
    proved(Setup(documents=(("good", "good"),), merged=True, give_backs=False), states_min=20_000)


def test_two_sources_of_a_rag_do_not_disturb_each_other() -> None:
    setup = Setup(
        documents=(("good",), ("good",)), merged=True, kills=False, give_backs=False,
        leases_end=False,
    )  # fmt: skip
    proved(setup, states_min=20_000)


def test_what_a_zombie_holds_makes_no_difference_while_the_fence_stands() -> None:
    """The other searches count all zombies of a row as one; here none are merged."""
    setup = Setup(documents=(("good",),), deletes=False, give_backs=False)
    apart = proved(setup, states_min=3_000)
    merged = proved(setup._replace(merged=True), states_min=500)
    assert apart.settled == merged.settled


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("first", [True, False], ids=["at_first", "at_refresh"])
def test_a_document_that_makes_trouble_ends_like_any_other(trouble: str, first: bool) -> None:
    versions = (trouble, "good") if first else ("good", trouble)
    setup = Setup(documents=(versions,), workers=1, merged=True, answers_lost=True)
    proved(setup, states_min=2_000)


def test_a_document_that_makes_trouble_leaves_its_neighbour_ready() -> None:
    setup = Setup(documents=(("good",), ("permanent",)), workers=1, deletes=False)
    search = Search(setup._replace(kills=False, leases_end=False))
    assert search.run().violation == ""
    ends = {
        tuple(source.state for source in state.sources)
        for state in search.states
        if settled(state) and all(source.there == "live" for source in state.sources)
    }
    assert ends == {("ready", "error")}


ONE = Setup(documents=(("good",),))
REMOVALS = [
    ("fence", ONE, "a double chunk"),
    (
        "outbox",
        ONE._replace(bells_max=1, deletes=False, give_backs=False),
        "no end can be reached any more",
    ),
    ("atomic_commit", ONE, "a waiting source that nobody will come for"),
    ("atomic_batch", ONE._replace(deletes=False), "a double chunk"),
    ("atomic_finish", ONE, "ready without an answer"),
    ("reconciler", ONE, "no end can be reached any more"),
    ("write_lock", ONE, "written after the deletion: source fetch"),
    ("adding_lock", ONE, "written after the deletion: a source"),
    *(
        ("faults_max", Setup(documents=((trouble,),), workers=1), "no end can be reached any more")
        for trouble in ("flaky", "poison", "embed_flaky", "poison_index", "poison_late")
    ),
]


@pytest.mark.parametrize(
    ("mechanism", "setup", "violation"),
    REMOVALS,
    ids=[f"{name}-{setup.documents[0][0]}" for name, setup, _ in REMOVALS],
)
def test_without_any_one_mechanism_the_search_finds_what_it_is_there_for(
    mechanism: str, setup: Setup, violation: str
) -> None:
    assert explored(setup._replace(merged=True)).violation == ""
    report = explore(setup._replace(mechanisms=Mechanisms()._replace(**{mechanism: False})))
    print(f"without {mechanism}: {report}")
    assert report.violation.startswith(violation), str(report)
    assert report.trace


def test_every_mechanism_is_taken_away_by_some_test() -> None:
    assert {name for name, _, _ in REMOVALS} == set(Mechanisms._fields)


def test_a_search_without_any_fault_ends_in_one_ready_source_with_all_its_chunks() -> None:
    quiet = Setup(
        documents=(("good",),), deletes=False, kills=False, give_backs=False, leases_end=False
    )
    search = Search(quiet)
    assert search.run().violation == ""
    ends = [state for state in search.states if settled(state) and state.sources[0].there == "live"]
    assert {(s.sources[0].state, len(s.indexes[0].chunks)) for s in ends} == {("ready", CHUNKS)}
    assert search.states[0] == canonical(start(quiet), merged=False)
