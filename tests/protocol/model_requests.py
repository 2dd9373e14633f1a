"""Steps of the protocol that come from outside: requests, bells, time, and the death of the API.

Each step is one commit; the comment names the verb and the statements that it stands for.
"""

from collections.abc import Iterator

from model import (
    ABSENT,
    DELETED,
    FREE,
    GONE,
    HELD,
    LIVE,
    OVER,
    PENDING,
    READY,
    Setup,
    Source,
    State,
    Step,
    put,
    raise_attempt,
)


def requests(state: State, setup: Setup) -> Iterator[Step]:
    yield from _adding(state, setup)
    for place, source in enumerate(state.sources):
        if source.there != LIVE or state.rag != LIVE:
            continue
        if source.version + 1 < len(setup.documents[place]):
            yield Step(f"refresh {place}", _ring(_refresh(state, place), setup), False)
        if setup.deletes:
            yield Step(f"delete source {place}", mark_deleted(state, place), False)
    if setup.deletes and state.rag == LIVE:
        # rags.mark_deleted: the rows below are left to the sweep, readers and workers ask the RAG.
        yield Step("delete rag", state._replace(rag=DELETED), False)


def _adding(state: State, setup: Setup) -> Iterator[Step]:
    """engine.rags.add_sources: lock the RAG, insert, commit; ring; answer 200."""
    if state.adding is None:
        if state.rag == LIVE:
            for place, source in enumerate(state.sources):
                if source.there == ABSENT:
                    yield _open(state, place, setup)
        return
    phase, place = state.adding
    yield Step("API killed", state._replace(adding=None), False)
    if phase == "checked" and state.rag != GONE:
        yield Step(f"insert {place}", _insert(state, place))
    if phase == "rung first":
        yield Step(f"insert {place} after the bell", _insert(state, place))
    if phase == "committed":
        done = state._replace(adding=("rung", place))
        yield Step(f"ring for {place}", _ring(done, setup) if setup.mechanisms.outbox else done)
    if phase == "rung":
        source = state.sources[place]._replace(acknowledged=True)
        yield Step(
            f"answer 200 for {place}", put(state, place, source=source)._replace(adding=None)
        )


def _open(state: State, place: int, setup: Setup) -> Step:
    if not setup.mechanisms.outbox:  # the bell goes out with the request, before the commit
        rung = _ring(state._replace(adding=("rung first", place)), setup)
        return Step(f"ring for {place} before the commit", rung, False)
    if not setup.mechanisms.adding_lock:  # the RAG is only looked at
        return Step(f"add {place}: look", state._replace(adding=("checked", place)), False)
    return Step(f"add {place}", _insert(state, place), False)


def _insert(state: State, place: int) -> State:
    """store.sources.insert and the commit."""
    late = state.late or ("" if state.rag == LIVE else "a source")
    source = Source(there=LIVE)
    return put(state, place, source=source)._replace(adding=("committed", place), late=late)


def _refresh(state: State, place: int) -> State:
    """store.sources.refresh."""
    source, index = state.sources[place], state.indexes[place]
    source = source._replace(
        state=PENDING, due=True, lease=FREE, faults=0, alone=False, refresh_failed=False,
        version=source.version + 1,
    )  # fmt: skip
    if index.there:
        index = index._replace(
            state=READY if index.live else PENDING, due=False, lease=FREE, faults=0, alone=False,
            retired=True,
        )  # fmt: skip
    return put(raise_attempt(state, place, "source", "index"), place, source=source, index=index)


def mark_deleted(state: State, place: int) -> State:
    """store.sources.mark_deleted; purge.delete_sources_of_deleted_rags does the same."""
    source = state.sources[place]._replace(there=DELETED, due=False, lease=FREE)
    index = state.indexes[place]._replace(due=False, lease=FREE)
    return put(raise_attempt(state, place, "source", "index"), place, source=source, index=index)


def bells(state: State, setup: Setup) -> Iterator[Step]:
    """Redis may lose a bell or ring twice."""
    if state.bells > 0:
        yield Step("a bell is lost", state._replace(bells=state.bells - 1), False)
    if 0 < state.bells < setup.bells_max:
        yield Step("a bell rings twice", state._replace(bells=state.bells + 1), False)


def _ring(state: State, setup: Setup) -> State:
    return state._replace(bells=min(setup.bells_max, state.bells + 1))


def time(state: State) -> Iterator[Step]:
    """A lease runs out, whether its worker is dead, stopped or only slow: then it is a zombie."""
    for place, source in enumerate(state.sources):
        if source.lease == HELD:
            after = put(state, place, source=source._replace(lease=OVER))
            yield Step(f"lease of source {place} runs out", after)
        index = state.indexes[place]
        if index.lease == HELD:
            after = put(state, place, index=index._replace(lease=OVER))
            yield Step(f"lease of index {place} runs out", after)
