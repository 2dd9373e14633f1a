"""folders: the tree that orders a customer's documents. What lies in a folder, with what there is
to say about it, is in entries; which change of the tree is allowed is up to the verbs."""

from collections.abc import Sequence

from engine.entries import FolderRef
from engine.models import CustomerId, FolderId, Noun
from engine.store.database import Tx


class Level(Noun, frozen=True, kw_only=True):
    """A folder of a subtree; the subtree's own root is at level 1."""

    id: FolderId
    level: int


async def lock(tx: Tx, *, customer_id: CustomerId) -> None:
    """Have one caller at a time change this customer's tree or put documents into it.

    Taken before any RAG is locked. Two moves that each look right could make a circle together,
    and a document could enter a folder that is just being deleted.
    """
    await tx.run(
        "SELECT pg_advisory_xact_lock(hashtextextended('folders ' || %(customer_id)s, 0))",
        {"customer_id": str(customer_id)},
    )


async def insert(
    tx: Tx, *, customer_id: CustomerId, name: str, parent_id: FolderId | None
) -> FolderId:
    folder_id = await tx.value(
        FolderId,
        "INSERT INTO folders (customer_id, name, parent_id)"
        " VALUES (%(customer_id)s, %(name)s, %(parent_id)s) RETURNING id",
        {"customer_id": customer_id, "name": name, "parent_id": parent_id},
    )
    assert folder_id
    return folder_id


async def get(tx: Tx, *, customer_id: CustomerId, folder_id: FolderId) -> FolderRef | None:
    return await tx.one(
        FolderRef,
        "SELECT id, name FROM folders WHERE customer_id = %(customer_id)s AND id = %(folder_id)s",
        {"customer_id": customer_id, "folder_id": folder_id},
    )


async def total(tx: Tx, *, customer_id: CustomerId) -> int:
    """How many folders a customer has."""
    return (
        await tx.value(
            int,
            "SELECT count(*) FROM folders WHERE customer_id = %(customer_id)s",
            {"customer_id": customer_id},
        )
        or 0
    )


async def rename(tx: Tx, *, customer_id: CustomerId, folder_id: FolderId, name: str) -> bool:
    return bool(
        await tx.run(
            "UPDATE folders SET name = %(name)s, updated_at = clock_timestamp()"
            " WHERE customer_id = %(customer_id)s AND id = %(folder_id)s",
            {"customer_id": customer_id, "folder_id": folder_id, "name": name},
        )
    )


async def move(
    tx: Tx,
    *,
    customer_id: CustomerId,
    folder_ids: Sequence[FolderId],
    parent_id: FolderId | None,
) -> int:
    """Put folders into another one, or at the root; the tree must be locked."""
    return await tx.run(
        "UPDATE folders SET parent_id = %(parent_id)s, updated_at = clock_timestamp()"
        " WHERE customer_id = %(customer_id)s AND id = ANY(%(folder_ids)s)",
        {"customer_id": customer_id, "folder_ids": list(folder_ids), "parent_id": parent_id},
    )


async def path(tx: Tx, *, customer_id: CustomerId, folder_id: FolderId) -> list[FolderRef]:
    """From the root down to the folder itself; its length is the folder's depth."""
    return await tx.all(
        FolderRef,
        """
        WITH RECURSIVE up (id, name, parent_id, height) AS (
            SELECT id, name, parent_id, 0 FROM folders
            WHERE customer_id = %(customer_id)s AND id = %(folder_id)s
            UNION ALL
            SELECT f.id, f.name, f.parent_id, up.height + 1
            FROM up JOIN folders f ON f.id = up.parent_id AND f.customer_id = %(customer_id)s
        )
        SELECT id, name FROM up ORDER BY height DESC
        """,
        {"customer_id": customer_id, "folder_id": folder_id},
    )


async def subtree(
    tx: Tx, *, customer_id: CustomerId, folder_ids: Sequence[FolderId]
) -> list[Level]:
    """These folders and all below them, each level before the next; a folder that is given and
    also lies below another one comes once, at its deepest level."""
    return await tx.all(
        Level,
        """
        WITH RECURSIVE below (id, level) AS (
            SELECT id, 1 FROM folders
            WHERE customer_id = %(customer_id)s AND id = ANY(%(folder_ids)s)
            UNION
            SELECT f.id, below.level + 1
            FROM below JOIN folders f ON f.parent_id = below.id AND f.customer_id = %(customer_id)s
        )
        SELECT id, max(level) AS level FROM below GROUP BY id ORDER BY 2, 1
        """,
        {"customer_id": customer_id, "folder_ids": list(folder_ids)},
    )


async def delete(tx: Tx, *, customer_id: CustomerId, folder_ids: Sequence[FolderId]) -> int:
    """Remove whole subtrees: a folder left out below one of these would be an orphan, which the
    foreign key refuses. Documents that still point here are at the root afterwards."""
    return await tx.run(
        "DELETE FROM folders WHERE customer_id = %(customer_id)s AND id = ANY(%(folder_ids)s)",
        {"customer_id": customer_id, "folder_ids": list(folder_ids)},
    )
