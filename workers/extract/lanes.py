"""Who may run a child, and for how long while others wait. Knows no processes and no documents.

There are few slots, because each costs memory. Documents that take minutes must not hold all of
them: whoever stays long while others wait needs the long lane, which leaves one slot free.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from engine.errors import Overloaded

PATIENCE_S = 2.0
_LOOK_S = 0.2
T = TypeVar("T")


class Lanes:
    """At most `slots_max` at once, and all but one of them for as long as they like."""

    def __init__(self, slots_max: int, *, patience_s: float = PATIENCE_S) -> None:
        self._slots = asyncio.Semaphore(slots_max)
        # With a single slot there is no choice: whoever holds it may finish.
        self._long_left = max(1, slots_max - 1)
        self._patience_s = patience_s
        self._waiting = 0

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """A slot for the time of the block, in the order of asking."""
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._slots.release()

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What the work returns, within a slot.

        Raises Overloaded, and cancels the work, when it takes long while others wait and the
        long lane is taken: the document may come back when there is room.
        """
        task = asyncio.ensure_future(work)
        try:
            return await self._watched(task)
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})

    async def _watched(self, task: "asyncio.Future[T]") -> T:
        await asyncio.wait({task}, timeout=self._patience_s)
        while not task.done() and not self._long_left:
            if self._waiting:
                raise Overloaded("The parsers are busy with other large documents.")
            await asyncio.wait({task}, timeout=_LOOK_S)
        if task.done():
            return task.result()
        self._long_left -= 1
        try:
            return await task
        finally:
            self._long_left += 1
