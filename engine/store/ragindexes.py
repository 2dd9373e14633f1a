"""rag indexes: rows of `indexes` under a public model name, as callers see them, and their limit.

What workers do to any index is in `indexes`; here is only what is theirs alone: being made on
request, taken apart on request, and counted against the customer's limit. The source's status and
its primary index never follow from any of it.
"""

from collections.abc import Sequence
from uuid import UUID

from engine.config import Limits
from engine.entries import (
    OVER_LIMIT,
    IndexFacts,
    RagIndex,
    RagIndexStatus,
    rag_index_progress,
    rag_index_status,
)
from engine.errors import DocumentTooSmall, RagLimitExceeded, Superseded
from engine.models import CustomerId, IndexId, Noun, RagId, SourceId, State
from engine.store import indexes
from engine.store.claims import ClaimedIndex
from engine.store.database import Tx


class Target(Noun, frozen=True, kw_only=True):
    """An entry that was named in a request: a source with its RAG, or a folder without one."""

    id: UUID
    rag_id: RagId | None


class RagIndexRow(IndexFacts, frozen=True, kw_only=True):
    """An index with the facts that its status follows from."""

    id: IndexId
    source_id: SourceId
    model: str
    used_bytes: int
    source_outdated: bool  # its newest text was not read from the content that it has now

    @property
    def may_work_now(self) -> bool:
        """Whether `retry` may help: any other failure stays until the text changes."""
        if self.source_due or self.state not in (State.READY, State.ERROR):
            return False
        if self.failure is not None:
            return self.failure.code == OVER_LIMIT
        return self.source_revision > 0 and self.generation_live != self.source_revision

    def noun(self) -> RagIndex:
        status = rag_index_status(self)
        if status is RagIndexStatus.SUCCEEDED and self.source_outdated:
            # What was given in place of the content could not be read: this is of the old one.
            status = RagIndexStatus.FAILED
        return RagIndex(
            id=self.id,
            model=self.model,
            status=status,
            progress=rag_index_progress(self, status=status),
            used_bytes=self.used_bytes if self.generation_live is not None else 0,
        )


class PublicModel(Noun, frozen=True, kw_only=True):
    """A public name and the engine's model that it stands for now, which reads `tokens_max`."""

    name: str
    embedding_model: str
    tokens_max: int


class Pair(Noun, frozen=True, kw_only=True):
    """A source and the public name of the model that it is to be indexed under."""

    source_id: SourceId
    rag_id: RagId
    model: PublicModel


async def targets(tx: Tx, *, customer_id: CustomerId, ids: Sequence[UUID]) -> list[Target]:
    """Those of `ids` that are live sources or folders of this customer."""
    return await tx.all(
        Target,
        """
        SELECT s.id, s.rag_id FROM sources s
        JOIN rags r ON r.id = s.rag_id AND r.deleted_at IS NULL
        WHERE s.customer_id = %(customer_id)s AND s.id = ANY(%(ids)s) AND s.deleted_at IS NULL
        UNION ALL
        SELECT f.id, NULL FROM folders f
        WHERE f.customer_id = %(customer_id)s AND f.id = ANY(%(ids)s)
        """,
        {"customer_id": customer_id, "ids": list(ids)},
    )


async def of_sources(
    tx: Tx, *, customer_id: CustomerId, source_ids: Sequence[SourceId]
) -> list[RagIndexRow]:
    """Every rag index of these live sources, in the order in which they were made.

    A source that answers although a refresh failed is not due: it is tried again, and may well stay
    as it is. One whose content was replaced is due until it is read or given up.
    """
    return await tx.all(
        RagIndexRow,
        """
        SELECT i.id, i.source_id, p.public_model AS model, i.used_bytes, i.state, i.attempt, i.done,
               i.total, i.generation_live, i.failure, s.state AS source_state,
               s.revision AS source_revision,
               (s.due_at IS NOT NULL OR s.lease_until IS NOT NULL)
                   AND NOT (s.refresh_failed AND NOT o.outdated) AS source_due,
               o.outdated AS source_outdated
        FROM sources s
        JOIN rags r ON r.id = s.rag_id AND r.deleted_at IS NULL
        JOIN indexes i ON i.source_id = s.id
        JOIN profiles p ON p.id = i.profile_id AND p.public_model IS NOT NULL
        LEFT JOIN files f ON f.id = COALESCE(s.edit_id, s.file_id)
        LEFT JOIN documents d ON d.source_id = s.id AND d.revision = s.revision
        CROSS JOIN LATERAL (SELECT COALESCE(d.original_sha256 <> f.sha256, false) AS outdated) o
        WHERE s.customer_id = %(customer_id)s AND s.id = ANY(%(source_ids)s)
          AND s.deleted_at IS NULL
        ORDER BY i.created_at, p.public_model, i.id
        """,
        {"customer_id": customer_id, "source_ids": list(source_ids)},
    )


