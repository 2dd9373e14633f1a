"""A database as each of the engine's roles sees it, and short ways to rows in it.

No worker runs here: the tests take the part of workers, one statement of the store at a time.
"""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Concatenate, LiteralString, ParamSpec, TypeVar
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import numpy as np
import pytest
from fix_services import on_database

from engine.local import Services
from engine.models import (
    Coverage,
    CustomerId,
    Document,
    Failure,
    Passage,
    RagId,
    SourceId,
    Stage,
    State,
    WorkerId,
)
from engine.store import (
    Database,
    Tx,
    acquisition,
    chunks,
    claims,
    customers,
    documents,
    indexes,
    rags,
    sources,
)
from engine.store.claims import ClaimedIndex, ClaimedSource
from engine.store.sources import NewSource

P = ParamSpec("P")
T = TypeVar("T")

NOBODY = UUID(int=0)
LEASE_S = 60.0
PASSING = Failure(code="fetch_timeout", message="It took too long.", retryable=True, remedy="Wait.")
FINAL = Failure(code="empty_text", message="No text.", retryable=False, remedy="Add some.")
KILLED = Failure(code="worker_killed", message="It died.", retryable=False, remedy="Report it.")


class Store:
    """Pools for the three roles over one database."""

    def __init__(self, database_url: str) -> None:
        self.url = database_url
        self.api = Database(database_url, role="rag_api", connections=4)
        self.worker = Database(database_url, role="rag_worker", connections=16)
        self.operator = Database(database_url, role="rag_operator", connections=8)

    async def open(self) -> None:
        for database in (self.api, self.worker, self.operator):
            await database.open()

    async def close(self) -> None:
        for database in (self.api, self.worker, self.operator):
            await database.close()

    async def do(
        self, verb: Callable[Concatenate[Tx, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """One call of the store in a transaction of its own, as a worker."""
        async with self.worker.transaction() as tx:
            return await verb(tx, *args, **kwargs)

    async def fetch(self, query: LiteralString, **params: object) -> list[dict[str, Any]]:
        """Rows of a raw statement, as the operator, who sees all customers."""
        async with self.operator.transaction() as tx:
            return await (await tx.connection.execute(query, params)).fetchall()

    async def execute(self, query: LiteralString, **params: object) -> int:
        async with self.operator.transaction() as tx:
            return await tx.run(query, params)

    # Rows -------------------------------------------------------------------------------

    async def customer(self, name: str = "tester") -> CustomerId:
        async with self.operator.transaction() as tx:
            return (await customers.insert(tx, name=name)).id

    async def rag(self, customer_id: CustomerId) -> RagId:
        return await self.do(
            rags.insert,
            customer_id=customer_id,
            name="a knowledge base",
            description="",
            embedding_model="a-model",
            chunk_tokens=200,
            chunk_overlap_tokens=0,
        )

    async def source(self, customer_id: CustomerId, rag_id: RagId) -> SourceId:
        """A new URL, due now."""
        url = f"https://example.org/{uuid4()}"
        new = NewSource(name=url, url=url, url_key=hashlib.sha256(url.encode()).digest())
        await self.do(sources.insert, customer_id=customer_id, rag_id=rag_id, sources=[new])
        rows = await self.fetch("SELECT id FROM sources WHERE url = %(url)s", url=url)
        return SourceId(rows[0]["id"])

    async def becomes_file(self, source_id: SourceId, *, written: bool) -> None:
        """A URL becomes a file, or a text that somebody wrote."""
        await self.execute(
            """
            WITH bytes AS (
                INSERT INTO blobs (customer_id, sha256, file_bytes)
                SELECT customer_id, sha256(id::text::bytea), 1 FROM sources
                WHERE id = %(source_id)s RETURNING customer_id, sha256
            ), file AS (
                INSERT INTO files (customer_id, name, filename, media_type, file_bytes, sha256,
                                   kept, written)
                SELECT customer_id, 'a file', 'a.txt', 'text/plain', 1, sha256, false, %(written)s
                FROM bytes RETURNING id
            )
            UPDATE sources SET url = NULL, url_key = NULL, file_id = (SELECT id FROM file)
            WHERE id = %(source_id)s
            """,
            source_id=source_id,
            written=written,
        )

    async def source_row(self, source_id: SourceId) -> dict[str, Any]:
        return (await self.fetch("SELECT * FROM sources WHERE id = %(id)s", id=source_id))[0]

    async def index_row(self, source_id: SourceId) -> dict[str, Any]:
        rows = await self.fetch("SELECT * FROM indexes WHERE source_id = %(id)s", id=source_id)
        return rows[0]

    async def ordinals(self, claim: ClaimedIndex) -> list[int]:
        """Of the chunks of the claim's generation."""
        rows = await self.fetch(
            "SELECT ordinal FROM chunks WHERE index_id = %(id)s AND generation = %(generation)s"
            " ORDER BY ordinal",
            id=claim.id,
            generation=claim.generation,
        )
        return [row["ordinal"] for row in rows]

    # What a worker does -----------------------------------------------------------------

    async def take_source(
        self, *, idle: bool = True, after: UUID = NOBODY, worker_id: WorkerId | None = None
    ) -> ClaimedSource | None:
        return await self.do(
            claims.claim_source,
            worker_id=worker_id or WorkerId(uuid4()),
            lease_s=LEASE_S,
            after=after,
            idle=idle,
        )

    async def take_index(
        self, *, idle: bool = True, after: UUID = NOBODY, worker_id: WorkerId | None = None
    ) -> ClaimedIndex | None:
        return await self.do(
            claims.claim_index,
            worker_id=worker_id or WorkerId(uuid4()),
            lease_s=LEASE_S,
            after=after,
            idle=idle,
        )

    async def claimed_source(self) -> ClaimedSource:
        claim = await self.take_source()
        assert claim
        return claim

    async def claimed_index(self) -> ClaimedIndex:
        claim = await self.take_index()
        assert claim
        return claim

    async def acquire(self, claim: ClaimedSource, *, text: str = "some text") -> ClaimedIndex:
        """Commit a document for a claimed source and take its primary index."""
        async with self.worker.transaction() as tx:
            revision = await acquisition.acquired(
                tx, claim=claim, name=claim.name, original_bytes=0
            )
            await documents.insert(
                tx,
                customer_id=claim.customer_id,
                rag_id=claim.rag_id,
                source_id=claim.id,
                revision=revision,
                document=document(text),
                original_sha256=None,
            )
            return await acquisition.start_index(
                tx, claim=claim, revision=revision, worker_id=WorkerId(uuid4()), lease_s=LEASE_S
            )

    async def store(self, claim: ClaimedIndex, *, ordinals: range) -> None:
        """One batch, fenced as the conductor does it."""
        async with self.worker.transaction() as tx:
            await batch(tx, claim=claim, ordinals=ordinals)

    async def finish(self, claim: ClaimedIndex, *, chunk_count: int) -> None:
        await self.do(indexes.finish, claim=claim, chunk_count=chunk_count)

    async def ingest(self, *, chunk_count: int = 3, text: str = "some text") -> ClaimedIndex:
        """Work the fairest due source to ready."""
        return await self.ingest_claim(
            await self.claimed_source(), chunk_count=chunk_count, text=text
        )

    async def ingest_claim(
        self, claim: ClaimedSource, *, chunk_count: int = 3, text: str = "some text"
    ) -> ClaimedIndex:
        index = await self.acquire(claim, text=text)
        await self.store(index, ordinals=range(chunk_count))
        await self.finish(index, chunk_count=chunk_count)
        return index

    async def expire(self, *, table: str) -> None:
        """Let every lease of `sources` or `indexes` run out."""
        statement: LiteralString = (
            "UPDATE sources SET lease_until = now() - interval '1 second'"
            if table == "sources"
            else "UPDATE indexes SET lease_until = now() - interval '1 second'"
        )
        await self.execute(statement + " WHERE lease_until IS NOT NULL")

    async def state(self, source_id: SourceId) -> State:
        return State((await self.source_row(source_id))["state"])


async def batch(tx: Tx, *, claim: ClaimedIndex, ordinals: range, total: int = 100) -> None:
    """Passages with vectors of four dimensions, in the caller's transaction."""
    await indexes.hold(tx, claim=claim)
    await indexes.progress(tx, claim=claim, stage=Stage.EMBED, done=ordinals.stop, total=total)
    passages = [passage(ordinal) for ordinal in ordinals]
    await chunks.insert(
        tx,
        claim=claim,
        passages=passages,
        keys=[hashlib.sha256(p.embedded.encode()).digest() for p in passages],
        vectors=np.full((len(passages), 4), 0.5, dtype=np.float32),
    )


def passage(ordinal: int) -> Passage:
    text = f"passage {ordinal}"
    return Passage(
        ordinal=ordinal,
        text=text,
        start=ordinal * 20,
        end=ordinal * 20 + len(text),
        embedded=text,
        tokens=2,
    )


def document(text: str) -> Document:
    return Document(
        title="A title",
        text=text,
        blocks=(),
        media_type="text/plain",
        coverage=Coverage(characters=len(text)),
    )


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    made = Store(database_url)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
def admin_database_url(database_url: str, services: Services) -> str:
    """The test's database, as the superuser: for what no role of the engine may do."""
    return on_database(services.admin_url, database=urlsplit(database_url).path[1:])
