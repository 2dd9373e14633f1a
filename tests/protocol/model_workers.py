"""Steps of the protocol that workers take: each a transaction of workers/ingest.py, or a death.

A fenced write asks for what the statements of store.acquisition and store.indexes ask for: the
RAG live (hold_rag), the source live, its own attempt, and a lease that nobody has ended.
"""

from collections.abc import Iterator

from model import (
    CHUNKS,
    ERROR,
    FAULTS_MAX,
    FREE,
    GONE,
    HELD,
    IDLE,
    LIVE,
    OVER,
    PENDING,
    PROCESSING,
    READY,
    Chunk,
    Index,
    Mechanisms,
    Setup,
    State,
    Step,
    Worker,
    put,
    raise_attempt,
    set_worker,
)


def work(state: State, setup: Setup) -> Iterator[Step]:
    for number, worker in enumerate(state.workers):
        if worker == IDLE:
            yield from _claims(state, number, setup)
            continue
        yield from _next(state, number, worker, setup)
        if setup.kills:
            yield Step(f"kill at {_name(worker)}", set_worker(state, number, IDLE), False)
        if setup.give_backs and not worker.checked and worker.step not in ("start", "switch"):
            # SIGTERM, or Postgres, storage or a model away: _settle without a failure.
            after = _write(state, number, worker._replace(step="give back"), setup)
            yield Step(f"{_name(worker)} is given back", after, False)


def beats(state: State) -> Iterator[Step]:
    """claims.renew_sources and renew_indexes: a lease that ran out may still be moved."""
    for worker in state.workers:
        if worker == IDLE or not worker.current:
            continue
        source, index = state.sources[worker.place], state.indexes[worker.place]
        if state.rag != LIVE:
            continue
        if worker.kind == "source" and source.lease == OVER and source.there == LIVE:
            after = put(state, worker.place, source=source._replace(lease=HELD))
            yield Step(f"heartbeat for source {worker.place}", after, False)
        if worker.kind == "index" and index.lease == OVER:
            after = put(state, worker.place, index=index._replace(lease=HELD))
            yield Step(f"heartbeat for index {worker.place}", after, False)


def found_unknown(state: State) -> Iterator[Step]:
    """claims.give_back_unknown: a claim was committed, but its answer never reached its worker."""
    known = {(worker.kind, worker.place) for worker in state.workers if worker.current}
    for place, source in enumerate(state.sources):
        if source.lease == HELD and ("source", place) not in known:
            due = source._replace(state=PENDING, due=True, lease=FREE)
            yield Step(f"give back source {place}", put(state, place, source=due), False)
        index = state.indexes[place]
        if index.lease == HELD and ("index", place) not in known:
            waiting = index._replace(state=PENDING, due=True, lease=FREE)
            yield Step(f"give back index {place}", put(state, place, index=waiting), False)


def _name(worker: Worker) -> str:
    stale = "" if worker.current else "zombie "
    return f"{stale}{worker.kind} {worker.place} {worker.step}"


# Claims ---------------------------------------------------------------------------------------


def _claims(state: State, number: int, setup: Setup) -> Iterator[Step]:
    """Crew.work after a bell, or by the poll, which needs none."""
    if not setup.mechanisms.outbox and not state.bells:
        return
    rung = state._replace(bells=max(0, state.bells - 1))
    found = False
    for place, source in enumerate(state.sources):
        if source.due and source.there == LIVE:
            found = True
            yield Step(f"claim source {place}", _claim_source(rung, number, place))
        if state.indexes[place].due:
            found = True
            yield Step(f"claim index {place}", _claim_index(rung, number, place))
    if state.bells and not found:
        yield Step("a bell finds nothing due", rung)


def _claim_source(state: State, number: int, place: int) -> State:
    """claims.claim_source and claim_alone_source. They do not look at the RAG: set_stage does."""
    source = state.sources[place]
    worker = Worker(
        step="fetch", kind="source", place=place, current=True, alone=source.alone,
        faults=source.faults,
    )  # fmt: skip
    source = source._replace(state=PROCESSING, due=False, lease=HELD)
    state = put(raise_attempt(state, place, "source"), place, source=source)
    return set_worker(state, number, worker)


def _claim_index(state: State, number: int, place: int) -> State:
    """claims.claim_index and claim_alone_index."""
    index = state.indexes[place]
    worker = Worker(
        step="read", kind="index", place=place, current=True, alone=index.alone,
        faults=index.faults, generation=index.generation,
    )  # fmt: skip
    index = index._replace(state=PROCESSING, due=False, lease=HELD)
    state = put(raise_attempt(state, place, "index"), place, index=index)
    return set_worker(state, number, worker)


