"""What of a RAG is nearest to a question: exactly, or by its profile's ANN table.

Each function answers with keys and similarities only; which one is asked decides engine.retrieval.
With ann.py the only module where a table's name becomes part of a statement. Vectors are stored
L2-normalised, so the inner product is the cosine.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector
from psycopg import sql

from engine.models import CustomerId, IndexId, Noun, ProfileId, RagId, SourceId
from engine.store.ann import existing_table, table_name
from engine.store.database import Tx
from engine.store.vectors import comparable
from engine.store.vectortypes import know_vectors

# How many entries the graph's search keeps in view, and where it stops when few of them count. What
# it costs and what it finds: docs/decisions/0011-two-statements.md
IN_VIEW = 300
IN_VIEW_MAX = 1_000
WALKED_MAX = 5_000

Vector = NDArray[np.float32]


class Target(Noun, frozen=True, kw_only=True):
    """What a query asks: the live profile of a RAG, and its ANN table where it has one."""

    profile_id: ProfileId
    embedding_model: str
    searchable: bool
    ann_number: int | None


class Near(Noun, frozen=True, kw_only=True):
    """A live chunk and the cosine of its vector and the question's, below 0 for opposites."""

    index_id: IndexId
    generation: int
    ordinal: int
    dense: float


async def target(tx: Tx, *, customer_id: CustomerId, rag_id: RagId) -> Target | None:
    return await tx.one(
        Target,
        """
        SELECT p.id AS profile_id, p.embedding_model, a.number AS ann_number,
               EXISTS (SELECT FROM indexes i JOIN sources s ON s.id = i.source_id
                       WHERE i.profile_id = p.id AND i.customer_id = %(customer_id)s
                         AND i.generation_live IS NOT NULL AND s.deleted_at IS NULL) AS searchable
        FROM rags r
        JOIN profiles p ON p.id = r.profile_live
        LEFT JOIN ann_tables a ON a.profile_id = p.id AND a.customer_id = %(customer_id)s
        WHERE r.id = %(rag_id)s AND r.customer_id = %(customer_id)s AND r.deleted_at IS NULL
        """,
        {"customer_id": customer_id, "rag_id": rag_id},
    )


async def chunk_count(
    tx: Tx, *, customer_id: CustomerId, profile_id: ProfileId, source_ids: Sequence[SourceId]
) -> int:
    """How many live chunks these sources have."""
    return (
        await tx.value(
            int,
            """
            SELECT COALESCE(sum(i.chunk_count), 0)::bigint FROM indexes i
            WHERE i.profile_id = %(profile_id)s AND i.customer_id = %(customer_id)s
              AND i.source_id = ANY(%(source_ids)s) AND i.generation_live IS NOT NULL
            """,
            {
                "customer_id": customer_id,
                "profile_id": profile_id,
                "source_ids": list(source_ids),
            },
        )
        or 0
    )


async def exact(
    tx: Tx,
    *,
    customer_id: CustomerId,
    rag_id: RagId,
    profile_id: ProfileId,
    vector: Vector,
    limit: int,
    source_ids: Sequence[SourceId] | None = None,
) -> list[Near]:
    """The `limit` nearest live chunks, best first: every one of them is looked at.

    Raises ModelUnavailable when the chunks have vectors of other dimensions.
    """
    await know_vectors(tx)
    with comparable(vector):
        return await tx.all(
            Near,
            """
            WITH nearest AS MATERIALIZED (
                SELECT c.index_id, c.generation, c.ordinal, c.source_id,
                       c.embedding <#> %(vector)b AS distance
                FROM indexes i
                JOIN sources s ON s.id = i.source_id AND s.deleted_at IS NULL
                JOIN chunks c ON c.index_id = i.id AND c.generation = i.generation_live
                WHERE i.profile_id = %(profile_id)s AND i.customer_id = %(customer_id)s
                  AND i.generation_live IS NOT NULL
                  AND (%(any_source)s OR i.source_id = ANY(%(source_ids)s))
                  AND EXISTS (SELECT FROM rags WHERE id = %(rag_id)s AND deleted_at IS NULL
                              AND customer_id = %(customer_id)s)
                ORDER BY distance LIMIT %(limit)s
            )
            SELECT index_id, generation, ordinal, (-distance)::float8 AS dense
            FROM nearest ORDER BY distance, source_id, ordinal
            """,
            _asked(
                customer_id=customer_id,
                rag_id=rag_id,
                profile_id=profile_id,
                vector=vector,
                limit=limit,
                source_ids=source_ids,
            ),
        )


async def approximate(
    tx: Tx,
    *,
    customer_id: CustomerId,
    rag_id: RagId,
    profile_id: ProfileId,
    ann_number: int,
    vector: Vector,
    limit: int,
    source_ids: Sequence[SourceId] | None = None,
) -> list[Near]:
    """As `exact`, by the profile's ANN table and a scan of what is not yet in it.

    `prepare` comes first in its transaction. Fewer than `limit` only after it has walked WALKED_MAX
    entries that do not answer: then there may be more. Raises Superseded when the table was dropped
    meanwhile; ModelUnavailable.
    """
    asked = _asked(
        customer_id=customer_id,
        rag_id=rag_id,
        profile_id=profile_id,
        vector=vector,
        limit=limit,
        source_ids=source_ids,
    )
    # Unprepared: a plan for any parameters would walk the whole list of sources for each entry.
    statement = approximate_statement(ann_number)
    with existing_table(), comparable(vector):
        rows = await (await tx.connection.execute(statement, asked, prepare=False)).fetchall()
    return [Near(**row) for row in rows]


