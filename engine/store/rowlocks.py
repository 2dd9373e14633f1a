"""Locks of sources, taken by the API in front of the statement that changes them.

What is locked for a claim, or in the statement that changes a row, is with those statements.
"""

from collections.abc import Sequence

from engine.models import CustomerId, SourceId
from engine.store.database import Tx


async def hold_sources(tx: Tx, *, customer_id: CustomerId, source_ids: Sequence[SourceId]) -> None:
    """Wait for whoever is changing them, in the order of their ids.

    The policy of the table asks whether a new row's file and folder are there, as of the beginning
    of its statement. One that had to wait for a row there would not see what that one hangs on by
    then, and would be refused.
    """
    await tx.run(
        """
        SELECT FROM sources WHERE customer_id = %(customer_id)s AND id = ANY(%(source_ids)s)
        ORDER BY id FOR NO KEY UPDATE
        """,
        {"customer_id": customer_id, "source_ids": list(source_ids)},
    )
