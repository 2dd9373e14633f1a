"""The protocol as a small transition system: its state, and what must hold in every state.

What lives here: the rows, the workers and the requests of one RAG, reduced to what the protocol is
about, and the invariants. What does not: the steps (model_requests, model_workers, model_sweep) and
the search through all states (model_search). The columns are those of schema.sql; an attempt is
only ever compared for equality, so a worker remembers whether it is still its row's (`current`)
instead of a number, and the states stay finitely many without a bound on kills and retries.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

PENDING, PROCESSING, READY, ERROR = "pending", "processing", "ready", "error"
ABSENT, LIVE, DELETED, GONE = "absent", "live", "deleted", "gone"  # deleted: only marked so far
FREE, HELD, OVER = "free", "held", "over"  # a lease: none, running, run out and not yet swept

CHUNKS = 2  # of every document, each stored in a batch of its own
FAULTS_MAX = 2


class Mechanisms(NamedTuple):
    """What the engine relies on. A test takes one away and demands that the search notices."""

    fence: bool = True  # every write asks for its own attempt and a lease
    outbox: bool = True  # rows before bells, and workers that poll for rows
    atomic_commit: bool = True  # text, source and claim of the index in one transaction
    atomic_batch: bool = True  # fence, progress and chunks in one transaction
    atomic_finish: bool = True  # source and index switch in one transaction
    reconciler: bool = True  # the sweep ends expired leases
    faults_max: bool = True  # charged attempts are counted and limited
    write_lock: bool = True  # a delete goes through the RAG's row, which every write holds shared
    adding_lock: bool = True  # and so does a request that adds sources


class Setup(NamedTuple):
    """What is explored. `documents`: how each source's origin behaves at each of its versions:
    good, permanent, flaky and poison while it is read; cut_, embed_, poison_index and poison_late
    after that."""

    documents: tuple[tuple[str, ...], ...] = (("good",),)
    workers: int = 2
    deletes: bool = True
    kills: bool = True
    leases_end: bool = True
    give_backs: bool = True
    answers_lost: bool = False
    bells_max: int = 0
    merged: bool = False
    mechanisms: Mechanisms = Mechanisms()


class Chunk(NamedTuple):
    generation: int
    ordinal: int
    version: int  # of the origin that its text was read from


class Source(NamedTuple):
    there: str = ABSENT
    state: str = PENDING
    due: bool = True
    lease: str = FREE
    faults: int = 0
    alone: bool = False
    revision: int = 0
    refresh_failed: bool = False
    version: int = 0  # of its origin, out in the world
    texts: tuple[tuple[int, int], ...] = ()  # documents: (revision, version)
    acknowledged: bool = False  # its caller has read a 200


class Index(NamedTuple):
    """The primary index of the source at the same place."""

    there: bool = False
    state: str = PENDING
    due: bool = False
    lease: str = FREE
    faults: int = 0
    alone: bool = False
    generation: int = 0
    live: int = 0  # 0: none yet
    chunk_count: int = 0
    retired: bool = False
    chunks: tuple[Chunk, ...] = ()


class Worker(NamedTuple):
    """A slot for one claim. `step` is the transaction that it will try next, "" without a claim."""

    step: str = ""
    kind: str = ""
    place: int = -1
    current: bool = False
    alone: bool = False
    faults: int = 0
    generation: int = 0
    version: int = -1  # of the text that it has in hand
    ordinal: int = 0  # of the batch that is next
    checked: bool = False  # only where a removed mechanism tears check and write apart


class State(NamedTuple):
    sources: tuple[Source, ...]
    indexes: tuple[Index, ...]
    workers: tuple[Worker, ...]
    rag: str = LIVE
    adding: tuple[str, int] | None = None  # how far a request that adds a source is
    bells: int = 0
    late: str = ""  # a write that landed in what had been deleted before it


class Step(NamedTuple):
    """`hopeful`: happens by itself in a healthy engine; not a fault, nor a new request."""

    label: str
    state: State
    hopeful: bool = True


IDLE = Worker()


def start(setup: Setup) -> State:
    places = range(len(setup.documents))
    return State(
        sources=tuple(Source() for _ in places),
        indexes=tuple(Index() for _ in places),
        workers=tuple(IDLE for _ in range(setup.workers)),
    )


# Changes of one row, of the rows of one place, and of the workers -----------------------------


def put(
    state: State, place: int, *, source: Source | None = None, index: Index | None = None
) -> State:
    if source is not None:
        state = state._replace(sources=_with(state.sources, place, source))
    if index is not None:
        state = state._replace(indexes=_with(state.indexes, place, index))
    return state


def set_worker(state: State, number: int, worker: Worker) -> State:
    return state._replace(workers=_with(state.workers, number, worker))


def raise_attempt(state: State, place: int, *kinds: str) -> State:
    """Fence off whoever holds rows of this place: from now on its attempt is another's."""
    return state._replace(
        workers=tuple(
            w._replace(current=False) if w.place == place and w.kind in kinds else w
            for w in state.workers
        )
    )


