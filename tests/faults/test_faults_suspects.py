"""Who is charged for a dead worker: whoever was alone and no further than before, and nobody else.

Rows only. The same on real processes is in long_poison.py and long_workers.py.
"""

import pytest
from fix_store import KILLED, Store, store

from engine.models import SourceId, State
from engine.store import acquisition, indexes, purge
from engine.store.claims import ClaimedIndex
from workers.held import faults_of

__all__ = ["store"]

pytestmark = pytest.mark.anyio

FAULTS_MAX = 3


async def die(store: Store, *, table: str, delay_s: float = 0.0) -> None:
    """The worker of whatever is at work goes silent, and the sweep comes round."""
    await store.expire(table=table)
    expire = purge.expire_sources if table == "sources" else purge.expire_indexes
    await store.do(expire, limit=10, faults_max=FAULTS_MAX, killed=KILLED, delay_s=delay_s)


async def new_source(store: Store) -> SourceId:
    customer_id = await store.customer()
    return await store.source(customer_id, await store.rag(customer_id))


async def suspect(store: Store) -> ClaimedIndex:
    """An index at work alone, because its first worker has died; two chunks of it are stored."""
    await new_source(store)
    index = await store.acquire(await store.claimed_source())
    await store.store(index, ordinals=range(2))
    await die(store, table="indexes")
    claim = await store.claimed_index()
    assert claim.alone
    return claim


async def test_a_document_that_gets_further_each_time_is_never_charged_for_its_workers_deaths(
    store: Store,
) -> None:
    claim = await suspect(store)
    for stored in range(2, 2 + 2 * FAULTS_MAX):
        await store.store(claim, ordinals=range(stored, stored + 1))
        await die(store, table="indexes")
        claim = await store.claimed_index()
        assert (claim.alone, claim.faults) == (True, 0), "suspected still, charged with nothing"


async def test_a_document_that_dies_at_one_place_is_charged_each_time_and_ends(
    store: Store,
) -> None:
    claim = await suspect(store)
    for faults in range(FAULTS_MAX):
        assert claim.faults == faults
        # An attempt says where it goes on: that is no step forward.
        await store.do(indexes.progress, claim=claim, stage="embed", done=2, total=100)
        await die(store, table="indexes")
        claim = await store.take_index() or claim
    assert await store.state(claim.source_id) is State.ERROR


async def test_a_charge_is_forgotten_once_the_document_gets_further(store: Store) -> None:
    claim = await suspect(store)
    for _ in range(FAULTS_MAX - 1):
        await die(store, table="indexes")
        claim = await store.claimed_index()
    assert claim.faults == FAULTS_MAX - 1
    await store.store(claim, ordinals=range(2, 3))
    row = await store.index_row(claim.source_id)
    assert (row["alone"], row["faults"]) == (False, 0)
    # Who ends the attempt goes by that, and not by what stood there when it began.
    assert await store.do(faults_of, claim=claim) == 0


@pytest.mark.parametrize("table", ["sources", "indexes"])
async def test_an_attempt_that_is_given_back_leaves_the_suspicion(store: Store, table: str) -> None:
    source_id = await new_source(store)
    if table == "sources":
        await store.claimed_source()
        await die(store, table="sources")
        claim = await store.claimed_source()
        await store.do(acquisition.postpone, claim=claim, delay_s=0.0, failure=None)
        row = await store.source_row(source_id)
        again = (await store.claimed_source()).alone
    else:
        index = await suspect(store)
        await store.do(indexes.postpone, claim=index, delay_s=0.0, failure=None)
        row = await store.index_row(index.source_id)
        again = (await store.claimed_index()).alone
    assert (row["alone"], row["faults"], again) == (True, 0, True)


@pytest.mark.parametrize("table", ["sources", "indexes"])
async def test_each_charged_death_doubles_the_pause_before_the_next_attempt(
    store: Store, table: str
) -> None:
    """A burst of deaths that has nothing to do with the document does not hit it three times."""
    source_id = await new_source(store)
    claim = await store.claimed_source()
    if table == "indexes":
        await store.acquire(claim)
    pauses_s = []
    for _ in range(FAULTS_MAX):
        await die(store, table=table, delay_s=100.0)
        pauses_s.append(await pause_s(store, source_id, table=table))
        await store.execute("UPDATE sources SET due_at = now() WHERE due_at IS NOT NULL")
        await store.execute("UPDATE indexes SET due_at = now() WHERE due_at IS NOT NULL")
        await (store.claimed_source() if table == "sources" else store.claimed_index())
    assert pauses_s == [0, 100, 200]


async def pause_s(store: Store, source_id: SourceId, *, table: str) -> int:
    row = await (store.source_row if table == "sources" else store.index_row)(source_id)
    return round((row["due_at"] - row["updated_at"]).total_seconds())
