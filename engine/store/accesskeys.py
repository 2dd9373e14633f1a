"""accesskeys: only the hash of a token is kept."""

from engine.models import AccessKey, AccessKeyId, Cursor, CustomerId, Noun
from engine.store.database import Database, Opening, Tx
from engine.store.paging import bounds


class FoundKey(Noun, frozen=True, kw_only=True):
    customer_id: CustomerId
    token_hash: bytes


_KNOWN = """
    SELECT customer_id, token_hash FROM accesskeys
    WHERE token_hash = decode(current_setting('rag_engine.token_hash'), 'hex')
      AND (expires_at IS NULL OR expires_at > now())
"""

# Of a statement that names a customer as $1 and the hash of one of its keys as $3, '' for none.
IS_GOOD = """
    ($3 = '' OR EXISTS (SELECT FROM accesskeys k WHERE k.token_hash = $3 AND k.customer_id = $1
                        AND (k.expires_at IS NULL OR k.expires_at > now())))
"""


async def find(database: Database, *, token_hash: bytes) -> FoundKey | None:
    """The live key with this hash."""
    opening = Opening(name="known_key", statement=_KNOWN)
    return await database.glance(FoundKey, opening, token_hash=token_hash)


async def insert(
    tx: Tx,
    *,
    customer_id: CustomerId,
    name: str,
    prefix: str,
    token_hash: bytes,
    expire_s: int | None,
) -> AccessKey:
    key = await tx.one(
        AccessKey,
        """
        INSERT INTO accesskeys (customer_id, name, prefix, token_hash, expires_at)
        VALUES (%(customer_id)s, %(name)s, %(prefix)s, %(token_hash)s,
                now() + make_interval(secs => %(expire_s)s))
        RETURNING id, customer_id, name, prefix, created_at, expires_at
        """,
        {
            "customer_id": customer_id,
            "name": name,
            "prefix": prefix,
            "token_hash": token_hash,
            "expire_s": expire_s,
        },
    )
    assert key
    return key


async def page(
    tx: Tx, *, customer_id: CustomerId, limit: int, after: Cursor | None
) -> list[AccessKey]:
    """Newest first."""
    return await tx.all(
        AccessKey,
        """
        SELECT id, customer_id, name, prefix, created_at, expires_at, position
        FROM accesskeys
        WHERE customer_id = %(customer_id)s
          AND (%(at)s::timestamptz IS NULL OR (created_at, position) < (%(at)s, %(position)s))
        ORDER BY created_at DESC, position DESC LIMIT %(limit)s
        """,
        {"customer_id": customer_id, "limit": limit, **bounds(after)},
    )


async def delete(tx: Tx, *, customer_id: CustomerId, key_id: AccessKeyId) -> AccessKey | None:
    return await tx.one(
        AccessKey,
        "DELETE FROM accesskeys WHERE customer_id = %(customer_id)s AND id = %(key_id)s"
        " RETURNING id, customer_id, name, prefix, created_at, expires_at",
        {"customer_id": customer_id, "key_id": key_id},
    )
