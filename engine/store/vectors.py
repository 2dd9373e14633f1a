"""Search over a whole library, exactly: every live chunk of it is scored.

Vectors are stored L2-normalised, so the inner product is the cosine. A single RAG is searched by
`near`.
"""

from collections.abc import Iterator, Sequence, Sized
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import psycopg
from numpy.typing import NDArray
from pgvector import HalfVector

from engine.entries import EntryKind
from engine.errors import ModelUnavailable
from engine.inverted import NO_HITS, Best
from engine.models import CustomerId, Noun, SourceId
from engine.store import postings
from engine.store.database import Tx
from engine.store.entries import KIND
from engine.store.vectortypes import know_vectors


class SourceHit(Noun, frozen=True, kw_only=True):
    """The best passage of a source. `score` in 0..1; `dense` is the cosine as it is, below 0 for
    opposites."""

    source_id: SourceId
    text: str
    score: float
    dense: float


class Ranking(NamedTuple):
    """How passages are ranked, and of which documents.

    `words`: what ranks by them, of which `worded_max` count; `dense_share`: of a score, as of
    engine.retrieval. No `kinds`: all of them.
    """

    limit: int
    kinds: Sequence[EntryKind] = ()
    words: Best = NO_HITS
    worded_max: int = 0
    dense_share: float = 1.0


class _Model(Noun, frozen=True, kw_only=True):
    embedding_model: str


async def search_library(
    tx: Tx,
    *,
    customer_id: CustomerId,
    embedding_model: str,
    vector: NDArray[np.float32],
    ranking: Ranking,
) -> list[SourceHit]:
    """The best sources, best first: each by its best live chunk.

    Over all RAGs of the customer that answer by `embedding_model`; rag indexes do not count. Raises
    ModelUnavailable when chunks have vectors of other dimensions.
    """
    await know_vectors(tx)
    with comparable(vector):
        return await tx.all(
            SourceHit,
            _LIBRARY,
            {
                "customer_id": customer_id,
                "embedding_model": embedding_model,
                "vector": HalfVector(vector),
                "any_kind": not ranking.kinds,
                "kinds": [kind.value for kind in ranking.kinds],
                "dense_share": ranking.dense_share,
                "most": ranking.words.most or 1.0,
                "limit": ranking.worded_max,  # as `places` calls it
                "documents": ranking.limit,
                **postings.as_params(ranking.words),
            },
        )


# Of a source either the nearest passage is the best one, or one that has words of the question.
_LIBRARY = f"""
    WITH worded AS MATERIALIZED ({postings.places()}), scored AS MATERIALIZED (
        SELECT c.index_id, c.generation, c.ordinal, c.source_id,
               (-(c.embedding <#> %(vector)s))::float8 AS dense
        FROM rags r
        JOIN profiles p ON p.id = r.profile_live AND p.embedding_model = %(embedding_model)s
        JOIN indexes i ON i.profile_id = p.id AND i.generation_live IS NOT NULL
        JOIN sources s ON s.id = i.source_id AND s.deleted_at IS NULL
        LEFT JOIN files f ON f.id = s.file_id
        JOIN chunks c ON c.index_id = i.id AND c.generation = i.generation_live
        WHERE r.customer_id = %(customer_id)s AND r.deleted_at IS NULL
          AND i.customer_id = %(customer_id)s
          AND (%(any_kind)s
               OR {KIND} = ANY(%(kinds)s))
    ), near AS (
        SELECT DISTINCT ON (source_id) index_id, generation, ordinal, source_id, dense
        FROM scored ORDER BY source_id, dense DESC, ordinal
    ), fused AS (
        SELECT *, %(dense_share)s * LEAST(GREATEST(dense, 0), 1)
                  + (1 - %(dense_share)s) * LEAST(lexical / %(most)s, 1) AS score
        FROM (SELECT *, 0::float8 AS lexical FROM near UNION ALL
              SELECT s.index_id, s.generation, s.ordinal, s.source_id, s.dense, w.score
              FROM worded w JOIN scored s USING (index_id, generation, ordinal)) both_sides
    ), best AS (
        SELECT DISTINCT ON (source_id) * FROM fused
        ORDER BY source_id, score DESC, dense DESC, ordinal
    ), first AS (
        SELECT * FROM best ORDER BY score DESC, dense DESC, source_id LIMIT %(documents)s
    )
    SELECT f.source_id, c.text, f.score, f.dense
    FROM first f JOIN chunks c USING (index_id, generation, ordinal)
    ORDER BY f.score DESC, f.dense DESC, f.source_id
"""


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
