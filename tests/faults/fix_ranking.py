"""What a RAG answers beside what one answers that was made anew of the same texts, in calm.

Workers die here in the background's work: while words are merged, while an ANN table is built or
filled up, while a change of profile switches. None of it may be seen in an answer.
"""

import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, LiteralString

import pytest
from fix_audit import expect_rest
from fix_corpus import CHUNK_TOKENS, LONG, MIDDLE, SHORT
from fix_hands import Hand
from fix_world import World
from msgspec.structs import replace

from engine.embedding import Models, Registry
from engine.hits import Hit, Mode
from engine.models import Rag
from engine.profiles import Wanted
from engine.search import Search

# Of words that less passages have than are candidates: among more equals, chance decides.
QUESTIONS = ("Leaf 2, line 3: note happened", "amber or a leaf", "leaf cedar")
LEAVES = SHORT[:6]  # as many segments, all of one size: a crowd
LARGE = (LONG[0], MIDDLE[0])  # more passages than are candidates, so that the graph is asked
EXACT_MAX = 100
OTHER_TOKENS = 48
TOP_K = 50  # twice as many are candidates, which is more than have any of those words
SETTLED_S = 40.0
NEVER_S = 600.0

ONE_SEGMENT: LiteralString = """
SELECT count(*) = 1 AND bool_and(chunk_count = (SELECT count(*) FROM chunks))
FROM segments WHERE state = 'live'
"""
SWITCHED: LiteralString = """
SELECT (SELECT bool_and(profile_next IS NULL) FROM rags)
   AND (SELECT count(*) FROM profiles) = (SELECT count(*) FROM rags)
"""
ALL_ENTERED: LiteralString = """
SELECT EXISTS (SELECT FROM ann_tables)
   AND (SELECT bool_and(ann_generation IS NOT DISTINCT FROM generation_live)
        FROM indexes)
"""
ENTRIES: LiteralString = """
SELECT entries, dead_entries, (SELECT count(*) FROM chunks) AS chunks,
       (SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname ~ '^ann_[0-9]') AS tables
FROM ann_tables
"""


class Ranking:
    """The query path of the engine over a world, in this process."""

    def __init__(self, world: World) -> None:
        self.world = world
        models = Models(registry=Registry.from_settings(world.settings), settings=world.settings)
        self._models = models
        self._search = Search(database=world.site.api, models=models, limits=world.settings.limits)

    def close(self) -> None:
        self._models.close()

    async def answers(self, rag: Rag) -> list[list[tuple[Any, ...]]]:
        """For every question and mode what is found, best first, with all scores."""
        return [
            [_seen(hit) for hit in await self._asked(rag, question, mode=mode)]
            for question in QUESTIONS
            for mode in Mode
        ]

    async def _asked(self, rag: Rag, question: str, *, mode: Mode) -> tuple[Hit, ...]:
        return await self._search.query(
            self.world.site.customer_id, rag.id, query=question, top_k=TOP_K, mode=mode
        )

    async def expect_as_rebuilt(self, rag: Rag, *texts: str, chunk_tokens: int) -> None:
        """A second RAG of the same texts answers the same; a worker has to be there."""
        found = await self.answers(rag)
        rebuilt = await self.world.site.rag(*texts, chunk_tokens=chunk_tokens)
        await self.world.site.until_terminal(rebuilt)
        expected = await self.answers(rebuilt)
        assert [len(each) for each in found] == [len(each) for each in expected]
        assert all(len(each) > 3 for each in found), "who finds next to nothing proves nothing"
        for ours, theirs in zip(found, expected, strict=True):
            # Passages of one score come in no order, so what is cut off among them may differ.
            assert [scores for _, *scores in ours] == [scores for _, *scores in theirs], (
                ours,
                theirs,
            )
            last = ours[-1][1]
            assert _above(ours, last) == _above(theirs, last)


def _seen(hit: Hit) -> tuple[Any, ...]:
    scores = (hit.score, hit.dense or 0.0, hit.lexical or 0.0)
    return (hit.text, *(round(score, 4) for score in scores))


