"""The soak: mixed work through both doors while everything is killed, frozen and restarted.

SOAK_S seconds (ten minutes), SOAK_SEED. It prints figures and fails on any that is not as it must
be: nothing lost, doubled, mixed, left over or stuck, nothing deleted seen again, no error of the
engine's own, no memory that grows.
"""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, LiteralString

import pytest
from fix_audit import LEFT_OVER, LIVE_WORDS, keep_journal
from fix_callers import Enemy, Tally, Tenant
from fix_chaos import Chaos, Engine
from fix_engine import new_customer
from fix_hands import Site, open_site
from fix_scale import LIFE_S_MIN, Scale
from fix_services import free_port, on_database
from fix_web import Web, open_web

from engine.config import Limits, Settings
from engine.errors import EngineError
from engine.local import LocalServices

SOAK_S = float(os.environ.get("SOAK_S", "600"))
SEED = int(os.environ.get("SOAK_SEED", "4"))
STUCK_S = 120.0
SWEPT_S = 15.0  # by then the sweep has been round
AUDIT_S = 10.0
OVERDUE_S = 60
TENANTS = 2

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(SOAK_S + 900)]

# Each names what must not exist at any moment, whatever is under way.
NEVER: Mapping[str, LiteralString] = {
    "an answer with a chunk too many or too few": "SELECT count(*) FROM indexes i"
    " JOIN sources s ON s.id = i.source_id JOIN rags r ON r.id = i.rag_id"
    " JOIN profiles p ON p.id = i.profile_id AND p.retired_at IS NULL"
    " WHERE i.generation_live IS NOT NULL AND s.deleted_at IS NULL AND r.deleted_at IS NULL"
    " AND i.chunk_count <> (SELECT count(*) FROM chunks c WHERE c.index_id = i.id"
    " AND c.generation = i.generation_live)",
    "an answer with a word too many or too few": "SELECT count(*) FROM indexes i"
    " JOIN sources s ON s.id = i.source_id JOIN rags r ON r.id = i.rag_id"
    " JOIN profiles p ON p.id = i.profile_id AND p.retired_at IS NULL AND p.public_model IS NULL"
    " WHERE i.generation_live IS NOT NULL AND r.deleted_at IS NULL"
    " AND CASE WHEN s.deleted_at IS NULL THEN i.chunk_count ELSE 0 END <> (SELECT"
    f" COALESCE(sum(m.chunk_count), 0) {LIVE_WORDS} AND m.index_id = i.id)",
    "a chunk that is not in its text": "SELECT count(*) FROM chunks c"
    " JOIN indexes i ON i.id = c.index_id AND i.generation_live = c.generation"
    " JOIN documents d ON d.source_id = c.source_id AND d.revision = c.generation"
    " WHERE substr(d.text, c.start_offset + 1, c.end_offset - c.start_offset) <> c.text",
    "a chunk without a source": "SELECT count(*) FROM chunks c"
    " WHERE NOT EXISTS (SELECT FROM sources s WHERE s.id = c.source_id)",
    "a lease that nobody ends": "SELECT (SELECT count(*) FROM sources"
    f" WHERE lease_until < now() - interval '{OVERDUE_S} s')"
    f" + (SELECT count(*) FROM indexes WHERE lease_until < now() - interval '{OVERDUE_S} s')",
}
BUSY: LiteralString = (
    "SELECT (SELECT count(*) FROM sources WHERE deleted_at IS NULL"
    " AND (state IN ('pending', 'processing') OR due_at IS NOT NULL))"
    " + (SELECT count(*) FROM rags WHERE deleted_at IS NULL AND profile_next IS NOT NULL)"
)
# Grows with every stage, batch and attempt.
MOVED: LiteralString = (
    "SELECT (SELECT COALESCE(sum(attempt + revision), 0) FROM sources WHERE deleted_at IS NULL)"
    " + (SELECT COALESCE(sum(attempt + done), 0) FROM indexes) - (" + BUSY + ")"
)


