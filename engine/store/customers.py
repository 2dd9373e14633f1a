"""customers: who owns everything else."""

from collections.abc import Sequence

from engine.models import Customer, CustomerId, Usage
from engine.store.database import Tx


async def insert(tx: Tx, *, name: str) -> Customer:
    """The very first one is marked, so that the bootstrap key never moves on to another."""
    await tx.run("SELECT pg_advisory_xact_lock(7261043003)")  # one after the other
    customer = await tx.one(
        Customer,
        """
        INSERT INTO customers (name, is_first)
        VALUES (%(name)s, NOT EXISTS (SELECT FROM customers))
        RETURNING id, name, created_at
        """,
        {"name": name},
    )
    assert customer
    return customer


async def get(tx: Tx, *, customer_id: CustomerId) -> Customer | None:
    return await tx.one(
        Customer,
        "SELECT id, name, created_at FROM customers"
        " WHERE id = %(customer_id)s AND deleted_at IS NULL",
        {"customer_id": customer_id},
    )


async def all_of_them(tx: Tx) -> list[Customer]:
    return await tx.all(
        Customer,
        "SELECT id, name, created_at FROM customers WHERE deleted_at IS NULL"
        " ORDER BY created_at, position",
    )


async def first(tx: Tx) -> Customer | None:
    """The customer that the bootstrap key speaks for."""
    return await tx.one(
        Customer,
        "SELECT id, name, created_at FROM customers WHERE is_first AND deleted_at IS NULL",
    )


async def first_or_new(tx: Tx, *, name: str) -> Customer | None:
    """As `first`, made when there is no customer at all; None when the first one was closed."""
    await tx.run("SELECT pg_advisory_xact_lock(7261043003)")
    any_customer = await tx.value(bool, "SELECT EXISTS (SELECT FROM customers)")
    return await first(tx) if any_customer else await insert(tx, name=name)


async def mark_deleted(tx: Tx, *, customer_id: CustomerId) -> bool:
    return bool(
        await tx.run(
            "UPDATE customers SET deleted_at = COALESCE(deleted_at, now())"
            " WHERE id = %(customer_id)s",
            {"customer_id": customer_id},
        )
    )


async def delete_empty(tx: Tx, *, customer_ids: Sequence[CustomerId]) -> int:
    """Those of them that are closed and of which no other row is left."""
    return await tx.run(
        """
        DELETE FROM customers c WHERE c.id = ANY(%(customer_ids)s) AND c.deleted_at IS NOT NULL
          AND NOT EXISTS (SELECT FROM rags WHERE customer_id = c.id)
          AND NOT EXISTS (SELECT FROM files WHERE customer_id = c.id)
          AND NOT EXISTS (SELECT FROM folders WHERE customer_id = c.id)
          AND NOT EXISTS (SELECT FROM blobs WHERE customer_id = c.id)
          AND NOT EXISTS (SELECT FROM accesskeys WHERE customer_id = c.id)
          AND NOT EXISTS (SELECT FROM idempotency_keys WHERE customer_id = c.id)
          AND NOT EXISTS (SELECT FROM ann_tables WHERE customer_id = c.id)
        """,
        {"customer_ids": list(customer_ids)},
    )


async def usage(tx: Tx, *, customer_id: CustomerId) -> Usage:
    usage = await tx.one(
        Usage,
        """
        SELECT (SELECT count(*) FROM rags
                WHERE customer_id = %(customer_id)s AND deleted_at IS NULL) AS rags,
               (SELECT count(*) FROM sources s JOIN rags r ON r.id = s.rag_id
                WHERE s.customer_id = %(customer_id)s AND s.deleted_at IS NULL
                  AND r.deleted_at IS NULL) AS sources,
               (SELECT count(*) FROM files
                WHERE customer_id = %(customer_id)s AND deleted_at IS NULL) AS files,
               (SELECT COALESCE(sum(file_bytes), 0)::bigint FROM files
                WHERE customer_id = %(customer_id)s AND deleted_at IS NULL) AS file_bytes,
               (SELECT COALESCE(sum(file_bytes), 0)::bigint FROM blobs
                WHERE customer_id = %(customer_id)s) AS stored_bytes,
               (SELECT count(*) FROM sources s JOIN rags r ON r.id = s.rag_id
                WHERE s.customer_id = %(customer_id)s AND s.due_at IS NOT NULL
                  AND s.deleted_at IS NULL AND r.deleted_at IS NULL) AS queued_sources,
               (SELECT COALESCE(sum(i.chunk_count), 0)::bigint FROM indexes i
                JOIN sources s ON s.id = i.source_id
                JOIN rags r ON r.id = i.rag_id AND r.deleted_at IS NULL
                JOIN profiles p ON p.id = i.profile_id AND p.retired_at IS NULL
                WHERE i.customer_id = %(customer_id)s AND s.deleted_at IS NULL) AS chunks
        """,
        {"customer_id": customer_id},
    )
    assert usage
    return usage
