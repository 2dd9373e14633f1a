"""Search by vector over a whole library, exactly: every live chunk of it is scored.

Vectors are stored L2-normalised, so the inner product is the cosine. A single RAG is searched by
`near`.
"""

from collections.abc import Iterator, Sequence, Sized
from contextlib import contextmanager

import numpy as np
import psycopg
from numpy.typing import NDArray
from pgvector import HalfVector

from engine.entries import EntryKind
from engine.errors import ModelUnavailable
from engine.models import CustomerId, Noun, SourceId
from engine.store.database import Tx
from engine.store.vectortypes import know_vectors


class SourceHit(Noun, frozen=True, kw_only=True):
    """The best passage of a source; `dense` is the cosine as it is, below 0 for opposites."""

    source_id: SourceId
    text: str
    dense: float


class _Model(Noun, frozen=True, kw_only=True):
    embedding_model: str


async def search_library(
    tx: Tx,
    *,
    customer_id: CustomerId,
    embedding_model: str,
    vector: NDArray[np.float32],
    kinds: Sequence[EntryKind],
    limit: int,
) -> list[SourceHit]:
    """The `limit` nearest sources, best first: each by its nearest live chunk.

    Over all RAGs of the customer that answer by `embedding_model`; rag indexes do not count. No
    `kinds`: all of them. Raises ModelUnavailable when chunks have vectors of other dimensions.
    """
    await know_vectors(tx)
    with comparable(vector):
        return await tx.all(
            SourceHit,
            """
            WITH scored AS MATERIALIZED (
                SELECT c.index_id, c.generation, c.ordinal, c.source_id,
                       c.embedding <#> %(vector)s AS distance
                FROM rags r
                JOIN profiles p ON p.id = r.profile_live AND p.embedding_model = %(embedding_model)s
                JOIN indexes i ON i.profile_id = p.id AND i.generation_live IS NOT NULL
                JOIN sources s ON s.id = i.source_id AND s.deleted_at IS NULL
                LEFT JOIN files f ON f.id = s.file_id
                JOIN chunks c ON c.index_id = i.id AND c.generation = i.generation_live
                WHERE r.customer_id = %(customer_id)s AND r.deleted_at IS NULL
                  AND i.customer_id = %(customer_id)s
                  AND (%(any_kind)s
                       OR CASE WHEN s.url IS NOT NULL THEN 'url'
                               WHEN f.written THEN 'text' ELSE 'file' END = ANY(%(kinds)s))
            ), best AS (
                SELECT DISTINCT ON (source_id) index_id, generation, ordinal, source_id, distance
                FROM scored ORDER BY source_id, distance, ordinal
            ), nearest AS (
                SELECT index_id, generation, ordinal, source_id, distance
                FROM best ORDER BY distance, source_id LIMIT %(limit)s
            )
            SELECT n.source_id, c.text, (-n.distance)::float8 AS dense
            FROM nearest n JOIN chunks c USING (index_id, generation, ordinal)
            ORDER BY n.distance, n.source_id
            """,
            {
                "customer_id": customer_id,
                "embedding_model": embedding_model,
                "vector": HalfVector(vector),
                "any_kind": not kinds,
                "kinds": [kind.value for kind in kinds],
                "limit": limit,
            },
        )


async def library_models(tx: Tx, *, customer_id: CustomerId) -> list[str]:
    """The engine models by which any live chunk of the customer answers."""
    rows = await tx.all(
        _Model,
        """
        SELECT DISTINCT p.embedding_model
        FROM rags r JOIN profiles p ON p.id = r.profile_live
        WHERE r.customer_id = %(customer_id)s AND r.deleted_at IS NULL
          AND EXISTS (SELECT FROM indexes i JOIN sources s ON s.id = i.source_id
                      WHERE i.profile_id = p.id AND i.generation_live IS NOT NULL
                        AND s.deleted_at IS NULL)
        ORDER BY p.embedding_model
        """,
        {"customer_id": customer_id},
    )
    return [row.embedding_model for row in rows]


@contextmanager
def comparable(vector: Sized) -> Iterator[None]:
    """The database refuses to compare vectors of unlike dimensions: so it shows that another model
    answers under the old name."""
    try:
        yield
    except psycopg.errors.DataException as error:
        raise ModelUnavailable(
            f"The embedding model gives vectors of {len(vector)} dimensions, and some of what is"
            " indexed has others: another model took its name. Refresh the sources."
        ) from error