class Soak:
    """All that takes part."""

    def __init__(self, site: Site, *, engine: Engine, chaos: Chaos, web: Web) -> None:
        self.site = site
        self.engine = engine
        self.chaos = chaos
        self.tally = Tally()
        self.findings: Counter[str] = Counter()
        self.ends: dict[str, str] = {}  # what became of each source
        self.audits = 0
        self.ended_s = self.rest_s = self.asked_s = 0.0
        self.web = web
        tenants = [self._tenant(number) for number in range(1, TENANTS + 2)]
        self.tenants, self.enemy = tenants[:-1], Enemy(tenants[-1], seed=SEED)
        self.everybody = tenants

    def _tenant(self, number: int) -> Tenant:
        token = new_customer_beside(self.site.settings, f"tenant {number}")
        return Tenant(
            self.site,
            token=token,
            seed=SEED + number,
            number=number,
            tally=self.tally,
            web=self.web,
        )

    async def run(self) -> None:
        """Work and disasters for SOAK_S, then rest."""
        over, spare_api, began = asyncio.Event(), asyncio.Event(), time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for tenant in self.tenants:
                for act, pause_s in (
                    (tenant.plant, 0.5),
                    (tenant.plant, 0.5),
                    (tenant.delete, 1.0),
                    (tenant.wonder, 0.4),
                ):
                    tasks.create_task(self._repeat(act, over=over, pause_s=pause_s))
            attack = self._repeat(lambda: self.enemy.attack(self.web), over=over, pause_s=10.0)
            tasks.create_task(attack)
            tasks.create_task(self.chaos.reign(over, spare_api=spare_api))
            tasks.create_task(self._repeat(self.audit, over=over, pause_s=2 * AUDIT_S))
            await asyncio.sleep(SOAK_S / 2)
            spare_api.set()
            await asyncio.sleep(SOAK_S / 2)
            over.set()
        self.ended_s = time.monotonic() - began
        await self._rest()

    async def _repeat(
        self, act: Callable[[], Awaitable[Any]], *, over: asyncio.Event, pause_s: float
    ) -> None:
        while not over.is_set():
            await asyncio.sleep(self.tenants[0].dice.uniform(0, pause_s))
            await act()

    async def audit(self) -> None:
        """What must hold at every moment; not asked while the database is away."""
        try:
            for name, query in NEVER.items():
                self.findings[name] += await self._count(query)
        except EngineError:
            return
        self.audits += 1

    async def _rest(self) -> None:
        """Until everything is done, or nothing has moved for long: that is stuck."""
        began = moved_at = time.monotonic()
        before = 0
        while await self._count(BUSY) and time.monotonic() - moved_at < STUCK_S:
            await asyncio.sleep(0.5)
            if (moved := await self._count(MOVED)) != before:
                before, moved_at = moved, time.monotonic()
        self.rest_s = time.monotonic() - began
        await asyncio.sleep(SWEPT_S)
        self.findings["a stuck source"] = await self._count(BUSY)
        for name, query in (*NEVER.items(), *LEFT_OVER.items()):
            self.findings[name] += await self._count(query)
        self.asked_s = time.monotonic() - began - self.rest_s - SWEPT_S

    async def _count(self, query: LiteralString) -> int:
        return int(next(iter((await self.site.fetch(query))[0].values())))


