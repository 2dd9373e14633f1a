"""Search by words: what a question and a passage cost, and what deletes and merges cost.

Processor time is that of this process and of its database sessions together. The passages are
random words by Zipf's law, so that the commonest stand in nearly every passage, as in real text;
questions are drawn from the same words, function words among them.
"""

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import numpy as np
import psutil

from bench.report import Table, show
from engine.config import Limits
from engine.inverted import build
from engine.lexical import Analyser, terms
from engine.local import LocalServices
from engine.models import CustomerId, IndexId, ProfileId, RagId, SourceId
from engine.stopwords import FUNCTION_WORDS
from engine.store import Database, Tx, merging, postings, rags, segments, targets
from engine.store.claims import ClaimedIndex
from engine.store.schema import apply_schema
from engine.store.segments import NewSegment
from engine.store.targets import Head
from engine.store.termcache import TermCache
from workers.merge import Merge

SIZES = tuple(int(size) for size in os.environ.get("LEXICAL_SIZES", "1000,10000,100000").split(","))
SOURCE_PASSAGES = 20
BATCH_SOURCES = 50  # between two rounds of the merge loop
PASSAGE_WORDS = 130
VOCABULARY = 300_000
QUESTIONS = 200
DELETED = (0.01, 0.05, 0.5)
ANALYSER = Analyser("en.1")
COMMON = FUNCTION_WORDS["en"].split()


class Cost(NamedTuple):
    """Seconds of the processor: ours, and the database's."""

    here: float
    there: float
    wall: float

    @property
    def both(self) -> float:
        return self.here + self.there


class Place(NamedTuple):
    database: Database
    customer_id: CustomerId
    profile_id: ProfileId
    rag_id: RagId
    server: psutil.Process
    terms: TermCache


def run() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o711)
        with LocalServices(Path(folder) / "data", redis=False) as local:
            url = local.services.database_url
            asyncio.run(apply_schema(url))
            figures, rows = asyncio.run(_measure(url))
    head = (
        "passages", "segments", "MB", "query p50 ms", "p95 ms", "cpu p50 ms", "index cpu ms",
        "merge cpu ms",
    )  # fmt: skip
    show(Table(title="lexical", head=head, rows=rows), bench="lexical", **figures)


async def _measure(url: str) -> tuple[dict[str, float], list[Sequence[str]]]:
    place = await _place(url)
    random = np.random.default_rng(1)
    figures: dict[str, float] = {}
    rows: list[Sequence[str]] = []
    made: list[ClaimedIndex] = []
    held = 0
    for size in SIZES:
        added, held = size - held, size
        claims, *costs = await _fill(place, random, passages=added)
        made += claims
        await _vacuum(place)
        found = await _ask(place, random)
        count, megabytes = await _sizes(place)
        per = [1000 * cost / added for cost in costs]
        row = (*found, *per)
        names = ("p50_ms", "p95_ms", "cpu_ms", "index_cpu_ms", "merge_cpu_ms")
        figures |= {
            f"{name}_{size}": round(value, 3) for name, value in zip(names, row, strict=True)
        }
        rows.append((str(size), str(count), f"{megabytes:.0f}", *(f"{value:.3f}" for value in row)))
        print(rows[-1], flush=True)
    for share in DELETED:
        figures |= await _delete(place, random, made, share=share)
    await place.database.close()
    return figures, rows


async def _place(url: str) -> Place:
    database = await Database(url, role="rag_worker", connections=1).open()
    customer_id = CustomerId(uuid4())
    operator = await Database(url, role="rag_operator", connections=1).open()
    async with operator.transaction() as tx:
        await tx.run(
            "INSERT INTO customers (id, name) VALUES (%(id)s, 'bench')", {"id": customer_id}
        )
    await operator.close()
    async with database.transaction() as tx:
        rag_id = await rags.insert(
            tx,
            customer_id=customer_id,
            name="bench",
            description="",
            embedding_model="none",
            chunk_tokens=200,
            chunk_overlap_tokens=0,
        )
        profile = await rags.profile(tx, customer_id=customer_id, rag_id=rag_id)
        assert profile
        session = await tx.value(int, "SELECT pg_backend_pid()")
    return Place(database, customer_id, profile.id, rag_id, psutil.Process(session), TermCache())


@contextmanager
def _costs(place: Place) -> Iterator[list[Cost]]:
    found: list[Cost] = []
    here, there, wall = time.process_time(), _spent(place), time.perf_counter()
    yield found
    found.append(
        Cost(time.process_time() - here, _spent(place) - there, time.perf_counter() - wall)
    )


def _spent(place: Place) -> float:
    times = place.server.cpu_times()
    return float(times.user + times.system)


def _texts(random: np.random.Generator, *, passages: int) -> list[str]:
    lengths = np.maximum(5, random.normal(PASSAGE_WORDS, PASSAGE_WORDS / 4, passages)).astype(int)
    ranks = _ranks(random, int(lengths.sum()))
    words = [_word(rank) for rank in ranks.tolist()]
    ends = np.cumsum(lengths).tolist()
    return [
        " ".join(words[end - length : end])
        for end, length in zip(ends, lengths.tolist(), strict=True)
    ]


def _ranks(random: np.random.Generator, count: int) -> np.ndarray:
    """Ranks by Zipf's law, cut at the vocabulary: the first stands for 6 % of all words."""
    weights = 1 / (np.arange(1, VOCABULARY + 1) + 2.0)
    return np.searchsorted(np.cumsum(weights / weights.sum()), random.random(count))


