"""sources, as callers see them. By state they are counted with their RAG (rags); what workers do to
them is in claims, acquisition and purge."""

from collections.abc import Sequence
from typing import LiteralString

import msgspec

from engine.models import (
    Attributes,
    Cursor,
    CustomerId,
    FileId,
    FolderId,
    Noun,
    RagId,
    Source,
    SourceId,
    State,
)
from engine.store import rowlocks, segments
from engine.store.attributes import as_json, as_stored
from engine.store.database import Tx
from engine.store.lines import Lines
from engine.store.paging import bounds


class NewSource(Noun, frozen=True, kw_only=True):
    """One row to be. Exactly one of file_id and url; url_key is None where it may repeat."""

    name: str
    file_id: FileId | None = None
    url: str | None = None
    url_key: bytes | None = None
    attributes: Attributes = msgspec.field(default_factory=dict)


def _as_given(source: Source) -> Source:
    if not source.attributes:
        return source
    return msgspec.structs.replace(source, attributes=as_stored(source.attributes))


_SOURCES = Lines(Source, finished=_as_given)
# Of a source `s`, its index `i` under the live profile, and the document `d` that answers.
_COLUMNS: LiteralString = """
    s.id, s.customer_id, s.rag_id, s.file_id, s.url, s.name, s.state,
    CASE WHEN s.lease_until IS NULL THEN i.stage ELSE s.stage END AS stage,
    COALESCE(i.done, 0) AS done, COALESCE(i.total, 0) AS total, s.attempt,
    COALESCE(i.chunk_count, 0) AS chunk_count,
    i.generation_live IS NOT NULL AS searchable,
    CASE WHEN s.due_at > now() THEN s.due_at WHEN i.due_at > now() THEN i.due_at END
        AS due_at,
    CASE WHEN s.state <> 'ready' THEN s.failure END AS failure,
    CASE WHEN s.refresh_failed THEN COALESCE(d.coverage, '{"characters": 0}')
              || jsonb_build_object('warnings', COALESCE(d.coverage -> 'warnings', '[]')
                 || jsonb_build_object('code', 'refresh_failed',
                        'message', COALESCE(s.failure ->> 'message', '')))
         ELSE d.coverage END AS coverage,
    s.created_at, GREATEST(s.updated_at, i.updated_at) AS updated_at, s.position,
    s.attributes
"""


async def insert(
    tx: Tx, *, customer_id: CustomerId, rag_id: RagId, sources: Sequence[NewSource]
) -> list[NewSource]:
    """Insert in order; returns those that were already there (nothing of them is inserted)."""
    rows = await tx.all(
        _Origin,
        """
        INSERT INTO sources (customer_id, rag_id, file_id, url, url_key, name, attributes,
                             original_bytes, created_at, updated_at)
        SELECT %(customer_id)s, %(rag_id)s, w.file_id, w.url, w.url_key, w.name, w.attributes,
               COALESCE(f.file_bytes, 0), w.made, w.made
        FROM (SELECT *, clock_timestamp() AS made
              FROM unnest(%(file_ids)s::uuid[], %(urls)s::text[], %(url_keys)s::bytea[],
                          %(names)s::text[], %(attributes)s::jsonb[])
                   WITH ORDINALITY AS w (file_id, url, url_key, name, attributes, ordinal)
              ORDER BY ordinal) w
        LEFT JOIN files f ON f.id = w.file_id AND f.customer_id = %(customer_id)s
        ORDER BY w.ordinal
        ON CONFLICT DO NOTHING
        RETURNING file_id, url
        """,
        {
            "customer_id": customer_id,
            "rag_id": rag_id,
            "file_ids": [source.file_id for source in sources],
            "urls": [source.url for source in sources],
            "url_keys": [source.url_key for source in sources],
            "names": [source.name for source in sources],
            "attributes": [as_json(source.attributes) for source in sources],
        },
    )
    inserted = {(row.file_id, row.url) for row in rows}
    return [source for source in sources if (source.file_id, source.url) not in inserted]


async def insert_one(
    tx: Tx,
    *,
    customer_id: CustomerId,
    rag_id: RagId,
    name: str,
    name_given: bool,
    folder_id: FolderId | None,
    file_id: FileId | None = None,
    url: str | None = None,
    original_bytes: int = 0,
) -> SourceId:
    """One source of exactly one of file and URL; the same URL may be there already."""
    source_id = await tx.value(
        SourceId,
        """
        INSERT INTO sources (customer_id, rag_id, file_id, url, name, name_given, folder_id,
                             original_bytes, created_at, updated_at)
        SELECT %(customer_id)s, %(rag_id)s, %(file_id)s, %(url)s, %(name)s, %(name_given)s,
               %(folder_id)s, %(original_bytes)s, made, made
        FROM clock_timestamp() AS made
        RETURNING id
        """,
        {
            "customer_id": customer_id,
            "rag_id": rag_id,
            "file_id": file_id,
            "url": url,
            "name": name,
            "name_given": name_given,
            "folder_id": folder_id,
            "original_bytes": original_bytes,
        },
    )
    assert source_id
    return source_id


