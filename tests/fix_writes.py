"""What a worker writes under a claim, one function a write: all that a fence has to refuse."""

from collections.abc import Awaitable, Callable

from fix_store import FINAL, PASSING, Store

from engine.models import Stage
from engine.store import acquisition, indexes
from engine.store.claims import ClaimedIndex, ClaimedSource

SourceWrite = Callable[[Store, ClaimedSource], Awaitable[None]]
IndexWrite = Callable[[Store, ClaimedIndex], Awaitable[None]]


async def set_stage(store: Store, claim: ClaimedSource) -> None:
    await store.do(acquisition.set_stage, claim=claim, stage=Stage.EXTRACT)


async def acquire(store: Store, claim: ClaimedSource) -> None:
    await store.acquire(claim)


async def postpone_source(store: Store, claim: ClaimedSource) -> None:
    await store.do(acquisition.postpone, claim=claim, delay_s=1, failure=PASSING)


async def fail_source(store: Store, claim: ClaimedSource) -> None:
    await store.do(acquisition.fail, claim=claim, failure=FINAL)


async def store_batch(store: Store, claim: ClaimedIndex) -> None:
    """Behind the first three passages, which may be stored already."""
    await store.store(claim, ordinals=range(3, 6))


async def finish(store: Store, claim: ClaimedIndex) -> None:
    await store.finish(claim, chunk_count=3)


async def postpone_index(store: Store, claim: ClaimedIndex) -> None:
    await store.do(indexes.postpone, claim=claim, delay_s=1, failure=PASSING)


async def give_back_index(store: Store, claim: ClaimedIndex) -> None:
    await store.do(indexes.postpone, claim=claim, delay_s=0, failure=None)


async def fail_index(store: Store, claim: ClaimedIndex) -> None:
    await store.do(indexes.fail, claim=claim, failure=FINAL)


SOURCE_WRITES: tuple[SourceWrite, ...] = (set_stage, acquire, postpone_source, fail_source)
INDEX_WRITES: tuple[IndexWrite, ...] = (
    store_batch,
    finish,
    postpone_index,
    give_back_index,
    fail_index,
)
