"""A RAG that moves between two models and chunk sizes, over HTTP, while it is asked and changed.

Each question asks for every passage that there is. So an answer shows how each source is cut, and
one that is cut in two ways, or lacks what answers, is counted. What plays here is in test_change.py
and tests/faults/long_change.py.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from fix_models import DIMENSIONS, Served
from msgspec.structs import replace

from engine.config import Settings
from engine.embedding.specs import MINILM

SERVED = "served-model"
PROFILES: tuple[dict[str, Any], ...] = (
    {"embedding_model": MINILM.name, "chunk_tokens": 32},
    {"embedding_model": SERVED, "chunk_tokens": 64},
)
STABLE, POOL = 5, 9  # texts that stay, and all of them
PARAGRAPHS = 8
CHANGE_TIMEOUT_S = 90.0
Cut = frozenset[tuple[int, int]]


def text(number: int) -> str:
    words = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "haven")
    return "\n\n".join(
        f"Text {number}, note {n} tells at length of {words[n]} and {words[(n + number) % 8]},"
        f" of mile {n * 7 + number} on the long road, and of what was found near it."
        for n in range(PARAGRAPHS)
    )


def with_two_models(settings: Settings, *, served: Served, folder: Path) -> Settings:
    path = folder / "models.toml"
    path.write_text(
        f'[models.{SERVED}]\nurl = "{served.url}"\ndimensions = {DIMENSIONS}\ntokens_max = 128\n'
        'version = "1"\ntimeout_s = 10\n',
        encoding="utf-8",
    )
    limits = replace(
        settings.limits, customer_requests_per_s=1e6, customer_requests_burst=1_000_000
    )
    return replace(settings, models_file=path, limits=limits)


class Moving:
    """The RAG, those who use it, and what they have seen."""

    def __init__(self, base_url: str, *, token: str, seed: int) -> None:
        self.client = httpx.AsyncClient(
            base_url=base_url, headers={"Authorization": f"Bearer {token}"}, timeout=60.0
        )
        self.dice = random.Random(seed)
        self.cuts: list[dict[str, Cut]] = []  # by profile: how each text is cut
        self.rag_id = ""
        self.stable: set[str] = set()
        self.answering: set[str] = set()
        self.gone: set[str] = set()
        self.seen: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.stopping = False

    async def ok(self, method: str, path: str, **more: Any) -> Any:
        answer = await self.client.request(method, path, **more)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def begin(self) -> None:
        """Learn how each text is cut, then plant the RAG that moves."""
        for profile in PROFILES:
            rag = await self._planted(range(POOL), profile=profile)
            self.cuts.append(
                {each["name"]: await self._cut(rag["id"], each["id"]) for each in rag["sources"]}
            )
        assert all(self.cuts[0][name] != self.cuts[1][name] for name in self.cuts[0])
        rag = await self._planted(range(STABLE), profile=PROFILES[0])
        self.rag_id = rag["id"]
        self.stable = {each["id"] for each in rag["sources"]}
        self.answering = set(self.stable)

    async def _planted(self, numbers: range, *, profile: dict[str, Any]) -> Any:
        rag = await self.ok("POST", "/rags", json={"name": "moving", **profile})
        rag = await self._add(rag["id"], *numbers)
        async with asyncio.timeout(CHANGE_TIMEOUT_S):
            while rag["status"] != "ready":
                await asyncio.sleep(0.1)
                rag = await self.ok("GET", f"/rags/{rag['id']}")
        return rag

    async def _add(self, rag_id: str, *numbers: int) -> Any:
        files = [("files", (f"text-{n}.md", text(n), "text/markdown")) for n in numbers]
        return await self.ok("POST", f"/rags/{rag_id}/sources", files=files)

    async def _cut(self, rag_id: str, source_id: str) -> Cut:
        path = f"/rags/{rag_id}/sources/{source_id}/chunks"
        return _offsets((await self.ok("GET", path, params={"page_size": 100}))["result"])

    # At the same time ---------------------------------------------------------------------------

    async def move(self, *, changes: int) -> None:
        """Change the profile so many times, each time after the switch before."""
        for number in range(1, changes + 1):
            wanted = PROFILES[number % 2]
            rag = await self.ok("PUT", f"/rags/{self.rag_id}", json=wanted)
            async with asyncio.timeout(CHANGE_TIMEOUT_S):
                while "change" in rag:
                    self.seen["while changing"] += 1
                    await asyncio.sleep(0.05)
                    rag = await self.ok("GET", f"/rags/{self.rag_id}")
                    self._judge_states(rag)
            assert {name: rag[name] for name in wanted} == wanted
            self.seen["changes"] += 1

    async def ask(self) -> None:
        while not self.stopping:
            answering, gone = set(self.answering), set(self.gone)
            asked = {"query": "What was found near the road?", "top_k": 100}
            answer = await self.client.post(f"/rags/{self.rag_id}/query", json=asked)
            self.seen["queries"] += 1
            if answer.status_code != 200:
                self.wrong.append(f"{answer.status_code}: {answer.text}")
            else:
                self._judge(answer.json()["results"], answering=answering, gone=gone)

    async def churn(self) -> None:
        """Add sources, wait until they answer, and delete them some time later."""
        while not self.stopping:
            number = self.dice.randrange(STABLE, POOL)
            before = {each["id"] for each in (await self._rag())["sources"]}
            await self._add(self.rag_id, number)
            (new,) = {each["id"] for each in (await self._rag())["sources"]} - before
            self.seen["added"] += 1
            if self.dice.random() < 0.7:
                await self._until_ready(new)
                self.answering.add(new)
            await asyncio.sleep(self.dice.uniform(0.0, 0.5))
            self.answering.discard(new)
            await self.ok("DELETE", f"/rags/{self.rag_id}/sources/{new}")
            self.gone.add(new)

    async def _rag(self) -> Any:
        return await self.ok("GET", f"/rags/{self.rag_id}")

    async def _until_ready(self, source_id: str) -> None:
        path = f"/rags/{self.rag_id}/sources/{source_id}"
        async with asyncio.timeout(CHANGE_TIMEOUT_S):
            while (await self.ok("GET", path))["status"] != "ready":
                await asyncio.sleep(0.05)

    # What was seen ------------------------------------------------------------------------------

    def _judge(self, hits: list[Any], *, answering: set[str], gone: set[str]) -> None:
        by_source: dict[str, list[Any]] = {}
        for hit in hits:
            by_source.setdefault(hit["source_id"], []).append(hit)
        self.seen["empty"] += not hits
        # What began to be deleted since is no loss.
        if lost := (answering & (self.answering | self.stable)) - by_source.keys():
            self.wrong.append(f"lost {lost}")
        if back := gone & by_source.keys():
            self.wrong.append(f"deleted {back}")
        ways = {self._way(found) for found in by_source.values()}
        self.seen["by " + " and ".join(sorted(ways))] += 1
        if len(ways) > 1 or "neither" in ways:
            self.wrong.append(f"mixed: {ways}")

    def _way(self, found: list[Any]) -> str:
        """Which profile has cut this source."""
        name = found[0]["source"]["name"]
        for number, cuts in enumerate(self.cuts):
            if _offsets(found) == cuts[name] and len(found) == len(cuts[name]):
                return f"profile {number}"
        return "neither"

    def _judge_states(self, rag: Any) -> None:
        states = {each["status"] for each in rag["sources"] if each["id"] in self.stable}
        if states != {"ready"}:
            self.wrong.append(f"a source that answers is {states}")

    def told(self) -> str:
        return ", ".join(f"{count} {what}" for what, count in sorted(self.seen.items()))


def _offsets(passages: list[Any]) -> Cut:
    return frozenset((each["start"], each["end"]) for each in passages)


@asynccontextmanager
async def moved(base_url: str, *, token: str, seed: int) -> AsyncIterator[Moving]:
    """Somebody who speaks for this customer, and who has no RAG yet."""
    moving = Moving(base_url, token=token, seed=seed)
    try:
        yield moving
    finally:
        await moving.client.aclose()


@asynccontextmanager
async def used(moving: Moving, *, askers: int = 2) -> AsyncIterator[None]:
    """Ask and change it all the time; whoever fails ends the block."""
    async with asyncio.TaskGroup() as group:
        for _ in range(askers):
            group.create_task(moving.ask())
        group.create_task(moving.churn())
        try:
            yield
        finally:
            moving.stopping = True


def expect_told(moving: Moving) -> None:
    """The answers of all questions were those of one profile each, and both were seen."""
    assert moving.wrong == [], (len(moving.wrong), moving.wrong[:5])
    assert moving.seen["empty"] == 0
    assert moving.seen["by profile 0"]
    assert moving.seen["by profile 1"]
    assert moving.seen["while changing"], "no change was ever seen under way"
    assert moving.seen["added"]
