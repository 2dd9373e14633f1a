"""Segments put together and taken away: what the merge loop and the sweep do to the index of words.

A merge writes its segment unseen, in transactions of a few megabytes, and then changes places with
the old ones in one. Killed before that, it leaves a segment that nobody reads. Nothing here waits
for a claim, a finish or a delete, nor do they wait for it: who dies meanwhile is marked under an
id that moves with the member.
"""

from collections.abc import Sequence

from engine.errors import Superseded
from engine.inverted import PASSAGES_MAX, Postings, between, pages, read
from engine.models import CustomerId, IndexId, Noun, ProfileId
from engine.store import segments
from engine.store.database import Tx

CROWD = 4  # so many of one size are put together, the next size is so many times as large
CROWD_MAX = 64  # and not more at once
# Below CROWD ** 5 passages all are of one size: each segment costs a question as many looks as a
# large one does, and so few passages are written anew in 20 ms, every two seconds at most.
SMALL = 4
REST_S = 30.0  # nothing came for so long: then all are put together that are worth it
FULL = PASSAGES_MAX // 2  # a segment that only its dead are a reason to write anew
DEAD_SHARE = 0.2
DEAD_MAX = 1_000  # members: each costs every question a look
DEAD_S = 24 * 3600.0  # however few they are: what was deleted does not stay for ever
EVER_S = 1e9


class Crowd(Noun, frozen=True, kw_only=True):
    """Segments that are to become one."""

    customer_id: CustomerId
    profile_id: ProfileId
    segment_ids: list[int]
    chunk_count: int


class Member(Noun, frozen=True, kw_only=True):
    id: int
    segment_id: int
    first_number: int
    chunk_count: int
    first_ordinal: int
    index_id: IndexId
    generation: int
    analyser: str
    dead: bool


async def sole(tx: Tx, *, silent_s: float = 0.0) -> bool:
    """Take the merge loop's lock for this connection; False while another process has it."""
    await tx.run(
        "SELECT set_config('idle_session_timeout', %(silent_ms)s, false)",
        {"silent_ms": str(round(silent_s * 1000))},
    )
    return await tx.value(bool, "SELECT pg_try_advisory_lock(7261043005)") or False


async def discard_unfinished(tx: Tx) -> int:
    """What a merge that died has left; only for who holds the lock."""
    return await tx.run(
        "UPDATE segments SET state = 'replaced', changed_at = '-infinity' WHERE state = 'building'"
    )


async def crowds(tx: Tx, *, limit: int, fresh_s: float = EVER_S) -> list[Crowd]:
    """Segments of one profile and about one size, the smallest first, where there are enough; of
    profiles that a segment has come to in the last `fresh_s`, which alone makes a crowd."""
    return await tx.all(
        Crowd,
        """
        WITH fresh AS MATERIALIZED (
            SELECT DISTINCT profile_id FROM segments
            WHERE state = 'live' AND changed_at > now() - make_interval(secs => %(fresh_s)s)
        ), sized AS (
            SELECT s.customer_id, s.profile_id, s.id, s.chunk_count,
                   GREATEST(floor(ln(s.chunk_count) / ln(%(crowd)s)), %(small)s) AS size
            FROM fresh CROSS JOIN LATERAL (
                SELECT customer_id, profile_id, id, chunk_count FROM segments
                WHERE profile_id = fresh.profile_id AND state = 'live'
                  AND chunk_count < %(full)s) s
        ), crowded AS (
            SELECT profile_id, size FROM sized
            GROUP BY profile_id, size HAVING count(*) >= %(crowd)s
            ORDER BY size, profile_id LIMIT %(limit)s
        ), ordered AS (
            SELECT customer_id, profile_id, id, chunk_count, size,
                   sum(chunk_count) OVER w AS chunks, row_number() OVER w AS position
            FROM sized JOIN crowded USING (profile_id, size)
            WINDOW w AS (PARTITION BY profile_id, size ORDER BY chunk_count, id)
        )
        SELECT customer_id, profile_id, array_agg(id ORDER BY id) AS segment_ids,
               sum(chunk_count)::int AS chunk_count
        FROM ordered WHERE chunks <= %(chunks_max)s AND position <= %(crowd_max)s
        GROUP BY customer_id, profile_id, size ORDER BY size, profile_id
        """,
        {
            "crowd": CROWD,
            "crowd_max": CROWD_MAX,
            "small": SMALL,
            "full": FULL,
            "chunks_max": PASSAGES_MAX,
            "limit": limit,
            "fresh_s": fresh_s,
        },
    )


