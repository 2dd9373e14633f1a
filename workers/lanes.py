"""Which slow fetches go on while others wait. Knows no network, and no rows but through a question.

A worker holds few rows at a time, and a server that says nothing keeps one of them until its
deadline. So all places but one may be held by fetches that take long. Where there are more, and
somebody else waits, the customer that holds most of them gives up its youngest one: whoever comes
next does not wait for a deadline, and who is merely slow goes on unless it is slow many times over.

The lanes of workers.extract are others: there it is memory that is short, and not places.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from engine.errors import Overloaded
from engine.models import CustomerId

PATIENCE_S = 2.0
LOOK_S = 1.0
T = TypeVar("T")
OthersWait = Callable[[CustomerId], Awaitable[bool]]


class _Slow:
    """A fetch that has taken long."""

    def __init__(self, customer_id: CustomerId) -> None:
        self.customer_id = customer_id


class FetchLanes:
    """`places`: rows that this process works at a time. `others_wait`: whether anybody but that
    customer has something to be done now. With a single place whoever has it may finish."""

    def __init__(
        self,
        *,
        places: int,
        others_wait: OthersWait,
        patience_s: float = PATIENCE_S,
        look_s: float = LOOK_S,
    ) -> None:
        self._slow_max = max(1, places - 1)
        self._others_wait = others_wait
        self._patience_s = patience_s
        self._look_s = look_s
        self._slow: list[_Slow] = []  # the youngest stands last

    async def run(self, fetching: Coroutine[Any, Any, T], *, customer_id: CustomerId) -> T:
        """What the fetch returns. Raises Overloaded, and cancels the fetch, when it is the one
        that has to make room: it may come back later."""
        task = asyncio.ensure_future(fetching)
        try:
            await asyncio.wait({task}, timeout=self._patience_s)
            return task.result() if task.done() else await self._watched(task, customer_id)
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})

    async def _watched(self, task: "asyncio.Future[T]", customer_id: CustomerId) -> T:
        slow = _Slow(customer_id)
        self._slow.append(slow)
        try:
            while not task.done():
                if self._is_next_to_go(slow) and await self._others_wait(customer_id):
                    raise Overloaded("Too many slow fetches at a time, and others wait.")
                await asyncio.wait({task}, timeout=self._look_s)
            return task.result()
        finally:
            self._slow.remove(slow)

    def _is_next_to_go(self, slow: _Slow) -> bool:
        if len(self._slow) <= self._slow_max:
            return False
        held = Counter(each.customer_id for each in self._slow)
        most = max(held.values())
        youngest = next(each for each in reversed(self._slow) if held[each.customer_id] == most)
        return youngest is slow