def _above(seen: Sequence[tuple[Any, ...]], score: float) -> list[str]:
    return sorted(text for text, found, *_ in seen if found > score)


@asynccontextmanager
async def died(world: World, place: str) -> AsyncIterator[Hand]:
    """A worker that works until it is killed at this place."""
    doomed = world.hire(failpoint=place)
    yield doomed
    assert await doomed.death(SETTLED_S) == -signal.SIGKILL, (place, world.site.told())


async def ingested(world: World, *texts: str) -> Rag:
    """By a worker that does nothing else, and that has gone."""
    limits = replace(world.settings.limits, sweep_s=NEVER_S, ann_s=NEVER_S)
    rag = await world.load(*texts)
    hand = world.hire(settings=replace(world.settings, limits=limits))
    await world.site.until_terminal(rag)
    assert await hand.stop() == 0
    return rag


async def killed_while_merging(ranking: Ranking, place: str) -> None:
    world = ranking.world
    rag = await ingested(world, *LEAVES)
    before = await ranking.answers(rag)
    async with died(world, place):
        pass
    assert await ranking.answers(rag) == before, "half a merge is seen"
    world.hire()
    await world.site.until(ONE_SEGMENT, timeout_s=SETTLED_S)
    assert await ranking.answers(rag) == before
    await world.expect_sound(rag)
    await ranking.expect_as_rebuilt(rag, *LEAVES, chunk_tokens=CHUNK_TOKENS)


async def killed_while_keeping_ann(ranking: Ranking, *places: str) -> None:
    """At one place after the other; at the second a source is entered into what is built."""
    world, site = ranking.world, ranking.world.site
    texts = list(LARGE)
    rag = await ingested(world, *texts)
    async with died(world, places[0]):
        pass
    for place in places[1:]:
        heir = world.hire()
        await site.until(ALL_ENTERED, timeout_s=SETTLED_S)
        assert await heir.stop() == 0
        texts.append(SHORT[len(texts)])
        rag = await site.more(rag, texts[-1])
        async with died(world, place):
            pass
    heir = world.hire()
    await site.until_terminal(rag)
    await site.until(ALL_ENTERED, timeout_s=SETTLED_S)
    rows = await site.fetch(ENTRIES)
    assert len(rows) == 1
    assert (rows[0]["entries"], rows[0]["dead_entries"]) == (rows[0]["chunks"], 0), rows
    assert rows[0]["tables"] == 2, "the table of a build that was killed lies about"
    await world.expect_sound(rag)
    await ranking.expect_as_rebuilt(rag, *texts, chunk_tokens=CHUNK_TOKENS)
    assert heir.process.poll() is None


async def killed_while_switching(ranking: Ranking, place: str) -> None:
    world, site = ranking.world, ranking.world.site
    async with died(world, place):
        rag = await world.load(*LEAVES)
        await site.until_terminal(rag)
        before = await ranking.answers(rag)
        await site.rags.update(site.customer_id, rag.id, profile=Wanted(chunk_tokens=OTHER_TOKENS))
    if place == "switching":
        assert await ranking.answers(rag) == before, "half a switch is seen"
    world.hire()
    await site.until(SWITCHED, timeout_s=SETTLED_S)
    assert await ranking.answers(rag) != before
    assert (await site.seen(rag)).chunk_tokens == OTHER_TOKENS
    await expect_rest(site)
    await ranking.expect_as_rebuilt(rag, *LEAVES, chunk_tokens=OTHER_TOKENS)


@pytest.fixture
async def ranking(world: World) -> AsyncIterator[Ranking]:
    """Whoever asks and whoever works agree from which size on a RAG has an ANN table."""
    limits = replace(world.settings.limits, exact_chunks_max=EXACT_MAX, ann_s=0.2)
    world.settings = replace(world.settings, limits=limits)
    made = Ranking(world)
    yield made
    made.close()
