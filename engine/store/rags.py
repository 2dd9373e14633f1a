"""rags and profiles: knowledge bases and how their chunks are made."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Literal, LiteralString

from msgspec import convert

from engine.models import Cursor, CustomerId, Noun, ProfileId, Rag, RagId
from engine.store.claims import ClaimedIndex
from engine.store.database import Database, Opening, Tx
from engine.store.paging import bounds


class Profile(Noun, frozen=True, kw_only=True):
    """A way of making chunks."""

    id: ProfileId
    embedding_model: str
    chunk_tokens: int
    chunk_overlap_tokens: int


class IndexProfile(Profile, frozen=True, kw_only=True):
    """The profile of an index. `is_next`: its RAG is to answer by it once all is built.
    `usual_length`: of a passage in terms, for BM25; None where nobody searches by words."""

    is_next: bool
    usual_length: int | None


class _Live(Noun, frozen=True, kw_only=True):
    id: ProfileId


async def insert(
    tx: Tx,
    *,
    customer_id: CustomerId,
    name: str,
    description: str,
    embedding_model: str,
    chunk_tokens: int,
    chunk_overlap_tokens: int,
) -> RagId:
    """A RAG with its first profile, which is live."""
    rag_id = await tx.value(
        RagId,
        """
        WITH rag AS (
            INSERT INTO rags (customer_id, name, description, profile_live)
            VALUES (%(customer_id)s, %(name)s, %(description)s, gen_random_uuid())
            RETURNING id, profile_live
        ), profile AS (
            INSERT INTO profiles (id, customer_id, rag_id, embedding_model, chunk_tokens,
                                  chunk_overlap_tokens)
            SELECT rag.profile_live, %(customer_id)s, rag.id, %(embedding_model)s,
                   %(chunk_tokens)s, %(chunk_overlap_tokens)s
            FROM rag
        )
        SELECT id FROM rag
        """,
        {
            "customer_id": customer_id,
            "name": name,
            "description": description,
            "embedding_model": embedding_model,
            "chunk_tokens": chunk_tokens,
            "chunk_overlap_tokens": chunk_overlap_tokens,
        },
    )
    assert rag_id
    return rag_id


async def ensure_default(
    tx: Tx,
    *,
    customer_id: CustomerId,
    name: str,
    embedding_model: str,
    chunk_tokens: int,
    chunk_overlap_tokens: int,
) -> RagId | None:
    """The RAG that documents of the second door are added to, made when there is none.

    Whoever makes it at the same moment waits for the first one's commit and then reads that one.
    None when it has been deleted between the two.
    """
    found = await default(tx, customer_id=customer_id)
    if found is None:
        await _insert_default(
            tx,
            customer_id=customer_id,
            name=name,
            embedding_model=embedding_model,
            chunk_tokens=chunk_tokens,
            chunk_overlap_tokens=chunk_overlap_tokens,
        )
        # A statement of its own: the one before does not see what it has waited for.
        found = await default(tx, customer_id=customer_id)
    return found


async def default(tx: Tx, *, customer_id: CustomerId) -> RagId | None:
    """The live default RAG."""
    return await tx.value(
        RagId,
        "SELECT id FROM rags WHERE customer_id = %(customer_id)s AND is_default"
        " AND deleted_at IS NULL",
        {"customer_id": customer_id},
    )


async def _insert_default(
    tx: Tx,
    *,
    customer_id: CustomerId,
    name: str,
    embedding_model: str,
    chunk_tokens: int,
    chunk_overlap_tokens: int,
) -> None:
    """With its profile, which is live; nothing when there is one already."""
    await tx.run(
        """
        WITH rag AS (
            INSERT INTO rags (customer_id, name, profile_live, is_default)
            VALUES (%(customer_id)s, %(name)s, gen_random_uuid(), true)
            ON CONFLICT (customer_id) WHERE is_default AND deleted_at IS NULL DO NOTHING
            RETURNING id, profile_live
        )
        INSERT INTO profiles (id, customer_id, rag_id, embedding_model, chunk_tokens,
                              chunk_overlap_tokens)
        SELECT rag.profile_live, %(customer_id)s, rag.id, %(embedding_model)s, %(chunk_tokens)s,
               %(chunk_overlap_tokens)s
        FROM rag
        """,
        {
            "customer_id": customer_id,
            "name": name,
            "embedding_model": embedding_model,
            "chunk_tokens": chunk_tokens,
            "chunk_overlap_tokens": chunk_overlap_tokens,
        },
    )


# `updated_at`: of the RAG itself or of any of its sources.
_COLUMNS: LiteralString = """
    r.id, r.customer_id, r.name, r.description, p.embedding_model, p.chunk_tokens,
    p.chunk_overlap_tokens, r.created_at, GREATEST(r.updated_at, counted.updated_at) AS updated_at,
    r.position, r.profile_next IS NOT NULL AS is_changing,
    COALESCE(counted.counts, '{}') AS counts
