"""Waiting for a text that is being read: clients of the second door ask for it at once."""

import asyncio

from engine.models import CustomerId, SourceId
from engine.store import Database, sources

POLL_S = 0.1


async def settled(
    database: Database, *, customer_id: CustomerId, source_id: SourceId, wait_s: float
) -> None:
    """Return once nothing of a source is being read any more, or after `wait_s`.

    No transaction is open while it waits.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait_s
    while True:
        async with database.transaction(customer_id=customer_id) as tx:
            waits = await sources.is_read_anew(tx, customer_id=customer_id, source_id=source_id)
        left_s = deadline - loop.time()
        if not waits or left_s <= 0:
            return
        await asyncio.sleep(min(POLL_S, left_s))
