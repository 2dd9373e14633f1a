"""files: uploads. Their bytes are blobs."""

from collections.abc import Sequence

from engine.models import Cursor, CustomerId, File, FileId, RagId, SourceId, Upload
from engine.store.database import Tx
from engine.store.paging import bounds


async def insert(
    tx: Tx,
    *,
    customer_id: CustomerId,
    upload: Upload,
    type: str,
    kept: bool,
    written: bool = False,
) -> File:
    """`written`: a text that was sent in a request instead of being uploaded."""
    file = await tx.one(
        File,
        """
        INSERT INTO files (customer_id, type, name, filename, media_type, file_bytes, sha256, kept,
                           written)
        VALUES (%(customer_id)s, %(type)s, %(name)s, %(filename)s, %(media_type)s, %(file_bytes)s,
                %(sha256)s, %(kept)s, %(written)s)
        RETURNING id, customer_id, type, name, filename, file_bytes, media_type, sha256, kept,
                  created_at, updated_at, position
        """,
        {
            "customer_id": customer_id,
            "type": type,
            "name": upload.name,
            "filename": upload.filename,
            "media_type": upload.media_type,
            "file_bytes": upload.file_bytes,
            "sha256": upload.sha256,
            "kept": kept,
            "written": written,
        },
    )
    assert file
    return file


async def get(tx: Tx, *, customer_id: CustomerId, file_id: FileId) -> File | None:
    return await tx.one(
        File,
        "SELECT id, customer_id, type, name, filename, file_bytes, media_type, sha256, kept,"
        " created_at, updated_at, position FROM files"
        " WHERE customer_id = %(customer_id)s AND id = %(file_id)s AND deleted_at IS NULL",
        {"customer_id": customer_id, "file_id": file_id},
    )


async def names(
    tx: Tx, *, customer_id: CustomerId, file_ids: Sequence[FileId]
) -> dict[FileId, str]:
    """The names of those of `file_ids` that this customer owns, kept from deletion meanwhile."""
    rows = await tx.all(
        File,
        "SELECT id, customer_id, type, name, filename, file_bytes, media_type, sha256, kept,"
        " created_at, updated_at, position FROM files"
        " WHERE customer_id = %(customer_id)s AND id = ANY(%(file_ids)s)"
        " AND deleted_at IS NULL ORDER BY id FOR SHARE",
        {"customer_id": customer_id, "file_ids": list(file_ids)},
    )
    return {file.id: file.name for file in rows}


async def page(tx: Tx, *, customer_id: CustomerId, limit: int, after: Cursor | None) -> list[File]:
    """Newest first."""
    return await tx.all(
        File,
        """
        SELECT id, customer_id, type, name, filename, file_bytes, media_type, sha256, kept,
               created_at, updated_at, position
        FROM files
        WHERE customer_id = %(customer_id)s AND deleted_at IS NULL
          AND (%(at)s::timestamptz IS NULL OR (created_at, position) < (%(at)s, %(position)s))
        ORDER BY created_at DESC, position DESC LIMIT %(limit)s
        """,
        {"customer_id": customer_id, "limit": limit, **bounds(after)},
    )


async def users(
    tx: Tx, *, customer_id: CustomerId, file_id: FileId
) -> list[tuple[RagId, SourceId]]:
    """The live sources made from this file, or read from it because it is their edited text, with
    their RAGs, in lock order."""
    rows = await tx.all(
        dict[str, SourceId],
        """
        SELECT s.rag_id, s.id FROM sources s JOIN rags r ON r.id = s.rag_id
        WHERE s.customer_id = %(customer_id)s
          AND (s.file_id = %(file_id)s OR s.edit_id = %(file_id)s)
          AND s.deleted_at IS NULL AND r.deleted_at IS NULL
        ORDER BY s.rag_id, s.id
        """,
        {"customer_id": customer_id, "file_id": file_id},
    )
    return [(RagId(row["rag_id"]), row["id"]) for row in rows]


async def lock(tx: Tx, *, customer_id: CustomerId, file_id: FileId) -> bool:
    """Keep new sources from being made of it until the transaction ends."""
    return (
        await tx.value(
            bool,
            "SELECT true FROM files WHERE customer_id = %(customer_id)s AND id = %(file_id)s"
            " AND deleted_at IS NULL FOR UPDATE",
            {"customer_id": customer_id, "file_id": file_id},
        )
        or False
    )


async def mark_deleted(tx: Tx, *, customer_id: CustomerId, file_id: FileId) -> None:
    """Gone for every reader; the sweep removes the row once no deleted source points to it."""
    await tx.run(
        "UPDATE files SET kept = false, deleted_at = now(), updated_at = now()"
        " WHERE customer_id = %(customer_id)s AND id = %(file_id)s",
        {"customer_id": customer_id, "file_id": file_id},
    )