"""
_COUNTED: LiteralString = """
    JOIN profiles p ON p.id = r.profile_live
    CROSS JOIN LATERAL (
        SELECT jsonb_object_agg(state, count) AS counts, max(updated_at) AS updated_at
        FROM (SELECT state, count(*) AS count, max(updated_at) AS updated_at FROM sources s
              WHERE s.rag_id = r.id AND s.customer_id = r.customer_id AND s.deleted_at IS NULL
              GROUP BY state) AS by_state) AS counted
"""


async def get(tx: Tx, *, customer_id: CustomerId, rag_id: RagId) -> Rag | None:
    """Without its sources, which are counted."""
    return await tx.one(
        Rag,
        f"""
        SELECT {_COLUMNS} FROM rags r {_COUNTED}
        WHERE r.customer_id = %(customer_id)s AND r.id = %(rag_id)s AND r.deleted_at IS NULL
        """,
        {"customer_id": customer_id, "rag_id": rag_id},
    )


@asynccontextmanager
async def reading(
    database: Database, *, customer_id: CustomerId, rag_id: RagId
) -> AsyncIterator[tuple[Tx, Rag | None]]:
    """A transaction in which all statements see one moment, and the RAG as with `get`, which comes
    with its beginning."""
    statement: LiteralString = f"""
        SELECT {_COLUMNS} FROM rags r {_COUNTED}
        WHERE r.customer_id = $1 AND r.id = $2 AND r.deleted_at IS NULL
    """
    opening = Opening(name="reading_rag", statement=statement, values=(customer_id, rag_id))
    async with database.transaction(customer_id=customer_id, snapshot=True, opening=opening) as tx:
        yield tx, convert(tx.opened[0], Rag) if tx.opened else None


async def page(tx: Tx, *, customer_id: CustomerId, limit: int, after: Cursor | None) -> list[Rag]:
    """Newest first, without their sources, which are counted."""
    return await tx.all(
        Rag,
        f"""
        SELECT {_COLUMNS}
        FROM (SELECT * FROM rags
              WHERE customer_id = %(customer_id)s AND deleted_at IS NULL
                AND (%(at)s::timestamptz IS NULL
                     OR (created_at, position) < (%(at)s, %(position)s))
              ORDER BY created_at DESC, position DESC LIMIT %(limit)s) AS r {_COUNTED}
        ORDER BY r.created_at DESC, r.position DESC
        """,
        {"customer_id": customer_id, "limit": limit, **bounds(after)},
    )


async def exists(tx: Tx, *, customer_id: CustomerId, rag_id: RagId) -> bool:
    found = await tx.value(
        bool,
        "SELECT true FROM rags WHERE customer_id = %(customer_id)s AND id = %(rag_id)s"
        " AND deleted_at IS NULL",
        {"customer_id": customer_id, "rag_id": rag_id},
    )
    return found or False


async def profile(tx: Tx, *, customer_id: CustomerId, rag_id: RagId) -> Profile | None:
    """The live profile of a live RAG."""
    return await tx.one(
        Profile,
        """
        SELECT p.id, p.embedding_model, p.chunk_tokens, p.chunk_overlap_tokens
        FROM rags r JOIN profiles p ON p.id = r.profile_live
        WHERE r.customer_id = %(customer_id)s AND r.id = %(rag_id)s AND r.deleted_at IS NULL
        """,
        {"customer_id": customer_id, "rag_id": rag_id},
    )


async def next_profile(tx: Tx, *, customer_id: CustomerId, rag_id: RagId) -> Profile | None:
    """What a live RAG is changed to; None when it is not changed."""
    return await tx.one(
        Profile,
        """
        SELECT p.id, p.embedding_model, p.chunk_tokens, p.chunk_overlap_tokens
        FROM rags r JOIN profiles p ON p.id = r.profile_next
        WHERE r.customer_id = %(customer_id)s AND r.id = %(rag_id)s AND r.deleted_at IS NULL
        """,
        {"customer_id": customer_id, "rag_id": rag_id},
    )


async def live_profiles(tx: Tx, *, customer_id: CustomerId) -> list[ProfileId]:
    """By which the customer's RAGs answer at this moment."""
    rows = await tx.all(
        _Live,
        "SELECT profile_live AS id FROM rags WHERE customer_id = %(customer_id)s"
        " AND deleted_at IS NULL",
        {"customer_id": customer_id},
    )
    return [row.id for row in rows]


