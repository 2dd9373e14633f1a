"""What answers for a RAG: its live profile, its ANN table, and the segments of its words."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from msgspec import convert

from engine.errors import InvalidCredentials
from engine.models import CustomerId, Noun, ProfileId, RagId
from engine.store import accesskeys, near
from engine.store.database import Database, Opening, Tx


class Head(Noun, frozen=True, kw_only=True):
    """A segment, the analysers of its terms, and the ranges of its passages that are dead."""

    id: int
    chunk_count: int
    analysers: tuple[str, ...]
    dead_firsts: tuple[int, ...]
    dead_counts: tuple[int, ...]


class Target(Noun, frozen=True, kw_only=True):
    """What a query asks: the live profile of a RAG, and its ANN table where it has one."""

    profile_id: ProfileId
    embedding_model: str
    searchable: bool
    ann_number: int | None
    ann_entries: int
    segments: tuple[Head, ...]


_LIBRARY_HEADS = """
    SELECT s.id, s.chunk_count, s.analysers, COALESCE(dead.firsts, '{}') AS dead_firsts,
           COALESCE(dead.counts, '{}') AS dead_counts
    FROM rags r
    JOIN segments s ON s.profile_id = r.profile_live AND s.customer_id = %(customer_id)s
                    AND s.state = 'live'
    LEFT JOIN (
        SELECT m.segment_id, array_agg(m.first_number) AS firsts,
               array_agg(m.chunk_count) AS counts
        FROM dead_members d JOIN segment_members m ON m.id = d.member_id
        WHERE d.customer_id = %(customer_id)s AND m.customer_id = %(customer_id)s
        GROUP BY m.segment_id) dead ON dead.segment_id = s.id
    WHERE r.customer_id = %(customer_id)s AND r.deleted_at IS NULL
    ORDER BY s.id
"""

# Segments and their dead in one statement, because a merge drops the marks of what it leaves out.
_TARGET = f"""
    SELECT {accesskeys.IS_GOOD} AS is_good,
           p.id AS profile_id, p.embedding_model, a.number AS ann_number,
           COALESCE(a.entries, 0) AS ann_entries,
           EXISTS (SELECT FROM indexes i JOIN sources s ON s.id = i.source_id
                   WHERE i.profile_id = p.id AND i.customer_id = $1
                     AND i.generation_live IS NOT NULL AND s.deleted_at IS NULL) AS searchable,
           (SELECT COALESCE(json_agg(json_build_object(
                'id', s.id, 'chunk_count', s.chunk_count, 'analysers', s.analysers,
                'dead_firsts', COALESCE(dead.firsts, '{{}}'),
                'dead_counts', COALESCE(dead.counts, '{{}}')) ORDER BY s.id), '[]')
            FROM segments s LEFT JOIN (
                SELECT m.segment_id, array_agg(m.first_number) AS firsts,
                       array_agg(m.chunk_count) AS counts
                FROM dead_members d JOIN segment_members m ON m.id = d.member_id
                WHERE d.profile_id = p.id AND d.customer_id = $1 AND m.customer_id = $1
                GROUP BY m.segment_id) dead ON dead.segment_id = s.id
            WHERE s.profile_id = p.id AND s.customer_id = $1 AND s.state = 'live') AS segments
    FROM rags r
    JOIN profiles p ON p.id = r.profile_live
    LEFT JOIN ann_tables a ON a.profile_id = p.id AND a.customer_id = $1
    WHERE r.id = $2 AND r.customer_id = $1 AND r.deleted_at IS NULL
"""


@asynccontextmanager
async def asking(
    database: Database,
    *,
    customer_id: CustomerId,
    rag_id: RagId,
    token_hash: bytes = b"",
    filtered: bool = False,
) -> AsyncIterator[tuple[Tx, Target | None]]:
    """A transaction for a question to a RAG, and what answers it; None: there is no such RAG.

    All of its statements see one moment: an answer is never half old and half new. `token_hash`:
    of the access key that the caller is known by, if it has yet to be seen that it is good still;
    else InvalidCredentials. `filtered`: only some of its sources are asked.
    """
    values = (customer_id, rag_id, token_hash)
    opening = Opening(name="answering", statement=_TARGET, values=values)
    settings = near.settings(filtered=filtered)
    async with database.transaction(
        customer_id=customer_id, snapshot=True, settings=settings, opening=opening
    ) as tx:
        row = next(iter(tx.opened), None)
        if row is not None and not row["is_good"]:
            raise InvalidCredentials("The access key has ended.")
        yield tx, None if row is None else convert(row, Target)


async def library_heads(tx: Tx, *, customer_id: CustomerId) -> list[Head]:
    """Of the segments by which a customer's RAGs answer, all of them."""
    return await tx.all(Head, _LIBRARY_HEADS, {"customer_id": customer_id})