def canonical(state: State, *, merged: bool) -> State:
    """Workers are alike, so their order does not tell states apart. With `merged`, neither does
    what a zombie is about to write: the fence refuses all of it, so those states are one."""
    workers = state.workers
    if merged:
        workers = tuple(w if w == IDLE or w.current else _zombie(w) for w in workers)
    return state._replace(workers=tuple(sorted(workers)))


def _zombie(worker: Worker) -> Worker:
    step = "commit" if worker.kind == "source" else "finish"
    return Worker(step=step, kind=worker.kind, place=worker.place)


def _with(rows: tuple[Any, ...], place: int, row: Any) -> tuple[Any, ...]:
    return (*rows[:place], row, *rows[place + 1 :])


# What a reader sees, and what must hold --------------------------------------------------------


def visible(state: State, place: int) -> tuple[Chunk, ...]:
    """As near.exact and chunks.page join: live RAG, live source, live generation."""
    source, index = state.sources[place], state.indexes[place]
    if state.rag != LIVE or source.there != LIVE or not index.live:
        return ()
    return tuple(chunk for chunk in index.chunks if chunk.generation == index.live)


def violations(state: State) -> Iterator[str]:
    if state.late:
        yield f"written after the deletion: {state.late}"
    for place, source in enumerate(state.sources):
        index = state.indexes[place]
        yield from _of_answers(state, place, source, index)
        yield from _of_rows(state, source, index)
        holders = [
            w.kind
            for w in state.workers
            if w.place == place and w.current and _lease(state, w) != FREE
        ]
        if len(holders) != len(set(holders)):
            yield "two live claims on one row"


def _of_answers(state: State, place: int, source: Source, index: Index) -> Iterator[str]:
    keys = [chunk[:2] for chunk in index.chunks]
    if len(keys) != len(set(keys)):
        yield "a double chunk"
    seen = visible(state, place)
    if seen and {chunk.version for chunk in seen} != {dict(source.texts).get(index.live)}:
        yield "a mixed answer, or one without its document"
    expected = list(range(CHUNKS)) if state.rag == source.there == LIVE and index.live else []
    if sorted(chunk.ordinal for chunk in seen) != expected:
        yield "a partial answer"
    if source.there == LIVE and source.state == READY and not index.live:
        yield "ready without an answer"
    if source.there == LIVE and source.state == ERROR and index.live:
        yield "error although an answer is there"


def _of_rows(state: State, source: Source, index: Index) -> Iterator[str]:
    if source.acknowledged and source.there == ABSENT:
        yield "an acknowledged source is lost"
    if index.there and source.there in (ABSENT, GONE):
        yield "an orphaned index"
    if index.chunks and not index.there:
        yield "an orphaned chunk"
    if source.there in (LIVE, DELETED) and state.rag == GONE:
        yield "an orphaned source"
    if (source.due and source.lease != FREE and source.there == LIVE) or (
        index.due and index.lease != FREE
    ):
        yield "due and held at once"
    works = source.due or source.lease != FREE or index.due or index.lease != FREE
    if source.there == LIVE and source.state in (PENDING, PROCESSING) and not works:
        yield "a waiting source that nobody will come for"


def _lease(state: State, worker: Worker) -> str:
    rows: tuple[Source | Index, ...] = state.sources if worker.kind == "source" else state.indexes
    return rows[worker.place].lease


def settled(state: State) -> bool:
    """Nothing waits, nothing runs, nothing is left over: every source is ready, error or gone."""
    return (
        state.rag in (LIVE, GONE)
        and state.adding is None
        and all(worker == IDLE for worker in state.workers)
        and all(map(_at_rest, state.sources, state.indexes))
    )


def _at_rest(source: Source, index: Index) -> bool:
    if source.there in (ABSENT, GONE):
        return not index.there
    return (
        source.there == LIVE
        and source.state in (READY, ERROR)
        and not (source.due or source.lease != FREE or index.due or index.lease != FREE)
        and not index.retired
        and all(chunk.generation == index.live for chunk in index.chunks)
    )


def stale(state: State, setup: Setup) -> bool:
    """Settled, without a warning, and yet not on the newest text that could be read."""
    return any(
        source.there == LIVE
        and source.state == READY
        and not source.refresh_failed
        and {chunk.version for chunk in visible(state, place)} != {source.version}
        for place, source in enumerate(state.sources)
    )
