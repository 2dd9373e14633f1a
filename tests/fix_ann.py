"""RAGs of many chunks with vectors of a test's own, put into the tables at once.

Vectors lie in groups, as passages of one subject do: with independent random ones every chunk would
be as far from a question as any other, and nearest would mean nothing.
"""

from collections.abc import Sequence
from uuid import UUID, uuid4

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql

Vectors = NDArray[np.float32]
MODEL = "a-model"


class Filler:
    """Writes as the superuser, so that thousands of chunks take no time."""

    def __init__(self, admin_url: str) -> None:
        self.connection = psycopg.connect(admin_url, autocommit=True)

    def close(self) -> None:
        self.connection.close()

    def customer(self) -> UUID:
        return self._id("INSERT INTO customers (name) VALUES ('tester') RETURNING id")

    def rag(self, customer_id: UUID, *, model: str = MODEL) -> tuple[UUID, UUID]:
        """A RAG and its live profile."""
        rag_id = self._id(
            "INSERT INTO rags (customer_id, name) VALUES (%s, 'a') RETURNING id", customer_id
        )
        profile_id = self._id(
            "INSERT INTO profiles (customer_id, rag_id, embedding_model, chunk_tokens,"
            " chunk_overlap_tokens) VALUES (%s, %s, %s, 200, 0) RETURNING id",
            customer_id, rag_id, model,
        )  # fmt: skip
        self.connection.execute(
            "UPDATE rags SET profile_live = %s WHERE id = %s", [profile_id, rag_id]
        )
        return rag_id, profile_id

    def source(
        self, profile_id: UUID, vectors: Vectors, *, texts: Sequence[str] | None = None
    ) -> UUID:
        """A ready source of one chunk for each vector, 100 characters apart."""
        rag_id, customer_id = self._one(
            "SELECT rag_id, customer_id FROM profiles WHERE id = %s", profile_id
        )
        source_id = self._id(
            "INSERT INTO sources (customer_id, rag_id, url, name, state, due_at, revision)"
            " VALUES (%s, %s, %s, 'a page', 'ready', NULL, 1) RETURNING id",
            customer_id, rag_id, f"https://example.org/{uuid4()}",
        )  # fmt: skip
        index_id = self._id(
            "INSERT INTO indexes (customer_id, rag_id, source_id, profile_id, state, generation,"
            " generation_live, chunk_count) VALUES (%s, %s, %s, %s, 'ready', 1, 1, %s)"
            " RETURNING id",
            customer_id, rag_id, source_id, profile_id, len(vectors),
        )  # fmt: skip
        self.chunks(index_id, vectors, generation=1, texts=texts)
        return source_id

    def refresh(self, source_id: UUID, vectors: Vectors) -> None:
        """Another generation, which answers from now on."""
        (index_id, generation) = self._one(
            "SELECT id, generation_live + 1 FROM indexes WHERE source_id = %s", source_id
        )
        self.chunks(index_id, vectors, generation=generation)
        self.connection.execute(
            "UPDATE indexes SET generation = %(g)s, generation_live = %(g)s, retired = true,"
            " chunk_count = %(n)s WHERE id = %(id)s",
            {"g": generation, "n": len(vectors), "id": index_id},
        )

    def delete(self, source_id: UUID) -> None:
        self.connection.execute("UPDATE sources SET deleted_at = now() WHERE id = %s", [source_id])

    def chunks(
        self,
        index_id: UUID,
        vectors: Vectors,
        *,
        generation: int,
        texts: Sequence[str] | None = None,
    ) -> None:
        whose = self._one(
            "SELECT customer_id, rag_id, source_id, profile_id FROM indexes WHERE id = %s", index_id
        )
        with (
            self.connection.cursor() as cursor,
            cursor.copy(
                "COPY chunks (index_id, generation, ordinal, customer_id, rag_id, source_id,"
                " profile_id, start_offset, end_offset, tokens, headings, text, embedding_key,"
                " embedding) FROM STDIN"
            ) as copy,
        ):
            for ordinal, vector in enumerate(vectors):
                text = texts[ordinal] if texts else f"passage {ordinal} of {index_id}"
                copy.write_row([
                    index_id, generation, ordinal, *whose, ordinal * 100, ordinal * 100 + 90, 20,
                    [], text, uuid4().bytes * 2, literal(vector),
                ])  # fmt: skip

    def count(self, table: str) -> int:
        query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
        row = self.connection.execute(query).fetchone()
        assert row
        return int(row[0])

    def ann_tables(self) -> list[str]:
        rows = self.connection.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname ~ '^ann_[0-9]'"
            " ORDER BY relname"
        ).fetchall()
        return [row[0] for row in rows]

    def _id(self, query: str, *values: object) -> UUID:
        return UUID(str(self._one(query, *values)[0]))

    def _one(self, query: str, *values: object) -> tuple[object, ...]:
        row = self.connection.execute(query.encode(), values).fetchone()
        assert row
        return tuple(row)


def named(number: int | None) -> list[str]:
    """The tables of this number."""
    return [f"ann_{number}", f"ann_{number}_vectors"]


def literal(vector: Vectors) -> str:
    return "[" + ",".join(f"{each:.5f}" for each in vector) + "]"


def grouped(count: int, *, dimensions: int = 16, groups: int = 20, seed: int = 0) -> Vectors:
    """Unit vectors around `groups` middles, rounded as halfvec keeps them."""
    drawn = np.random.default_rng(seed)
    middles = drawn.normal(size=(groups, dimensions))
    made = middles[drawn.integers(groups, size=count)] + 0.5 * drawn.normal(
        size=(count, dimensions)
    )
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return np.round(made, 5).astype(np.float16).astype(np.float32)
