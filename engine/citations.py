"""From ranked candidates to hits: texts read, repetitions folded, what stands beside them added."""

from collections.abc import Mapping, Sequence
from itertools import islice

from engine.folding import folded
from engine.hits import Hit, Neighbour
from engine.models import CustomerId, IndexId, Noun, SourceId
from engine.retrieval import Ranked
from engine.store import Tx, hits
from engine.store.hits import Found

SPARE_MIN = 3  # read beyond what is wanted, because some may be folded

Beside = Mapping[tuple[IndexId, int], Neighbour]


class Chosen(Noun, frozen=True, kw_only=True):
    """A candidate that is in the answer."""

    ranked: Ranked
    found: Found

    @property
    def source_id(self) -> SourceId:
        return self.found.source_id

    @property
    def text(self) -> str:
        return self.found.text

    @property
    def start(self) -> int:
        return self.found.start

    @property
    def end(self) -> int:
        return self.found.end


async def chosen_of(
    tx: Tx,
    *,
    customer_id: CustomerId,
    ranked: Sequence[Ranked],
    top_k: int,
    may_repeat: bool = False,
) -> list[Chosen]:
    """The first `top_k` that say different things. Where `ranked` has no more of them: fewer, or
    the best repetitions among them if they `may_repeat`."""
    read: list[Chosen] = []
    chosen: list[Chosen] = []
    first, end = 0, top_k + max(SPARE_MIN, top_k // 4)
    while len(chosen) < top_k and first < len(ranked):
        read += await _read(tx, customer_id=customer_id, ranked=ranked[first:end])
        chosen = list(islice(folded(read), top_k))
        first, end = end, 2 * end
    return _repeated(read, chosen=chosen, top_k=top_k) if may_repeat else chosen


def _repeated(read: list[Chosen], *, chosen: list[Chosen], top_k: int) -> list[Chosen]:
    """`chosen`, filled up to `top_k`, in the order of `read`."""
    kept = {each.ranked.key for each in chosen}
    others = [each for each in read if each.ranked.key not in kept]
    kept |= {each.ranked.key for each in others[: top_k - len(chosen)]}
    return [each for each in read if each.ranked.key in kept]


async def _read(tx: Tx, *, customer_id: CustomerId, ranked: Sequence[Ranked]) -> list[Chosen]:
    rows = await hits.read(tx, customer_id=customer_id, keys=[each.key for each in ranked])
    found = {(row.index_id, row.generation, row.ordinal): row for row in rows}
    return [Chosen(ranked=each, found=found[each.key]) for each in ranked if each.key in found]


async def neighbours_of(tx: Tx, *, customer_id: CustomerId, chosen: Sequence[Chosen]) -> Beside:
    """The passages beside each, by index and ordinal; a query sees one generation of each index."""
    keys = [each.ranked.key for each in chosen]
    return {
        (row.index_id, row.ordinal): Neighbour(text=row.text, start=row.start, end=row.end)
        for row in await hits.beside(tx, customer_id=customer_id, keys=keys)
    }


def hit_of(chosen: Chosen, *, beside: Beside) -> Hit:
    found, ranked = chosen.found, chosen.ranked
    return Hit(
        chunk_id=found.chunk_id,
        source_id=found.source_id,
        text=found.text,
        score=ranked.score,
        dense=ranked.dense,
        lexical=ranked.lexical,
        start=found.start,
        end=found.end,
        headings=found.headings,
        source_name=found.source_name,
        file_id=found.file_id,
        url=found.url,
        page=found.page,
        before=beside.get((found.index_id, found.ordinal - 1)),
        after=beside.get((found.index_id, found.ordinal + 1)),
    )
