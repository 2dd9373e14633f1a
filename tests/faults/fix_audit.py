"""What must hold after every fault: nothing lost, doubled, mixed, left over or charged unjustly.

A calm run says what must be stored; a journal in the database says what was charged meanwhile.
"""

import asyncio
import hashlib
import time
from collections.abc import Collection, Mapping
from typing import Any, LiteralString
from uuid import UUID

import psycopg
from fix_hands import Site
from pgvector import HalfVector
from pgvector.psycopg import register_vector

from engine.config import Settings
from engine.models import Rag, SourceId, State

QUIET_TIMEOUT_S = 30.0
COSINE_MIN = 0.99  # a string's vector depends a little on what else was in its batch

Stored = dict[str, list[tuple[Any, ...]]]

JOURNAL: LiteralString = """
CREATE TABLE charges (kind text, id uuid, attempt integer, faults integer, alone boolean);
CREATE FUNCTION write_charge() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO charges VALUES (TG_TABLE_NAME, NEW.id, NEW.attempt, NEW.faults, OLD.alone);
    RETURN NEW;
END $$;
CREATE TRIGGER charged AFTER UPDATE ON sources FOR EACH ROW
    WHEN (NEW.faults > OLD.faults) EXECUTE FUNCTION write_charge();
CREATE TRIGGER charged AFTER UPDATE ON indexes FOR EACH ROW
    WHEN (NEW.faults > OLD.faults) EXECUTE FUNCTION write_charge();
GRANT SELECT ON charges TO rag_operator;
"""

STORED: LiteralString = """
SELECT d.text AS document, c.ordinal, c.start_offset, c.end_offset, c.page, c.tokens, c.headings,
       c.text, c.embedding_key, c.embedding
FROM documents d JOIN sources s ON s.id = d.source_id
JOIN indexes i ON i.source_id = s.id
JOIN chunks c ON c.index_id = i.id AND c.generation = i.generation_live
WHERE d.revision = s.revision AND s.deleted_at IS NULL
ORDER BY s.id, c.ordinal
"""

LIVE_WORDS: LiteralString = (
    "FROM segment_members m JOIN segments g ON g.id = m.segment_id AND g.state = 'live'"
    " WHERE NOT EXISTS (SELECT FROM dead_members d WHERE d.member_id = m.id"
    " AND d.customer_id = m.customer_id)"
)
# Each names what must not exist once everything has come to rest.
LEFT_OVER: Mapping[str, LiteralString] = {
    "a source that is held, due or marked": "SELECT count(*) FROM sources WHERE deleted_at IS NULL"
    " AND (lease_until IS NOT NULL OR due_at IS NOT NULL OR alone"
    " OR state NOT IN ('ready', 'error'))",
    "an index that is held, due or marked": "SELECT count(*) FROM indexes"
    " WHERE lease_until IS NOT NULL OR due_at IS NOT NULL OR alone OR retired"
    " OR state NOT IN ('ready', 'error')",
    "a source that is ready without an index that is": "SELECT count(*) FROM sources s"
    " WHERE s.state = 'ready' AND s.deleted_at IS NULL AND 1 <> (SELECT count(*) FROM indexes i"
    " WHERE i.source_id = s.id AND i.state = 'ready' AND i.generation_live = s.revision)",
    "a deleted row": "SELECT (SELECT count(*) FROM sources WHERE deleted_at IS NOT NULL)"
    " + (SELECT count(*) FROM rags WHERE deleted_at IS NOT NULL)",
    "a chunk of another generation": "SELECT count(*) FROM chunks c JOIN indexes i"
    " ON i.id = c.index_id WHERE c.generation IS DISTINCT FROM i.generation_live",
    "an index with holes": "SELECT count(*) FROM indexes i WHERE i.chunk_count <>"
    " (SELECT count(*) FROM chunks c WHERE c.index_id = i.id)"
    " OR i.chunk_count - 1 <> (SELECT max(ordinal) FROM chunks c WHERE c.index_id = i.id)",
    "a revision too many": "SELECT count(*) FROM documents d JOIN sources s ON s.id = d.source_id"
    " WHERE d.revision <> s.revision",
    "a segment that nobody finishes": "SELECT count(*) FROM segments WHERE state = 'building'",
    "an index whose words are not all there once": "SELECT count(*) FROM indexes i"
    " JOIN profiles p ON p.id = i.profile_id AND p.public_model IS NULL"
    " WHERE i.generation_live IS NOT NULL AND i.chunk_count <> (SELECT"
    f" COALESCE(sum(m.chunk_count), 0) {LIVE_WORDS} AND m.index_id = i.id)",
    "an ANN table that nobody asks": "SELECT count(*) FROM pg_class c WHERE c.relkind = 'r'"
    " AND c.relname ~ '^ann_[0-9]+(_vectors)?$' AND NOT EXISTS (SELECT FROM ann_tables a"
    " WHERE c.relname IN ('ann_' || a.number, 'ann_' || a.number || '_vectors'))",
    "words of what does not answer": f"SELECT count(*) {LIVE_WORDS} AND NOT EXISTS"
    " (SELECT FROM indexes i WHERE i.id = m.index_id AND i.generation_live = m.generation)",
    "a chunk that is not in its document": "SELECT count(*) FROM chunks c JOIN documents d"
    " ON d.source_id = c.source_id AND d.revision = c.generation"
    " WHERE substr(d.text, c.start_offset + 1, c.end_offset - c.start_offset) <> c.text",
}


