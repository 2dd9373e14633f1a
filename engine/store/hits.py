"""The statement that answers a question: candidates of both sides, fused, and the best of them with
all that an answer says of them."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from msgspec import convert
from msgspec.structs import asdict
from numpy import float32
from numpy.typing import NDArray
from pgvector import HalfVector

from engine.inverted import NO_HITS, Best
from engine.models import ChunkId, CustomerId, FileId, IndexId, Noun, ProfileId, RagId, SourceId
from engine.store import near, postings
from engine.store.ann import existing_table
from engine.store.database import Tx
from engine.store.vectors import comparable
from engine.store.vectortypes import know_vectors

STATEMENTS_MAX = 1_000  # a large profile has its own


class Nearest(Noun, frozen=True, kw_only=True):
    """Keys and cosines of what is nearest, each as PostgreSQL writes an array: it reads them again,
    and nobody else."""

    index_ids: str
    generations: str
    ordinals: str
    dense: str


class Asked(Noun, frozen=True, kw_only=True):
    """What a statement looks for.

    `vector` None: by words alone; `words`: what ranks by them, placed in segments. `limit`: the
    candidates of each side. `dense_share`: of a score, as of engine.retrieval. `count`: how many
    are read, of those that have `min_score`. `ann_number` None: all that is live is looked at.
    `nearest`: what that table gave, where it was asked before.
    """

    customer_id: CustomerId
    rag_id: RagId
    profile_id: ProfileId
    vector: NDArray[float32] | None
    words: Best = NO_HITS
    source_ids: Sequence[SourceId] | None = None
    ann_number: int | None = None
    nearest: Nearest | None = None
    dense_share: float = 1.0
    min_score: float = 0.0
    limit: int
    count: int


class Found(Noun, frozen=True, kw_only=True):
    """A chunk with its citation. `score` in 0..1; `dense` the cosine, `lexical` the BM25 score."""

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
    score: float
    dense: float | None
    lexical: float | None


class Sides(Noun, frozen=True, kw_only=True):
    """How many candidates each side gave, what the last of them had, and the nearest one."""

    near_count: int
    word_count: int
    most_dense: float | None
    least_dense: float | None
    least_lexical: float | None


class Answer(Noun, frozen=True, kw_only=True):
    """Best first."""

    found: list[Found]
    sides: Sides


class Beside(Noun, frozen=True, kw_only=True):
    """A chunk beside one that was asked for."""

    index_id: IndexId
    ordinal: int
    text: str
    start: int
    end: int


async def find(tx: Tx, asked: Asked) -> Answer:
    """The best `count` of the candidates of both sides.

    For a transaction with near.settings. By an ANN table fewer near ones than `limit` do not mean
    that there are no more. Raises Superseded when that table was dropped meanwhile;
    ModelUnavailable when the chunks have vectors of other dimensions.
    """
    statement = _statement(
        dense=asked.vector is not None,
        ann_number=asked.ann_number,
        known=asked.nearest is not None,
        filtered=asked.source_ids is not None,
    )
    rows = await _rows(tx, statement, asked)
    return Answer(
        found=convert([row for row in rows if row["chunk_id"] is not None], list[Found]),
        sides=convert(rows[0], Sides),
    )


async def nearest(tx: Tx, asked: Asked) -> Nearest:
    """The near side alone, for `find` to go on from. Of an ANN table; raises as `find`."""
    assert asked.ann_number is not None
    statement = _walk(asked.ann_number, filtered=asked.source_ids is not None)
    return convert((await _rows(tx, statement, asked))[0], Nearest)


async def _rows(tx: Tx, statement: bytes, asked: Asked) -> list[dict[str, Any]]:
    await know_vectors(tx)
    with existing_table(), comparable(() if asked.vector is None else asked.vector):
        cursor = await tx.connection.execute(statement, _params(asked), prepare=_prepared(asked))
        return await cursor.fetchall()


def _prepared(asked: Asked) -> bool | None:
    """Under a filter the plan is made for its list of sources. Of the statements that belong to one
    ANN table a session keeps only those that come again and again."""
    if asked.source_ids is not None:
        return False
    return True if asked.ann_number is None else None


@lru_cache(maxsize=STATEMENTS_MAX)
def _statement(*, dense: bool, ann_number: int | None, known: bool, filtered: bool) -> bytes:
    if not dense:
        nearest = near.nothing()
    elif known:
        nearest = near.known()
    elif ann_number is None:
        nearest = near.exact(filtered=filtered)
    else:
        nearest = near.approximate(ann_number, filtered=filtered)
    return _short(_find(nearest=nearest, cosine=_cosine() if dense else "NULL::float8"))


@lru_cache(maxsize=STATEMENTS_MAX)
def _walk(ann_number: int, *, filtered: bool) -> bytes:
    return _short(f"""
        WITH {near.approximate(ann_number, filtered=filtered)}
        SELECT COALESCE(array_agg(index_id), '{{}}')::text AS index_ids,
               COALESCE(array_agg(generation), '{{}}')::text AS generations,
               COALESCE(array_agg(ordinal), '{{}}')::text AS ordinals,
               COALESCE(array_agg(dense), '{{}}')::text AS dense
        FROM nearest
    """)


def _short(statement: str) -> bytes:
    """Without what makes it readable: psycopg remembers how to send what has under 4,096 bytes."""
    return " ".join(statement.split()).encode()


def _cosine() -> str:
    """Of a candidate that only the words have found."""
    return """
        (SELECT -(c.embedding <#> %(vector)b) FROM chunks c
         WHERE c.index_id = k.index_id AND c.generation = k.generation AND c.ordinal = k.ordinal
           AND c.customer_id = %(customer_id)s)
    """


def _find(*, nearest: str, cosine: str) -> str:
    """One row for each that is found, with the sides beside it; these alone where nothing is."""
    return f"""
        WITH {nearest}, worded AS MATERIALIZED ({postings.places()}), candidates AS MATERIALIZED (
            SELECT index_id, generation, ordinal, max(dense) AS dense, max(lexical) AS lexical
            FROM (SELECT index_id, generation, ordinal, dense, NULL::float8 AS lexical FROM nearest
                  UNION ALL SELECT index_id, generation, ordinal, NULL, score FROM worded) sides
            GROUP BY index_id, generation, ordinal
        ), known AS MATERIALIZED (
            SELECT k.index_id, k.generation, k.ordinal, k.lexical,
                   COALESCE(k.dense, {cosine}) AS dense FROM candidates k
        ), fused AS MATERIALIZED (
            SELECT *, %(dense_share)s * LEAST(GREATEST(COALESCE(dense, 0), 0), 1)
                      + (1 - %(dense_share)s) * LEAST(COALESCE(lexical, 0) / %(most)s, 1) AS score
            FROM known
        ), best AS MATERIALIZED (
            SELECT * FROM fused
            WHERE score >= %(min_score)s
              AND EXISTS (SELECT FROM rags WHERE id = %(rag_id)s AND deleted_at IS NULL
                          AND customer_id = %(customer_id)s)
            ORDER BY score DESC, dense DESC NULLS LAST, index_id, generation, ordinal
            LIMIT %(count)s
        ), sides AS (
            SELECT * FROM (SELECT count(*) AS near_count, max(dense) AS most_dense,
                                  min(dense) AS least_dense FROM nearest) n
            CROSS JOIN (SELECT count(*) AS word_count, min(score) AS least_lexical FROM worded) w
        )
        SELECT sides.*, b.score, b.dense, b.lexical, b.index_id, b.generation, b.ordinal,
               c.id AS chunk_id, c.source_id, c.text, c.start_offset AS start,
               c.end_offset AS "end", c.page, c.headings, c.source_name, c.file_id, c.url
        FROM sides LEFT JOIN (best b CROSS JOIN LATERAL (
            SELECT c.*, s.name AS source_name, s.file_id, s.url
            FROM chunks c JOIN sources s ON s.id = c.source_id AND s.deleted_at IS NULL
            WHERE c.index_id = b.index_id AND c.generation = b.generation AND c.ordinal = b.ordinal
              AND c.customer_id = %(customer_id)s OFFSET 0) c) ON true
        ORDER BY b.score DESC, b.dense DESC NULLS LAST, b.index_id, b.generation, b.ordinal
    """


def _params(asked: Asked) -> dict[str, object]:
    return {
        "customer_id": asked.customer_id,
        "rag_id": asked.rag_id,
        "profile_id": asked.profile_id,
        "vector": None if asked.vector is None else HalfVector(asked.vector),
        "source_ids": list(asked.source_ids or ()),
        "dense_share": asked.dense_share,
        "most": asked.words.most or 1.0,
        "min_score": asked.min_score,
        "limit": asked.limit,
        "count": asked.count,
        **postings.as_params(asked.words),
        **_known_params(asked.nearest),
    }


def _known_params(nearest: Nearest | None) -> dict[str, str]:
    """As `near.known` asks for them."""
    return {} if nearest is None else {f"near_{k}": v for k, v in asdict(nearest).items()}


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
