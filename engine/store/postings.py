"""Search by words: BM25 over the live segments of a profile, in one statement and a part of one.

Which segments there are and what is dead in them say `targets`; the statement fetches the pages
where terms of the question stand that are not remembered from an earlier one, the part (`places`,
of `hits.find`) says which chunks the best numbers stand for. They need no common snapshot: pages
and members never change, and outlive their replacement for a while.
"""

from collections.abc import Iterable, Sequence
from typing import LiteralString, NamedTuple

from engine.entries import EntryKind
from engine.inverted import Best, Segment, best
from engine.lexical import question_terms, term_key
from engine.models import CustomerId, IndexId, Noun, ProfileId, SourceId
from engine.store.database import Tx
from engine.store.entries import KIND
from engine.store.targets import Head
from engine.store.termcache import TermCache

SEGMENTS_AT_ONCE = 100  # of which pages are asked for by one statement, and read without a pause


class Scored(Noun, frozen=True, kw_only=True):
    """A live chunk by its place, and its BM25 score."""

    index_id: IndexId
    generation: int
    ordinal: int
    score: float
    segment_id: int
    number: int


class _Range(Noun, frozen=True, kw_only=True):
    segment_id: int
    first_number: int
    chunk_count: int


class Words(NamedTuple):
    """What is needed to rank by the words of a question: nothing is asked for it any more."""

    segments: list[Segment]
    keys: list[int]

    def best(self, *, limit: int) -> Best:
        return best(self.segments, keys=self.keys, limit=limit)


async def gathered(
    tx: Tx,
    *,
    customer_id: CustomerId,
    heads: Sequence[Head],
    question: str,
    cache: TermCache,
) -> Words:
    """What is needed to rank live chunks by the words of a question. `heads`: of the segments that
    answer for their profile, or for several."""
    terms = question_terms(question, analysers=sorted({a for h in heads for a in h.analysers}))
    segments = [_segment(head) for head in heads]
    keys = [term_key(term) for term in terms]
    for first in range(0, len(segments), SEGMENTS_AT_ONCE):
        some = {each.id: each for each in segments[first : first + SEGMENTS_AT_ONCE]}
        await _recall(tx, customer_id=customer_id, segments=some, keys=keys, cache=cache)
    return Words(segments=segments, keys=keys)


def _segment(head: Head) -> Segment:
    segment = Segment(id=head.id, chunk_count=head.chunk_count)
    for first, count in zip(head.dead_firsts, head.dead_counts, strict=True):
        segment.bury(first, count=count)
    return segment


async def _recall(
    tx: Tx,
    *,
    customer_id: CustomerId,
    segments: dict[int, Segment],
    keys: Sequence[int],
    cache: TermCache,
) -> None:
    missing: list[tuple[int, int]] = []
    for segment in segments.values():
        for key in keys:
            found = cache.get(segment.id, key)
            if found is None:
                missing.append((segment.id, key))
            else:
                segment.found[key] = found
    if missing:
        await _fetch(tx, customer_id=customer_id, segments=segments, missing=missing)
        for segment_id, key in missing:
            cache.put(segment_id, key, segments[segment_id].where(key))


async def _fetch(
    tx: Tx,
    *,
    customer_id: CustomerId,
    segments: dict[int, Segment],
    missing: Sequence[tuple[int, int]],
) -> None:
    """Each page once, however many of the terms stand in it."""
    cursor = await tx.connection.execute(
        """
        WITH wanted AS MATERIALIZED (
            SELECT DISTINCT t.segment_id, p.first_term
            FROM unnest(%(segment_ids)s::bigint[], %(keys)s::bigint[]) AS t (segment_id, key)
            CROSS JOIN LATERAL (
                SELECT first_term, last_term FROM postings
                WHERE segment_id = t.segment_id AND first_term <= t.key
                  AND customer_id = %(customer_id)s
                ORDER BY first_term DESC LIMIT 1) p
            WHERE p.last_term >= t.key
        )
        SELECT p.segment_id, p.content
        FROM wanted w JOIN postings p USING (segment_id, first_term)
        WHERE p.customer_id = %(customer_id)s
        """,
        {
            "segment_ids": _array(segment_id for segment_id, _ in missing),
            "keys": _array(key for _, key in missing),
            "customer_id": customer_id,
        },
        binary=True,
    )
    wanted = sorted({key for _, key in missing})
    async for row in cursor:
        segments[row["segment_id"]].take(row["content"], keys=wanted)


