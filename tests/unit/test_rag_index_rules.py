"""The rules about rag indexes: what a status follows from, and that progress only rises."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.entries import (
    OVER_LIMIT,
    TOO_SMALL,
    IndexFacts,
    RagIndexStatus,
    rag_index_progress,
    rag_index_status,
)
from engine.errors import DocumentTooSmall, RagLimitExceeded
from engine.models import Failure, State

FINAL = set(RagIndexStatus) - {RagIndexStatus.CREATED, RagIndexStatus.PROCESSING}


def failure(code: str) -> Failure:
    return Failure(code=code, message="It failed.", retryable=False, remedy="Do something.")


WAITING = IndexFacts(
    state=State.PENDING,
    attempt=0,
    done=0,
    total=0,
    generation_live=None,
    failure=None,
    source_state=State.PENDING,
    source_revision=0,
    source_due=True,
)
ANSWERING = msgspec.structs.replace(
    WAITING,
    state=State.READY,
    attempt=1,
    done=8,
    total=8,
    generation_live=1,
    source_state=State.READY,
    source_revision=1,
    source_due=False,
)


def status(facts: IndexFacts, **changes: object) -> RagIndexStatus:
    return rag_index_status(msgspec.structs.replace(facts, **changes))


def progress(facts: IndexFacts) -> float:
    return rag_index_progress(facts, status=rag_index_status(facts))


def test_an_index_that_waits_for_a_text_or_a_worker_is_created() -> None:
    assert status(WAITING) is RagIndexStatus.CREATED
    assert status(WAITING, source_due=False, source_revision=1) is RagIndexStatus.CREATED


@pytest.mark.parametrize("state", [State.PENDING, State.PROCESSING])
def test_an_index_that_was_claimed_once_is_processing_until_it_ends(state: State) -> None:
    assert status(ANSWERING, state=state, generation_live=None) is RagIndexStatus.PROCESSING


def test_an_index_that_answers_with_the_newest_text_has_succeeded() -> None:
    assert status(ANSWERING) is RagIndexStatus.SUCCEEDED
    assert progress(ANSWERING) == 100.0


def test_an_index_of_a_document_that_is_read_anew_is_processing_although_it_answers() -> None:
    again = msgspec.structs.replace(ANSWERING, source_due=True, source_state=State.PENDING)
    assert (rag_index_status(again), progress(again)) == (RagIndexStatus.PROCESSING, 0.0)


def test_an_index_that_answers_with_an_older_text_only_has_failed() -> None:
    assert status(ANSWERING, source_revision=2) is RagIndexStatus.FAILED


@pytest.mark.parametrize("live", [None, 1])
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (DocumentTooSmall.code, RagIndexStatus.DOCUMENT_TOO_SMALL),
        (RagLimitExceeded.code, RagIndexStatus.RAG_LIMIT_EXCEEDED),
        ("too_many_chunks", RagIndexStatus.FAILED),
    ],
)
def test_an_index_that_failed_says_how(
    code: str, expected: RagIndexStatus, live: int | None
) -> None:
    facts = msgspec.structs.replace(
        ANSWERING,
        state=State.READY if live else State.ERROR,
        generation_live=live,
        source_revision=2,
        failure=failure(code),
    )
    assert (rag_index_status(facts), progress(facts)) == (expected, 0.0)


def test_a_fault_that_may_pass_does_not_end_an_index() -> None:
    facts = msgspec.structs.replace(
        ANSWERING, state=State.PENDING, failure=failure("internal_fault"), generation_live=None
    )
    assert rag_index_status(facts) is RagIndexStatus.PROCESSING


def test_the_codes_of_the_rule_are_those_of_the_errors() -> None:
    assert (DocumentTooSmall.code, RagLimitExceeded.code) == (TOO_SMALL, OVER_LIMIT)


# One generation, from its text to its end, as workers and the sweep walk it.

STEPS = st.lists(
    st.one_of(
        st.sampled_from(["claim", "postpone", "expire", "source_updated"]),
        st.tuples(st.just("store"), st.integers(1, 400)),
    ),
    max_size=40,
)
ENDS = st.sampled_from(["finish", TOO_SMALL, OVER_LIMIT, "too_many_chunks", "stay"])


class Walk:
    """The rows of an index and its source, and all that a caller saw of them."""

    def __init__(self, *, chunks: int, before: int | None) -> None:
        self.chunks = chunks
        self.facts = msgspec.structs.replace(
            WAITING,
            generation_live=before,
            attempt=0 if before is None else 3,
            source_revision=before or 0,
            state=State.PENDING if before is None else State.READY,
        )
        self.seen: list[tuple[RagIndexStatus, float]] = []
        self.look()

    def become(self, **changes: object) -> None:
        self.facts = msgspec.structs.replace(self.facts, **changes)
        self.look()

    def look(self) -> None:
        self.seen.append((rag_index_status(self.facts), progress(self.facts)))

    def text_comes(self) -> None:
        self.become(
            state=State.PENDING,
            attempt=self.facts.attempt + 1,
            done=0,
            total=0,
            source_due=False,
            source_revision=self.facts.source_revision + 1,
            source_state=State.PROCESSING,
        )

    def step(self, name: str, count: int) -> None:
        at_work = self.facts.state is State.PROCESSING
        if name == "claim" and not at_work:
            self.become(state=State.PROCESSING, attempt=self.facts.attempt + 1)
            self.become(total=self.chunks)
        elif name == "store" and at_work and self.facts.total:
            self.become(done=min(self.chunks, self.facts.done + count))
        elif name in ("postpone", "expire") and at_work:
            passing = failure("internal_fault") if name == "postpone" else self.facts.failure
            self.become(state=State.PENDING, failure=passing)
        elif name == "source_updated":
            self.become(source_state=State.READY)

    def end(self, how: str) -> None:
        if how == "stay":
            return
        self.step("claim", 0)
        if how == "finish":
            self.become(
                state=State.READY,
                failure=None,
                generation_live=self.facts.source_revision,
                done=self.chunks,
                total=self.chunks,
            )
        else:
            live = self.facts.generation_live is not None
            self.become(state=State.READY if live else State.ERROR, failure=failure(how))


@given(
    chunks=st.integers(1, 100_000),
    before=st.one_of(st.none(), st.integers(1, 9)),
    steps=STEPS,
    how=ENDS,
)
def test_on_the_way_of_a_generation_progress_never_falls_and_is_100_only_at_success(
    chunks: int,
    before: int | None,
    steps: list[str | tuple[str, int]],
    how: str,
) -> None:
    walk = Walk(chunks=chunks, before=before)
    walk.text_comes()
    for step in steps:
        name, count = step if isinstance(step, tuple) else (step, 0)
        walk.step(name, count)
    walk.end(how)

    for state, at in walk.seen:
        assert 0.0 <= at <= 100.0
        assert (at == 100.0) is (state is RagIndexStatus.SUCCEEDED)
    # A failure is no progress: what was done until then is not there.
    risen = [at for state, at in walk.seen if state not in FINAL - {RagIndexStatus.SUCCEEDED}]
    assert risen == sorted(risen)
    order = [2 if s in FINAL else 1 if s is RagIndexStatus.PROCESSING else 0 for s, _ in walk.seen]
    assert order == sorted(order)
    assert (walk.seen[-1][0] is RagIndexStatus.SUCCEEDED) is (how == "finish")