# The next transaction of a claim ----------------------------------------------------------------


def _next(state: State, number: int, worker: Worker, setup: Setup) -> Iterator[Step]:
    """What the document lets the worker try: conduct() with its stages and errors."""
    if worker.step == "fetch":
        behaviour = setup.documents[worker.place][state.sources[worker.place].version]
    elif worker.kind == "index" and worker.version >= 0:
        behaviour = setup.documents[worker.place][worker.version]
    else:
        behaviour = "good"
    step = worker.step
    late = "late" if worker.ordinal == CHUNKS - 1 else ""
    if (behaviour, step + late) in (
        ("poison", "fetch"), ("poison_index", "store"), ("poison_late", "storelate"),
    ):  # fmt: skip
        yield Step(f"{_name(worker)} kills its worker", set_worker(state, number, IDLE))
        return
    if (behaviour, step) in (("flaky", "fetch"), ("embed_flaky", "store")):
        step = "charge"
    if (behaviour, step) in (("permanent", "fetch"), ("cut_permanent", "resume")):
        step = "fail"
    tried = worker._replace(step=step)
    yield Step(_name(tried), _write(state, number, tried, setup))


def _write(state: State, number: int, worker: Worker, setup: Setup) -> State:
    """One fenced transaction; the worker goes on, or stops quietly when it is superseded."""
    allowed = _allowed(state, worker, setup.mechanisms)
    if allowed == "superseded":
        return set_worker(state, number, IDLE)
    if allowed == "checked":  # torn apart: the write is a step of its own
        return set_worker(state, number, worker._replace(checked=True))
    if state.rag != LIVE or state.sources[worker.place].there != LIVE:
        state = state._replace(late=state.late or f"{worker.kind} {worker.step}")
    plain = worker._replace(checked=False)
    return WRITES[worker.step](state, number, plain, setup)


def _allowed(state: State, worker: Worker, mechanisms: Mechanisms) -> str:
    source, index = state.sources[worker.place], state.indexes[worker.place]
    lease = source.lease if worker.kind == "source" else index.lease
    if worker.step == "start":  # the rest of a torn commit: acquired has given the lease back
        lease = HELD
    mine = not mechanisms.fence or (worker.current and lease != FREE)
    there = state.rag == LIVE and source.there == LIVE
    torn_batch = worker.step == "store" and not mechanisms.atomic_batch
    if worker.checked:
        # A foreign key refuses what has lost its row; nothing else stands in the way of the write.
        keyed = source.there != GONE and (worker.kind == "source" or index.there)
        return "write" if keyed and (torn_batch or mine) else "superseded"
    if not (mine and there):
        return "superseded"
    return "checked" if torn_batch or not mechanisms.write_lock else "write"


def _fetch(state: State, number: int, worker: Worker, _: Setup) -> State:
    """acquisition.set_stage, then the bytes as they are out there at this moment."""
    version = state.sources[worker.place].version
    return set_worker(state, number, worker._replace(step="commit", version=version))


def _commit(state: State, number: int, worker: Worker, setup: Setup) -> State:
    """acquisition.acquired, documents.insert and acquisition.start_index: one transaction."""
    place = worker.place
    source = state.sources[place]
    revision = source.revision + 1
    source = source._replace(
        revision=revision, lease=FREE, faults=0, alone=False, refresh_failed=False,
        texts=(*source.texts, (revision, worker.version)),
    )  # fmt: skip
    state = put(state, place, source=source)
    worker = worker._replace(generation=revision)
    if not setup.mechanisms.atomic_commit:
        return set_worker(state, number, worker._replace(step="start"))
    return _start(state, number, worker, setup)


def _start(state: State, number: int, worker: Worker, _: Setup) -> State:
    """acquisition.start_index: the primary index is claimed for the new revision."""
    place = worker.place
    index = state.indexes[place]
    index = index._replace(
        there=True, state=PROCESSING, due=False, lease=HELD, generation=worker.generation,
        retired=index.there, faults=0, alone=worker.alone,
    )  # fmt: skip
    state = put(raise_attempt(state, place, "index"), place, index=index)
    claim = Worker(
        step="resume", kind="index", place=place, current=True, alone=worker.alone,
        generation=worker.generation, version=worker.version,
    )  # fmt: skip
    return set_worker(state, number, claim)


def _read(state: State, number: int, worker: Worker, _: Setup) -> State:
    """indexes.hold, rags.profile_of_index and documents.get: the text of its revision."""
    version = dict(state.sources[worker.place].texts).get(worker.generation)
    if version is None:
        return set_worker(state, number, IDLE)
    return set_worker(state, number, worker._replace(step="resume", version=version))


