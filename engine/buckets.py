"""Token buckets by key, in the memory of one process: pure arithmetic over a clock that is given.

A bucket holds up to `burst` tokens and gains `per_s` of them a second; a request takes one. There
are never more than BUCKETS_MAX of them: the one that was used longest ago is forgotten, and starts
full if it comes again.
"""

from collections import OrderedDict

import msgspec

BUCKETS_MAX = 50_000


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """How fast a bucket fills, and how much it holds."""

    per_s: float
    burst: int


class Allowance(msgspec.Struct, frozen=True, kw_only=True):
    """What a bucket said. `wait_s`: until it has a token again, 0 when it had one; `full_s`: until
    it is full again when it is left alone."""

    burst: int
    remaining: int
    wait_s: float
    full_s: float

    @property
    def is_granted(self) -> bool:
        return self.wait_s == 0


def allowance(tokens: float, *, rate: Rate, granted: bool) -> Allowance:
    """In words that callers understand, from the tokens that are left."""
    wait_s = 0.0 if granted else max((1 - tokens) / rate.per_s, 0.001)
    return Allowance(
        burst=rate.burst,
        remaining=max(int(tokens), 0),
        wait_s=wait_s,
        full_s=(rate.burst - tokens) / rate.per_s,
    )


class Buckets:
    """Buckets of one rate."""

    def __init__(self, rate: Rate, *, buckets_max: int = BUCKETS_MAX) -> None:
        self.rate = rate
        self._buckets_max = buckets_max
        # Key -> tokens and when there were so many; the one that was used last stands last.
        self._held: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str, *, now_s: float) -> Allowance:
        """One token, if there is one."""
        tokens = self._tokens(key, now_s=now_s)
        granted = tokens >= 1
        left = tokens - 1 if granted else tokens
        self.set(key, tokens=left, now_s=now_s)
        return allowance(left, rate=self.rate, granted=granted)

    def give_back(self, key: str, *, now_s: float) -> None:
        """A token that was taken for nothing."""
        self.set(key, tokens=self._tokens(key, now_s=now_s) + 1, now_s=now_s)

    def set(self, key: str, *, tokens: float, now_s: float) -> None:
        """Have as many as somebody else has counted."""
        self._held[key] = (min(tokens, float(self.rate.burst)), now_s)
        self._held.move_to_end(key)
        while len(self._held) > self._buckets_max:
            self._held.popitem(last=False)

    def _tokens(self, key: str, *, now_s: float) -> float:
        tokens, at_s = self._held.get(key, (float(self.rate.burst), now_s))
        return min(float(self.rate.burst), tokens + max(0.0, now_s - at_s) * self.rate.per_s)