def keep_journal(admin_url: str) -> None:
    """Write down every charge in this database from now on."""
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute(JOURNAL)


def stored(admin_url: str) -> Stored:
    """All live chunks by the text of their document, as a calm run has them."""
    with psycopg.connect(admin_url) as admin:
        register_vector(admin)
        found: Stored = {}
        for document, *chunk in admin.execute(STORED):
            found.setdefault(document, []).append(tuple(chunk))
    return found


def expect_same(found: Stored, expected: Stored, *, documents: Collection[str]) -> None:
    """The same chunks in the same order for each of these documents, and vectors that agree."""
    assert sorted(found) == sorted(documents), "a document is missing, or one too many is there"
    for document in documents:
        ours, theirs = found[document], expected[document]
        assert [chunk[:-1] for chunk in ours] == [chunk[:-1] for chunk in theirs]
        for mine, other in zip(ours, theirs, strict=True):
            assert cosine(mine[-1], other[-1]) > COSINE_MIN


def cosine(one: HalfVector, other: HalfVector) -> float:
    return float(one.to_numpy().astype("f4") @ other.to_numpy().astype("f4"))


async def expect_sound(
    site: Site,
    *rags: Rag,
    admin_url: str,
    calm: Stored,
    settings: Settings,
    errors: Mapping[SourceId, str] | None = None,
    charges: int | None = 0,
    timeout_s: float = 60.0,
) -> None:
    """Every source of these RAGs is ready, or failed with the code that `errors` names.

    `charges`: how many faults must have been charged, all of them to sources in `errors`; None
    where workers were killed by hand, and documents that happened to be alone pay for that.
    """
    errors = errors or {}
    documents = []
    for rag in rags:
        done = await site.until_terminal(rag, timeout_s=timeout_s)
        assert {source.id for source in done.sources} == {source.id for source in rag.sources}
        for source in done.sources:
            code = source.failure.code if source.failure else None
            assert code == errors.get(source.id), source
            assert source.state is (State.ERROR if code else State.READY), source
            if not code:
                documents.append(await site.documents.text(site.customer_id, rag.id, source.id))
    await expect_rest(site)
    expect_same(await asyncio.to_thread(stored, admin_url), calm, documents=set(documents))
    if charges is not None:
        await expect_charges(site, errors=set(errors), count=charges)
    await expect_bytes(site, settings=settings)


async def expect_rest(site: Site) -> None:
    """Nothing is at work, due or left over, at the latest when the sweep has been round."""
    deadline = time.monotonic() + QUIET_TIMEOUT_S
    for name, query in LEFT_OVER.items():
        while (count := next(iter((await site.fetch(query))[0].values()))) != 0:
            assert time.monotonic() < deadline, f"{name}: {count}"
            await asyncio.sleep(0.1)


async def expect_charges(site: Site, *, errors: set[SourceId], count: int) -> None:
    rows = await site.fetch(
        "SELECT c.kind, c.attempt, c.faults, c.alone, COALESCE(i.source_id, c.id) AS source_id"
        " FROM charges c LEFT JOIN indexes i ON i.id = c.id ORDER BY c.faults"
    )
    assert {row["source_id"] for row in rows} <= errors, "a document was charged for nothing"
    assert len(rows) == count, rows


async def expect_bytes(site: Site, *, settings: Settings) -> None:
    """In the storage lies exactly what the rows name, unharmed."""
    if not settings.blobs_url.startswith("file://"):
        return
    rows = await site.fetch("SELECT customer_id, sha256 FROM blobs")
    named = {(UUID(str(row["customer_id"])), bytes(row["sha256"]).hex()) for row in rows}
    found = set()
    for path in (settings.data_dir / "blobs").glob("*/*/*"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name, path
        found.add((UUID(path.parts[-3]), path.name))
    assert found == named