async def lock(
    tx: Tx,
    *,
    customer_id: CustomerId,
    rag_ids: Sequence[RagId],
    source_ids: Sequence[SourceId],
) -> None:
    """Share the live RAGs, then the sources, each in the order of their ids.

    A worker that commits a text writes its source first and wakes the waiting indexes after that:
    with the source shared, either its revision is seen here or our new row is seen there.
    """
    await tx.run(
        "SELECT id FROM rags WHERE customer_id = %(customer_id)s AND id = ANY(%(rag_ids)s)"
        " AND deleted_at IS NULL ORDER BY id FOR SHARE",
        {"customer_id": customer_id, "rag_ids": list(rag_ids)},
    )
    await tx.run(
        "SELECT id FROM sources WHERE customer_id = %(customer_id)s AND id = ANY(%(source_ids)s)"
        " AND deleted_at IS NULL ORDER BY id FOR SHARE",
        {"customer_id": customer_id, "source_ids": list(source_ids)},
    )


async def insert(tx: Tx, *, customer_id: CustomerId, pairs: Sequence[Pair]) -> int:
    """Make the indexes that are not there yet, with the profiles that they need; returns how many.

    One whose source has a text is due at once; one whose text is still to come waits for it; one
    whose source failed without a text fails as its source did. Everything must be locked.
    """
    await _insert_profiles(tx, customer_id=customer_id, pairs=pairs)
    return await tx.run(
        """
        INSERT INTO indexes (customer_id, rag_id, source_id, profile_id, state, due_at, generation,
                             failure)
        SELECT s.customer_id, s.rag_id, s.id, p.id,
               CASE WHEN s.revision = 0 AND s.state = 'error' THEN 'error' ELSE 'pending' END,
               CASE WHEN s.revision > 0 THEN now() END, s.revision,
               CASE WHEN s.revision = 0 AND s.state = 'error' THEN s.failure END
        FROM unnest(%(source_ids)s::uuid[], %(names)s::text[]) AS w (source_id, name)
        JOIN sources s ON s.id = w.source_id AND s.customer_id = %(customer_id)s
                      AND s.deleted_at IS NULL
        JOIN rags r ON r.id = s.rag_id AND r.deleted_at IS NULL
        JOIN profiles p ON p.rag_id = s.rag_id AND p.public_model = w.name
        ORDER BY s.id, p.id
        ON CONFLICT (source_id, profile_id) DO NOTHING
        """,
        {
            "customer_id": customer_id,
            "source_ids": [pair.source_id for pair in pairs],
            "names": [pair.model.name for pair in pairs],
        },
    )


async def _insert_profiles(tx: Tx, *, customer_id: CustomerId, pairs: Sequence[Pair]) -> None:
    """As the live profile of the RAG cuts its texts, but never more than the model reads."""
    wanted = {(pair.rag_id, pair.model.name): pair.model for pair in pairs}
    await tx.run(
        """
        INSERT INTO profiles (customer_id, rag_id, embedding_model, public_model, chunk_tokens,
                              chunk_overlap_tokens)
        SELECT r.customer_id, r.id, w.embedding_model, w.name,
               LEAST(p.chunk_tokens, w.tokens_max),
               LEAST(p.chunk_overlap_tokens, LEAST(p.chunk_tokens, w.tokens_max) / 2)
        FROM unnest(%(rag_ids)s::uuid[], %(names)s::text[], %(embedding_models)s::text[],
                    %(tokens_max)s::int[]) AS w (rag_id, name, embedding_model, tokens_max)
        JOIN rags r ON r.id = w.rag_id AND r.customer_id = %(customer_id)s
                   AND r.deleted_at IS NULL
        JOIN profiles p ON p.id = r.profile_live
        ORDER BY r.id, w.name
        ON CONFLICT (rag_id, public_model) WHERE public_model IS NOT NULL DO NOTHING
        """,
        {
            "customer_id": customer_id,
            "rag_ids": [rag_id for rag_id, _ in wanted],
            "names": [name for _, name in wanted],
            "embedding_models": [model.embedding_model for model in wanted.values()],
            "tokens_max": [model.tokens_max for model in wanted.values()],
        },
    )


