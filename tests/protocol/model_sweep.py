"""Steps of the protocol that the sweep takes: workers/sweep.py over engine/store/purge.py."""

from collections.abc import Iterator

from model import (
    DELETED,
    ERROR,
    FAULTS_MAX,
    FREE,
    GONE,
    LIVE,
    OVER,
    PENDING,
    PROCESSING,
    READY,
    Chunk,
    Index,
    Setup,
    Source,
    State,
    Step,
    put,
)
from model_requests import mark_deleted
from model_workers import give_up_waiting


def sweep(state: State, setup: Setup) -> Iterator[Step]:
    for place, (source, index) in enumerate(zip(state.sources, state.indexes, strict=True)):
        if setup.mechanisms.reconciler:
            yield from _expire(state, place, setup)
        if state.rag == DELETED and source.there == LIVE:
            # purge.delete_sources_of_deleted_rags
            yield Step(f"sweep: delete source {place}", mark_deleted(state, place))
        if source.there == DELETED:
            yield from _bury(state, place, index)
        elif index.retired:
            yield from _retire(state, place, source, index)
    if state.rag == DELETED and all(s.there in ("absent", GONE) for s in state.sources):
        yield Step("sweep: delete rag", state._replace(rag=GONE))  # purge.delete_rags


def _expire(state: State, place: int, setup: Setup) -> Iterator[Step]:
    """purge.expire_sources and expire_indexes: due again, alone; charged if it was alone."""
    source, index = state.sources[place], state.indexes[place]
    live = bool(index.live)
    if source.lease == OVER:
        over = _is_over(source, setup)
        after = source._replace(
            lease=FREE, alone=not over, faults=_charged(source, setup), due=not over,
            state=_verdict(over=over, live=live), refresh_failed=over and live,
        )  # fmt: skip
        swept = give_up_waiting(index) if over else index
        yield Step(f"sweep: lease of source {place}", put(state, place, source=after, index=swept))
    if index.lease == OVER:
        over = _is_over(index, setup)
        swept = index._replace(
            lease=FREE, alone=not over, faults=_charged(index, setup), due=not over,
            state=_verdict(over=over, live=live), retired=index.retired or over,
        )  # fmt: skip
        if over and source.there == LIVE:
            source = source._replace(state=READY if live else ERROR, refresh_failed=live)
        yield Step(f"sweep: lease of index {place}", put(state, place, source=source, index=swept))


def _is_over(row: Source | Index, setup: Setup) -> bool:
    return setup.mechanisms.faults_max and row.alone and row.faults + 1 >= FAULTS_MAX


def _charged(row: Source | Index, setup: Setup) -> int:
    return row.faults + (row.alone and setup.mechanisms.faults_max)


def _verdict(*, over: bool, live: bool) -> str:
    if not over:
        return PENDING
    return READY if live else ERROR


def _bury(state: State, place: int, index: Index) -> Iterator[Step]:
    """purge.delete_chunks_of_deleted_sources, then delete_rows_of_deleted_sources."""
    if index.chunks:
        fewer = index._replace(chunks=index.chunks[1:])
        yield Step(f"sweep: chunk of deleted {place}", put(state, place, index=fewer))
    else:
        source = state.sources[place]._replace(there=GONE, texts=())
        gone = put(state, place, source=source, index=Index())
        yield Step(f"sweep: rows of deleted {place}", gone)


def _retire(state: State, place: int, source: Source, index: Index) -> Iterator[Step]:
    """purge.delete_retired_chunks and delete_retired_documents, which takes the mark as well."""
    old = [chunk for chunk in index.chunks if _is_retired(chunk, index)]
    if old:
        fewer = index._replace(chunks=tuple(c for c in index.chunks if c != old[0]))
        yield Step(f"sweep: retired chunk of {place}", put(state, place, index=fewer))
    kept = tuple(
        text
        for text in source.texts
        if text[0] >= source.revision or text[0] in (index.generation, index.live)
    )
    if kept != source.texts:
        after = put(state, place, source=source._replace(texts=kept))
        yield Step(f"sweep: retired documents of {place}", after)
    elif index.state in (READY, ERROR) and all(c.generation == index.live for c in index.chunks):
        after = put(state, place, index=index._replace(retired=False))
        yield Step(f"sweep: nothing retired is left of {place}", after)


def _is_retired(chunk: Chunk, index: Index) -> bool:
    in_the_making = chunk.generation == index.generation and index.state in (PENDING, PROCESSING)
    return chunk.generation != index.live and not in_the_making
