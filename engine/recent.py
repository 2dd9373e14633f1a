"""What was seen a moment ago, for as long as that counts. Pure: callers say what time it is."""

from collections import OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """A value by its key for `kept_s` after it was put; of more than `kept_max`, those that were
    put least recently give way."""

    def __init__(self, *, kept_s: float, kept_max: int) -> None:
        self._kept_s = kept_s
        self._kept_max = kept_max
        self._entries: OrderedDict[K, tuple[V, float]] = OrderedDict()

    def get(self, key: K, *, now_s: float) -> V | None:
        """None: not put, or too long ago."""
        found = self._entries.get(key)
        if found is None or now_s - found[1] > self._kept_s:
            return None
        return found[0]

    def put(self, key: K, value: V, *, now_s: float) -> None:
        self._entries[key] = (value, now_s)
        self._entries.move_to_end(key)
        while len(self._entries) > self._kept_max:
            self._entries.popitem(last=False)

    def forget(self, key: K) -> None:
        self._entries.pop(key, None)
