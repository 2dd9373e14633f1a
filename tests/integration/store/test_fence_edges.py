"""Edges of the fenced writes and of the claims that only a direct look at the rows can tell."""

import asyncio
from uuid import UUID

import pytest
from fix_store import PASSING, Store

from engine.errors import DatabaseUnavailable
from engine.models import CustomerId, RagId, SourceId, WorkerId
from engine.store import claims, indexes, rags
from engine.store.claims import ClaimedIndex

pytestmark = pytest.mark.anyio

LOWEST = UUID(int=0)


@pytest.fixture
async def index(store: Store) -> ClaimedIndex:
    """A claimed primary index, half built."""
    customer_id = await store.customer()
    await store.source(customer_id, await store.rag(customer_id))
    claim = await store.acquire(await store.claimed_source())
    await store.store(claim, ordinals=range(2))
    return claim


async def secondary(store: Store, primary: ClaimedIndex) -> ClaimedIndex:
    """Another index of the same source, claimed."""
    await store.execute(
        "WITH profile AS (INSERT INTO profiles (customer_id, rag_id, embedding_model, chunk_tokens,"
        " chunk_overlap_tokens) VALUES (%(customer_id)s, %(rag_id)s, 'another', 100, 0)"
        " RETURNING id) INSERT INTO indexes (customer_id, rag_id, source_id, profile_id, due_at,"
        " generation) SELECT %(customer_id)s, %(rag_id)s, %(source_id)s, id, now(), 1 FROM profile",
        customer_id=primary.customer_id,
        rag_id=primary.rag_id,
        source_id=primary.source_id,
    )
    return await store.claimed_index()


# The writes -------------------------------------------------------------------------------------


async def test_a_charge_is_told_to_whoever_holds_the_claim_and_to_nobody_else(
    store: Store, index: ClaimedIndex
) -> None:
    assert await store.do(indexes.faults, claim=index) == 0
    await store.execute("UPDATE indexes SET faults = 2")
    assert await store.do(indexes.faults, claim=index) == 2
    await store.execute("UPDATE indexes SET attempt = attempt + 1")
    assert await store.do(indexes.faults, claim=index) == 0


async def test_giving_back_without_a_fault_says_nothing_to_the_source(
    store: Store, index: ClaimedIndex
) -> None:
    await store.finish(index, chunk_count=2)
    await store.execute('UPDATE sources SET refresh_failed = true, failure = \'{"code": "x"}\'')
    await store.execute(
        "UPDATE indexes SET state = 'processing', lease_until = now() + interval '1 hour'"
    )
    before = await store.source_row(index.source_id)
    await store.do(indexes.postpone, claim=index, delay_s=0, failure=None)
    assert await store.source_row(index.source_id) == before


async def test_nothing_is_told_to_a_source_that_is_deleted(
    store: Store, index: ClaimedIndex
) -> None:
    await store.execute("UPDATE sources SET deleted_at = now(), due_at = NULL, lease_until = NULL")
    before = await store.source_row(index.source_id)
    await store.do(indexes.postpone, claim=index, delay_s=0, failure=PASSING)
    assert await store.source_row(index.source_id) == before


async def test_a_source_cannot_go_while_another_index_of_it_is_finished(
    store: Store, index: ClaimedIndex
) -> None:
    other = await secondary(store, index)
    await store.store(other, ordinals=range(2))
    async with store.worker.transaction() as tx:
        await indexes.finish(tx, claim=other, chunk_count=2)
        with pytest.raises(DatabaseUnavailable):
            async with store.operator.transaction() as by_hand:
                await by_hand.connection.execute(
                    "SELECT FROM sources WHERE id = %s FOR UPDATE NOWAIT", (index.source_id,)
                )


# The claims -------------------------------------------------------------------------------------


async def sources_of(store: Store, *, customers: int) -> list[SourceId]:
    """One due source for each new customer, in the order in which a claim goes round."""
    found: list[tuple[CustomerId, RagId]] = []
    for _ in range(customers):
        customer_id = await store.customer()
        found.append((customer_id, await store.rag(customer_id)))
    return [await store.source(customer_id, rag_id) for customer_id, rag_id in sorted(found)]


async def mark(store: Store, source_id: SourceId, *, alone: bool = False) -> None:
    """Deleted, and due all the same, as no statement of the engine leaves a row."""
    await store.execute(
        "UPDATE sources SET deleted_at = now(), alone = %(alone)s WHERE id = %(id)s",
        id=source_id,
        alone=alone,
    )


