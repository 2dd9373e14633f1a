"""A RAG of as many passages as wanted, out of the few thousand real ones that it has.

Embedding a million takes hours, and random vectors have no neighbourhoods: all would be as far from
a question as any other, and any graph would look bad. So each new passage stands between two real
ones: the vector of the first, half of the second and some noise, and words of both. How often terms
come, and how near the nearest is, stay close to what real text gives.
"""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import numpy as np
import psycopg
from numpy.typing import NDArray

from engine.models import Coverage, Document, Passage
from engine.store import Database, rags, segments
from engine.store.claims import ClaimedIndex
from workers.words import words

SOURCE_PASSAGES = 5_000
NEIGHBOUR, NOISE = 0.5, 0.6  # against 1 of the passage itself
SEED = 7

Vectors = NDArray[np.float32]


class Real(NamedTuple):
    """What a RAG has of its own."""

    texts: list[str]
    vectors: Vectors


def real_of(connection: "psycopg.Connection[Any]", rag_id: str) -> Real:
    rows = connection.execute(
        "SELECT text, embedding::text FROM chunks WHERE rag_id = %s ORDER BY source_id, ordinal",
        (rag_id,),
    ).fetchall()
    vectors = [np.fromstring(row[1][1:-1], dtype=np.float32, sep=",") for row in rows]
    return Real([row[0] for row in rows], np.stack(vectors))


def fill(admin_url: str, database_url: str, rag_id: str, *, real: Real, passages: int) -> None:
    """Ready sources of SOURCE_PASSAGES each, with vectors and words, in the RAG's live profile."""
    with psycopg.connect(admin_url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        drawn = np.random.default_rng([SEED, passages, int(UUID(rag_id)) % 2**32])
        for first in range(0, passages, SOURCE_PASSAGES):
            count = min(SOURCE_PASSAGES, passages - first)
            pairs = drawn.integers(len(real.texts), size=(2, count))
            texts = list(_texts(real.texts, pairs=pairs, drawn=drawn))
            claim = _source(connection, rag_id, count=count)
            _copy(connection, claim, texts=texts, vectors=_vectors(real, pairs, drawn=drawn))
            asyncio.run(_words(database_url, claim, texts=texts))
        connection.execute("VACUUM ANALYZE chunks")
        connection.execute("ANALYZE")


def _vectors(real: Real, pairs: NDArray[np.int64], *, drawn: np.random.Generator) -> Vectors:
    made = real.vectors[pairs[0]] + NEIGHBOUR * real.vectors[pairs[1]]
    made += NOISE * drawn.normal(size=made.shape).astype(np.float32) / np.sqrt(made.shape[1])
    return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True), dtype=np.float32)


def _texts(
    texts: Sequence[str], *, pairs: NDArray[np.int64], drawn: np.random.Generator
) -> Iterator[str]:
    for one, other in pairs.T:
        cut = drawn.random()
        first, second = texts[one].split(), texts[other].split()
        yield " ".join(first[: int(len(first) * cut) + 1] + second[int(len(second) * cut) :])


def _source(connection: "psycopg.Connection[Any]", rag_id: str, *, count: int) -> ClaimedIndex:
    row = connection.execute(
        """
        WITH source AS (
            INSERT INTO sources (customer_id, rag_id, url, name, state, due_at, revision)
            SELECT customer_id, id, %(url)s, 'made', 'ready', NULL, 1 FROM rags WHERE id = %(id)s
            RETURNING *
        )
        INSERT INTO indexes (customer_id, rag_id, source_id, profile_id, state, generation,
                             generation_live, chunk_count)
        SELECT s.customer_id, s.rag_id, s.id, r.profile_live, 'ready', 1, 1, %(count)s
        FROM source s, rags r WHERE r.id = %(id)s
        RETURNING id, customer_id, rag_id, source_id, profile_id
        """,
        {"url": f"https://example.org/{uuid4()}", "id": rag_id, "count": count},
    ).fetchone()
    assert row
    names = ("id", "customer_id", "rag_id", "source_id", "profile_id")
    return ClaimedIndex(
        **dict(zip(names, row, strict=True)), attempt=1, generation=1, faults=0, alone=False
    )


def _copy(
    connection: "psycopg.Connection[Any]",
    claim: ClaimedIndex,
    *,
    texts: Sequence[str],
    vectors: Vectors,
) -> None:
    with (
        connection.cursor() as cursor,
        cursor.copy(
            "COPY chunks (index_id, generation, ordinal, customer_id, rag_id, source_id,"
            " profile_id, start_offset, end_offset, tokens, headings, text, embedding_key,"
            " embedding) FROM STDIN"
        ) as copy,
    ):
        start = 0
        for ordinal, (text, vector) in enumerate(zip(texts, vectors, strict=True)):
            end = start + len(text)
            copy.write_row([
                claim.id, 1, ordinal, claim.customer_id, claim.rag_id, claim.source_id,
                claim.profile_id, start, end, 200, [], text, uuid4().bytes * 2,
                "[" + ",".join(f"{each:.4f}" for each in vector) + "]",
            ])  # fmt: skip
            start = end + 1


async def _words(database_url: str, claim: ClaimedIndex, *, texts: Sequence[str]) -> None:
    database = await Database(database_url, role="rag_worker", connections=1).open()
    passages = [
        Passage(ordinal=number, text=text, start=0, end=len(text), embedded=text, tokens=200)
        for number, text in enumerate(texts)
    ]
    document = Document(
        title="", text=texts[0], blocks=(), media_type="text/plain",
        coverage=Coverage(characters=0), language="en",
    )  # fmt: skip
    try:
        async with database.transaction() as tx:
            profile = await rags.profile_of_index(tx, claim=claim)
            assert profile
            assert profile.usual_length
            made = words(document, passages=passages, usual_length=profile.usual_length)
            await segments.add(tx, claim=claim, made=made)
    finally:
        await database.close()
