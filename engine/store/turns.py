"""Whether others wait for their turn: a worker asks for what takes long. What it may take is said
in claims."""

from uuid import UUID

from engine.models import CustomerId
from engine.store.database import Tx

NOBODY = CustomerId(UUID(int=0))  # whose others are all


async def others_wait(tx: Tx, *, customer_id: CustomerId) -> bool:
    """Whether anybody else has a due row, of either kind.

    In index order from both sides of the customer, which passes over all that it has waiting. With
    limits, because EXISTS would be planned as a scan of the table, which passes over all that was
    processed before.
    """
    return bool(
        await tx.value(
            bool,
            """
            SELECT COALESCE(
                (SELECT true FROM sources
                 WHERE due_at IS NOT NULL AND due_at <= now() AND deleted_at IS NULL
                   AND customer_id > %(customer_id)s
                 ORDER BY customer_id, due_at LIMIT 1),
                (SELECT true FROM sources
                 WHERE due_at IS NOT NULL AND due_at <= now() AND deleted_at IS NULL
                   AND customer_id < %(customer_id)s
                 ORDER BY customer_id, due_at LIMIT 1),
                (SELECT true FROM indexes
                 WHERE due_at IS NOT NULL AND due_at <= now() AND customer_id > %(customer_id)s
                 ORDER BY customer_id, due_at LIMIT 1),
                (SELECT true FROM indexes
                 WHERE due_at IS NOT NULL AND due_at <= now() AND customer_id < %(customer_id)s
                 ORDER BY customer_id, due_at LIMIT 1),
                false)
            """,
            {"customer_id": customer_id},
        )
    )
