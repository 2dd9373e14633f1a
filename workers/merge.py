"""The merge loop: keeps the segments of each RAG few, and rid of what is dead.

One at a time in the whole engine, by an advisory lock of its own, so that it is never in the way of
leases and purges. Every step is bounded; what is left over is done in the next round.
"""

import asyncio
import logging
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engine.config import Limits
from engine.errors import Superseded, Unavailable
from engine.inverted import Postings, merge, ranges
from engine.lexical import analyser_of
from engine.store import Database, Tx, merging, purge, segments, wordless
from engine.store.merging import Crowd, Member
from engine.store.wordless import Wordless
from workers.failpoint import NOWHERE, Failpoint
from workers.words import words_of

log = logging.getLogger(__name__)

ROUND_CROWDS = 20
ROUND_FILLS = 20
WORDLESS_S = 3_600.0  # found by looking at all indexes: at the beginning, and now and then
# What there is to merge is looked for among what came since the last round. Rows are dated by the
# beginning of their transactions, and all are looked at as often as for the wordless.
LATE_S = 600.0
SLICE_CHUNKS = 8_192  # what is read, put together and written in one transaction: some 3 MB

Numbers = dict[int, NDArray[np.int32]]


class Merge:
    """Runs in every worker process; the one that holds the lock does the work."""

    def __init__(
        self, *, database: Database, limits: Limits, failpoint: Failpoint = NOWHERE
    ) -> None:
        self._database = database
        self._limits = limits
        self._seen_at = -math.inf  # of this process's clock: until then nothing is left to merge
        self._seen_all_at = -math.inf
        self._failpoint = failpoint

    async def run(self) -> None:
        """For ever. Waits for a database that is away."""
        while True:
            try:
                async with self._database.dedicated() as lock:
                    await self._merge_while_sole(lock)
            except Unavailable as error:
                log.warning("merging interrupted", extra={"code": error.code})
            await asyncio.sleep(self._limits.sweep_s)

    async def _merge_while_sole(self, lock: Tx) -> None:
        silent_s = self._limits.lease_s
        while not await merging.sole(lock, silent_s=silent_s):  # noqa: ASYNC110 - it lives in Postgres
            await asyncio.sleep(self._limits.sweep_s)
        async with self._database.transaction() as tx:
            await merging.discard_unfinished(tx)
        self._seen_at = self._seen_all_at = looked = -math.inf
        while True:
            await purge.alive(lock)
            if asyncio.get_running_loop().time() - looked > WORDLESS_S:
                await self.fill(lock=lock)
                looked = asyncio.get_running_loop().time()
            if not await self.once(lock=lock):
                await asyncio.sleep(self._limits.sweep_s)

    async def fill(self, *, lock: Tx | None = None) -> int:
        """Give words to generations that have none; returns to how many."""
        filled = 0
        while True:
            async with self._database.transaction() as tx:
                found = await wordless.find(tx, limit=ROUND_FILLS)
            given = [each for each in found if await self._give_words(each, lock=lock)]
            filled += len(given)
            if not given:  # the last of them, or what is left changes hands just now
                return filled
            log.info("words given", extra={"indexes": len(given)})

    async def _give_words(self, found: Wordless, *, lock: Tx | None) -> bool:
        await _keep(lock)
        try:
            async with self._database.transaction() as tx:
                texts = await wordless.texts(tx, found=found)
            analyser = analyser_of(found.sample, declared=found.language)
            made = await asyncio.to_thread(
                words_of, texts, analyser=analyser, usual_length=found.usual_length
            )
            async with self._database.transaction() as tx:
                held = await wordless.hold(tx, found=found)
                if held:
                    await segments.add(tx, claim=wordless.claim_of(found), made=made)
                    self._failpoint.hit("merge_giving")
        except Superseded:
            return False
        return held

    async def once(self, *, lock: Tx | None = None) -> int:
        """One round; returns how many segments were replaced."""
        found = await self._due()
        replaced: set[int] = set()
        for crowd in found:
            if replaced.isdisjoint(crowd.segment_ids):
                replaced |= await self._replace(crowd, lock=lock)
        return len(replaced)

    async def _due(self) -> list[Crowd]:
        began_at = asyncio.get_running_loop().time()
        everything = began_at - self._seen_all_at > WORDLESS_S
        fresh_s = merging.EVER_S if everything else began_at - self._seen_at + LATE_S
        async with self._database.transaction() as tx:
            decayed = await merging.decayed(tx, limit=ROUND_CROWDS, fresh_s=fresh_s)
            crowds = await merging.crowds(tx, limit=ROUND_CROWDS, fresh_s=fresh_s)
            resting = await merging.resting(tx, limit=ROUND_CROWDS, fresh_s=fresh_s)
        # What comes of these is new itself; more than so many are found again.
        if max(map(len, (decayed, crowds, resting))) < ROUND_CROWDS:
            self._seen_at = began_at
            self._seen_all_at = began_at if everything else self._seen_all_at
        return decayed + crowds + resting

    async def _replace(self, crowd: Crowd, *, lock: Tx | None) -> set[int]:
        try:
            await self.merge(crowd, lock=lock)
        except Superseded:
            log.info("a merge came too late", extra={"profile": str(crowd.profile_id)})
            return set()
        return set(crowd.segment_ids)

    async def merge(self, crowd: Crowd, *, lock: Tx | None = None) -> None:
        """Put a crowd together. Raises Superseded; then nothing has changed for anybody.

        The lock is used at each step: a connection that is silent for the whole of a large merge
        loses it, and whoever has it then begins by discarding this one.
        """
        segment_id = None
        async with self._database.transaction() as tx:
            members = await merging.members(tx, crowd=crowd)
            kept = [member for member in members if not member.dead]
            if kept:
                segment_id = await merging.begin(tx, crowd=crowd, kept=kept)
        self._failpoint.hit("merge_begun")
        if segment_id is not None:
            numbers = _numbers(members)
            slices = -(-sum(member.chunk_count for member in members) // SLICE_CHUNKS)
            for first, last in ranges(slices):
                await self._merge_slice(
                    crowd, segment_id=segment_id, numbers=numbers, first=first, last=last
                )
                await _keep(lock)
        dropped = [member for member in members if member.dead]
        async with self._database.transaction() as tx:
            await merging.switch(tx, crowd=crowd, segment_id=segment_id, dropped=dropped)
            self._failpoint.hit("merge_switching")
        self._failpoint.hit("merge_switched")
        log.info(
            "merged",
            extra={"segments": len(crowd.segment_ids), "chunks": crowd.chunk_count},
        )

    async def _merge_slice(
        self, crowd: Crowd, *, segment_id: int, numbers: Numbers, first: int, last: int
    ) -> None:
        async with self._database.transaction() as tx:
            found = await merging.read_terms(tx, crowd=crowd, first=first, last=last)
            merged = await asyncio.to_thread(_merged, found, numbers=numbers)
            await merging.write_terms(tx, crowd=crowd, segment_id=segment_id, postings=merged)
            self._failpoint.hit("merge_writing")
        self._failpoint.hit("merge_written")


async def _keep(lock: Tx | None) -> None:
    """The lock, by a sign of life. Raises DatabaseUnavailable when it is lost."""
    if lock is not None:
        await purge.alive(lock)


def _merged(found: Sequence[tuple[int, Postings]], *, numbers: Numbers) -> Postings:
    return merge([(postings, numbers[segment_id]) for segment_id, postings in found])


def _numbers(members: Sequence[Member]) -> Numbers:
    """Where the chunks of each old segment go: behind each other, without the dead."""
    sizes: dict[int, int] = {}
    for member in members:
        sizes[member.segment_id] = max(
            sizes.get(member.segment_id, 0), member.first_number + member.chunk_count
        )
    found = {each: np.full(size, -1, dtype=np.int32) for each, size in sizes.items()}
    after = 0
    for member in members:
        if not member.dead:
            place = slice(member.first_number, member.first_number + member.chunk_count)
            found[member.segment_id][place] = np.arange(after, after + member.chunk_count)
            after += member.chunk_count
    return found
