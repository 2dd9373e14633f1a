"""Entries of an ANN table after it was built: put in, marked, taken out, in bounded steps.

All of it as rag_worker, beside whoever asks and ingests. How a table is made stands in `ann`.
"""

import psycopg
from psycopg import sql

from engine.models import IndexId, Noun
from engine.store.ann import VECTOR_ID, AnnTable, MixedDimensions
from engine.store.database import Tx


class Waiting(Noun, frozen=True, kw_only=True):
    """A generation that answers and is not in the table."""

    index_id: IndexId
    generation: int
    chunk_count: int


async def waiting(tx: Tx, *, table: AnnTable, limit: int) -> list[Waiting]:
    """Generations that answer and are not in the table, `limit` at most."""
    statement = sql.SQL(
        """
        SELECT i.id AS index_id, i.generation_live AS generation, i.chunk_count
        FROM indexes i JOIN sources s ON s.id = i.source_id AND s.deleted_at IS NULL
        WHERE i.profile_id = %(profile_id)s AND i.customer_id = %(customer_id)s
          AND i.generation_live IS NOT NULL
          AND i.ann_generation IS DISTINCT FROM i.generation_live
          AND NOT EXISTS (SELECT FROM {table} a
                          WHERE a.index_id = i.id AND a.generation = i.generation_live)
        LIMIT %(limit)s
        """
    ).format(table=table.name)
    rows = await (
        await tx.connection.execute(
            statement,
            {"profile_id": table.profile_id, "customer_id": table.customer_id, "limit": limit},
        )
    ).fetchall()
    return [Waiting(**row) for row in rows]


async def waiting_chunks(tx: Tx, *, table: AnnTable) -> int:
    """How many chunks are not in the table, and so have to be scanned beside it."""
    statement = sql.SQL(
        """
        SELECT COALESCE(sum(i.chunk_count), 0)::bigint AS chunks
        FROM indexes i JOIN sources s ON s.id = i.source_id AND s.deleted_at IS NULL
        WHERE i.profile_id = %(profile_id)s AND i.customer_id = %(customer_id)s
          AND i.generation_live IS NOT NULL
          AND i.ann_generation IS DISTINCT FROM i.generation_live
          AND NOT EXISTS (SELECT FROM {table} a
                          WHERE a.index_id = i.id AND a.generation = i.generation_live)
        """
    ).format(table=table.name)
    row = await (
        await tx.connection.execute(
            statement, {"profile_id": table.profile_id, "customer_id": table.customer_id}
        )
    ).fetchone()
    return int(row["chunks"]) if row else 0


async def mark(tx: Tx, *, table: AnnTable, limit: int) -> int:
    """Mark generations that are in the table without being marked: those that it was built with.

    Every transaction enters a generation as a whole or not at all, so one entry stands for all. An
    index that somebody holds is marked another time: until then its chunks are found twice, in the
    table and beside it, which gives the same hit.
    """
    statement = sql.SQL(
        """
        WITH free AS (
            SELECT i.id FROM indexes i
            WHERE i.profile_id = %(profile_id)s AND i.customer_id = %(customer_id)s
              AND i.generation_live IS NOT NULL
              AND i.ann_generation IS DISTINCT FROM i.generation_live
              AND EXISTS (SELECT FROM {table} a
                          WHERE a.index_id = i.id AND a.generation = i.generation_live)
            LIMIT %(limit)s FOR UPDATE OF i SKIP LOCKED
        )
        UPDATE indexes i SET ann_generation = i.generation_live FROM free WHERE i.id = free.id
        """
    ).format(table=table.name)
    marked = await tx.connection.execute(
        statement,
        {"profile_id": table.profile_id, "customer_id": table.customer_id, "limit": limit},
    )
    return marked.rowcount


async def enter(tx: Tx, *, table: AnnTable, waiting: list[Waiting]) -> int:
    """Enter whole generations, to be marked after the commit; returns the number of new entries.

    Raises MixedDimensions.
    """
    keys = {
        "index_ids": [each.index_id for each in waiting],
        "generations": [each.generation for each in waiting],
        "customer_id": table.customer_id,
    }
    try:
        entered = await tx.connection.execute(_enter_statement(table), keys)
    except psycopg.errors.DataException as error:
        raise MixedDimensions(str(table.profile_id)) from error
    await tx.run(
        "UPDATE ann_tables SET entries = entries + %(entered)s"
        " WHERE number = %(number)s AND customer_id = %(customer_id)s",
        {
            "entered": entered.rowcount,
            "number": table.number,
            "customer_id": table.customer_id,
        },
    )
    return entered.rowcount


def _enter_statement(table: AnnTable) -> sql.Composed:
    """A vector that is in the graph is entered by its name alone, whoever brought it there."""
    return sql.SQL(
        """
        WITH entering AS MATERIALIZED (
            SELECT c.index_id, c.generation, c.ordinal, c.embedding, {vector_id} AS vector_id
            FROM unnest(%(index_ids)s::uuid[], %(generations)s::int[]) AS g (index_id, generation)
            JOIN chunks c USING (index_id, generation)
            WHERE c.customer_id = %(customer_id)s
        ), vectors AS (
            INSERT INTO {vectors} (id, embedding) SELECT vector_id, embedding FROM entering
            ON CONFLICT (id) DO NOTHING
        )
        INSERT INTO {table} (index_id, generation, ordinal, vector_id)
        SELECT index_id, generation, ordinal, vector_id FROM entering
        """
    ).format(table=table.name, vectors=table.vectors, vector_id=sql.SQL(VECTOR_ID))


async def delete_dead(tx: Tx, *, table: AnnTable, limit: int) -> int:
    """Take out entries of generations that answer no more, `limit` at most; their vectors stay,
    as they would in any graph that is not vacuumed, until it is built anew.

    One step of the walk over the table's keys is one generation, however many chunks it has. Each
    is looked up by itself: as a join it was planned from the other end, over everybody's sources.
    """
    statement = sql.SQL(
        """
        WITH RECURSIVE held AS (
            (SELECT index_id, generation FROM {table} ORDER BY 1, 2 LIMIT 1)
            UNION ALL
            SELECT next.index_id, next.generation
            FROM held h, LATERAL (
                SELECT a.index_id, a.generation FROM {table} a
                WHERE (a.index_id, a.generation) > (h.index_id, h.generation)
                ORDER BY 1, 2 LIMIT 1) next
        ), dead AS (
            SELECT h.index_id, h.generation FROM held h
            WHERE (SELECT i.generation_live = h.generation
                   FROM indexes i JOIN sources s ON s.id = i.source_id AND s.deleted_at IS NULL
                   WHERE i.id = h.index_id AND i.customer_id = %(customer_id)s) IS NOT TRUE
            LIMIT %(limit)s
        )
        DELETE FROM {table} WHERE ctid = ANY (ARRAY(
            SELECT entry.ctid FROM dead CROSS JOIN LATERAL (
                SELECT a.ctid FROM {table} a
                WHERE a.index_id = dead.index_id AND a.generation = dead.generation
                LIMIT %(limit)s) entry
            LIMIT %(limit)s))
        """
    ).format(table=table.name)
    deleted = await tx.connection.execute(
        statement, {"customer_id": table.customer_id, "limit": limit}
    )
    if deleted.rowcount:
        await tx.run(
            "UPDATE ann_tables SET dead_entries = dead_entries + %(dead)s"
            " WHERE number = %(number)s AND customer_id = %(customer_id)s",
            {"dead": deleted.rowcount, "number": table.number, "customer_id": table.customer_id},
        )
    return deleted.rowcount
