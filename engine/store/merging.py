"""What is taken away from the inverted index, in bounded steps: segments that others replaced or
whose RAG is gone."""

from engine.store.database import Tx


async def retire_of_deleted_rags(tx: Tx, *, limit: int) -> int:
    """Segments of deleted RAGs are removed like replaced ones, at once; their dead marks too."""
    retired = await tx.run(
        """
        UPDATE segments SET state = 'replaced', changed_at = '-infinity' WHERE id IN (
            SELECT s.id FROM rags r JOIN profiles p ON p.rag_id = r.id
            JOIN segments s ON s.profile_id = p.id
            WHERE r.deleted_at IS NOT NULL AND s.changed_at > '-infinity'
            LIMIT %(limit)s FOR UPDATE OF s SKIP LOCKED)
        """,
        {"limit": limit},
    )
    return retired + await tx.run(
        """
        DELETE FROM dead_members WHERE member_id IN (
            SELECT d.member_id FROM rags r JOIN profiles p ON p.rag_id = r.id
            JOIN dead_members d ON d.profile_id = p.id
            WHERE r.deleted_at IS NOT NULL LIMIT %(limit)s)
        """,
        {"limit": limit},
    )


async def remove_replaced(tx: Tx, *, age_s: float, limit: int) -> int:
    """Pages, then members, then the segment itself, of those replaced for `age_s`."""
    pages = await tx.run(
        """
        DELETE FROM postings WHERE (segment_id, first_term) IN (
            SELECT p.segment_id, p.first_term
            FROM segments s JOIN postings p ON p.segment_id = s.id
            WHERE s.state = 'replaced' AND s.changed_at < now() - make_interval(secs => %(age_s)s)
            LIMIT %(limit)s)
        """,
        {"age_s": age_s, "limit": limit},
    )
    members = await tx.run(
        """
        DELETE FROM segment_members WHERE (segment_id, first_number) IN (
            SELECT m.segment_id, m.first_number
            FROM segments s JOIN segment_members m ON m.segment_id = s.id
            WHERE s.state = 'replaced' AND s.changed_at < now() - make_interval(secs => %(age_s)s)
            LIMIT %(limit)s)
        """,
        {"age_s": age_s, "limit": limit},
    )
    return pages + members + await _remove_empty(tx, age_s=age_s, limit=limit)


async def _remove_empty(tx: Tx, *, age_s: float, limit: int) -> int:
    return await tx.run(
        """
        DELETE FROM segments WHERE id IN (
            SELECT s.id FROM segments s
            WHERE s.state = 'replaced' AND s.changed_at < now() - make_interval(secs => %(age_s)s)
              AND NOT EXISTS (SELECT FROM postings p WHERE p.segment_id = s.id)
              AND NOT EXISTS (SELECT FROM segment_members m WHERE m.segment_id = s.id)
            LIMIT %(limit)s FOR UPDATE OF s SKIP LOCKED)
        """,
        {"age_s": age_s, "limit": limit},
    )
