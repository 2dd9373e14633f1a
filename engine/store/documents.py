"""documents: the canonical text of a source, one row a revision."""

import msgspec

from engine.models import (
    Block,
    Coverage,
    CustomerId,
    Document,
    Failure,
    Noun,
    RagId,
    SourceId,
    State,
)
from engine.store.database import Tx


class DocumentRow(Noun, frozen=True, kw_only=True):
    title: str
    text: str
    blocks: bytes
    media_type: str
    coverage: Coverage
    language: str | None

    def noun(self) -> Document:
        return Document(
            title=self.title,
            text=self.text,
            blocks=msgspec.msgpack.decode(self.blocks, type=tuple[Block, ...]),
            media_type=self.media_type,
            coverage=self.coverage,
            language=self.language,
        )


class Newest(Noun, frozen=True, kw_only=True):
    """The newest text of a source, None before its first; then the state says what to expect."""

    state: State
    failure: Failure | None
    text: str | None


async def insert(
    tx: Tx,
    *,
    customer_id: CustomerId,
    rag_id: RagId,
    source_id: SourceId,
    revision: int,
    document: Document,
    original_sha256: bytes | None,
) -> None:
    await tx.run(
        """
        INSERT INTO documents (customer_id, rag_id, source_id, revision, title, language,
                               media_type, text, blocks, coverage, original_sha256)
        VALUES (%(customer_id)s, %(rag_id)s, %(source_id)s, %(revision)s, %(title)s, %(language)s,
                %(media_type)s, %(text)s, %(blocks)s, %(coverage)s::jsonb, %(original_sha256)s)
        """,
        {
            "customer_id": customer_id,
            "rag_id": rag_id,
            "source_id": source_id,
            "revision": revision,
            "title": document.title,
            "language": document.language,
            "media_type": document.media_type,
            "text": document.text,
            "blocks": msgspec.msgpack.encode(document.blocks),
            "coverage": msgspec.json.encode(document.coverage).decode(),
            "original_sha256": original_sha256,
        },
    )


async def get(
    tx: Tx, *, customer_id: CustomerId, source_id: SourceId, revision: int
) -> Document | None:
    row = await tx.one(
        DocumentRow,
        "SELECT title, text, blocks, media_type, coverage, language FROM documents"
        " WHERE customer_id = %(customer_id)s AND source_id = %(source_id)s"
        " AND revision = %(revision)s",
        {"customer_id": customer_id, "source_id": source_id, "revision": revision},
    )
    return row.noun() if row else None


async def live_text(
    tx: Tx, *, customer_id: CustomerId, rag_id: RagId, source_id: SourceId
) -> str | None:
    """The text that the live chunks were cut from; before there are any, the newest one."""
    return await tx.value(
        str,
        """
        SELECT d.text FROM sources s
        JOIN rags r ON r.id = s.rag_id AND r.deleted_at IS NULL
        LEFT JOIN indexes i ON i.source_id = s.id AND i.profile_id = r.profile_live
        JOIN documents d ON d.source_id = s.id
                        AND d.revision = COALESCE(i.generation_live, s.revision)
        WHERE s.customer_id = %(customer_id)s AND s.rag_id = %(rag_id)s AND s.id = %(source_id)s
          AND s.deleted_at IS NULL
        """,
        {"customer_id": customer_id, "rag_id": rag_id, "source_id": source_id},
    )


async def newest(tx: Tx, *, customer_id: CustomerId, source_id: SourceId) -> Newest | None:
    """What was read last, whether or not chunks were made of it already; None: no such source."""
    return await tx.one(
        Newest,
        """
        SELECT s.state, s.failure, d.text FROM sources s
        JOIN rags r ON r.id = s.rag_id AND r.deleted_at IS NULL
        LEFT JOIN documents d ON d.source_id = s.id AND d.revision = s.revision
        WHERE s.customer_id = %(customer_id)s AND s.id = %(source_id)s AND s.deleted_at IS NULL
        """,
        {"customer_id": customer_id, "source_id": source_id},
    )


async def page_count(tx: Tx, *, customer_id: CustomerId, page_characters: int) -> float:
    """Pages of all newest texts: as the format counts them, else by their characters."""
    return (
        await tx.value(
            float,
            """
            SELECT sum(COALESCE((d.coverage ->> 'pages_total')::float8,
                                (d.coverage ->> 'characters')::float8 / %(page_characters)s))
            FROM sources s
            JOIN rags r ON r.id = s.rag_id AND r.deleted_at IS NULL
            JOIN documents d ON d.source_id = s.id AND d.revision = s.revision
            WHERE s.customer_id = %(customer_id)s AND s.deleted_at IS NULL
            """,
            {"customer_id": customer_id, "page_characters": page_characters},
        )
        or 0.0
    )
