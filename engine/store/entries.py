"""Entries: sources and folders of a customer as one list, across RAGs.

A page is read in two steps: first the places of its entries in the order asked for, then what
there is to say about those few. What changes a source or a folder is not here, but for the folder
that a source lies in.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import LiteralString
from uuid import UUID

import msgspec

from engine.entries import Entry, EntryCursor, EntryFilter, EntryKind, EntrySort, FolderRef
from engine.errors import Detail, InvalidRequest
from engine.models import CustomerId, FolderId, Noun, RagId, SourceId
from engine.store import rowlocks
from engine.store.database import Params, Tx
from engine.text import is_clean

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Of what stands in `sources s` and `files f`; no folder does.
KIND: LiteralString = """
    CASE WHEN s.url IS NOT NULL THEN 'url' WHEN f.written THEN 'text' ELSE 'file' END
"""


class Below(Noun, frozen=True, kw_only=True):
    """A live source somewhere under a folder, with the RAG to lock for it."""

    id: SourceId
    rag_id: RagId


class _EntryRow(Entry, frozen=True, kw_only=True):
    folder_id: FolderId | None


class _Step(Noun, frozen=True, kw_only=True):
    """One folder on the way from `leaf` up to the root."""

    leaf: FolderId
    id: FolderId
    name: str


async def page(
    tx: Tx,
    *,
    customer_id: CustomerId,
    filter: EntryFilter,
    within: Sequence[FolderId] | None,
    limit: int,
    after: EntryCursor | None,
) -> list[EntryCursor]:
    """Places of the first `limit` entries behind `after`, in the order of the filter.

    `within`: only what lies directly in one of these folders; the filter's own folders are not
    looked at. InvalidRequest for an `after` of another list.
    """
    created_from = _created_from(after, sort=filter.sort)
    places: list[EntryCursor] = []
    folder_group, source_group = 0, int(filter.folders_first)
    for group, is_folder in ((folder_group, True), (source_group, False)):
        if after is not None and after.group > group:
            continue
        params = {
            "customer_id": customer_id,
            "group": group,
            "sort": filter.sort,
            "descending": filter.descending,
            "prefix": filter.prefix,
            "kinds": list(filter.kinds) or None,
            "within": None if within is None else list(within),
            "key": after.key if after and after.group == group else None,
            "id": after.id if after and after.group == group else None,
            "created_from": created_from if after and after.group == group else None,
            "limit": limit,
        }
        if is_folder and (not filter.kinds or EntryKind.FOLDER in filter.kinds):
            places += await _folder_places(tx, params=params)
        if not is_folder and filter.kinds != (EntryKind.FOLDER,):
            places += await _source_places(tx, params=params)
    places.sort(key=lambda place: (place.key, place.id), reverse=filter.descending)
    return sorted(places, key=lambda place: place.group)[:limit]


def _created_from(after: EntryCursor | None, *, sort: EntrySort) -> datetime | None:
    """The time behind which a page of the order of creation begins, so that nothing before it is
    read. Raises InvalidRequest for a key that no page ends with."""
    if after is None:
        return None
    wrong = InvalidRequest(
        "The cursor does not fit this list.",
        details=(Detail(field="cursor", issue="is not one that this list has given"),),
    )
    if not is_clean(after.key):
        raise wrong
    if sort is not EntrySort.CREATED_AT:
        return None
    try:
        return EPOCH + timedelta(microseconds=int(after.key))
    except (ValueError, OverflowError) as error:
        raise wrong from error


async def _source_places(tx: Tx, *, params: Params) -> list[EntryCursor]:
    """A key is text that compares by code point: the name, or a number padded with zeros."""
    return await _planned(
        tx,
        f"""
        SELECT %(group)s::int AS "group", e.key, e.id FROM (
            SELECT s.id, s.created_at, (CASE %(sort)s
                WHEN 'name' THEN lower(s.name)
                WHEN 'size' THEN lpad(COALESCE(NULLIF(s.original_bytes, 0), f.file_bytes, 0)::text,
                                      20, '0')
                ELSE lpad((extract(epoch FROM CASE %(sort)s WHEN 'updated_at' THEN s.updated_at
                                              ELSE s.created_at END) * 1000000)::bigint::text,
                          20, '0') END) COLLATE "C" AS key
            FROM sources s
            JOIN rags r ON r.id = s.rag_id AND r.deleted_at IS NULL
            LEFT JOIN files f ON f.id = s.file_id
            WHERE s.customer_id = %(customer_id)s AND s.deleted_at IS NULL
              AND (%(within)s::uuid[] IS NULL OR s.folder_id = ANY(%(within)s))
              AND (%(prefix)s = '' OR starts_with(lower(s.name), lower(%(prefix)s)))
              AND (%(kinds)s::text[] IS NULL OR {KIND} = ANY(%(kinds)s))
              AND (%(created_from)s::timestamptz IS NULL
                   OR (NOT %(descending)s AND s.created_at >= %(created_from)s)
                   OR (%(descending)s AND s.created_at <= %(created_from)s))
        ) e
        WHERE %(id)s::uuid IS NULL OR (NOT %(descending)s AND (e.key, e.id) > (%(key)s, %(id)s))
           OR (%(descending)s AND (e.key, e.id) < (%(key)s, %(id)s))
        ORDER BY CASE WHEN %(sort)s = 'created_at' AND %(descending)s THEN e.created_at END DESC,
                 CASE WHEN %(sort)s = 'created_at' AND NOT %(descending)s THEN e.created_at END,
                 CASE WHEN %(descending)s THEN e.key END DESC,
                 CASE WHEN %(descending)s THEN e.id END DESC, e.key, e.id
        LIMIT %(limit)s
        """,
        params,
    )


async def _folder_places(tx: Tx, *, params: Params) -> list[EntryCursor]:
    """As _source_places; a folder has no size. There are few, so the order needs no index."""
    return await _planned(
        tx,
        """
        SELECT %(group)s::int AS "group", e.key, e.id FROM (
            SELECT f.id, (CASE %(sort)s
                WHEN 'name' THEN lower(f.name)
                WHEN 'size' THEN lpad('0', 20, '0')
                ELSE lpad((extract(epoch FROM CASE %(sort)s WHEN 'updated_at' THEN f.updated_at
                                              ELSE f.created_at END) * 1000000)::bigint::text,
                          20, '0') END) COLLATE "C" AS key
            FROM folders f
            WHERE f.customer_id = %(customer_id)s
              AND (%(within)s::uuid[] IS NULL OR f.parent_id = ANY(%(within)s))
              AND (%(prefix)s = '' OR starts_with(lower(f.name), lower(%(prefix)s)))
        ) e
        WHERE %(id)s::uuid IS NULL OR (NOT %(descending)s AND (e.key, e.id) > (%(key)s, %(id)s))
           OR (%(descending)s AND (e.key, e.id) < (%(key)s, %(id)s))
        ORDER BY CASE WHEN %(descending)s THEN e.key END DESC,
                 CASE WHEN %(descending)s THEN e.id END DESC, e.key, e.id
        LIMIT %(limit)s
        """,
        params,
    )


async def _planned(tx: Tx, query: LiteralString, params: Params) -> list[EntryCursor]:
    """Unprepared, so that each filter and order gets a plan of its own: with the values at hand
    the conditions that do not apply fall away, and the order of creation is read off an index."""
    rows = await (await tx.connection.execute(query, params, prepare=False)).fetchall()
    return msgspec.convert(rows, list[EntryCursor])


async def many(tx: Tx, *, customer_id: CustomerId, entry_ids: Sequence[UUID]) -> dict[UUID, Entry]:
    """The entries among these ids; unknown ones are absent."""
    params = {"customer_id": customer_id, "ids": list(entry_ids)}
    rows = await _sources(tx, params=params)
    if len(rows) < len(entry_ids):
        rows += await _folders(tx, params=params)
    paths = await _paths(
        tx, customer_id=customer_id, leaves={row.folder_id for row in rows if row.folder_id}
    )
    fields = Entry.__struct_fields__
    return {
        row.id: Entry(
            **{name: getattr(row, name) for name in fields if name != "folder_path"},
            # A folder that was deleted since the statement before has no path any more.
            folder_path=paths.get(row.folder_id, ()) if row.folder_id else (),
        )
        for row in rows
    }


async def get(tx: Tx, *, customer_id: CustomerId, entry_id: UUID) -> Entry | None:
    return (await many(tx, customer_id=customer_id, entry_ids=[entry_id])).get(entry_id)


async def _sources(tx: Tx, *, params: Params) -> list[_EntryRow]:
    return await tx.all(
        _EntryRow,
        f"""
        SELECT s.id, s.customer_id, s.name, s.created_at, s.updated_at, s.rag_id, s.url,
               {KIND} AS kind,
               COALESCE(NULLIF(s.original_bytes, 0), f.file_bytes, 0) AS byte_count, f.filename,
               s.state, CASE WHEN s.state <> 'ready' THEN s.failure END AS failure, s.folder_id
        FROM sources s
        JOIN rags r ON r.id = s.rag_id AND r.deleted_at IS NULL
        LEFT JOIN files f ON f.id = s.file_id
        WHERE s.customer_id = %(customer_id)s AND s.id = ANY(%(ids)s) AND s.deleted_at IS NULL
        """,
        params,
    )


async def _folders(tx: Tx, *, params: Params) -> list[_EntryRow]:
    """Sources are counted once a folder; what is anywhere below adds those counts up."""
    return await tx.all(
        _EntryRow,
        """
        WITH RECURSIVE below (root, id) AS (
            SELECT id, id FROM folders WHERE customer_id = %(customer_id)s AND id = ANY(%(ids)s)
            UNION ALL
            SELECT b.root, f.id
            FROM below b JOIN folders f ON f.parent_id = b.id AND f.customer_id = %(customer_id)s
        ), held AS MATERIALIZED (
            SELECT s.folder_id, count(*) AS sources
            FROM sources s JOIN rags r ON r.id = s.rag_id AND r.deleted_at IS NULL
            WHERE s.customer_id = %(customer_id)s AND s.deleted_at IS NULL
              AND s.folder_id IN (SELECT id FROM below)
            GROUP BY s.folder_id
        )
        SELECT f.id, f.customer_id, 'folder' AS kind, f.name, f.created_at, f.updated_at,
               f.parent_id AS folder_id,
               (SELECT count(*) FROM folders c
                WHERE c.parent_id = f.id AND c.customer_id = %(customer_id)s)
               + COALESCE((SELECT h.sources FROM held h WHERE h.folder_id = f.id), 0)
                   AS children_count,
               (SELECT COALESCE(sum(h.sources), 0)::bigint
                FROM below b JOIN held h ON h.folder_id = b.id WHERE b.root = f.id)
                   AS document_count
        FROM folders f WHERE f.customer_id = %(customer_id)s AND f.id = ANY(%(ids)s)
        """,
        params,
    )


async def _paths(
    tx: Tx, *, customer_id: CustomerId, leaves: Iterable[FolderId]
) -> dict[FolderId, tuple[FolderRef, ...]]:
    """For each of these folders the way from the root down to it."""
    steps = await tx.all(
        _Step,
        """
        WITH RECURSIVE up (leaf, id, name, parent_id, height) AS (
            SELECT id, id, name, parent_id, 0 FROM folders
            WHERE customer_id = %(customer_id)s AND id = ANY(%(leaves)s)
            UNION ALL
            SELECT up.leaf, f.id, f.name, f.parent_id, up.height + 1
            FROM up JOIN folders f ON f.id = up.parent_id AND f.customer_id = %(customer_id)s
        )
        SELECT leaf, id, name FROM up ORDER BY leaf, height DESC
        """,
        {"customer_id": customer_id, "leaves": list(leaves)},
    )
    paths: dict[FolderId, tuple[FolderRef, ...]] = {}
    for step in steps:
        paths[step.leaf] = (*paths.get(step.leaf, ()), FolderRef(id=step.id, name=step.name))
    return paths


async def below(tx: Tx, *, customer_id: CustomerId, folder_ids: Sequence[FolderId]) -> list[Below]:
    """The live sources that lie directly in these folders, in lock order."""
    return await tx.all(
        Below,
        """
        SELECT s.id, s.rag_id
        FROM sources s JOIN rags r ON r.id = s.rag_id AND r.deleted_at IS NULL
        WHERE s.customer_id = %(customer_id)s AND s.folder_id = ANY(%(folder_ids)s)
          AND s.deleted_at IS NULL
        ORDER BY s.rag_id, s.id
        """,
        {"customer_id": customer_id, "folder_ids": list(folder_ids)},
    )


async def place(
    tx: Tx,
    *,
    customer_id: CustomerId,
    source_ids: Sequence[SourceId],
    folder_id: FolderId | None,
) -> int:
    """Put live sources into a folder, or at the root; tree and RAGs must be locked.

    Rows are locked in the order of their ids: two callers never wait for each other.
    """
    await rowlocks.hold_sources(tx, customer_id=customer_id, source_ids=source_ids)
    return await tx.run(
        """
        UPDATE sources SET folder_id = %(folder_id)s, updated_at = clock_timestamp()
        WHERE customer_id = %(customer_id)s AND id = ANY(%(source_ids)s) AND deleted_at IS NULL
        """,
        {"customer_id": customer_id, "source_ids": list(source_ids), "folder_id": folder_id},
    )
