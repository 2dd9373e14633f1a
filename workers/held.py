"""What a running task holds, and whether it shall go on."""

import asyncio

from engine.models import SourceId
from engine.store import Tx, indexes
from engine.store.claims import ClaimedIndex, ClaimedSource

Claim = ClaimedSource | ClaimedIndex


class Held:
    """What a running task holds at the moment: the heartbeat renews it."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.lost = False

    def replace(self, claim: Claim) -> None:
        self.claim = claim


def source_of(claim: Claim) -> SourceId:
    return claim.id if isinstance(claim, ClaimedSource) else claim.source_id


async def faults_of(tx: Tx, *, claim: Claim) -> int:
    """How often it failed so far: an index that got further in this attempt is acquitted by now."""
    if isinstance(claim, ClaimedSource):
        return claim.faults
    return await indexes.faults(tx, claim=claim)


def told_to_stop() -> bool:
    """Whether this very task is to end: a driver or a library may answer that with an error of its
    own, or pass on the end of another task."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
