"""Nouns into the shapes of this door. Pure; the shapes are in wire.py."""

from datetime import UTC, datetime

import msgspec

from engine import hits, models
from engine.api.memo import memoised
from engine.api.native import wire


def time_text(at: datetime) -> str:
    """UTC with six digits and Z, at any microsecond."""
    utc = at if at.tzinfo is UTC else at.astimezone(UTC)
    if not utc.microsecond:
        return utc.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"
    # A RAG of 1,000 sources has 2,000 of them: isoformat took ten times as long.
    text: str = msgspec.to_builtins(utc)
    return text


def rag(noun: models.Rag) -> wire.Rag:
    return wire.Rag(
        id=noun.id,
        customer_id=noun.customer_id,
        name=noun.name,
        description=noun.description,
        status=models.rag_status(noun.counts),
        sources=tuple(map(_polled, noun.sources)),
        embedding_model=noun.embedding_model,
        chunk_tokens=noun.chunk_tokens,
        chunk_overlap_tokens=noun.chunk_overlap_tokens,
        source_counts=_counts(noun.counts),
        change=wire.present(_change(noun.change)),
        tm_create=time_text(noun.created_at),
        tm_update=time_text(noun.updated_at),
    )


def _change(noun: models.Change | None) -> wire.Change | None:
    if noun is None:
        return None
    return wire.Change(
        embedding_model=noun.embedding_model,
        chunk_tokens=noun.chunk_tokens,
        chunk_overlap_tokens=noun.chunk_overlap_tokens,
        status=noun.status,
        done=noun.done,
        total=noun.total,
        failed=noun.failed,
        blocking=tuple(
            wire.Blocking(
                source_id=each.source_id,
                name=each.name,
                error=wire.present(_failure(each.failure)),
            )
            for each in noun.blocking
        ),
        next_attempt_at=wire.present(time_text(noun.due_at) if noun.due_at else None),
        tm_create=time_text(noun.created_at),
    )


def _counts(counts: models.Counts) -> wire.SourceCounts:
    return wire.SourceCounts(
        pending=counts.pending,
        processing=counts.processing,
        ready=counts.ready,
        error=counts.error,
        total=counts.total,
    )


def source(noun: models.Source, *, queue_position: int | None = None) -> wire.Source:
    return wire.Source(
        id=noun.id,
        customer_id=noun.customer_id,
        storage_file_id=wire.present(noun.file_id),
        source_url=wire.present(noun.url),
        name=noun.name,
        attributes=noun.attributes,
        status=noun.state,
        status_message=models.status_message(noun),
        error=wire.present(_failure(noun.failure)),
        progress=wire.Progress(
            stage=noun.stage.value if noun.stage else "",
            done=noun.done,
            total=noun.total,
            queue_position=wire.present(queue_position),
        ),
        coverage=wire.present(_coverage(noun.coverage)),
        chunk_count=noun.chunk_count,
        attempt=noun.attempt,
        next_attempt_at=wire.present(time_text(noun.due_at) if noun.due_at else None),
        tm_create=time_text(noun.created_at),
        tm_update=time_text(noun.updated_at),
    )


_polled = memoised(source)  # callers ask for the same thousand sources every second


def _failure(noun: models.Failure | None) -> wire.Failure | None:
    if noun is None:
        return None
    return wire.Failure(
        code=noun.code, message=noun.message, retryable=noun.retryable, remedy=noun.remedy
    )


def _coverage(noun: models.Coverage | None) -> wire.Coverage | None:
    if noun is None:
        return None
    return wire.Coverage(
        characters=noun.characters,
        tables=noun.tables,
        warnings=tuple(wire.Warned(code=each.code, message=each.message) for each in noun.warnings),
        pages_total=wire.present(noun.pages_total),
        pages_with_text=wire.present(noun.pages_with_text),
    )


def file(noun: models.File, *, base_url: str) -> wire.File:
    return wire.File(
        id=noun.id,
        customer_id=noun.customer_id,
        type=noun.type,
        name=noun.name,
        filename=noun.filename,
        filesize=noun.file_bytes,
        media_type=noun.media_type,
        sha256=noun.sha256.hex(),
        uri_download=f"{base_url}/storage_files/{noun.id}/file",
        tm_create=time_text(noun.created_at),
        tm_update=time_text(noun.updated_at),
    )


def chunk(noun: models.Chunk) -> wire.Chunk:
    return wire.Chunk(
        id=noun.id,
        ordinal=noun.ordinal,
        text=noun.text,
        start=noun.start,
        end=noun.end,
        page=wire.present(noun.page),
        headings=noun.headings,
        tokens=noun.tokens,
    )


def hit(noun: hits.Hit) -> wire.Hit:
    return wire.Hit(
        chunk_id=noun.chunk_id,
        source_id=noun.source_id,
        text=noun.text,
        score=noun.score,
        scores=wire.Scores(dense=wire.present(noun.dense), lexical=wire.present(noun.lexical)),
        start=noun.start,
        end=noun.end,
        page=wire.present(noun.page),
        headings=noun.headings,
        source=wire.HitSource(
            name=noun.source_name,
            storage_file_id=wire.present(noun.file_id),
            source_url=wire.present(noun.url),
        ),
        before=wire.present(_neighbour(noun.before)),
        after=wire.present(_neighbour(noun.after)),
    )


def _neighbour(noun: hits.Neighbour | None) -> wire.Neighbour | None:
    if noun is None:
        return None
    return wire.Neighbour(text=noun.text, start=noun.start, end=noun.end)


def access_key(noun: models.AccessKey, *, token: str | None = None) -> wire.AccessKey:
    return wire.AccessKey(
        id=noun.id,
        name=noun.name,
        prefix=noun.prefix,
        token=wire.present(token),
        tm_create=time_text(noun.created_at),
        tm_expire=wire.present(time_text(noun.expires_at) if noun.expires_at else None),
    )
