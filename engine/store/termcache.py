"""Where a segment's terms stand, remembered in this process.

A segment never changes and its id is never given again, so nothing here can be out of date: whether
a segment is live, and who in it is dead, is asked of the database for every question. The commonest
words are asked for most, and are the most to read: without this they are most of a question's cost.
"""

from collections import OrderedDict

from engine.inverted import Where

BYTES_MAX = 64 * 1024 * 1024
ENTRY_BYTES = 400  # of a term that stands nowhere: keys, arrays and the entry itself


class TermCache:
    """The least recently used give way once there are `bytes_max`."""

    def __init__(self, *, bytes_max: int = BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._entries: OrderedDict[tuple[int, int], Where] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, segment_id: int, key: int) -> Where | None:
        """None: not remembered. A term that the segment does not have is two empty arrays."""
        found = self._entries.get((segment_id, key))
        if found is not None:
            self._entries.move_to_end((segment_id, key))
        return found

    def put(self, segment_id: int, key: int, where: Where) -> None:
        """Copied, so that a page of which one term is wanted does not stay as a whole."""
        if (segment_id, key) in self._entries:
            return
        copied = Where(where.passages.copy(), where.weights.copy(), most=where.most)
        self._entries[segment_id, key] = copied
        self._bytes += _size(copied)
        while self._bytes > self._bytes_max:
            self._bytes -= _size(self._entries.popitem(last=False)[1])


def _size(where: Where) -> int:
    return ENTRY_BYTES + 2 * where.passages.nbytes