def new_customer_beside(settings: Settings, name: str) -> str:
    """As new_customer, from within a running loop."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(new_customer, settings, name).result()


def soaked(services: LocalServices, *, folder: Path, models_path: Path, web: Web) -> Settings:
    limits = Limits(
        lease_s=5.0,
        document_chunks_max=1_000,  # no file of the corpus may keep a worker busy for a minute
        poll_s=1.0,
        sweep_s=0.5,
        retry_base_s=1.0,
        text_wait_s=0.5,
        exact_chunks_max=30,  # so that RAGs get ANN tables, and lose them again
        ann_s=2.0,
        customer_requests_per_s=1e6,
        customer_requests_burst=1_000_000,
    )
    return Settings(
        database_url=services.services.database_url,
        redis_url=services.services.redis_url,
        data_dir=folder / "data",
        models_dir=models_path,
        port=free_port(),
        workers=2,
        limits=limits,
        allow_networks=(web.host_port,),
    )


async def test_soak(
    soaked_services: LocalServices, models_path: Path, tmp_path: Path, measured: list[str]
) -> None:
    async with AsyncExitStack() as stack:
        web = stack.enter_context(open_web())
        settings = soaked(soaked_services, folder=tmp_path, models_path=models_path, web=web)
        name = settings.database_url.partition("?")[0].rpartition("/")[2]
        admin_url = on_database(soaked_services.services.admin_url, database=name)
        keep_journal(admin_url)
        site = await stack.enter_async_context(open_site(settings, folder=tmp_path))
        engine = Engine(settings, services=soaked_services, folder=tmp_path)
        stack.callback(engine.close)
        engine.start_api()
        engine.start_crew()
        chaos = Chaos(engine, admin_url=admin_url, seed=SEED)
        soak = Soak(site, engine=engine, chaos=chaos, web=web)
        for tenant in soak.everybody:
            stack.push_async_callback(tenant.close)
        pids = {"API": lambda: engine.api.pid, "worker": lambda: engine.spared.process.pid}
        with Scale(lambda: {name: pid() for name, pid in pids.items()}) as scale:
            await soak.run()
        faults = [*await judged(soak), *weighed(scale)]
        measured += [*told(soak), *curves(scale), *(f"VIOLATION {fault}" for fault in faults)]
    assert faults == []


async def judged(soak: Soak) -> list[str]:
    """Everything that is not as it must be."""
    rows = await soak.site.fetch(
        "SELECT id, state, failure ->> 'code' AS code FROM sources WHERE deleted_at IS NULL"
    )
    soak.ends = state = {str(row["id"]): row["code"] or row["state"] for row in rows}
    lost = [
        f"{doc.id} {state.get(doc.id)}"
        for tenant in soak.tenants
        for doc in tenant.book.alive.values()
        if state.get(doc.id) != "ready"
    ]
    soak.findings["an acknowledged source that is not ready"] = len(lost)
    soak.findings["a hostile source lost"] = sum(key not in state for key in soak.enemy.expected)
    killed = [key for key, code in state.items() if code == "worker_killed"]
    soak.findings["a document charged with the death of its worker"] = len(killed)
    seen = [line for tenant in soak.everybody for line in tenant.violations]
    soak.findings["a hit of what was deleted or another's"] = len(seen)
    unfound = [line for tenant in soak.everybody for line in tenant.lost()]
    soak.findings["a ready source that was not found by its own word"] = len(unfound)
    soak.findings["an error of the engine's own (5xx)"] = len(soak.tally.bad)
    soak.findings["spared worker ended"] = int(soak.engine.spared.process.poll() is not None)
    found = [f"{name}: {count}" for name, count in soak.findings.items() if count]
    return [*found, *lost[:10], *seen[:10], *unfound[:10], *soak.tally.bad[:10]]


def weighed(scale: Scale) -> list[str]:
    return [
        f"{name} grew by {grown:.1f} MiB, allowed are {allowed:.1f}"
        for name, curve in scale.curves.items()
        for grown, allowed in [curve.growth()]
        if grown > allowed and curve.lasted_s() > LIFE_S_MIN
    ]


def told(soak: Soak) -> list[str]:
    deleted = Counter(kind for t in soak.tenants for kind in t.done.elements())
    asked = sum(tenant.queries for tenant in soak.everybody)
    hits = sum(tenant.hits for tenant in soak.everybody)
    planted = sum(len(t.book.places) and t.book.marks % 100_000 for t in soak.everybody)
    alive = sum(len(tenant.book.alive) for tenant in soak.tenants)
    return [
        f"{SOAK_S:.0f} s, seed {SEED}: {dict(sorted(soak.chaos.done.items()))}",
        f"texts sent {planted}, alive at the end {alive}, hostile {len(soak.enemy.expected)}, of"
        f" which {soak.enemy.as_expected(soak.ends)} ended as the corpus says",
        f"requests {asked}, hits {hits}, deletions and changes {dict(sorted(deleted.items()))}",
        f"answers {dict(sorted(soak.tally.codes.items()))}, away {dict(soak.tally.away)}",
        f"audits while it ran {soak.audits}; ended after {soak.ended_s:.0f} s, at rest after"
        f" {soak.rest_s:.0f} s more, audited in {soak.asked_s:.0f} s",
        *(f"{count:>4} {name}" for name, count in sorted(soak.findings.items())),
    ]


def curves(scale: Scale) -> list[str]:
    return [
        f"memory of {name}: lived {curve.lasted_s():.0f} s, most {curve.most():.0f} MiB, second"
        f" half {grown:+.1f} MiB (allowed {allowed:.1f}), by the minute {curve.minutes()}"
        for name, curve in scale.curves.items()
        for grown, allowed in [curve.growth()]
    ]