async def retry(tx: Tx, *, customer_id: CustomerId, ids: Sequence[IndexId], bytes_max: int) -> int:
    """Make failed indexes due again whose failure may have passed; returns how many.

    Over the limit, when there is room now; and one that waited for a text which never came, or
    was stopped for its sake, while an older text is there that it does not answer with. Any other
    failure stays until the text changes. The RAGs and sources must be locked; rows are locked in
    the order of their ids, so that two callers never wait for each other.
    """
    used = await used_bytes(tx, customer_id=customer_id)
    return await tx.run(
        """
        WITH chosen AS MATERIALIZED (
            SELECT id FROM indexes WHERE id = ANY(%(ids)s) AND customer_id = %(customer_id)s
            ORDER BY id FOR NO KEY UPDATE
        )
        UPDATE indexes i
        SET state = 'pending', due_at = now(), generation = s.revision, done = 0, total = 0,
            faults = 0, failure = NULL, updated_at = clock_timestamp()
        FROM chosen, sources s
        WHERE i.id = chosen.id AND s.id = i.source_id AND s.customer_id = %(customer_id)s
          AND s.deleted_at IS NULL AND s.revision > 0
          AND i.state IN ('ready', 'error') AND i.due_at IS NULL AND i.lease_until IS NULL
          AND CASE WHEN i.failure IS NULL THEN i.generation_live IS DISTINCT FROM s.revision
                   ELSE i.failure ->> 'code' = %(over_limit)s
                        AND GREATEST(s.original_bytes, 1) <= %(room)s END
        """,
        {
            "customer_id": customer_id,
            "ids": list(ids),
            "over_limit": OVER_LIMIT,
            "room": bytes_max - sum(used.values()),
        },
    )


class _Used(Noun, frozen=True, kw_only=True):
    model: str
    used_bytes: int


async def used_bytes(
    tx: Tx, *, customer_id: CustomerId, without: IndexId | None = None
) -> dict[str, int]:
    """What counts against the customer's limit, by public model name; `without` one index.

    An index that failed or was deleted counts nothing of its own, so that no other row is read.
    """
    rows = await tx.all(
        _Used,
        """
        SELECT p.public_model AS model, sum(u.used_bytes)::bigint AS used_bytes
        FROM rags r
        JOIN profiles p ON p.rag_id = r.id AND p.public_model IS NOT NULL
        CROSS JOIN LATERAL (
            SELECT sum(i.used_bytes) AS used_bytes FROM indexes i
            WHERE i.customer_id = %(customer_id)s AND i.profile_id = p.id AND i.used_bytes > 0
              AND i.id IS DISTINCT FROM %(without)s) u
        WHERE r.customer_id = %(customer_id)s AND r.deleted_at IS NULL AND u.used_bytes > 0
        GROUP BY p.public_model ORDER BY p.public_model
        """,
        {"customer_id": customer_id, "without": without},
    )
    return {row.model: row.used_bytes for row in rows}


async def bury(tx: Tx, *, customer_id: CustomerId, index_id: IndexId) -> bool:
    """Take an index away from every reader and worker at once; the RAG must be locked alone.

    An index may have a hundred thousand chunks. It is handed over, as it is, to a source that is
    deleted already: the sweep takes it apart in bounded steps, as with any deleted source. The
    others of its source are marked, since the revision that it was made from may go with it.
    """
    source_id = await tx.value(
        SourceId,
        """
        WITH grave AS (
            INSERT INTO sources (customer_id, rag_id, url, name, state, due_at, deleted_at)
            SELECT i.customer_id, i.rag_id, 'rag-index:' || i.id, '', 'error', NULL, now()
            FROM indexes i JOIN sources s ON s.id = i.source_id AND s.deleted_at IS NULL
            WHERE i.id = %(id)s AND i.customer_id = %(customer_id)s
            RETURNING id
        ), gone AS (
            SELECT id, source_id FROM indexes WHERE id = %(id)s AND customer_id = %(customer_id)s
        )
        UPDATE indexes i
        SET source_id = grave.id, state = 'error', attempt = attempt + 1, due_at = NULL,
            lease_until = NULL, worker_id = NULL, generation_live = NULL, used_bytes = 0
        FROM grave, gone WHERE i.id = gone.id
        RETURNING gone.source_id
        """,
        {"id": index_id, "customer_id": customer_id},
    )
    if source_id is None:
        return False
    await tx.run(
        "UPDATE indexes SET retired = true WHERE source_id = %(source_id)s"
        " AND customer_id = %(customer_id)s",
        {"source_id": source_id, "customer_id": customer_id},
    )
    return True


