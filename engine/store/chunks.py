"""chunks: stored passages. Written by generation, batch by batch; read where they are live."""

from collections.abc import Sequence

import numpy as np
from msgspec.json import encode
from numpy.typing import NDArray
from pgvector import HalfVector

from engine.models import (
    Chunk,
    ChunkId,
    Cursor,
    CustomerId,
    IndexId,
    Noun,
    Passage,
    RagId,
    SourceId,
)
from engine.store.claims import ClaimedIndex
from engine.store.database import Tx
from engine.store.vectortypes import know_vectors
from engine.text import clean_text

Vectors = NDArray[np.float32]


class Stored(Noun, frozen=True, kw_only=True):
    """How far a generation is: `count` chunks, the last one ending at `end`."""

    count: int
    last: int
    end: int


async def stored(tx: Tx, *, claim: ClaimedIndex) -> Stored:
    """Where an earlier attempt at this generation stopped; last is -1 without any chunk."""
    row = await tx.one(
        Stored,
        """
        SELECT count(*) AS count, COALESCE(max(ordinal), -1) AS last,
               COALESCE(max(end_offset), 0) AS end
        FROM chunks WHERE index_id = %(id)s AND generation = %(generation)s
        """,
        {"id": claim.id, "generation": claim.generation},
    )
    assert row
    return row


async def drop_generation(tx: Tx, *, claim: ClaimedIndex) -> None:
    """Start this generation over: it was cut by another version of the chunker."""
    await tx.run(
        "DELETE FROM chunks WHERE index_id = %(id)s AND generation = %(generation)s",
        {"id": claim.id, "generation": claim.generation},
    )


async def insert(
    tx: Tx,
    *,
    claim: ClaimedIndex,
    passages: Sequence[Passage],
    keys: Sequence[bytes],
    vectors: Vectors,
) -> None:
    """One batch in one statement; `vectors` is (len(passages), dimensions), L2-normalised.

    Arrays, because COPY is refused to a role under row-level security. And no pipeline: what the
    driver sends behind one stops the server's clock for idle transactions, so that a process that
    vanished then would keep its locks for ever.
    """
    await know_vectors(tx)
    await tx.run(
        """
        INSERT INTO chunks (index_id, generation, ordinal, customer_id, rag_id, source_id,
                            profile_id, start_offset, end_offset, page, tokens, headings, text,
                            embedding_key, embedding)
        SELECT %(index_id)s, %(generation)s, p.ordinal, %(customer_id)s, %(rag_id)s, %(source_id)s,
               %(profile_id)s, p.start_offset, p.end_offset, p.page, p.tokens,
               ARRAY(SELECT json_array_elements_text(p.headings::json)), p.text, p.embedding_key,
               p.embedding
        FROM unnest(%(ordinals)s::int[], %(starts)s::int[], %(ends)s::int[], %(pages)s::int[],
                    %(tokens)s::int[], %(headings)s::text[], %(texts)s::text[],
                    %(keys)b::bytea[], %(embeddings)b::halfvec[])
             AS p (ordinal, start_offset, end_offset, page, tokens, headings, text, embedding_key,
                   embedding)
        """,
        {
            "index_id": claim.id,
            "generation": claim.generation,
            "customer_id": claim.customer_id,
            "rag_id": claim.rag_id,
            "source_id": claim.source_id,
            "profile_id": claim.profile_id,
            "ordinals": [passage.ordinal for passage in passages],
            "starts": [passage.start for passage in passages],
            "ends": [passage.end for passage in passages],
            "pages": [passage.page for passage in passages],
            "tokens": [passage.tokens for passage in passages],
            "headings": [_as_json(passage.headings) for passage in passages],
            "texts": [passage.text for passage in passages],
            "keys": list(keys),
            "embeddings": [HalfVector(vector) for vector in vectors],
        },
    )


def _as_json(texts: Sequence[str]) -> str:
    """Cleaned here, because the net under all strings does not see into JSON."""
    return encode([clean_text(text) for text in texts]).decode()


