"""A race over the real rows: requests, the sweep, killed connections, and what all of them share.

The workers are in fix_crew, what the rows must look like in fix_race_audit.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random
from uuid import UUID

import numpy as np
import psycopg
from fix_race_audit import visible_now
from fix_race_world import World
from fix_store import KILLED, Store

from engine.errors import DatabaseUnavailable
from engine.models import CustomerId, RagId, SourceId
from engine.store import Tx, chunks, claims, hits, purge, rags, sources
from engine.store.hits import Asked
from engine.store.sources import NewSource

LEASE_S = 0.3
FAULTS_MAX = 3
CUSTOMERS = 3
RAGS_EACH = 1


class Race:
    """Everything that runs beside everything else, by decisions that follow from `seed`."""

    def __init__(self, store: Store, *, seed: str) -> None:
        self.store = store
        self.seed = seed
        self.world = World(seed)
        self.tally: Counter[str] = Counter()
        self.wrong: list[str] = []  # what must never happen, seen while it ran
        self.rags: dict[RagId, CustomerId] = {}  # all that there ever were
        self.open: list[RagId] = []  # whose deletion nobody has asked for
        self.members: dict[SourceId, RagId] = {}
        self.acknowledged: set[SourceId] = set()
        self.deleting: set[SourceId] = set()  # asked for; nobody waits for these any more
        self.bells: asyncio.Queue[None] = asyncio.Queue()
        self.calm = False  # no new request and no more faults: what is there must come to an end
        self.over = False
        self._serials = 0

    def random(self, name: str) -> Random:
        return Random(f"{self.seed} {name}")

    async def set_up(self) -> None:
        for number in range(CUSTOMERS):
            customer_id = await self.store.customer(f"customer {number}")
            for _ in range(RAGS_EACH):
                await self._open_rag(customer_id)

    async def _open_rag(self, customer_id: CustomerId) -> None:
        rag_id = await self.store.rag(customer_id)
        self.rags[rag_id] = customer_id
        self.open.append(rag_id)

    async def attempt(self, name: str, act: Callable[[], Awaitable[bool]]) -> bool:
        """False when the connection was killed under it; a deadlock is nobody's fault but ours."""
        try:
            done = await act()
        except DatabaseUnavailable as error:
            self.note_away(name, error)
            return False
        self.tally[name] += done
        return done

    def note_away(self, name: str, error: DatabaseUnavailable) -> None:
        self.tally["connections lost"] += 1
        if isinstance(error.__cause__, psycopg.errors.DeadlockDetected):
            self.wrong.append(f"deadlock in {name}: {error.__cause__}")

    def ring(self, rng: Random) -> None:
        """One bell a request; some are lost and some ring twice."""
        for _ in range(rng.choice((0, 1, 1, 2))):
            self.bells.put_nowait(None)

    # Requests, as engine.rags makes them --------------------------------------------------------

    async def request(self, number: int) -> None:
        rng = self.random(f"requests {number}")
        acts = [self._add] * 9 + [self._refresh] * 7 + [self._delete] * 4 + [self._delete_rag]
        while not self.calm:
            act = rng.choice(acts)
            await self.attempt(act.__name__, lambda act=act: act(rng))
            await asyncio.sleep(rng.uniform(0.0, 0.03))
        # Something is left at the end, whatever was deleted before.
        while not await self.attempt("_add", lambda: self._add(rng)):
            await asyncio.sleep(0.05)

    async def _add(self, rng: Random) -> bool:
        rag_id = rng.choice(self.open)
        customer_id = self.rags[rag_id]
        self._serials += 1
        serial, url = self._serials, f"https://example.org/{self._serials}"
        new = NewSource(name=url, url=url, url_key=url.encode())
        async with self.store.api.transaction(customer_id=customer_id) as tx:
            if not await rags.lock(tx, customer_id=customer_id, rag_id=rag_id, strength="share"):
                return False
            await sources.insert(tx, customer_id=customer_id, rag_id=rag_id, sources=[new])
            found = await sources.page(tx, customer_id=customer_id, rag_id=rag_id, limit=10_000)
            source_id = next(source.id for source in found if source.url == url)
            self.world.add(source_id, serial=serial)
        self.members[source_id] = rag_id
        self.acknowledged.add(source_id)
        self.ring(rng)
        return True

    async def _refresh(self, rng: Random) -> bool:
        if not self.members:
            return False
        source_id = rng.choice(list(self.members))
        rag_id = self.members[source_id]
        ids = {"customer_id": self.rags[rag_id], "rag_id": rag_id}
        async with self.store.api.transaction(customer_id=ids["customer_id"]) as tx:
            if not await rags.lock(tx, strength="share", **ids):
                return False
            version = self.world.change(source_id)
            if not await sources.refresh(tx, source_id=source_id, **ids):
                return False
        self.world.want(source_id, version)
        self.ring(rng)
        return True

    async def _delete(self, rng: Random) -> bool:
        if not self.members:
            return False
        source_id = rng.choice(list(self.members))
        rag_id = self.members[source_id]
        ids = {"customer_id": self.rags[rag_id], "rag_id": rag_id}
        self.deleting.add(source_id)
        async with self.store.api.transaction(customer_id=ids["customer_id"]) as tx:
            if not await rags.lock(tx, strength="update", **ids):
                return False
            deleted = await sources.mark_deleted(tx, source_ids=[source_id], **ids)
        await self._must_be_gone(rag_id, [source_id])
        self.members.pop(source_id, None)
        return bool(deleted)

    async def _delete_rag(self, rng: Random) -> bool:
        rag_id = rng.choice(self.open)
        customer_id = self.rags[rag_id]
        await self._open_rag(customer_id)
        if rag_id not in self.open:
            return False
        self.open.remove(rag_id)
        self.deleting |= {source_id for source_id, of in self.members.items() if of == rag_id}
        async with self.store.api.transaction(customer_id=customer_id) as tx:
            if not await rags.lock(tx, customer_id=customer_id, rag_id=rag_id, strength="update"):
                return False
            await rags.mark_deleted(tx, customer_id=customer_id, rag_id=rag_id)
        # Sources that were being added meanwhile were deleted with it.
        gone = [source_id for source_id, of in self.members.items() if of == rag_id]
        self.deleting.update(gone)
        await self._must_be_gone(rag_id, gone)
        for source_id in gone:
            self.members.pop(source_id, None)
        return True

    async def _must_be_gone(self, rag_id: RagId, source_ids: list[SourceId]) -> None:
        """No query that starts after the deletion returns a byte of it."""
        before = await self._written(source_ids)
        customer_id = self.rags[rag_id]
        ids = {"customer_id": customer_id, "rag_id": rag_id}
        async with self.store.api.transaction(customer_id=customer_id) as tx:
            profile_ids = await self._profile_ids(tx, rag_id)
            for source_id in source_ids:
                seen = await chunks.page(tx, source_id=source_id, limit=10, after=None, **ids)
                for profile_id in profile_ids:
                    asked = Asked(
                        profile_id=profile_id, vector=np.full(4, 0.5, dtype=np.float32),
                        limit=10, count=10, source_ids=[source_id], **ids,
                    )  # fmt: skip
                    seen += (await hits.find(tx, asked)).found
                if seen:
                    self.wrong.append(f"found after its deletion: {seen[0]}")
                self.tally["looked for what was deleted"] += 1
        # The sweep takes rows away from now on, and nobody brings any.
        await asyncio.sleep(0.05)
        if late := await self._written(source_ids) - before:
            self.wrong.append(f"written after the deletion: {late}")

    async def _written(self, source_ids: list[SourceId]) -> set[str]:
        found = await self.store.fetch(
            """
            SELECT 'chunk ' || id AS row FROM chunks WHERE source_id = ANY(%(ids)s)
            UNION ALL SELECT 'document ' || source_id || ' ' || revision FROM documents
            WHERE source_id = ANY(%(ids)s)
            UNION ALL SELECT 'done ' || id || ' ' || done FROM indexes
            WHERE source_id = ANY(%(ids)s)
            """,
            ids=source_ids,
        )
        return {row["row"] for row in found}

    async def _profile_ids(self, tx: Tx, rag_id: RagId) -> list[UUID]:
        rows = await tx.connection.execute(
            "SELECT id FROM profiles WHERE rag_id = %(id)s", {"id": rag_id}
        )
        return [row["id"] for row in await rows.fetchall()]

    # Beside the requests -----------------------------------------------------------------------

    async def sweep(self) -> None:
        """The steps of workers/sweep.py; two of these run, although one would hold the lock."""
        rng = self.random("sweep")
        expiry = {"limit": 50, "faults_max": FAULTS_MAX, "killed": KILLED}
        while not self.over:
            for step in (purge.expire_indexes, purge.expire_sources):
                await self.attempt(step.__name__, lambda step=step: self._run(step, **expiry))
            for step in (
                purge.delete_sources_of_deleted_rags, purge.delete_retired_chunks,
                purge.delete_retired_documents, purge.delete_chunks_of_deleted_sources,
                purge.delete_rows_of_deleted_sources, purge.delete_rags,
            ):  # fmt: skip
                await self.attempt(step.__name__, lambda step=step: self._run(step, limit=7))
            await self.attempt("sweep rang", lambda: self._ring_for_due(rng))
            await asyncio.sleep(0.05)

    async def _run(self, step: Callable[..., Awaitable[int]], **params: object) -> bool:
        return await self.store.do(step, **params) > 0

    async def _ring_for_due(self, rng: Random) -> bool:
        due = await self.store.do(claims.any_due)
        if due:
            self.ring(rng)
        return due

    async def kill_backends(self) -> None:
        """Ends sessions of workers and of the sweep wherever they happen to be."""
        rng = self.random("backends")
        connection = await psycopg.AsyncConnection.connect(self.store.url, autocommit=True)
        async with connection:
            while not self.calm:
                await asyncio.sleep(rng.uniform(0.05, 0.15))
                found = await connection.execute(
                    "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
                    " AND application_name IN ('rag_worker', 'rag_api') ORDER BY pid"
                )
                pids = [row[0] for row in await found.fetchall()]
                if pids:
                    await connection.execute("SELECT pg_terminate_backend(%s)", (rng.choice(pids),))
                    self.tally["backends killed"] += 1

    async def watch(self) -> None:
        """At every moment what a reader sees is whole, of one generation, and true to its text."""
        while not self.over:
            try:
                found = await visible_now(self.store)
            except DatabaseUnavailable as error:
                self.note_away("watch", error)
                continue
            self.wrong += found
            self.tally["looks at everything"] += 1
            await asyncio.sleep(0.1)
