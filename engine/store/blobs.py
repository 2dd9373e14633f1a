"""blobs: one row for each content of a customer; upload and purge lock it alike."""

from engine.config import Limits
from engine.errors import StorageQuotaReached
from engine.models import CustomerId, Noun
from engine.store import quotas
from engine.store.claims import ClaimedSource
from engine.store.database import Tx


class Blob(Noun, frozen=True, kw_only=True):
    customer_id: CustomerId
    sha256: bytes


async def ensure(tx: Tx, *, customer_id: CustomerId, sha256: bytes, file_bytes: int) -> bool:
    """Have the row, fresh enough that purge leaves it alone while its bytes are being put; whether
    it is new."""
    return (
        await tx.value(
            bool,
            """
            INSERT INTO blobs (customer_id, sha256, file_bytes)
            VALUES (%(customer_id)s, %(sha256)s, %(file_bytes)s)
            ON CONFLICT (customer_id, sha256) DO UPDATE SET touched_at = now()
            RETURNING xmax = 0
            """,
            {"customer_id": customer_id, "sha256": sha256, "file_bytes": file_bytes},
        )
        or False
    )


async def ensure_original(
    tx: Tx, *, claim: ClaimedSource, sha256: bytes, file_bytes: int, limits: Limits
) -> None:
    """As `ensure`, for what was fetched. Raises StorageQuotaReached when it is too much."""
    customer_id, bytes_max = claim.customer_id, limits.customer_stored_bytes_max
    if not await ensure(tx, customer_id=customer_id, sha256=sha256, file_bytes=file_bytes):
        return
    await quotas.lock(tx, customer_id=customer_id)
    if await quotas.stored_bytes(tx, customer_id=customer_id) > bytes_max:
        raise StorageQuotaReached(
            f"With the fetched document the customer would store more than {bytes_max} bytes."
        )


async def lock(tx: Tx, *, customer_id: CustomerId, sha256: bytes) -> bool:
    """Hold the row until the transaction ends. False: purge has removed it."""
    held = await tx.value(
        bool,
        "SELECT true FROM blobs WHERE customer_id = %(customer_id)s AND sha256 = %(sha256)s"
        " FOR UPDATE",
        {"customer_id": customer_id, "sha256": sha256},
    )
    # The bytes go to the storage in this transaction, which takes long when that is slow.
    await tx.run("SELECT set_config('idle_in_transaction_session_timeout', '600000', true)")
    return held or False


async def any_stored(tx: Tx, *, customer_id: CustomerId) -> bool:
    """Whether bytes of this customer lie in the storage: a file is made once they do."""
    return (
        await tx.value(
            bool,
            "SELECT EXISTS (SELECT FROM files WHERE customer_id = %(customer_id)s)",
            {"customer_id": customer_id},
        )
        or False
    )


async def unused(tx: Tx, *, age_s: float, limit: int) -> list[Blob]:
    """Rows that nothing refers to, untouched for `age_s` (or of a closed customer), locked; busy
    ones are passed over.

    The second statement looks again once they are locked: a file may have been made of one of them
    between the first one's snapshot and its lock.
    """
    locked = await tx.all(
        Blob,
        """
        SELECT b.customer_id, b.sha256 FROM blobs b
        WHERE (b.touched_at < now() - make_interval(secs => %(age_s)s)
               OR EXISTS (SELECT FROM customers c
                          WHERE c.id = b.customer_id AND c.deleted_at IS NOT NULL))
          AND NOT EXISTS (SELECT FROM files f
                          WHERE f.customer_id = b.customer_id AND f.sha256 = b.sha256)
          AND NOT EXISTS (SELECT FROM documents d
                          WHERE d.customer_id = b.customer_id AND d.original_sha256 = b.sha256)
        ORDER BY b.touched_at LIMIT %(limit)s
        FOR UPDATE SKIP LOCKED
        """,
        {"age_s": age_s, "limit": limit},
    )
    return await tx.all(
        Blob,
        """
        SELECT b.customer_id, b.sha256
        FROM unnest(%(customer_ids)s::uuid[], %(hashes)s::bytea[]) AS b (customer_id, sha256)
        WHERE NOT EXISTS (SELECT FROM files f
                          WHERE f.customer_id = b.customer_id AND f.sha256 = b.sha256)
          AND NOT EXISTS (SELECT FROM documents d
                          WHERE d.customer_id = b.customer_id AND d.original_sha256 = b.sha256)
        """,
        {
            "customer_ids": [blob.customer_id for blob in locked],
            "hashes": [blob.sha256 for blob in locked],
        },
    )


async def delete(tx: Tx, *, blob: Blob) -> None:
    await tx.run(
        "DELETE FROM blobs WHERE customer_id = %(customer_id)s AND sha256 = %(sha256)s",
        {"customer_id": blob.customer_id, "sha256": blob.sha256},
    )