async def file_of(tx: Tx, *, customer_id: CustomerId, source_id: SourceId) -> FileId | None:
    """What a live source of a live RAG was made of, whatever was edited; None for a URL as well."""
    return await tx.value(
        FileId,
        """
        SELECT s.file_id FROM sources s JOIN rags r ON r.id = s.rag_id AND r.deleted_at IS NULL
        WHERE s.customer_id = %(customer_id)s AND s.id = %(source_id)s AND s.deleted_at IS NULL
        """,
        {"customer_id": customer_id, "source_id": source_id},
    )


async def page(
    tx: Tx,
    *,
    customer_id: CustomerId,
    rag_id: RagId,
    limit: int,
    after: Cursor | None = None,
    state: State | None = None,
) -> list[Source]:
    """In the order of creation."""
    # What a RAG has for all of its sources is asked once, and not for each of them: without
    # statistics, the planner looks for it among all RAGs of the customer.
    return await tx.many(
        _SOURCES,
        f"""
        SELECT {_COLUMNS}
        FROM sources s
        LEFT JOIN indexes i ON i.source_id = s.id AND i.profile_id = (
            SELECT profile_live FROM rags WHERE id = %(rag_id)s)
        LEFT JOIN documents d ON d.source_id = s.id
                             AND d.revision = COALESCE(i.generation_live, s.revision)
        WHERE s.customer_id = %(customer_id)s AND s.rag_id = %(rag_id)s AND s.deleted_at IS NULL
          AND EXISTS (SELECT FROM rags WHERE id = %(rag_id)s AND deleted_at IS NULL)
          AND (%(at)s::timestamptz IS NULL OR (s.created_at, s.position) > (%(at)s, %(position)s))
          AND (%(state)s::text IS NULL OR s.state = %(state)s)
        ORDER BY s.created_at, s.position LIMIT %(limit)s
        """,
        {
            "customer_id": customer_id,
            "rag_id": rag_id,
            "limit": limit,
            "state": state,
            **bounds(after),
        },
    )


async def get(
    tx: Tx, *, customer_id: CustomerId, rag_id: RagId, source_id: SourceId
) -> Source | None:
    row = await tx.one(
        Source,
        f"""
        SELECT {_COLUMNS}
        FROM sources s
        JOIN rags r ON r.id = s.rag_id AND r.deleted_at IS NULL
        LEFT JOIN indexes i ON i.source_id = s.id AND i.profile_id = r.profile_live
        LEFT JOIN documents d ON d.source_id = s.id
                             AND d.revision = COALESCE(i.generation_live, s.revision)
        WHERE s.customer_id = %(customer_id)s AND s.rag_id = %(rag_id)s AND s.id = %(source_id)s
          AND s.deleted_at IS NULL
        """,
        {"customer_id": customer_id, "rag_id": rag_id, "source_id": source_id},
    )
    return _as_given(row) if row else None


async def total(tx: Tx, *, customer_id: CustomerId, rag_id: RagId) -> int:
    """How many sources a RAG has."""
    return (
        await tx.value(
            int,
            "SELECT count(*) FROM sources WHERE customer_id = %(customer_id)s"
            " AND rag_id = %(rag_id)s AND deleted_at IS NULL",
            {"customer_id": customer_id, "rag_id": rag_id},
        )
        or 0
    )


async def known(
    tx: Tx, *, customer_id: CustomerId, rag_id: RagId, source_ids: Sequence[SourceId]
) -> set[SourceId]:
    """Those of `source_ids` that are sources of this RAG."""
    rows = await tx.all(
        dict[str, SourceId],
        "SELECT id FROM sources WHERE customer_id = %(customer_id)s AND rag_id = %(rag_id)s"
        " AND id = ANY(%(source_ids)s) AND deleted_at IS NULL",
        {"customer_id": customer_id, "rag_id": rag_id, "source_ids": list(source_ids)},
    )
    return {row["id"] for row in rows}


async def is_read_anew(tx: Tx, *, customer_id: CustomerId, source_id: SourceId) -> bool:
    """Whether a worker reads it, or will; a failed refresh that is tried again does not count."""
    return (
        await tx.value(
            bool,
            """
            SELECT state IN ('pending', 'processing')
                   AND (due_at IS NOT NULL OR lease_until IS NOT NULL)
            FROM sources
            WHERE customer_id = %(customer_id)s AND id = %(source_id)s AND deleted_at IS NULL
            """,
            {"customer_id": customer_id, "source_id": source_id},
        )
        or False
    )


async def queue_position(tx: Tx, *, customer_id: CustomerId, source_id: SourceId) -> int | None:
    """1 for the next of this customer's sources to be claimed; None when it does not wait."""
    return await tx.value(
        int,
        """
        SELECT (SELECT count(*) + 1 FROM sources o
                WHERE o.customer_id = %(customer_id)s AND o.deleted_at IS NULL
                  AND o.due_at <= s.due_at
                  AND (o.due_at, o.position) < (s.due_at, s.position))
        FROM sources s
        WHERE s.id = %(source_id)s AND s.customer_id = %(customer_id)s AND s.due_at IS NOT NULL
          AND s.state = 'pending' AND s.deleted_at IS NULL
        """,
        {"customer_id": customer_id, "source_id": source_id},
    )


