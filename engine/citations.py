"""From candidates to hits: repetitions folded, what stands beside them added."""

from collections.abc import Mapping, Sequence
from itertools import islice

from engine.folding import folded
from engine.hits import Hit, Neighbour
from engine.models import CustomerId, IndexId
from engine.store import Tx, hits
from engine.store.hits import Found

Beside = Mapping[tuple[IndexId, int], Neighbour]


def different(found: Sequence[Found], *, top_k: int) -> list[Found]:
    """The first `top_k` that say different things."""
    return list(islice(folded(found), top_k))


def repeated(found: Sequence[Found], *, chosen: Sequence[Found], top_k: int) -> list[Found]:
    """`chosen`, filled up to `top_k` with the best repetitions, in the order of `found`."""
    kept = {each.chunk_id for each in chosen}
    others = [each.chunk_id for each in found if each.chunk_id not in kept]
    kept.update(others[: top_k - len(chosen)])
    return [each for each in found if each.chunk_id in kept]


async def neighbours_of(tx: Tx, *, customer_id: CustomerId, chosen: Sequence[Found]) -> Beside:
    """The passages beside each, by index and ordinal; a query sees one generation of each index."""
    keys = [(each.index_id, each.generation, each.ordinal) for each in chosen]
    return {
        (row.index_id, row.ordinal): Neighbour(text=row.text, start=row.start, end=row.end)
        for row in await hits.beside(tx, customer_id=customer_id, keys=keys)
    }


def hit_of(found: Found, *, beside: Beside) -> Hit:
    return Hit(
        chunk_id=found.chunk_id,
        source_id=found.source_id,
        text=found.text,
        score=found.score,
        dense=found.dense,
        lexical=found.lexical,
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
