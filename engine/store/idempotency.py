"""idempotency_keys: the first answer to each request that came with a key."""

from engine.models import CustomerId, Noun
from engine.store.database import Tx


class Answered(Noun, frozen=True, kw_only=True):
    """What a key was first used for. `request_hash` tells the same request from another one."""

    request_hash: bytes
    answer: bytes


async def find(
    tx: Tx, *, customer_id: CustomerId, key_hash: bytes, keep_s: float
) -> Answered | None:
    return await tx.one(
        Answered,
        "SELECT request_hash, answer FROM idempotency_keys"
        " WHERE customer_id = %(customer_id)s AND key_hash = %(key_hash)s"
        " AND created_at > now() - make_interval(secs => %(keep_s)s)",
        {"customer_id": customer_id, "key_hash": key_hash, "keep_s": keep_s},
    )


async def take(
    tx: Tx, *, customer_id: CustomerId, key_hash: bytes, request_hash: bytes, keep_s: float
) -> bool:
    """Use a key in this transaction. Waits for another one that is just using it; False when that
    was committed. A key that is too old counts as new."""
    return bool(
        await tx.run(
            """
            INSERT INTO idempotency_keys AS k (customer_id, key_hash, request_hash)
            VALUES (%(customer_id)s, %(key_hash)s, %(request_hash)s)
            ON CONFLICT (customer_id, key_hash) DO UPDATE
            SET request_hash = EXCLUDED.request_hash, answer = '', created_at = now()
            WHERE k.created_at <= now() - make_interval(secs => %(keep_s)s)
            """,
            {
                "customer_id": customer_id,
                "key_hash": key_hash,
                "request_hash": request_hash,
                "keep_s": keep_s,
            },
        )
    )


async def answer(tx: Tx, *, customer_id: CustomerId, key_hash: bytes, answer: bytes) -> None:
    """Keep the answer to the request that took the key in this transaction."""
    await tx.run(
        "UPDATE idempotency_keys SET answer = %(answer)s"
        " WHERE customer_id = %(customer_id)s AND key_hash = %(key_hash)s",
        {"customer_id": customer_id, "key_hash": key_hash, "answer": answer},
    )


async def total(tx: Tx, *, customer_id: CustomerId) -> int:
    """How many keys a customer has, those that are too old included until the sweep comes by."""
    return (
        await tx.value(
            int,
            "SELECT count(*) FROM idempotency_keys WHERE customer_id = %(customer_id)s",
            {"customer_id": customer_id},
        )
        or 0
    )


async def forget(tx: Tx, *, keep_s: float, limit: int) -> int:
    """Keys that are too old, the oldest first."""
    return await tx.run(
        """
        DELETE FROM idempotency_keys WHERE (customer_id, key_hash) IN (
            SELECT customer_id, key_hash FROM idempotency_keys
            WHERE created_at <= now() - make_interval(secs => %(keep_s)s)
            ORDER BY created_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
        """,
        {"keep_s": keep_s, "limit": limit},
    )
