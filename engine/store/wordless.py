"""Generations that answer without words: made before there were any, or by an older worker.

They are found by looking at all of them, and get their segment from their chunks.
"""

from engine.models import CustomerId, IndexId, Noun, ProfileId, RagId, SourceId
from engine.store import acquisition
from engine.store.claims import ClaimedIndex
from engine.store.database import Tx

SAMPLE_CHARACTERS = 60_000  # of a document, to tell its language


class Wordless(Noun, frozen=True, kw_only=True):
    """A live generation without a segment, and what its words are made with."""

    id: IndexId
    customer_id: CustomerId
    rag_id: RagId
    source_id: SourceId
    profile_id: ProfileId
    generation: int
    attempt: int
    usual_length: int
    language: str | None
    sample: str


class _Text(Noun, frozen=True, kw_only=True):
    headings: list[str]
    text: str


async def find(tx: Tx, *, limit: int) -> list[Wordless]:
    return await tx.all(
        Wordless,
        """
        SELECT i.id, i.customer_id, i.rag_id, i.source_id, i.profile_id, i.attempt,
               i.generation_live AS generation, p.lexical_length AS usual_length, d.language,
               COALESCE(left(d.text, %(characters)s), '') AS sample
        FROM indexes i
        JOIN sources s ON s.id = i.source_id AND s.deleted_at IS NULL
        JOIN rags r ON r.id = i.rag_id AND r.deleted_at IS NULL
        JOIN profiles p ON p.id = i.profile_id AND p.public_model IS NULL
        LEFT JOIN documents d ON d.source_id = i.source_id AND d.revision = i.generation_live
        WHERE i.generation_live IS NOT NULL AND i.chunk_count > 0
          AND NOT EXISTS (SELECT FROM segment_members m WHERE m.index_id = i.id
                          AND m.generation = i.generation_live)
        ORDER BY i.id LIMIT %(limit)s
        """,
        {"characters": SAMPLE_CHARACTERS, "limit": limit},
    )


async def hold(tx: Tx, *, found: Wordless) -> bool:
    """Lock it as a finish does; False when another generation answers by now, or none."""
    await acquisition.hold_rag(tx, customer_id=found.customer_id, rag_id=found.rag_id)
    held = await tx.value(
        bool,
        """
        SELECT true FROM sources s JOIN indexes i ON i.source_id = s.id
        WHERE i.id = %(id)s AND i.customer_id = %(customer_id)s AND s.deleted_at IS NULL
          AND i.generation_live = %(generation)s
          AND NOT EXISTS (SELECT FROM segment_members m WHERE m.index_id = i.id
                          AND m.generation = i.generation_live)
        FOR SHARE OF s FOR UPDATE OF i
        """,
        {"id": found.id, "customer_id": found.customer_id, "generation": found.generation},
    )
    return held or False


async def texts(tx: Tx, *, found: Wordless) -> list[str]:
    """The passages in order, each with the headings above it."""
    rows = await tx.all(
        _Text,
        "SELECT headings, text FROM chunks WHERE index_id = %(id)s AND generation = %(generation)s"
        " AND customer_id = %(customer_id)s ORDER BY ordinal",
        {"id": found.id, "generation": found.generation, "customer_id": found.customer_id},
    )
    return ["\n".join((*row.headings, row.text)) for row in rows]


def claim_of(found: Wordless) -> ClaimedIndex:
    """As if it had just been made."""
    return ClaimedIndex(
        id=found.id,
        customer_id=found.customer_id,
        rag_id=found.rag_id,
        source_id=found.source_id,
        profile_id=found.profile_id,
        attempt=found.attempt,
        faults=0,
        alone=False,
        generation=found.generation,
    )