async def _fill(
    place: Place, random: np.random.Generator, *, passages: int
) -> tuple[list[ClaimedIndex], float, float]:
    """Sources of twenty passages, merged on the way as a worker does; and what both took."""
    made: list[ClaimedIndex] = []
    indexing = merges = 0.0
    while SOURCE_PASSAGES * len(made) < passages:
        texts = _texts(random, passages=BATCH_SOURCES * SOURCE_PASSAGES)
        starts = range(0, min(len(texts), passages - SOURCE_PASSAGES * len(made)), SOURCE_PASSAGES)
        with _costs(place) as cost:
            made += [
                await _index(place, texts[start : start + SOURCE_PASSAGES]) for start in starts
            ]
        indexing += cost[0].both
        with _costs(place) as cost:
            await Merge(database=place.database, limits=Limits()).once()
        merges += cost[0].both
    with _costs(place) as cost:
        await _quiet(place)
    return made, indexing, merges + cost[0].both


async def _index(place: Place, texts: Sequence[str]) -> ClaimedIndex:
    claim = _claim(place)
    segment = NewSegment(
        first_ordinal=0,
        chunk_count=len(texts),
        analyser=ANALYSER,
        postings=build([terms(text, analyser=ANALYSER) for text in texts], length=133),
    )
    async with place.database.transaction() as tx:
        await segments.add(tx, claim=claim, made=[segment])
    return claim


def _claim(place: Place) -> ClaimedIndex:
    return ClaimedIndex(
        id=IndexId(uuid4()),
        customer_id=place.customer_id,
        rag_id=place.rag_id,
        source_id=SourceId(uuid4()),
        profile_id=place.profile_id,
        attempt=1,
        faults=0,
        alone=False,
        generation=1,
    )


async def _quiet(place: Place) -> None:
    """Merge until nothing is left to do, and remove what was replaced."""
    while await Merge(database=place.database, limits=Limits()).once():
        pass
    removed = 1
    while removed:
        async with place.database.transaction() as tx:
            removed = await merging.remove_replaced(tx, age_s=0.0, limit=2_000)


async def _vacuum(place: Place) -> float:
    started = time.perf_counter()
    async with place.database.dedicated() as owner:
        await owner.run("RESET ROLE")
        for table in ("segments", "segment_members", "dead_members", "postings"):
            await owner.connection.execute(f"VACUUM ANALYZE {table}".encode())
    return time.perf_counter() - started


async def _ask(place: Place, random: np.random.Generator) -> tuple[float, float, float]:
    """Milliseconds: median and 95th percentile by the clock, and of the processor on average."""
    wall_ms = []
    questions = [_question(random) for _ in range(QUESTIONS)]
    with _costs(place) as spent:
        for question in questions:
            started = time.perf_counter()
            asking = targets.asking(
                place.database, customer_id=place.customer_id, rag_id=place.rag_id
            )
            async with asking as (tx, target):
                assert target
                await _ranked(tx, place, heads=target.segments, question=question)
            wall_ms.append((time.perf_counter() - started) * 1000)
    cpu_ms = 1000 * spent[0].both / QUESTIONS
    return statistics.median(wall_ms), sorted(wall_ms)[int(0.95 * QUESTIONS)], cpu_ms


def _question(random: np.random.Generator) -> str:
    ranks = _ranks(random, int(random.integers(3, 11)))
    return " ".join(_word(rank) for rank in ranks.tolist())


def _word(rank: int) -> str:
    """The commonest words of English text are its function words."""
    return COMMON[rank] if rank < len(COMMON) else f"w{rank:x}g"


async def _ranked(tx: Tx, place: Place, *, heads: Sequence[Head], question: str) -> None:
    words = await postings.gathered(
        tx,
        customer_id=place.customer_id,
        heads=heads,
        question=question,
        cache=place.terms,
    )
    best = words.best(limit=100)
    found = await postings.placed(tx, customer_id=place.customer_id, best=best, limit=100)
    assert len(found) <= 100


async def _sizes(place: Place) -> tuple[int, float]:
    async with place.database.transaction() as tx:
        count = await tx.value(int, "SELECT count(*) FROM segments WHERE state = 'live'")
        size = await tx.value(int, "SELECT pg_total_relation_size('postings')")
    return count or 0, (size or 0) / 1e6


async def _delete(
    place: Place, random: np.random.Generator, made: list[ClaimedIndex], *, share: float
) -> dict[str, float]:
    """Bury so many sources, one a transaction; ask; merge; vacuum; ask again."""
    chosen = set(random.permutation(len(made))[: int(share * len(made))].tolist())
    gone = [claim for number, claim in enumerate(made) if number in chosen]
    made[:] = [claim for number, claim in enumerate(made) if number not in chosen]
    with _costs(place) as burying:
        for claim in gone:
            async with place.database.transaction() as tx:
                await segments.bury_index(tx, customer_id=place.customer_id, index_id=claim.id)
    before = await _ask(place, random)
    with _costs(place) as merging_cost:
        await _quiet(place)
    vacuum_s = await _vacuum(place)
    after = await _ask(place, random)
    name = f"{100 * share:.0f}"
    return {
        f"delete_{name}_ms_each": round(1000 * burying[0].both / len(gone), 3),
        f"delete_{name}_query_p50_ms": round(before[0], 2),
        f"delete_{name}_merge_cpu_s": round(merging_cost[0].both, 2),
        f"delete_{name}_vacuum_s": round(vacuum_s, 2),
        f"delete_{name}_query_after_p50_ms": round(after[0], 2),
    }