async def prepare(tx: Tx, *, limit: int) -> None:
    """How the graph is walked, until the transaction ends."""
    await know_vectors(tx)
    await tx.run(
        """
        SELECT set_config('hnsw.ef_search', %(in_view)s, true),
               set_config('hnsw.max_scan_tuples', %(walked)s, true),
               set_config('hnsw.iterative_scan', 'relaxed_order', true),
               set_config('enable_seqscan', 'off', true), set_config('jit', 'off', true),
               set_config('enable_hashjoin', 'off', true),
               set_config('enable_mergejoin', 'off', true)
        """,
        {"in_view": str(min(max(IN_VIEW, limit), IN_VIEW_MAX)), "walked": str(WALKED_MAX)},
    )


async def unprepare(tx: Tx) -> None:
    """For `exact` in the same transaction: its joins are the planner's to choose."""
    await tx.run(
        """
        SELECT set_config(name, 'on', true)
        FROM unnest(ARRAY['enable_seqscan', 'enable_hashjoin', 'enable_mergejoin']) AS name
        """
    )


def approximate_statement(ann_number: int) -> sql.Composed:
    """Whether an entry answers is asked one by one, in the order in which the graph gives them, and
    what is not entered is looked up index by index: as joins they would be for the planner to turn
    round, and then all of the customer's chunks would be read."""
    return sql.SQL(
        """
        WITH entered AS MATERIALIZED (
            SELECT a.index_id, a.generation, a.ordinal, a.embedding <#> %(vector)b AS distance
            FROM {table} a
            WHERE (SELECT i.generation_live = a.generation
                   FROM indexes i JOIN sources s ON s.id = i.source_id AND s.deleted_at IS NULL
                   WHERE i.id = a.index_id AND i.customer_id = %(customer_id)s
                     AND (%(any_source)s OR i.source_id = ANY(%(source_ids)s)))
              AND EXISTS (SELECT FROM rags WHERE id = %(rag_id)s AND deleted_at IS NULL
                          AND customer_id = %(customer_id)s)
            ORDER BY a.embedding <#> %(vector)b LIMIT %(limit)s
        ), behind AS MATERIALIZED (
            SELECT i.id, i.generation_live
            FROM indexes i JOIN sources s ON s.id = i.source_id AND s.deleted_at IS NULL
            WHERE i.profile_id = %(profile_id)s AND i.customer_id = %(customer_id)s
              AND i.generation_live IS NOT NULL
              AND i.ann_generation IS DISTINCT FROM i.generation_live
              AND (%(any_source)s OR i.source_id = ANY(%(source_ids)s))
              AND EXISTS (SELECT FROM rags WHERE id = %(rag_id)s AND deleted_at IS NULL
                          AND customer_id = %(customer_id)s)
        ), waiting AS MATERIALIZED (
            SELECT c.* FROM behind b
            CROSS JOIN LATERAL (
                SELECT index_id, generation, ordinal, embedding <#> %(vector)b AS distance
                FROM chunks WHERE index_id = b.id AND generation = b.generation_live OFFSET 0) c
            ORDER BY distance LIMIT %(limit)s
        )
        SELECT index_id, generation, ordinal, (-min(distance))::float8 AS dense
        FROM (SELECT index_id, generation, ordinal, distance FROM entered
              UNION ALL SELECT index_id, generation, ordinal, distance FROM waiting) both_kinds
        GROUP BY index_id, generation, ordinal
        ORDER BY min(distance), index_id, ordinal LIMIT %(limit)s
        """
    ).format(table=table_name(ann_number))


async def scored(
    tx: Tx, *, customer_id: CustomerId, vector: Vector, keys: Sequence[tuple[IndexId, int, int]]
) -> list[Near]:
    """How near these chunks are, in any order; those that are not there any more are left out."""
    if not keys:
        return []
    await know_vectors(tx)
    with comparable(vector):
        return await tx.all(
            Near,
            """
            SELECT c.index_id, c.generation, c.ordinal,
                   (-(c.embedding <#> %(vector)b))::float8 AS dense
            FROM unnest(%(index_ids)s::uuid[], %(generations)s::int[], %(ordinals)s::int[])
                 AS k (index_id, generation, ordinal)
            JOIN chunks c USING (index_id, generation, ordinal)
            WHERE c.customer_id = %(customer_id)s
            """,
            {
                "customer_id": customer_id,
                "vector": HalfVector(vector),
                "index_ids": [key[0] for key in keys],
                "generations": [key[1] for key in keys],
                "ordinals": [key[2] for key in keys],
            },
        )


def _asked(
    *,
    customer_id: CustomerId,
    rag_id: RagId,
    profile_id: ProfileId,
    vector: Vector,
    limit: int,
    source_ids: Sequence[SourceId] | None,
) -> dict[str, object]:
    return {
        "customer_id": customer_id,
        "rag_id": rag_id,
        "profile_id": profile_id,
        "vector": HalfVector(vector),
        "limit": limit,
        "any_source": source_ids is None,
        "source_ids": list(source_ids or ()),
    }