async def still_live(tx: Tx, *, customer_id: CustomerId, ids: Sequence[ProfileId]) -> bool:
    """Whether all of these answer at this moment, and so did since they were read: a profile is
    live once and never again. False also when one of the RAGs was deleted meanwhile."""
    count = await tx.value(
        int,
        "SELECT count(*) FROM rags WHERE customer_id = %(customer_id)s AND deleted_at IS NULL"
        " AND profile_live = ANY(%(ids)s)",
        {"customer_id": customer_id, "ids": list(ids)},
    )
    return count == len(ids)


async def lock(
    tx: Tx, *, customer_id: CustomerId, rag_id: RagId, strength: Literal["share", "update"]
) -> bool:
    """Lock the live row: shared by whoever adds or writes below it, alone by whoever deletes.

    A test for existence would not do: it was seen to let a write in after a delete had committed.
    """
    params = {"customer_id": customer_id, "rag_id": rag_id}
    if strength == "share":
        found = await tx.value(
            bool,
            "SELECT true FROM rags WHERE customer_id = %(customer_id)s AND id = %(rag_id)s"
            " AND deleted_at IS NULL FOR SHARE",
            params,
        )
    else:
        found = await tx.value(
            bool,
            "SELECT true FROM rags WHERE customer_id = %(customer_id)s AND id = %(rag_id)s"
            " AND deleted_at IS NULL FOR UPDATE",
            params,
        )
    return found or False


async def lock_adding(tx: Tx, *, rag_id: RagId) -> None:
    """Have one caller at a time add sources: two with the same URLs in opposite orders would
    wait for each other, and both could pass the limit. Workers never take this lock."""
    await tx.run(
        "SELECT pg_advisory_xact_lock(hashtextextended(%(rag_id)s, 0))", {"rag_id": str(rag_id)}
    )


async def update(
    tx: Tx, *, customer_id: CustomerId, rag_id: RagId, name: str | None, description: str | None
) -> bool:
    """Set what is not None."""
    return bool(
        await tx.run(
            """
            UPDATE rags SET name = COALESCE(%(name)s, name),
                            description = COALESCE(%(description)s, description),
                            updated_at = clock_timestamp()
            WHERE customer_id = %(customer_id)s AND id = %(rag_id)s AND deleted_at IS NULL
            """,
            {
                "customer_id": customer_id,
                "rag_id": rag_id,
                "name": name,
                "description": description,
            },
        )
    )


async def mark_deleted(tx: Tx, *, customer_id: CustomerId, rag_id: RagId) -> None:
    await tx.run(
        "UPDATE rags SET deleted_at = now() WHERE customer_id = %(customer_id)s"
        " AND id = %(rag_id)s",
        {"customer_id": customer_id, "rag_id": rag_id},
    )


async def profile_of_index(tx: Tx, *, claim: ClaimedIndex) -> IndexProfile | None:
    """The profile that a claimed index is made under."""
    return await tx.one(
        IndexProfile,
        """
        SELECT id, embedding_model, chunk_tokens, chunk_overlap_tokens,
               EXISTS (SELECT FROM rags r WHERE r.id = p.rag_id AND r.profile_next = p.id)
                   AS is_next,
               CASE WHEN public_model IS NULL THEN lexical_length END AS usual_length
        FROM profiles p WHERE id = %(profile_id)s AND customer_id = %(customer_id)s
        """,
        {"profile_id": claim.profile_id, "customer_id": claim.customer_id},
    )
