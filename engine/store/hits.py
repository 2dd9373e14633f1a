"""Chunks that a query has chosen, read with all that an answer says of them."""

from collections.abc import Sequence

from engine.models import ChunkId, CustomerId, FileId, IndexId, Noun, SourceId
from engine.store.database import Tx


class Found(Noun, frozen=True, kw_only=True):
    """A chunk with its citation."""

    index_id: IndexId
    generation: int
    ordinal: int
    chunk_id: ChunkId
    source_id: SourceId
    text: str
    start: int
    end: int
    page: int | None
    headings: tuple[str, ...]
    source_name: str
    file_id: FileId | None
    url: str | None


class Beside(Noun, frozen=True, kw_only=True):
    """A chunk beside one that was asked for."""

    index_id: IndexId
    ordinal: int
    text: str
    start: int
    end: int


async def read(
    tx: Tx, *, customer_id: CustomerId, keys: Sequence[tuple[IndexId, int, int]]
) -> list[Found]:
    """In any order; without those of sources that are deleted."""
    return await tx.all(
        Found,
        """
        SELECT c.index_id, c.generation, c.ordinal, c.id AS chunk_id, c.source_id, c.text,
               c.start_offset AS start, c.end_offset AS "end", c.page, c.headings,
               s.name AS source_name, s.file_id, s.url
        FROM unnest(%(index_ids)s::uuid[], %(generations)s::int[], %(ordinals)s::int[])
             AS k (index_id, generation, ordinal)
        JOIN chunks c USING (index_id, generation, ordinal)
        JOIN sources s ON s.id = c.source_id AND s.deleted_at IS NULL
        WHERE c.customer_id = %(customer_id)s
        """,
        _keyed(customer_id, keys=keys),
    )


async def beside(
    tx: Tx, *, customer_id: CustomerId, keys: Sequence[tuple[IndexId, int, int]]
) -> list[Beside]:
    """The chunks before and after each of these, where there are any."""
    next_to = {
        (index_id, generation, ordinal + step)
        for index_id, generation, ordinal in keys
        for step in (-1, 1)
    }
    return await tx.all(
        Beside,
        """
        SELECT c.index_id, c.ordinal, c.text, c.start_offset AS start, c.end_offset AS "end"
        FROM unnest(%(index_ids)s::uuid[], %(generations)s::int[], %(ordinals)s::int[])
             AS k (index_id, generation, ordinal)
        JOIN chunks c USING (index_id, generation, ordinal)
        WHERE c.customer_id = %(customer_id)s
        """,
        _keyed(customer_id, keys=list(next_to)),
    )


def _keyed(
    customer_id: CustomerId, *, keys: Sequence[tuple[IndexId, int, int]]
) -> dict[str, object]:
    return {
        "customer_id": customer_id,
        "index_ids": [key[0] for key in keys],
        "generations": [key[1] for key in keys],
        "ordinals": [key[2] for key in keys],
    }
