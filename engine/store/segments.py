"""segments: the inverted index of a profile, as it is written and taken away.

A generation brings its own segment in the transaction that makes it live. Not here: how a question
is answered (`postings`), how segments are put together (`merging`).
"""

from collections.abc import Iterable, Sequence

from engine.inverted import Page, Postings, pages
from engine.lexical import Analyser
from engine.models import CustomerId, IndexId, Noun, ProfileId, SourceId
from engine.store.claims import ClaimedIndex
from engine.store.database import Tx

BATCH_BYTES = 1_000_000  # of pages in one statement


class NewSegment(Noun, frozen=True, kw_only=True):
    """Passages of a generation, `chunk_count` of them from `first_ordinal` on, as postings."""

    first_ordinal: int
    chunk_count: int
    analyser: Analyser
    postings: Postings


async def add(tx: Tx, *, claim: ClaimedIndex, made: Sequence[NewSegment]) -> None:
    """The words of a generation, in the transaction that makes it live: the index is held by
    `indexes.finish`. What it takes the place of counts no more."""
    await bury_index(tx, customer_id=claim.customer_id, index_id=claim.id)
    for segment in made:
        segment_id = await insert(
            tx,
            customer_id=claim.customer_id,
            profile_id=claim.profile_id,
            chunk_count=segment.chunk_count,
            analysers=[segment.analyser],
        )
        await _insert_member(tx, claim=claim, segment_id=segment_id, segment=segment)
        await insert_pages(
            tx,
            customer_id=claim.customer_id,
            segment_id=segment_id,
            found=pages(segment.postings),
        )


async def insert(
    tx: Tx,
    *,
    customer_id: CustomerId,
    profile_id: ProfileId,
    chunk_count: int,
    analysers: Sequence[str],
    state: str = "live",
) -> int:
    segment_id = await tx.value(
        int,
        """
        INSERT INTO segments (customer_id, profile_id, state, chunk_count, analysers)
        VALUES (%(customer_id)s, %(profile_id)s, %(state)s, %(chunk_count)s, %(analysers)s)
        RETURNING id
        """,
        {
            "customer_id": customer_id,
            "profile_id": profile_id,
            "state": state,
            "chunk_count": chunk_count,
            "analysers": list(analysers),
        },
    )
    assert segment_id
    return segment_id


async def _insert_member(
    tx: Tx, *, claim: ClaimedIndex, segment_id: int, segment: NewSegment
) -> None:
    await tx.run(
        """
        INSERT INTO segment_members (segment_id, first_number, chunk_count, first_ordinal,
                                     customer_id, profile_id, index_id, generation, analyser)
        VALUES (%(segment_id)s, 0, %(chunk_count)s, %(first_ordinal)s, %(customer_id)s,
                %(profile_id)s, %(index_id)s, %(generation)s, %(analyser)s)
        """,
        {
            "segment_id": segment_id,
            "chunk_count": segment.chunk_count,
            "first_ordinal": segment.first_ordinal,
            "customer_id": claim.customer_id,
            "profile_id": claim.profile_id,
            "index_id": claim.id,
            "generation": claim.generation,
            "analyser": segment.analyser,
        },
    )


async def insert_pages(
    tx: Tx, *, customer_id: CustomerId, segment_id: int, found: Iterable[Page]
) -> None:
    """A megabyte a statement, so that neither side holds much at once."""
    batch: list[Page] = []
    batch_bytes = 0
    for page in found:
        batch.append(page)
        batch_bytes += len(page.content)
        if batch_bytes >= BATCH_BYTES:
            await _insert_batch(tx, customer_id=customer_id, segment_id=segment_id, batch=batch)
            batch, batch_bytes = [], 0
    if batch:
        await _insert_batch(tx, customer_id=customer_id, segment_id=segment_id, batch=batch)


async def _insert_batch(
    tx: Tx, *, customer_id: CustomerId, segment_id: int, batch: Sequence[Page]
) -> None:
    await tx.run(
        """
        INSERT INTO postings (segment_id, first_term, last_term, customer_id, content)
        SELECT %(segment_id)s, p.first_term, p.last_term, %(customer_id)s, p.content
        FROM unnest(%(first_terms)s::bigint[], %(last_terms)s::bigint[], %(contents)b::bytea[])
             AS p (first_term, last_term, content)
        """,
        {
            "segment_id": segment_id,
            "customer_id": customer_id,
            "first_terms": [page.first_term for page in batch],
            "last_terms": [page.last_term for page in batch],
            "contents": [page.content for page in batch],
        },
    )


async def bury_index(tx: Tx, *, customer_id: CustomerId, index_id: IndexId) -> None:
    """Whatever an index has in segments is dead from the end of this transaction on.

    Not what it has in replaced ones only: a merge has left that out because it is dead already.
    """
    await tx.run(
        """
        INSERT INTO dead_members (member_id, customer_id, profile_id)
        SELECT DISTINCT m.id, m.customer_id, m.profile_id
        FROM segment_members m JOIN segments s ON s.id = m.segment_id AND s.state <> 'replaced'
        WHERE m.index_id = %(index_id)s AND m.customer_id = %(customer_id)s
        ON CONFLICT DO NOTHING
        """,
        {"index_id": index_id, "customer_id": customer_id},
    )


async def bury_sources(tx: Tx, *, customer_id: CustomerId, source_ids: Sequence[SourceId]) -> None:
    """As bury_index, for all indexes of sources that are deleted in this transaction."""
    await tx.run(
        """
        INSERT INTO dead_members (member_id, customer_id, profile_id)
        SELECT DISTINCT m.id, m.customer_id, m.profile_id
        FROM indexes i JOIN segment_members m ON m.index_id = i.id
        JOIN segments s ON s.id = m.segment_id AND s.state <> 'replaced'
        WHERE i.source_id = ANY(%(source_ids)s) AND i.customer_id = %(customer_id)s
          AND m.customer_id = %(customer_id)s
        ON CONFLICT DO NOTHING
        """,
        {"source_ids": list(source_ids), "customer_id": customer_id},
    )
