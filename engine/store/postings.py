"""A stand-in: the lexical side until it is merged."""

from collections.abc import Sequence

from engine.models import CustomerId, IndexId, Noun, ProfileId, SourceId
from engine.store.database import Tx


class Scored(Noun, frozen=True, kw_only=True):
    index_id: IndexId
    generation: int
    ordinal: int
    score: float


async def ranked(
    tx: Tx,
    *,
    customer_id: CustomerId,
    profile_id: ProfileId,
    question: str,
    limit: int,
    source_ids: Sequence[SourceId] | None = None,
) -> list[Scored]:
    return await tx.all(
        Scored,
        """
        SELECT index_id, generation, ordinal, score::float8 AS score FROM (
            SELECT c.index_id, c.generation, c.ordinal,
                   (SELECT count(*) FROM unnest(%(words)s::text[]) w
                    WHERE position(w IN lower(c.text)) > 0) AS score
            FROM indexes i
            JOIN sources s ON s.id = i.source_id AND s.deleted_at IS NULL
            JOIN chunks c ON c.index_id = i.id AND c.generation = i.generation_live
            WHERE i.profile_id = %(profile_id)s AND i.customer_id = %(customer_id)s
              AND (%(any_source)s OR i.source_id = ANY(%(source_ids)s))) scored
        WHERE score > 0 ORDER BY score DESC, index_id, ordinal LIMIT %(limit)s
        """,
        {
            "words": question.lower().split(),
            "customer_id": customer_id,
            "profile_id": profile_id,
            "limit": limit,
            "any_source": source_ids is None,
            "source_ids": list(source_ids or ()),
        },
    )