async def mark_deleted(
    tx: Tx, *, customer_id: CustomerId, rag_id: RagId, source_ids: Sequence[SourceId]
) -> int:
    """Gone for every reader, claim and worker at once; the rag row must be locked alone."""
    params = {
        "customer_id": customer_id,
        "rag_id": rag_id,
        "source_ids": list(source_ids),
    }
    deleted = await tx.run(
        """
        UPDATE sources SET deleted_at = now(), due_at = NULL, lease_until = NULL,
                           attempt = attempt + 1
        WHERE customer_id = %(customer_id)s AND rag_id = %(rag_id)s
          AND id = ANY(%(source_ids)s) AND deleted_at IS NULL
        """,
        params,
    )
    await tx.run(
        """
        UPDATE indexes SET due_at = NULL, lease_until = NULL, attempt = attempt + 1, used_bytes = 0
        WHERE customer_id = %(customer_id)s AND source_id = ANY(%(source_ids)s)
        """,
        params,
    )
    if deleted:
        await segments.bury_sources(tx, customer_id=customer_id, source_ids=source_ids)
        await tx.run(
            "UPDATE rags SET updated_at = clock_timestamp() WHERE id = %(rag_id)s"
            " AND customer_id = %(customer_id)s",
            params,
        )
    return deleted


async def refresh(tx: Tx, *, customer_id: CustomerId, rag_id: RagId, source_id: SourceId) -> bool:
    """Start over from the original, not from an edited text. A running attempt of the source or of
    its indexes is fenced off; what is live goes on answering."""
    params = {"customer_id": customer_id, "rag_id": rag_id, "source_id": source_id}
    await rowlocks.hold_sources(tx, customer_id=customer_id, source_ids=[source_id])
    touched = await tx.run(
        """
        UPDATE sources SET state = 'pending', due_at = now(), lease_until = NULL, worker_id = NULL,
                           attempt = attempt + 1, faults = 0, alone = false, stage = NULL,
                           failure = NULL, refresh_failed = false, updated_at = clock_timestamp(),
                           edit_id = NULL,
                           original_bytes = CASE WHEN edit_id IS NULL OR file_id IS NULL
                               THEN original_bytes
                               ELSE (SELECT f.file_bytes FROM files f WHERE f.id = file_id) END
        WHERE customer_id = %(customer_id)s AND rag_id = %(rag_id)s AND id = %(source_id)s
          AND deleted_at IS NULL
        """,
        params,
    )
    await tx.run(
        """
        UPDATE indexes SET state = CASE WHEN generation_live IS NULL THEN 'pending'
                                        ELSE 'ready' END,
                           due_at = NULL, lease_until = NULL, worker_id = NULL,
                           attempt = attempt + 1, faults = 0, alone = false, stage = NULL,
                           failure = NULL, retired = true, updated_at = clock_timestamp()
        WHERE customer_id = %(customer_id)s AND source_id = %(source_id)s
        """,
        params,
    )
    return bool(touched)


async def replace(
    tx: Tx,
    *,
    customer_id: CustomerId,
    rag_id: RagId,
    source_id: SourceId,
    file_id: FileId | None = None,
    edit_id: FileId | None = None,
    original_bytes: int,
) -> bool:
    """New content: a file in place of the source's own, or a text to be read instead of its
    origin. The source starts over as with refresh."""
    ids = {"customer_id": customer_id, "rag_id": rag_id, "source_id": source_id}
    if not await refresh(tx, customer_id=customer_id, rag_id=rag_id, source_id=source_id):
        return False
    return bool(
        await tx.run(
            """
            UPDATE sources SET file_id = COALESCE(%(file_id)s, file_id), edit_id = %(edit_id)s,
                               original_bytes = %(original_bytes)s
            WHERE customer_id = %(customer_id)s AND rag_id = %(rag_id)s AND id = %(source_id)s
            """,
            {**ids, "file_id": file_id, "edit_id": edit_id, "original_bytes": original_bytes},
        )
    )


async def rename(
    tx: Tx, *, customer_id: CustomerId, rag_id: RagId, source_id: SourceId, name: str
) -> bool:
    """As a person wants it: what is read later does not replace the name."""
    await rowlocks.hold_sources(tx, customer_id=customer_id, source_ids=[source_id])
    return bool(
        await tx.run(
            """
            UPDATE sources SET name = %(name)s, name_given = true, updated_at = clock_timestamp()
            WHERE customer_id = %(customer_id)s AND rag_id = %(rag_id)s AND id = %(source_id)s
              AND deleted_at IS NULL
            """,
            {"customer_id": customer_id, "rag_id": rag_id, "source_id": source_id, "name": name},
        )
    )


class _Origin(Noun, frozen=True, kw_only=True):
    file_id: FileId | None
    url: str | None