async def restrict(
    tx: Tx,
    words: Words,
    *,
    customer_id: CustomerId,
    profile_id: ProfileId,
    source_ids: Sequence[SourceId],
) -> None:
    """Only chunks of these sources of a profile are hits; how rare a term is counts over all."""
    ranges = await tx.all(
        _Range,
        """
        SELECT m.segment_id, m.first_number, m.chunk_count
        FROM indexes i JOIN segment_members m ON m.index_id = i.id
        WHERE i.profile_id = %(profile_id)s AND i.customer_id = %(customer_id)s
          AND i.source_id = ANY(%(source_ids)s) AND m.customer_id = %(customer_id)s
          AND m.segment_id = ANY(%(segment_ids)s)
        """,
        {
            "profile_id": profile_id,
            "customer_id": customer_id,
            "source_ids": list(source_ids),
            "segment_ids": [each.id for each in words.segments],
        },
    )
    _show(words, ranges)


async def restrict_kinds(
    tx: Tx, words: Words, *, customer_id: CustomerId, kinds: Sequence[EntryKind]
) -> None:
    """As `restrict`, to documents of these kinds, of whatever profile."""
    ranges = await tx.all(
        _Range,
        f"""
        SELECT m.segment_id, m.first_number, m.chunk_count
        FROM segment_members m
        JOIN indexes i ON i.id = m.index_id AND i.customer_id = %(customer_id)s
        JOIN sources s ON s.id = i.source_id
        LEFT JOIN files f ON f.id = s.file_id
        WHERE m.segment_id = ANY(%(segment_ids)s) AND m.customer_id = %(customer_id)s
          AND {KIND} = ANY(%(kinds)s)
        """,
        {
            "customer_id": customer_id,
            "segment_ids": [each.id for each in words.segments],
            "kinds": [kind.value for kind in kinds],
        },
    )
    _show(words, ranges)


def _show(words: Words, ranges: Iterable[_Range]) -> None:
    segments = {each.id: each for each in words.segments}
    for segment in words.segments:
        segment.hide_all()
    for each in ranges:
        segments[each.segment_id].show(each.first_number, count=each.chunk_count)


def places() -> LiteralString:
    """The chunks that numbers of segments stand for, best first, then by index and ordinal."""
    return """
        SELECT m.index_id, m.generation, m.first_ordinal + h.number - m.first_number AS ordinal,
               h.score, h.segment_id, h.number
        FROM unnest(%(segment_ids)s::bigint[], %(numbers)s::int[], %(scores)s::float8[])
             AS h (segment_id, number, score)
        CROSS JOIN LATERAL (
            SELECT index_id, generation, first_ordinal, first_number FROM segment_members
            WHERE segment_id = h.segment_id AND first_number <= h.number
              AND customer_id = %(customer_id)s
            ORDER BY first_number DESC LIMIT 1) m
        ORDER BY h.score DESC, m.index_id, ordinal LIMIT %(limit)s
    """


async def placed(tx: Tx, *, customer_id: CustomerId, best: Best, limit: int) -> list[Scored]:
    """The `limit` best as chunks: of equals, the first by index and ordinal."""
    asked = {"customer_id": customer_id, "limit": limit, **as_params(best)}
    return await tx.all(Scored, places(), asked)


def as_params(best: Best) -> dict[str, object]:
    """As `places` asks for them."""
    return {
        "segment_ids": _array(segment_id for segment_id, _, _ in best.hits),
        "numbers": _array(number for _, number, _ in best.hits),
        "scores": _array(score for _, _, score in best.hits),
    }


def _array(numbers: Iterable[float]) -> str:
    """As PostgreSQL reads one; the driver takes two to ten times as long to write it."""
    return f"{{{','.join(map(repr, numbers))}}}"
