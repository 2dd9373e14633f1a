"""What the rows must look like: at every moment of a race, and when it has come to its end."""

from typing import Any, LiteralString

from fix_store import Store

from engine.models import SourceId

# One statement and so one snapshot: live sources of live RAGs, as readers join them.
VISIBLE: LiteralString = """
SELECT s.id, s.state, i.generation_live, i.chunk_count, d.revision, count(c.*) AS found,
       count(DISTINCT c.ordinal) AS ordinals, COALESCE(max(c.ordinal), -1) AS last,
       count(*) FILTER (WHERE c.text <> substr(d.text, c.start_offset + 1,
                                               c.end_offset - c.start_offset)) AS foreign_texts
FROM rags r JOIN sources s ON s.rag_id = r.id
LEFT JOIN indexes i ON i.source_id = s.id AND i.profile_id = r.profile_live
LEFT JOIN documents d ON d.source_id = s.id AND d.revision = i.generation_live
LEFT JOIN chunks c ON c.index_id = i.id AND c.generation = i.generation_live
WHERE r.deleted_at IS NULL AND s.deleted_at IS NULL
GROUP BY s.id, s.state, i.generation_live, i.chunk_count, d.revision
"""

WORKING: LiteralString = """
SELECT 'source' AS kind, id, state, due_at, lease_until FROM sources
WHERE deleted_at IS NULL AND (due_at IS NOT NULL OR lease_until IS NOT NULL
                              OR state IN ('pending', 'processing'))
UNION ALL
SELECT 'index', id, state, due_at, lease_until FROM indexes
WHERE due_at IS NOT NULL OR lease_until IS NOT NULL OR state IN ('pending', 'processing')
   OR retired
UNION ALL SELECT 'deleted source', id, state, due_at, lease_until FROM sources
WHERE deleted_at IS NOT NULL
UNION ALL SELECT 'deleted rag', id, '', NULL, NULL FROM rags WHERE deleted_at IS NOT NULL
"""

LEFT_OVER: LiteralString = """
SELECT 'chunk of no index' AS what, count(*) AS count FROM chunks c
WHERE NOT EXISTS (SELECT FROM indexes i WHERE i.id = c.index_id)
UNION ALL SELECT 'chunk that does not answer', count(*) FROM chunks c JOIN indexes i
ON i.id = c.index_id WHERE c.generation IS DISTINCT FROM i.generation_live
UNION ALL SELECT 'chunk under another source', count(*) FROM chunks c JOIN indexes i
ON i.id = c.index_id WHERE (c.source_id, c.rag_id) <> (i.source_id, i.rag_id)
UNION ALL SELECT 'index of no source', count(*) FROM indexes i
WHERE NOT EXISTS (SELECT FROM sources s WHERE s.id = i.source_id)
UNION ALL SELECT 'document of no source', count(*) FROM documents d
WHERE NOT EXISTS (SELECT FROM sources s WHERE s.id = d.source_id)
UNION ALL SELECT 'document that nothing is made from', count(*) FROM documents d
JOIN sources s ON s.id = d.source_id WHERE d.revision < s.revision
AND NOT EXISTS (SELECT FROM indexes i WHERE i.source_id = s.id
                AND d.revision IN (i.generation, i.generation_live))
UNION ALL SELECT 'source of no RAG', count(*) FROM sources s
WHERE NOT EXISTS (SELECT FROM rags r WHERE r.id = s.rag_id)
UNION ALL SELECT 'profile of no RAG', count(*) FROM profiles p
WHERE NOT EXISTS (SELECT FROM rags r WHERE r.id = p.rag_id)
"""


async def visible_now(store: Store) -> list[str]:
    """What is wrong with the answers at this moment."""
    return [problem for row in await store.fetch(VISIBLE) if (problem := _problem(row))]


def _problem(row: dict[str, Any]) -> str:
    live = row["generation_live"] is not None
    whole = row["found"] == row["ordinals"] == row["last"] + 1 == row["chunk_count"] > 0
    if live and (not whole or row["revision"] is None or row["foreign_texts"]):
        return f"an answer that is double, partial or mixed: {row}"
    if row["state"] == "ready" and not live:
        return f"ready without an answer: {row}"
    if row["state"] == "error" and live:
        return f"error although an answer is there: {row}"
    return ""


async def at_work(store: Store) -> list[dict[str, Any]]:
    """Rows that wait, are worked on or are to be removed; none when all has come to its end."""
    return await store.fetch(WORKING)


async def left_over(store: Store) -> dict[str, int]:
    rows = await store.fetch(LEFT_OVER)
    return {row["what"]: row["count"] for row in rows if row["count"]}


async def texts(store: Store) -> dict[SourceId, list[str]]:
    """The texts that answer, in order, of each source."""
    rows = await store.fetch(
        """
        SELECT s.id, array_agg(c.text ORDER BY c.ordinal) AS texts
        FROM sources s JOIN indexes i ON i.source_id = s.id
        JOIN chunks c ON c.index_id = i.id AND c.generation = i.generation_live
        GROUP BY s.id
        """
    )
    return {SourceId(row["id"]): row["texts"] for row in rows}