def _resume(state: State, number: int, worker: Worker, _: Setup) -> State:
    """chunks.stored and indexes.progress: go on behind what this generation has."""
    chunks = state.indexes[worker.place].chunks
    stored = sum(chunk.generation == worker.generation for chunk in chunks)
    step = "store" if stored < CHUNKS else "finish"
    return set_worker(state, number, worker._replace(step=step, ordinal=stored))


def _store(state: State, number: int, worker: Worker, _: Setup) -> State:
    """indexes.hold, indexes.progress and chunks.insert: one batch, and further than ever before,
    so that what was charged or suspected up to here is forgotten."""
    index = state.indexes[worker.place]
    chunk = Chunk(generation=worker.generation, ordinal=worker.ordinal, version=worker.version)
    chunks = tuple(sorted((*index.chunks, chunk)))
    index = index._replace(chunks=chunks, faults=0, alone=False)
    ordinal = worker.ordinal + 1
    step = "store" if ordinal < CHUNKS else "finish"
    state = put(state, worker.place, index=index)
    return set_worker(state, number, worker._replace(step=step, ordinal=ordinal))


def _finish(state: State, number: int, worker: Worker, setup: Setup) -> State:
    """indexes.finish: the source, if the text is still its newest, then the switch."""
    source = state.sources[worker.place]
    if setup.mechanisms.fence and source.revision != worker.generation:
        return set_worker(state, number, IDLE)
    source = source._replace(state=READY, refresh_failed=False)
    state = put(state, worker.place, source=source)
    if not setup.mechanisms.atomic_finish:
        return set_worker(state, number, worker._replace(step="switch"))
    return _switch(state, number, worker, setup)


def _switch(state: State, number: int, worker: Worker, setup: Setup) -> State:
    """The second statement of indexes.finish."""
    index = state.indexes[worker.place]
    if setup.mechanisms.fence and index.generation != worker.generation:
        return set_worker(state, number, IDLE)
    index = index._replace(
        state=READY, retired=index.retired or bool(index.live), live=worker.generation, due=False,
        chunk_count=CHUNKS, lease=FREE, faults=0, alone=False,
    )  # fmt: skip
    return set_worker(put(state, worker.place, index=index), number, IDLE)


# How an attempt ends that did not finish: _record ---------------------------------------------


def _give_back(state: State, number: int, worker: Worker, setup: Setup) -> State:
    return _postpone(state, number, worker, charge=False)


def _charge(state: State, number: int, worker: Worker, setup: Setup) -> State:
    """A fault that may pass is charged, and final at the limit."""
    if setup.mechanisms.faults_max and worker.faults + 1 >= FAULTS_MAX:
        return _fail(state, number, worker, setup)
    return _postpone(state, number, worker, charge=setup.mechanisms.faults_max)


def _postpone(state: State, number: int, worker: Worker, *, charge: bool) -> State:
    """acquisition.postpone and indexes.postpone; due later is due at some moment. Who is suspected
    of killing workers stays so."""
    place = worker.place
    source, index = state.sources[place], state.indexes[place]
    if worker.kind == "source":
        stays = charge and bool(index.live)
        source = source._replace(
            due=True, lease=FREE, faults=source.faults + charge,
            refresh_failed=stays, state=READY if stays else PENDING,
        )  # fmt: skip
    else:
        if charge:
            source = source._replace(
                refresh_failed=bool(index.live), state=READY if index.live else PROCESSING
            )
        index = index._replace(state=PENDING, due=True, lease=FREE, faults=index.faults + charge)
    return set_worker(put(state, place, source=source, index=index), number, IDLE)


def _fail(state: State, number: int, worker: Worker, setup: Setup) -> State:
    """acquisition.fail and indexes.fail: final, but what answers goes on answering."""
    place = worker.place
    source, index = state.sources[place], state.indexes[place]
    after = READY if index.live else ERROR
    source = source._replace(state=after, refresh_failed=bool(index.live))
    if worker.kind == "source":
        source = source._replace(due=False, lease=FREE, alone=False)
        index = give_up_waiting(index)
    else:
        index = index._replace(state=after, due=False, lease=FREE, alone=False, retired=True)
    return set_worker(put(state, place, source=source, index=index), number, IDLE)


def give_up_waiting(index: Index) -> Index:
    """No text will come for an index that waits for one."""
    if index.there and index.state == PENDING and not index.due and not index.live:
        return index._replace(state=ERROR, retired=True)
    return index


WRITES = {
    "fetch": _fetch,
    "commit": _commit,
    "start": _start,
    "read": _read,
    "resume": _resume,
    "store": _store,
    "finish": _finish,
    "switch": _switch,
    "give back": _give_back,
    "charge": _charge,
    "fail": _fail,
}