async def test_what_is_deleted_is_claimed_by_nobody_and_rings_no_bell(store: Store) -> None:
    (source_id,) = await sources_of(store, customers=1)
    await mark(store, source_id, alone=True)
    assert await store.take_source() is None
    worker = {"worker_id": UUID(int=1), "lease_s": 5.0}
    assert await store.do(claims.claim_alone_source, **worker) is None  # type: ignore[arg-type]
    assert await store.do(claims.any_due) is False
    assert await store.do(claims.alone_waits) is False


@pytest.mark.parametrize("after", ["first", "fifth"])
async def test_customers_who_have_deleted_all_do_not_hide_the_one_who_waits(
    store: Store, after: str
) -> None:
    *gone, waiting = ids = await sources_of(store, customers=6)
    if after == "fifth":
        *gone, waiting = ids = [ids[-1], *ids[:-1]]
    for source_id in gone:
        await mark(store, source_id)
    owners = [(await store.source_row(source_id))["customer_id"] for source_id in ids]
    claim = await store.take_source(after=LOWEST if after == "first" else owners[0])
    assert claim
    assert claim.id == waiting


@pytest.mark.parametrize("deleted", [False, True])
async def test_rows_that_are_not_due_do_not_end_the_round(store: Store, deleted: bool) -> None:
    *done, waiting = await sources_of(store, customers=6)
    for source_id in done:
        await store.execute(
            "UPDATE sources SET state = 'ready', due_at = NULL WHERE id = %(id)s", id=source_id
        )
        if deleted:
            await mark(store, source_id)
    claim = await store.take_source(after=LOWEST)
    assert claim
    assert claim.id == waiting


async def test_indexes_that_are_not_due_do_not_end_the_round(store: Store) -> None:
    ids = await sources_of(store, customers=6)
    for _ in ids:
        await store.acquire(await store.claimed_source())
    await store.execute("UPDATE indexes SET state = 'ready', lease_until = NULL")
    await store.execute(
        "UPDATE indexes SET state = 'pending', due_at = now() WHERE source_id = %(id)s", id=ids[-1]
    )
    claim = await store.take_index(after=LOWEST)
    assert claim
    assert claim.source_id == ids[-1]


async def test_a_question_about_due_rows_is_answered_with_yes_or_no(store: Store) -> None:
    assert await store.do(claims.any_due) is False
    assert await store.do(claims.alone_waits) is False
    (source_id,) = await sources_of(store, customers=1)
    assert await store.do(claims.any_due) is True
    assert await store.do(claims.alone_waits) is False
    await store.execute("UPDATE sources SET alone = true WHERE id = %(id)s", id=source_id)
    assert await store.do(claims.alone_waits) is True


@pytest.mark.parametrize("alone", [False, True])
async def test_what_is_due_later_rings_no_bell_yet(store: Store, alone: bool) -> None:
    one, other = await sources_of(store, customers=2)
    index = await store.acquire(await store.claimed_source())
    await store.execute(
        "UPDATE sources SET due_at = CASE WHEN due_at IS NOT NULL"
        " THEN now() + interval '1 hour' END, alone = %(alone)s",
        alone=alone,
    )
    await store.execute(
        "UPDATE indexes SET lease_until = NULL, due_at = now() + interval '1 hour',"
        " alone = %(alone)s",
        alone=alone,
    )
    assert index.source_id in (one, other)
    assert await store.do(claims.any_due) is False
    assert await store.do(claims.alone_waits) is False
    await store.execute("UPDATE indexes SET due_at = now()")
    assert await store.do(claims.any_due) is True
    assert await store.do(claims.alone_waits) is alone


async def test_no_lease_of_a_deleted_source_is_renewed(store: Store) -> None:
    (source_id,) = await sources_of(store, customers=1)
    worker_id = WorkerId(UUID(int=7))
    assert await store.take_source(worker_id=worker_id)
    await mark(store, source_id)
    before = await store.source_row(source_id)
    kept = await store.do(
        claims.renew_sources, worker_id=worker_id, ids=[source_id], lease_s=9_999.0
    )
    assert kept == set()
    assert await store.source_row(source_id) == before


async def test_a_lease_that_somebody_has_ended_is_not_begun_again(
    store: Store, index: ClaimedIndex
) -> None:
    worker_id = WorkerId((await store.index_row(index.source_id))["worker_id"])
    await store.execute("UPDATE indexes SET lease_until = NULL")
    kept = await store.do(
        claims.renew_indexes, worker_id=worker_id, ids=[index.id], lease_s=9_999.0
    )
    assert kept == set()
    assert (await store.index_row(index.source_id))["lease_until"] is None


