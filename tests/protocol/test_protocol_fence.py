"""Each condition of the fence refuses on its own, although a lost claim usually fails several.

What takes a claim away changes attempt, lease and marks together; here one of them is changed by
hand at a time, so that none of them is only there for show.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import LiteralString
from uuid import uuid4

import pytest
from fix_store import FINAL, KILLED, LEASE_S, Store
from fix_writes import INDEX_WRITES, SOURCE_WRITES, fail_index, fail_source, finish, store_batch

from engine.errors import Superseded
from engine.models import CustomerId, RagId, SourceId, Stage, WorkerId
from engine.store import claims, indexes, purge, rags, sources
from engine.store.claims import ClaimedIndex, ClaimedSource

pytestmark = pytest.mark.anyio

WORKER = WorkerId(uuid4())
SOURCE_LOSSES: dict[str, LiteralString] = {
    "another_attempt": "UPDATE sources SET attempt = attempt + 1",
    "no_lease": "UPDATE sources SET lease_until = NULL",
    "source_deleted": "UPDATE sources SET deleted_at = now()",
    "rag_deleted": "UPDATE rags SET deleted_at = now()",
}
INDEX_LOSSES: dict[str, LiteralString] = {
    "another_attempt": "UPDATE indexes SET attempt = attempt + 1",
    "no_lease": "UPDATE indexes SET lease_until = NULL",
    "rag_deleted": "UPDATE rags SET deleted_at = now()",
}
TEXT_LOSSES: dict[str, LiteralString] = {
    "source_deleted": "UPDATE sources SET deleted_at = now()",
    "newer_text": "UPDATE sources SET revision = revision + 1",
    "another_generation": "UPDATE indexes SET generation = generation + 1",
}


async def rows(store: Store) -> list[str]:
    """All that a write could have changed."""
    return [
        str(row)
        for table in (
            await store.fetch("SELECT * FROM sources ORDER BY id"),
            await store.fetch("SELECT * FROM indexes ORDER BY id"),
            await store.fetch("SELECT * FROM documents ORDER BY source_id, revision"),
            await store.fetch("SELECT id FROM chunks ORDER BY id"),
        )
        for row in table
    ]


async def new_source(store: Store) -> tuple[CustomerId, RagId, SourceId]:
    customer_id = await store.customer()
    rag_id = await store.rag(customer_id)
    return customer_id, rag_id, await store.source(customer_id, rag_id)


async def claimed_index(store: Store) -> ClaimedIndex:
    await new_source(store)
    return await store.acquire(await store.claimed_source())


async def progress(store: Store, claim: ClaimedIndex) -> None:
    await store.do(indexes.progress, claim=claim, stage=Stage.EMBED, done=7, total=9)


async def refused(store: Store, loss: LiteralString, write: Callable[[], Awaitable[None]]) -> None:
    await store.execute(loss)
    before = await rows(store)
    with pytest.raises(Superseded):
        await write()
    assert await rows(store) == before


@pytest.mark.parametrize("loss", SOURCE_LOSSES)
async def test_one_lost_condition_is_enough_to_refuse_a_write_to_a_source(
    store: Store, loss: str
) -> None:
    await new_source(store)
    claim = await store.claimed_source()
    for write in SOURCE_WRITES:
        await refused(store, SOURCE_LOSSES[loss], lambda write=write: write(store, claim))


@pytest.mark.parametrize("loss", INDEX_LOSSES)
async def test_one_lost_condition_is_enough_to_refuse_a_write_to_an_index(
    store: Store, loss: str
) -> None:
    claim = await claimed_index(store)
    # A deleted RAG is looked at by `hold`, which opens each transaction of `progress`.
    own = () if loss == "rag_deleted" else (progress,)
    for write in (*INDEX_WRITES, *own):
        await refused(store, INDEX_LOSSES[loss], lambda write=write: write(store, claim))


@pytest.mark.parametrize("loss", TEXT_LOSSES)
async def test_an_index_of_a_text_that_is_not_wanted_any_more_is_not_finished(
    store: Store, loss: str
) -> None:
    claim = await claimed_index(store)
    await refused(store, TEXT_LOSSES[loss], lambda: finish(store, claim))
    if loss == "source_deleted":
        await refused(store, TEXT_LOSSES[loss], lambda: store_batch(store, claim))


@pytest.mark.parametrize("end", [fail_index, finish])
async def test_an_index_that_has_come_to_its_end_is_held_by_nobody(
    store: Store, end: Callable[[Store, ClaimedIndex], Awaitable[None]]
) -> None:
    """Else its lease would run out one day, and what is final would be started over."""
    claim = await claimed_index(store)
    await store_batch(store, claim)
    await end(store, claim)
    row = await store.index_row(claim.source_id)
    assert (row["lease_until"], row["due_at"], row["worker_id"]) == (None, None, None)


async def test_a_source_that_has_come_to_its_end_is_held_by_nobody(store: Store) -> None:
    await new_source(store)
    claim = await store.claimed_source()
    await fail_source(store, claim)
    row = await store.source_row(claim.id)
    assert (row["lease_until"], row["due_at"], row["worker_id"]) == (None, None, None)


async def test_a_refresh_waits_for_the_transaction_that_has_opened_on_an_index(
    store: Store,
) -> None:
    claim = await claimed_index(store)
    ids = {"customer_id": claim.customer_id, "rag_id": claim.rag_id}
    async with store.worker.transaction() as tx:
        await indexes.hold(tx, claim=claim)
        refresh = asyncio.create_task(store.do(sources.refresh, source_id=claim.source_id, **ids))
        await asyncio.sleep(0.2)
        assert not refresh.done(), "the refresh did not wait"
    async with asyncio.timeout(5):
        assert await refresh


async def test_a_failure_is_told_to_the_source_by_the_index_that_is_still_claimed_only(
    store: Store,
) -> None:
    """The statement to the source comes first, so it has a fence of its own."""
    claim = await claimed_index(store)
    for loss in (INDEX_LOSSES["another_attempt"], INDEX_LOSSES["no_lease"]):
        await store.execute(loss)
        before = await rows(store)
        async with store.worker.transaction() as tx:
            await indexes._tell_source(tx, claim=claim, failure=FINAL, final=True)
        assert await rows(store) == before
        await store.execute("UPDATE indexes SET attempt = %(attempt)s", attempt=claim.attempt)
        await store.execute("UPDATE indexes SET lease_until = now() + interval '1 minute'")


async def rag_index_of(store: Store, source_id: SourceId) -> None:
    """A second index of the source, under a public name, at work."""
    await store.execute(
        """
        WITH made AS (
            INSERT INTO profiles (customer_id, rag_id, embedding_model, public_model, chunk_tokens,
                                  chunk_overlap_tokens)
            SELECT customer_id, rag_id, 'a-model', 'a-name', 100, 0 FROM sources
            WHERE id = %(id)s RETURNING id
        )
        INSERT INTO indexes (customer_id, rag_id, source_id, profile_id, state, attempt,
                             lease_until, generation)
        SELECT s.customer_id, s.rag_id, s.id, made.id, 'processing', 5,
               now() + interval '1 minute', 1
        FROM sources s, made WHERE s.id = %(id)s
        """,
        id=source_id,
    )


async def test_a_new_text_fences_off_every_index_of_the_old_one(store: Store) -> None:
    customer_id, rag_id, source_id = await new_source(store)
    await store.ingest()
    await rag_index_of(store, source_id)
    await store.do(sources.refresh, customer_id=customer_id, rag_id=rag_id, source_id=source_id)
    before = await attempts(store)
    await store.execute(
        "UPDATE indexes SET lease_until = now() + interval '1 minute', state = 'processing'"
        " WHERE attempt > 5"
    )
    await store.acquire(await store.claimed_source())
    after = await attempts(store)
    assert {key for key, attempt in after.items() if attempt <= before[key]} == set()
    waiting = await store.fetch("SELECT state, lease_until FROM indexes WHERE due_at IS NOT NULL")
    assert waiting == [{"state": "pending", "lease_until": None}]


async def test_an_index_under_a_public_name_is_finished_for_the_newest_text_only(
    store: Store,
) -> None:
    """It has no say in the state of its source."""
    _, _, source_id = await new_source(store)
    primary = await store.ingest()
    await rag_index_of(store, source_id)
    await store.execute(
        "UPDATE indexes SET lease_until = NULL, due_at = now() WHERE id <> %(id)s", id=primary.id
    )
    await store.execute("UPDATE sources SET state = 'processing'")
    claim = await store.claimed_index()
    assert claim.id != primary.id
    await store.execute("UPDATE sources SET revision = revision + 1")
    with pytest.raises(Superseded):
        await store.finish(claim, chunk_count=0)
    await store.execute("UPDATE sources SET revision = revision - 1")
    await store.store(claim, ordinals=range(2))
    await store.finish(claim, chunk_count=2)
    (row,) = await store.fetch("SELECT * FROM indexes WHERE id = %(id)s", id=claim.id)
    assert (row["state"], row["generation_live"], row["chunk_count"]) == ("ready", 1, 2)
    assert (await store.source_row(source_id))["state"] == "processing"


async def attempts(store: Store) -> dict[str, int]:
    found = await store.fetch("SELECT id, attempt FROM sources UNION ALL SELECT id, attempt FROM"
                              " indexes")  # fmt: skip
    return {str(row["id"]): row["attempt"] for row in found}


@pytest.mark.parametrize("way", ["refresh", "delete", "delete_rag"])
async def test_whatever_takes_the_rows_from_their_workers_raises_attempts_and_ends_leases(
    store: Store, way: str
) -> None:
    customer_id, rag_id, source_id = await new_source(store)
    ids = {"customer_id": customer_id, "rag_id": rag_id}
    await store.acquire(await store.claimed_source())
    await store.execute("UPDATE sources SET lease_until = now() + interval '1 minute'")
    before = await attempts(store)
    if way == "refresh":
        await store.do(sources.refresh, source_id=source_id, **ids)
    elif way == "delete":
        await store.do(sources.mark_deleted, source_ids=[source_id], **ids)
    else:
        await store.do(rags.mark_deleted, **ids)
        await store.do(purge.delete_sources_of_deleted_rags, limit=9)
    after = await attempts(store)
    assert {key: attempt - before[key] for key, attempt in after.items()} == dict.fromkeys(after, 1)
    held = "SELECT lease_until FROM {} WHERE lease_until IS NOT NULL"
    for table in ("sources", "indexes"):
        assert await store.fetch(held.format(table)) == []


@pytest.mark.parametrize("way", ["claim_source", "claim_alone_source"])
async def test_only_a_due_and_live_source_is_claimed_once_and_by_a_new_attempt(
    store: Store, way: str
) -> None:
    _, _, source_id = await new_source(store)
    alone = way == "claim_alone_source"
    await store.execute("UPDATE sources SET alone = %(alone)s, attempt = 4", alone=alone)

    async def claim() -> ClaimedSource | None:
        if alone:
            return await store.do(claims.claim_alone_source, worker_id=WORKER, lease_s=LEASE_S)
        return await store.take_source(worker_id=WORKER)

    for unfit, fit in (
        ("deleted_at = now()", "deleted_at = NULL"),
        ("due_at = now() + interval '1 hour'", "due_at = now()"),
        ("due_at = NULL", "due_at = now()"),
    ):
        await store.execute(f"UPDATE sources SET {unfit}")
        assert await claim() is None
        await store.execute(f"UPDATE sources SET {fit}")
    found = await claim()
    assert found
    assert (found.id, found.attempt, found.alone) == (source_id, 5, alone)
    assert await claim() is None
    row = await store.source_row(source_id)
    assert (row["attempt"], row["state"], row["due_at"]) == (5, "processing", None)
    assert row["worker_id"] == WORKER


@pytest.mark.parametrize("way", ["claim_index", "claim_alone_index"])
async def test_only_a_due_index_is_claimed_once_and_by_a_new_attempt(
    store: Store, way: str
) -> None:
    index = await claimed_index(store)
    alone = way == "claim_alone_index"
    await store.execute(
        "UPDATE indexes SET alone = %(alone)s, attempt = 4, lease_until = NULL, state = 'pending'",
        alone=alone,
    )

    async def claim() -> ClaimedIndex | None:
        if alone:
            return await store.do(claims.claim_alone_index, worker_id=WORKER, lease_s=LEASE_S)
        return await store.take_index(worker_id=WORKER)

    assert await claim() is None
    await store.execute("UPDATE indexes SET due_at = now() + interval '1 hour'")
    assert await claim() is None
    await store.execute("UPDATE indexes SET due_at = now()")
    found = await claim()
    assert found
    assert (found.id, found.attempt, found.alone) == (index.id, 5, alone)
    assert await claim() is None


async def test_an_expired_claim_is_taken_up_by_a_higher_attempt(store: Store) -> None:
    first = await claimed_index(store)
    await store.expire(table="indexes")
    await store.do(purge.expire_indexes, limit=9, faults_max=3, killed=KILLED)
    second = await store.claimed_index()
    assert second.attempt > first.attempt
    await store.store(second, ordinals=range(2))
    with pytest.raises(Superseded):
        await store.store(first, ordinals=range(2, 4))
    assert await store.ordinals(second) == [0, 1]
