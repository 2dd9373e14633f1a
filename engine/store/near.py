"""What of a RAG is nearest to a question: exactly, or by its profile's ANN table.

Which one is asked decides engine.retrieval; here are the parts of `hits.find` that do it. With
ann.py the only module where a table's name becomes part of a statement. Vectors are stored
L2-normalised, so the inner product is the cosine.
"""

import math
from collections.abc import Mapping, Sequence

from engine.models import CustomerId, ProfileId, SourceId
from engine.store.ann import table_name, vectors_name
from engine.store.database import Tx

# How many entries the graph's search keeps in view, and where it stops when few of them count. What
# it costs and what it finds: docs/decisions/0011-two-statements.md
IN_VIEW = 200
VIEWED_ENTRIES = 100_000  # of a larger graph more is kept in view
VIEWED_POWER = 0.6
IN_VIEW_MAX = 1_000  # pgvector's
WALKED_MAX = 5_000

# The graph is walked on where what is in view does not suffice; and what is looked up one by one is
# not for the planner to read as a whole. So each statement has one plan, whatever is asked for, and
# to think again of a plan for these values takes longer than a small RAG.
SETTINGS: Mapping[str, str] = {
    "hnsw.ef_search": str(IN_VIEW),
    "hnsw.max_scan_tuples": str(WALKED_MAX),
    "hnsw.iterative_scan": "relaxed_order",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
}

_OF_SOURCES = "AND i.source_id = ANY(%(source_ids)s)"


def settings(*, filtered: bool) -> Mapping[str, str]:
    """For the transaction of a question; `filtered`: to some sources, of which a plan for any list
    would walk the whole of it for each entry."""
    return {**SETTINGS, "plan_cache_mode": "auto"} if filtered else SETTINGS


def in_view(entries: int) -> int:
    """How many entries of a graph of this size are kept in view."""
    wide = IN_VIEW * math.pow(entries / VIEWED_ENTRIES, VIEWED_POWER)
    return min(max(IN_VIEW, round(wide)), IN_VIEW_MAX)


async def widen(tx: Tx, *, entries: int) -> None:
    """For the rest of the transaction, before a graph of this size is walked."""
    if (wide := in_view(entries)) > IN_VIEW:
        await tx.run("SELECT set_config('hnsw.ef_search', %(wide)s, true)", {"wide": str(wide)})


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


def nothing() -> str:
    """Parts of a WITH, of which the last one is `nearest`: keys and cosines, at most `limit`."""
    return """
        nearest AS (
            SELECT NULL::uuid AS index_id, NULL::int AS generation, NULL::int AS ordinal,
                   NULL::float8 AS dense WHERE false
        )
    """


def known() -> str:
    """As `nothing`, of what `hits.nearest` gave."""
    return """
        nearest AS MATERIALIZED (
            SELECT * FROM unnest(%(near_index_ids)s::uuid[], %(near_generations)s::int[],
                                 %(near_ordinals)s::int[], %(near_dense)s::float8[])
                 AS k (index_id, generation, ordinal, dense)
        )
    """


def exact(*, filtered: bool) -> str:
    """As `nothing`, by looking at every live chunk. `filtered`: of `source_ids` only.

    Index by index: for any profile there may be, the planner would read all chunks of the customer.
    """
    return """
        live AS MATERIALIZED (
            SELECT i.id, i.generation_live
            FROM indexes i JOIN sources s ON s.id = i.source_id AND s.deleted_at IS NULL
            WHERE i.profile_id = %(profile_id)s AND i.customer_id = %(customer_id)s
              AND i.generation_live IS NOT NULL {of_sources}
        ), nearest AS MATERIALIZED (
            SELECT c.* FROM live l
            CROSS JOIN LATERAL (
                SELECT index_id, generation, ordinal,
                       (-(embedding <#> %(vector)b))::float8 AS dense
                FROM chunks WHERE index_id = l.id AND generation = l.generation_live
                  AND customer_id = %(customer_id)s OFFSET 0) c
            ORDER BY dense DESC, index_id, ordinal LIMIT %(limit)s
        )
    """.format(of_sources=_OF_SOURCES if filtered else "")


def approximate(ann_number: int, *, filtered: bool) -> str:
    """As `exact`, by the profile's ANN table and a scan of what is not yet in it. Fewer than
    `limit` only after it has walked WALKED_MAX vectors that do not answer: then there may be more.

    Whether an entry answers is asked one by one, in the order in which the graph gives the vectors
    that they have, and what is not entered is looked up index by index: as joins they would be for
    the planner to turn round, and then all of the customer's chunks would be read.
    """
    return """
        entered AS MATERIALIZED (
            SELECT a.*, v.embedding <#> %(vector)b AS distance
            FROM {vectors} v CROSS JOIN LATERAL (
                SELECT a.index_id, a.generation, a.ordinal FROM {table} a
                WHERE a.vector_id = v.id AND (
                    SELECT i.generation_live = a.generation
                    FROM indexes i JOIN sources s ON s.id = i.source_id AND s.deleted_at IS NULL
                    WHERE i.id = a.index_id AND i.customer_id = %(customer_id)s {of_sources})
                ORDER BY a.index_id, a.generation, a.ordinal LIMIT %(limit)s) a
            ORDER BY v.embedding <#> %(vector)b LIMIT %(limit)s
        ), behind AS MATERIALIZED (
            SELECT i.id, i.generation_live
            FROM indexes i JOIN sources s ON s.id = i.source_id AND s.deleted_at IS NULL
            WHERE i.profile_id = %(profile_id)s AND i.customer_id = %(customer_id)s
              AND i.generation_live IS NOT NULL
              AND i.ann_generation IS DISTINCT FROM i.generation_live {of_sources}
        ), waiting AS MATERIALIZED (
            SELECT c.* FROM behind b
            CROSS JOIN LATERAL (
                SELECT index_id, generation, ordinal, embedding <#> %(vector)b AS distance
                FROM chunks WHERE index_id = b.id AND generation = b.generation_live OFFSET 0) c
            ORDER BY distance LIMIT %(limit)s
        ), nearest AS MATERIALIZED (
            SELECT index_id, generation, ordinal, (-min(distance))::float8 AS dense
            FROM (SELECT * FROM entered UNION ALL SELECT * FROM waiting) both_kinds
            GROUP BY index_id, generation, ordinal
            ORDER BY dense DESC, index_id, ordinal LIMIT %(limit)s
        )
    """.format(
        table=table_name(ann_number).as_string(None),
        vectors=vectors_name(ann_number).as_string(None),
        of_sources=_OF_SOURCES if filtered else "",
    )