async def resting(tx: Tx, *, limit: int, fresh_s: float = EVER_S) -> list[Crowd]:
    """Segments of whatever sizes, of profiles that nothing has come to for REST_S: the smallest
    ones, up to the last that is small, or has a quarter of itself before it. So a large one is not
    written anew for a small one, and what is written anew grows each time."""
    return await tx.all(
        Crowd,
        """
        WITH resting AS MATERIALIZED (
            SELECT profile_id FROM segments
            WHERE state = 'live' AND changed_at > now() - make_interval(secs => %(fresh_s)s)
            GROUP BY profile_id
            HAVING max(changed_at) < now() - make_interval(secs => %(rest_s)s)
        ), ordered AS (
            SELECT s.*, sum(s.chunk_count) OVER w AS chunks, row_number() OVER w AS position
            FROM resting CROSS JOIN LATERAL (
                SELECT customer_id, profile_id, id, chunk_count FROM segments
                WHERE profile_id = resting.profile_id AND state = 'live') s
            WINDOW w AS (PARTITION BY s.profile_id ORDER BY s.chunk_count, s.id)
        ), ends AS (
            SELECT profile_id, max(position) AS position FROM ordered
            WHERE position BETWEEN 2 AND %(crowd_max)s AND chunks <= %(chunks_max)s
              AND chunk_count <= GREATEST(%(crowd)s * (chunks - chunk_count), %(small)s)
            GROUP BY profile_id ORDER BY profile_id LIMIT %(limit)s
        )
        SELECT o.customer_id, o.profile_id, array_agg(o.id ORDER BY o.id) AS segment_ids,
               sum(o.chunk_count)::int AS chunk_count
        FROM ordered o JOIN ends e ON e.profile_id = o.profile_id AND o.position <= e.position
        GROUP BY o.customer_id, o.profile_id
        """,
        {
            "crowd": CROWD,
            "crowd_max": CROWD_MAX,
            "small": CROWD ** (SMALL + 1),
            "chunks_max": PASSAGES_MAX,
            "rest_s": REST_S,
            "limit": limit,
            "fresh_s": fresh_s,
        },
    )


async def decayed(tx: Tx, *, limit: int, fresh_s: float = EVER_S) -> list[Crowd]:
    """Single segments of which too much is dead, or for too long; of profiles in which something
    has died in the last `fresh_s`, or so long ago."""
    return await tx.all(
        Crowd,
        """
        WITH fresh AS MATERIALIZED (
            SELECT profile_id FROM dead_members
            WHERE died_at > now() - make_interval(secs => %(fresh_s)s)
            UNION
            SELECT profile_id FROM dead_members
            WHERE died_at < now() - make_interval(secs => %(dead_s)s)
        )
        SELECT s.customer_id, s.profile_id, ARRAY[s.id] AS segment_ids, s.chunk_count
        FROM fresh CROSS JOIN LATERAL (
            SELECT m.segment_id, sum(m.chunk_count) AS chunks, count(*) AS members,
                   min(d.died_at) AS died_at
            FROM dead_members d JOIN segment_members m ON m.id = d.member_id
            WHERE d.profile_id = fresh.profile_id
            GROUP BY m.segment_id) dead
        JOIN segments s ON s.id = dead.segment_id AND s.state = 'live'
        WHERE dead.chunks > %(dead_share)s * s.chunk_count OR dead.members > %(dead_max)s
           OR dead.died_at < now() - make_interval(secs => %(dead_s)s)
        ORDER BY s.id LIMIT %(limit)s
        """,
        {
            "dead_share": DEAD_SHARE,
            "dead_max": DEAD_MAX,
            "dead_s": DEAD_S,
            "limit": limit,
            "fresh_s": fresh_s,
        },
    )


async def members(tx: Tx, *, crowd: Crowd) -> list[Member]:
    """In the order that their chunks are to stand in."""
    return await tx.all(
        Member,
        """
        SELECT m.id, m.segment_id, m.first_number, m.chunk_count, m.first_ordinal, m.index_id,
               m.generation, m.analyser, d.member_id IS NOT NULL AS dead
        FROM segment_members m LEFT JOIN dead_members d ON d.member_id = m.id
                                                AND d.customer_id = m.customer_id
        WHERE m.segment_id = ANY(%(segment_ids)s) AND m.customer_id = %(customer_id)s
        ORDER BY m.segment_id, m.first_number
        """,
        {"segment_ids": crowd.segment_ids, "customer_id": crowd.customer_id},
    )


