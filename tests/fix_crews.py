"""Crews whose conductors only keep what they claim: who takes which row, and when."""

import asyncio
from collections.abc import AsyncIterator, Callable
from uuid import uuid4

import msgspec
import pytest
from fix_store import Store

from engine.addresses import AllowList
from engine.blobs import Blobs
from engine.config import Limits, Settings
from engine.embedding import Models, Registry
from engine.jobs import Bell
from engine.models import WorkerId
from workers.crew import Crew
from workers.extract.extractor import Extractor
from workers.fetch import Fetcher
from workers.held import Claim, Held
from workers.ingest import Conductor


class Patient(Conductor):
    """Keeps what it has claimed until it is let go, or gives it back when it is stopped."""

    def __init__(self, *, settings: Settings, limits: Limits, store: Store) -> None:
        super().__init__(
            worker_id=WorkerId(uuid4()),
            database=store.worker,
            blobs=Blobs(settings.blobs_url),
            fetcher=Fetcher(limits=limits, allow_list=AllowList.parse(())),
            extractor=Extractor(),
            models=Models(registry=Registry.from_settings(settings), settings=settings),
            settings=settings,
        )
        self.held: list[Claim] = []
        self.let_go = asyncio.Event()
        self.looks = 0
        self.may_tell = asyncio.Event()
        self.may_tell.set()

    async def claim(self, *, idle: bool) -> Claim | None:
        found = await super().claim(idle=idle)
        self.looks += 1
        await self.may_tell.wait()
        return found

    async def conduct(self, claim: Claim, *, held: Held) -> None:
        self.held.append(claim)
        try:
            await self.let_go.wait()
        except asyncio.CancelledError:
            await self._settle(claim, error=None)
            raise


class CountedBell(Bell):
    """Remembers how often it was rung."""

    rings = 0

    async def ring(self, *, workers: int = 1) -> bool:
        self.rings += 1
        return await super().ring(workers=workers)


class Hands(Crew):
    """A crew with its parts at hand."""

    def __init__(self, settings: Settings, limits: Limits, store: Store, *, jobs: int) -> None:
        self.conductor = Patient(settings=settings, limits=limits, store=store)
        self.bell = CountedBell(settings.redis_url)
        super().__init__(
            conductor=self.conductor,
            database=store.worker,
            bell=self.bell,
            limits=limits,
            jobs=jobs,
        )

    @property
    def held(self) -> list[Claim]:
        """What it has claimed so far."""
        return self.conductor.held


CrewOf = Callable[..., Hands]


@pytest.fixture
async def crew_of(store: Store, settings: Settings) -> AsyncIterator[CrewOf]:
    """Makes crews, each of which is told to stop at the end."""
    made: list[Hands] = []

    def crew_of(*, jobs: int = 4, **limits: float) -> Hands:
        given = msgspec.structs.replace(settings.limits, **limits)
        made.append(Hands(settings, given, store, jobs=jobs))
        return made[-1]

    yield crew_of
    for crew in made:
        await crew.stop()
        await crew.bell.close()