async def test_unknown_rows_of_both_kinds_are_given_back_and_counted(store: Store) -> None:
    known, of_source, of_index = await sources_of(store, customers=3)
    worker_id = WorkerId(UUID(int=7))
    taken = {}
    for _ in range(3):
        claim = await store.take_source(worker_id=worker_id)
        assert claim
        taken[claim.id] = claim
    await store.acquire(taken[of_index])
    await store.execute("UPDATE indexes SET worker_id = %(id)s", id=worker_id)
    count = await store.do(claims.give_back_unknown, worker_id=worker_id, known=[known])
    assert count == 2
    rows = [await store.source_row(known), await store.source_row(of_source)]
    assert [row["due_at"] is None for row in rows] == [True, False]
    assert (await store.index_row(of_index))["due_at"] is not None


async def test_giving_back_waits_for_no_row_that_another_holds(store: Store) -> None:
    ids = await sources_of(store, customers=2)
    worker_id = WorkerId(UUID(int=7))
    for _ in ids:
        assert await store.take_source(worker_id=worker_id)
    async with store.operator.transaction() as tx:
        await tx.run("SELECT FROM sources WHERE id = %(id)s FOR UPDATE", {"id": ids[0]})
        async with asyncio.timeout(5):
            assert await store.do(claims.give_back_unknown, worker_id=worker_id, known=[]) == 1


async def test_giving_back_waits_for_no_index_that_another_holds(
    store: Store, index: ClaimedIndex
) -> None:
    worker_id = WorkerId((await store.index_row(index.source_id))["worker_id"])
    async with store.operator.transaction() as tx:
        await tx.run("SELECT FROM indexes WHERE id = %(id)s FOR UPDATE", {"id": index.id})
        async with asyncio.timeout(5):
            assert await store.do(claims.give_back_unknown, worker_id=worker_id, known=[]) == 0
    assert await store.do(claims.give_back_unknown, worker_id=worker_id, known=[]) == 1


async def test_what_holds_no_lease_is_not_given_back(store: Store, index: ClaimedIndex) -> None:
    worker_id = WorkerId(UUID(int=7))
    await store.execute("UPDATE indexes SET lease_until = NULL, worker_id = %(id)s", id=worker_id)
    await store.execute("UPDATE sources SET worker_id = %(id)s", id=worker_id)
    assert await store.do(claims.give_back_unknown, worker_id=worker_id, known=[]) == 0
    assert (await store.index_row(index.source_id))["due_at"] is None
    assert (await store.source_row(index.source_id))["due_at"] is None


async def test_what_was_given_back_holds_no_lease(store: Store, index: ClaimedIndex) -> None:
    await store.do(indexes.postpone, claim=index, delay_s=0, failure=PASSING)
    row = await store.index_row(index.source_id)
    assert (row["lease_until"], row["worker_id"], row["stage"]) == (None, None, None)


async def test_the_rag_is_held_while_a_source_is_written(store: Store, index: ClaimedIndex) -> None:
    async with store.worker.transaction() as tx:
        await indexes.hold(tx, claim=index)
        deleting = asyncio.create_task(
            store.do(rags.mark_deleted, customer_id=index.customer_id, rag_id=index.rag_id)
        )
        await asyncio.sleep(0.3)
        assert not deleting.done()
    await deleting


@pytest.mark.parametrize("kind", ["source", "index"])
async def test_a_row_for_an_idle_worker_that_another_is_taking_is_not_waited_for(
    store: Store, kind: str
) -> None:
    ids = await sources_of(store, customers=2)
    if kind == "index":
        for _ in ids:
            await store.acquire(await store.claimed_source())
        await store.execute("UPDATE indexes SET lease_until = NULL, due_at = now(), alone = true")
    else:
        await store.execute("UPDATE sources SET alone = true")
    claim = claims.claim_alone_source if kind == "source" else claims.claim_alone_index
    async with store.worker.transaction() as tx:
        first = await claim(tx, worker_id=WorkerId(UUID(int=1)), lease_s=5.0)
        async with asyncio.timeout(5):
            second = await store.do(claim, worker_id=WorkerId(UUID(int=2)), lease_s=5.0)
    assert first
    assert second
    assert first.id != second.id
