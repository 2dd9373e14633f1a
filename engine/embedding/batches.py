"""Which texts go through the model together. Pure.

A batch is a rectangle: every row is padded to the longest. So rows of like length go together, and
what is bounded is the area, not the number of rows; memory follows the area. A slab is a list:
what is bounded is its sum.
"""

from collections.abc import Iterator, Sequence


def batches(lengths: Sequence[int], *, batch_tokens: int) -> Iterator[list[int]]:
    """Indexes into `lengths`, longest first, with rows x longest <= batch_tokens in each batch.

    A text that is longer than the budget by itself makes a batch of one.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    start = 0
    while start < len(order):
        longest = max(lengths[order[start]], 1)
        rows = max(batch_tokens // longest, 1)
        yield order[start : start + rows]
        start += rows


def slabs(sizes: Sequence[int], *, slab_size: int, items_max: int | None = None) -> Iterator[range]:
    """Consecutive ranges of `sizes` that add up to at most `slab_size`; a larger one is alone.

    With `items_max` none is longer than that.
    """
    start, held = 0, 0
    for index, size in enumerate(sizes):
        full = held + size > slab_size or index - start == items_max
        if full and index > start:
            yield range(start, index)
            start, held = index, 0
        held += size
    if start < len(sizes):
        yield range(start, len(sizes))
