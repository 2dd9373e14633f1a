"""Whether a customer may hold more: asked inside the transaction that adds, behind what it added.

One transaction at a time counts for a customer, so that no two that each fit go over together. What
does not live here: how many requests a customer may send (throttle).
"""

from engine.config import Limits
from engine.errors import QueueFull, SourceQuotaExceeded, StorageQuotaExceeded
from engine.models import CustomerId
from engine.store import Tx, quotas


async def check_sources(tx: Tx, *, customer_id: CustomerId, limits: Limits) -> None:
    """Raises SourceQuotaExceeded, QueueFull; the caller's transaction has inserted its sources."""
    await quotas.lock(tx, customer_id=customer_id)
    held = await quotas.sources(tx, customer_id=customer_id)
    if held.sources > limits.customer_sources_max:
        raise SourceQuotaExceeded(
            f"You may hold {limits.customer_sources_max} sources in all your RAGs together, and "
            f"this would make {held.sources}; nothing was added. Delete sources or RAGs that are "
            "not needed, or ask the operator for more."
        )
    _check_queue(held, limits=limits)


async def check_queue(tx: Tx, *, customer_id: CustomerId, limits: Limits) -> None:
    """Raises QueueFull; the caller's transaction has made a source due that was there already."""
    await quotas.lock(tx, customer_id=customer_id)
    _check_queue(await quotas.sources(tx, customer_id=customer_id), limits=limits)


def _check_queue(held: quotas.Held, *, limits: Limits) -> None:
    if held.queued > limits.customer_queued_sources_max:
        raise QueueFull(
            f"At most {limits.customer_queued_sources_max} of your sources may wait to be read, "
            f"and this would make {held.queued}; nothing was changed. Wait until some are read, "
            "then send the request again."
        )


async def check_bytes(tx: Tx, *, customer_id: CustomerId, limits: Limits) -> None:
    """Raises StorageQuotaExceeded; the caller's transaction has inserted the blob's row."""
    await quotas.lock(tx, customer_id=customer_id)
    held = await quotas.stored_bytes(tx, customer_id=customer_id)
    if held > limits.customer_stored_bytes_max:
        raise StorageQuotaExceeded(
            f"You may store {limits.customer_stored_bytes_max} bytes, and this upload would make "
            f"{held}. Delete files and sources that are not needed (their bytes are removed within "
            f"{limits.orphan_age_s / 60:g} minutes), or ask the operator for more."
        )