async def reusable(
    tx: Tx, *, customer_id: CustomerId, keys: Sequence[bytes], dimensions: int
) -> dict[bytes, NDArray[np.float32]]:
    """Vectors of shape (dimensions,) that this customer already has for these embedding keys.

    Others under the same key come from another model that had the name: they are of no use.
    """
    await know_vectors(tx)
    rows = await (
        await tx.connection.execute(
            """
            SELECT k.key AS embedding_key, c.embedding
            FROM unnest(%(keys)s::bytea[]) AS k (key) CROSS JOIN LATERAL (
                SELECT embedding FROM chunks
                WHERE customer_id = %(customer_id)s AND embedding_key = k.key
                  AND vector_dims(embedding) = %(dimensions)s
                LIMIT 1) c
            """,
            {"customer_id": customer_id, "keys": list(keys), "dimensions": dimensions},
        )
    ).fetchall()
    return {
        bytes(row["embedding_key"]): row["embedding"].to_numpy().astype(np.float32) for row in rows
    }


async def page(
    tx: Tx,
    *,
    customer_id: CustomerId,
    rag_id: RagId,
    source_id: SourceId,
    limit: int,
    after: Cursor | None,
) -> list[Chunk]:
    """Live chunks of a source in document order."""
    return await tx.all(
        Chunk,
        """
        SELECT c.id, c.ordinal, c.text, c.start_offset AS start, c.end_offset AS "end", c.page,
               c.headings, c.tokens
        FROM sources s
        JOIN rags r ON r.id = s.rag_id AND r.deleted_at IS NULL
        JOIN indexes i ON i.source_id = s.id AND i.profile_id = r.profile_live
        JOIN chunks c ON c.index_id = i.id AND c.generation = i.generation_live
        WHERE s.customer_id = %(customer_id)s AND s.rag_id = %(rag_id)s AND s.id = %(source_id)s
          AND s.deleted_at IS NULL AND c.ordinal > %(ordinal)s
        ORDER BY c.ordinal LIMIT %(limit)s
        """,
        {
            "customer_id": customer_id,
            "rag_id": rag_id,
            "source_id": source_id,
            "limit": limit,
            "ordinal": after.position if after else -1,
        },
    )


async def public_index(
    tx: Tx, *, customer_id: CustomerId, source_id: SourceId, model: str
) -> IndexId | None:
    """The index of a live source under this public model name."""
    return await tx.value(
        IndexId,
        """
        SELECT i.id FROM sources s
        JOIN rags r ON r.id = s.rag_id AND r.deleted_at IS NULL
        JOIN profiles p ON p.rag_id = r.id AND p.public_model = %(model)s
        JOIN indexes i ON i.source_id = s.id AND i.profile_id = p.id
        WHERE s.customer_id = %(customer_id)s AND s.id = %(source_id)s AND s.deleted_at IS NULL
        """,
        {"customer_id": customer_id, "source_id": source_id, "model": model},
    )


async def page_of_index(
    tx: Tx, *, customer_id: CustomerId, index_id: IndexId, limit: int, after: Cursor | None
) -> list[Chunk]:
    """Live chunks of an index in document order; none before its first generation."""
    return await tx.all(
        Chunk,
        """
        SELECT c.id, c.ordinal, c.text, c.start_offset AS start, c.end_offset AS "end", c.page,
               c.headings, c.tokens
        FROM indexes i JOIN chunks c ON c.index_id = i.id AND c.generation = i.generation_live
        WHERE i.customer_id = %(customer_id)s AND i.id = %(index_id)s AND c.ordinal > %(ordinal)s
        ORDER BY c.ordinal LIMIT %(limit)s
        """,
        {
            "customer_id": customer_id,
            "index_id": index_id,
            "limit": limit,
            "ordinal": after.position if after else -1,
        },
    )


async def get(
    tx: Tx, *, customer_id: CustomerId, index_id: IndexId, chunk_id: ChunkId
) -> Chunk | None:
    """A live chunk of an index."""
    return await tx.one(
        Chunk,
        """
        SELECT c.id, c.ordinal, c.text, c.start_offset AS start, c.end_offset AS "end", c.page,
               c.headings, c.tokens
        FROM indexes i JOIN chunks c ON c.index_id = i.id AND c.generation = i.generation_live
        WHERE i.customer_id = %(customer_id)s AND i.id = %(index_id)s AND c.id = %(chunk_id)s
        """,
        {"customer_id": customer_id, "index_id": index_id, "chunk_id": chunk_id},
    )