async def begin(tx: Tx, *, crowd: Crowd, kept: Sequence[Member]) -> int:
    """A segment that nobody sees yet, with its members."""
    segment_id = await segments.insert(
        tx,
        customer_id=crowd.customer_id,
        profile_id=crowd.profile_id,
        chunk_count=sum(member.chunk_count for member in kept),
        analysers=sorted({member.analyser for member in kept}),
        state="building",
    )
    # Their places are counted here once more: chunk by chunk behind each other, in the same order.
    await tx.run(
        """
        INSERT INTO segment_members (segment_id, id, first_number, chunk_count, first_ordinal,
                                     customer_id, profile_id, index_id, generation, analyser)
        SELECT %(segment_id)s, m.id,
               sum(m.chunk_count) OVER (ORDER BY m.segment_id, m.first_number) - m.chunk_count,
               m.chunk_count, m.first_ordinal, m.customer_id, m.profile_id, m.index_id,
               m.generation, m.analyser
        FROM segment_members m
        WHERE m.segment_id = ANY(%(segment_ids)s) AND m.customer_id = %(customer_id)s
          AND m.id = ANY(%(ids)s)
        """,
        {
            "segment_id": segment_id,
            "segment_ids": crowd.segment_ids,
            "customer_id": crowd.customer_id,
            "ids": [member.id for member in kept],
        },
    )
    return segment_id


async def read_terms(tx: Tx, *, crowd: Crowd, first: int, last: int) -> list[tuple[int, Postings]]:
    """All that the old segments have of these terms, each with its segment, in their order."""
    cursor = await tx.connection.execute(
        """
        SELECT segment_id, content FROM postings
        WHERE segment_id = ANY(%(segment_ids)s) AND customer_id = %(customer_id)s
          AND first_term <= %(last)s AND last_term >= %(first)s
        ORDER BY segment_id, first_term
        """,
        {
            "segment_ids": crowd.segment_ids,
            "customer_id": crowd.customer_id,
            "first": first,
            "last": last,
        },
        binary=True,
    )
    return [
        (row["segment_id"], between(read(row["content"]), first=first, last=last))
        for row in await cursor.fetchall()
    ]


async def write_terms(tx: Tx, *, crowd: Crowd, segment_id: int, postings: Postings) -> None:
    await segments.insert_pages(
        tx, customer_id=crowd.customer_id, segment_id=segment_id, found=pages(postings)
    )


async def switch(
    tx: Tx, *, crowd: Crowd, segment_id: int | None, dropped: Sequence[Member]
) -> None:
    """The new segment answers instead of the old ones; None: nothing of them was alive.

    Superseded when one of them does not answer any more, or when another process took this one
    for dead.
    """
    await tx.run(
        "DELETE FROM dead_members WHERE member_id = ANY(%(ids)s) AND customer_id = %(customer_id)s",
        {"ids": [member.id for member in dropped], "customer_id": crowd.customer_id},
    )
    retired = await tx.run(
        """
        UPDATE segments SET state = 'replaced', changed_at = now()
        WHERE id = ANY(%(segment_ids)s) AND customer_id = %(customer_id)s AND state = 'live'
        """,
        {"segment_ids": crowd.segment_ids, "customer_id": crowd.customer_id},
    )
    risen = segment_id is None or await tx.run(
        "UPDATE segments SET state = 'live', changed_at = now()"
        " WHERE id = %(id)s AND customer_id = %(customer_id)s AND state = 'building'",
        {"id": segment_id, "customer_id": crowd.customer_id},
    )
    if retired != len(crowd.segment_ids) or not risen:
        raise Superseded


async def retire_unwanted(tx: Tx, *, limit: int) -> int:
    """Segments of deleted RAGs and of retired profiles are removed like replaced ones, at once;
    their dead marks too."""
    retired = await tx.run(
        """
        UPDATE segments SET state = 'replaced', changed_at = '-infinity' WHERE id IN (
            SELECT s.id FROM segments s
            JOIN (SELECT p.id FROM rags r JOIN profiles p ON p.rag_id = r.id
                  WHERE r.deleted_at IS NOT NULL
                  UNION SELECT id FROM profiles WHERE retired_at IS NOT NULL) unwanted
              ON unwanted.id = s.profile_id
            WHERE s.changed_at > '-infinity'
            LIMIT %(limit)s FOR UPDATE OF s SKIP LOCKED)
        """,
        {"limit": limit},
    )
    return retired + await tx.run(
        """
        DELETE FROM dead_members WHERE (customer_id, member_id) IN (
            SELECT d.customer_id, d.member_id FROM dead_members d
            JOIN (SELECT p.id FROM rags r JOIN profiles p ON p.rag_id = r.id
                  WHERE r.deleted_at IS NOT NULL
                  UNION SELECT id FROM profiles WHERE retired_at IS NOT NULL) unwanted
              ON unwanted.id = d.profile_id
            LIMIT %(limit)s)
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


async def forget_dead(tx: Tx, *, age_s: float, limit: int) -> int:
    """Marks of members that no segment has any more: made while a merge left them out."""
    return await tx.run(
        """
        DELETE FROM dead_members WHERE (customer_id, member_id) IN (
            SELECT d.customer_id, d.member_id FROM dead_members d
            WHERE d.died_at < now() - make_interval(secs => %(age_s)s)
              AND NOT EXISTS (SELECT FROM segment_members m WHERE m.id = d.member_id)
            LIMIT %(limit)s)
        """,
        {"age_s": age_s, "limit": limit},
    )