async def admit(tx: Tx, *, claim: ClaimedIndex, text: str, limits: Limits) -> None:
    """Let a claimed rag index be built, and count it; nothing to do for any other index.

    Raises DocumentTooSmall, RagLimitExceeded or Superseded. One index of a customer at a time: two
    that fit one by one and not together must not both pass.
    """
    await indexes.hold(tx, claim=claim)
    original_bytes = await tx.value(
        int,
        """
        SELECT GREATEST(s.original_bytes, 1) FROM profiles p, sources s
        WHERE p.id = %(profile_id)s AND p.public_model IS NOT NULL AND s.id = %(source_id)s
        """,
        {"profile_id": claim.profile_id, "source_id": claim.source_id},
    )
    if original_bytes is None:
        return
    text_bytes = len(text.encode())
    if text_bytes < limits.indexed_document_bytes_min:
        raise DocumentTooSmall(
            f"The text has {text_bytes} bytes; an index of its own takes at least "
            f"{limits.indexed_document_bytes_min}."
        )
    await _lock_limit(tx, customer_id=claim.customer_id)
    others = await used_bytes(tx, customer_id=claim.customer_id, without=claim.id)
    if sum(others.values()) + original_bytes > limits.customer_indexed_bytes_max:
        raise RagLimitExceeded(
            f"The documents with rag indexes would have more than "
            f"{limits.customer_indexed_bytes_max} bytes together."
        )
    await _count(tx, claim=claim, original_bytes=original_bytes)


async def _lock_limit(tx: Tx, *, customer_id: CustomerId) -> None:
    """Taken before the index row, never after it: a heartbeat waits for rows only."""
    await tx.run(
        "SELECT pg_advisory_xact_lock(hashtextextended('rag indexes of ' || %(customer_id)s, 0))",
        {"customer_id": str(customer_id)},
    )


async def _count(tx: Tx, *, claim: ClaimedIndex, original_bytes: int) -> None:
    counted = await tx.run(
        """
        UPDATE indexes SET used_bytes = %(original_bytes)s
        WHERE id = %(id)s AND attempt = %(attempt)s AND lease_until IS NOT NULL
        """,
        {"id": claim.id, "attempt": claim.attempt, "original_bytes": original_bytes},
    )
    if counted == 0:
        raise Superseded


async def twin_at_work(tx: Tx, *, claim: ClaimedIndex) -> bool:
    """Whether a worker makes an index of the same passages under the same engine model, whose
    vectors this one can copy: the primary index, or an older rag index. False for a primary index
    and for a lost claim."""
    return (
        await tx.value(
            bool,
            """
            SELECT true
            FROM indexes i
            JOIN profiles p ON p.id = i.profile_id AND p.public_model IS NOT NULL
            JOIN rags r ON r.id = i.rag_id
            JOIN indexes o ON o.source_id = i.source_id AND o.generation = i.generation
                          AND o.lease_until IS NOT NULL AND o.id <> i.id
            JOIN profiles q ON q.id = o.profile_id AND q.embedding_model = p.embedding_model
                           AND q.chunk_tokens = p.chunk_tokens
                           AND q.chunk_overlap_tokens = p.chunk_overlap_tokens
            WHERE i.id = %(id)s AND i.attempt = %(attempt)s AND i.lease_until IS NOT NULL
              AND (o.profile_id = r.profile_live OR (o.created_at, o.id) < (i.created_at, i.id))
            LIMIT 1
            """,
            {"id": claim.id, "attempt": claim.attempt},
        )
        or False
    )
