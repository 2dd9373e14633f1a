"""Claims: fair, exclusive, fenced by their attempt, and quick however long the queue is."""

import asyncio
import random
import re
from collections import Counter
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from fix_store import LEASE_S, NOBODY, Store

from engine.models import CustomerId, SourceId, WorkerId
from engine.store import Tx, claims

pytestmark = pytest.mark.anyio

CROWD = (
    "SET session_replication_role = replica",
    "INSERT INTO customers (name) SELECT 'one of many' FROM generate_series(1, 1000)",
    "INSERT INTO rags (customer_id, name, profile_live)"
    " SELECT id, 'r', gen_random_uuid() FROM customers",
    "INSERT INTO sources (customer_id, rag_id, url, name, due_at)"
    " SELECT r.customer_id, r.id, 'https://example.org/' || n, 'n', now() - n * interval '1 ms'"
    " FROM generate_series(1, 100) n, rags r ORDER BY n",
    "INSERT INTO profiles (customer_id, rag_id, embedding_model, chunk_tokens,"
    " chunk_overlap_tokens) SELECT customer_id, id, 'm', 200, 0 FROM rags",
    "INSERT INTO indexes (customer_id, rag_id, source_id, profile_id, due_at)"
    " SELECT s.customer_id, s.rag_id, s.id, p.id, s.due_at FROM sources s JOIN profiles p"
    " ON p.rag_id = s.rag_id",
    "ANALYZE",
)


async def due_sources(store: Store, customer_id: CustomerId, *, count: int) -> list[SourceId]:
    """The oldest first, a second apart."""
    rag_id = await store.rag(customer_id)
    ids = [await store.source(customer_id, rag_id) for _ in range(count)]
    for age_s, source_id in enumerate(reversed(ids), start=1):
        await store.execute(
            "UPDATE sources SET due_at = now() - make_interval(secs => %(age_s)s)"
            " WHERE id = %(id)s",
            age_s=age_s,
            id=source_id,
        )
    return ids


async def take_in_turn(store: Store, *, count: int) -> list[CustomerId]:
    """Claim as one worker does: each time after the customer it served last."""
    after: UUID = NOBODY
    served = []
    for _ in range(count):
        claim = await store.take_source(after=after)
        assert claim
        after = claim.customer_id
        served.append(claim.customer_id)
    return served


async def test_a_claim_says_what_to_do_and_leases_the_row(store: Store) -> None:
    customer_id = await store.customer()
    rag_id = await store.rag(customer_id)
    source_id = await store.source(customer_id, rag_id)
    worker_id = WorkerId(uuid4())

    claim = await store.take_source(worker_id=worker_id)

    assert claim
    assert (claim.id, claim.customer_id, claim.rag_id) == (source_id, customer_id, rag_id)
    assert (claim.attempt, claim.faults, claim.alone, claim.file_id) == (1, 0, False, None)
    row = await store.source_row(source_id)
    assert (row["state"], row["due_at"], row["stage"]) == ("processing", None, "fetch")
    assert (row["url"], row["worker_id"]) == (claim.url, worker_id)
    left = (await store.fetch("SELECT lease_until - now() AS left FROM sources"))[0]["left"]
    assert LEASE_S - 10 < left.total_seconds() <= LEASE_S


async def test_what_is_claimed_is_not_claimed_again(store: Store) -> None:
    await due_sources(store, await store.customer(), count=1)
    assert await store.take_source()
    assert await store.take_source() is None


async def test_nothing_is_claimed_before_it_is_due(store: Store) -> None:
    await due_sources(store, await store.customer(), count=2)
    await store.execute("UPDATE sources SET due_at = now() + interval '1 minute'")
    assert await store.take_source() is None
    assert not await store.do(claims.any_due)


async def test_within_a_customer_the_oldest_due_row_comes_first(store: Store) -> None:
    ids = await due_sources(store, await store.customer(), count=4)
    assert [(await store.claimed_source()).id for _ in ids] == ids


async def test_customers_with_equally_much_running_are_served_in_turn(store: Store) -> None:
    customer_ids = [await store.customer() for _ in range(3)]
    for customer_id in customer_ids:
        await due_sources(store, customer_id, count=3)
    served = await take_in_turn(store, count=9)
    for start in (0, 3, 6):
        assert sorted(served[start : start + 3]) == sorted(customer_ids)


async def test_one_late_source_overtakes_the_queue_of_a_busy_customer(store: Store) -> None:
    busy, late = await store.customer(), await store.customer()
    await due_sources(store, busy, count=10)
    for _ in range(3):
        await store.claimed_source()
    await due_sources(store, late, count=1)
    assert (await store.claimed_source()).customer_id == late


async def test_running_indexes_count_against_their_customer_too(store: Store) -> None:
    first, second = sorted([await store.customer(), await store.customer()])
    await due_sources(store, first, count=2)
    claim = await store.claimed_source()
    await store.acquire(claim)
    await due_sources(store, second, count=1)
    assert (await store.claimed_source()).customer_id == second


async def test_the_customer_served_is_the_one_the_rule_names_in_any_situation(
    store: Store,
) -> None:
    """Fewest running first, then in turn after the one served last, compared with the rule
    written down in Python."""
    chance = random.Random(20_26)
    customer_ids = sorted([await store.customer() for _ in range(9)])
    for customer_id in customer_ids:
        await due_sources(store, customer_id, count=5)
    for _ in range(40):
        await store.execute("UPDATE sources SET lease_until = NULL, due_at = NULL")
        running: dict[CustomerId, int] = {}
        for customer_id in customer_ids:
            running[customer_id] = chance.choice((0, 1, 1, 2))
            due = chance.choice((0, 0, 1, 2))
            await _arrange(store, customer_id, running=running[customer_id], due=due)
            if not due:
                del running[customer_id]
        after = chance.choice([NOBODY, uuid4(), *customer_ids])
        claim = await store.take_source(after=after)
        expected = min(running, key=lambda c: (running[c], c <= after, c), default=None)
        assert (claim and claim.customer_id) == expected


async def _arrange(store: Store, customer_id: CustomerId, *, running: int, due: int) -> None:
    """So many rows of a customer at work, so many due, the others neither (some of them later)."""
    await store.execute(
        """
        WITH numbered AS (SELECT id, row_number() OVER (ORDER BY position) AS number
                          FROM sources WHERE customer_id = %(customer_id)s)
        UPDATE sources s
        SET lease_until = CASE WHEN number <= %(running)s THEN now() + interval '1 hour' END,
            due_at = CASE WHEN number <= %(running)s THEN NULL
                          WHEN number <= %(running)s + %(due)s THEN now() - interval '1 second'
                          WHEN number %% 2 = 0 THEN now() + interval '1 hour' END
        FROM numbered n WHERE n.id = s.id
        """,
        customer_id=customer_id,
        running=running,
        due=due,
    )


async def test_six_customers_with_work_at_hand_do_not_starve_a_seventh(store: Store) -> None:
    customer_ids = [await store.customer() for _ in range(7)]
    for customer_id in customer_ids:
        await due_sources(store, customer_id, count=4)
    after: UUID = NOBODY
    served: Counter[CustomerId] = Counter()
    for _ in range(14):
        claim = await store.take_source(after=after)
        assert claim
        after = claim.customer_id
        served[claim.customer_id] += 1
        await store.ingest_claim(claim)
    assert served == dict.fromkeys(customer_ids, 2)


async def test_many_claimers_at_once_take_every_row_exactly_once(store: Store) -> None:
    ids = []
    for _ in range(4):
        ids += await due_sources(store, await store.customer(), count=15)
    taken: list[SourceId] = []

    async def claimer() -> None:
        while len(taken) < len(ids):
            claim = await store.take_source()
            if claim:
                taken.append(claim.id)

    async with asyncio.timeout(30):
        await asyncio.gather(*(claimer() for _ in range(12)))
    assert sorted(taken) == sorted(ids)
    rows = await store.fetch("SELECT DISTINCT attempt FROM sources")
    assert [row["attempt"] for row in rows] == [1]


async def test_a_row_that_somebody_locks_is_passed_over_not_waited_for(store: Store) -> None:
    ids = await due_sources(store, await store.customer(), count=2)
    async with store.worker.transaction() as tx:
        await tx.run("SELECT FROM sources WHERE id = %(id)s FOR UPDATE", {"id": ids[0]})
        async with asyncio.timeout(5):
            assert (await store.claimed_source()).id == ids[1]
            assert await store.take_source() is None


async def test_a_row_marked_alone_is_left_to_an_idle_worker(store: Store) -> None:
    ids = await due_sources(store, await store.customer(), count=2)
    await store.execute("UPDATE sources SET alone = true WHERE id = %(id)s", id=ids[0])
    assert await store.do(claims.alone_waits)
    busy = await store.take_source(idle=False)
    assert busy
    assert (busy.id, busy.alone) == (ids[1], False)
    assert await store.take_source(idle=False) is None
    idle = await store.take_source(idle=True)
    assert idle
    assert (idle.id, idle.alone) == (ids[0], True)
    assert not await store.do(claims.alone_waits)


async def test_a_due_index_is_claimed_by_the_same_rules(store: Store) -> None:
    ids = await due_sources(store, await store.customer(), count=2)
    for _ in ids:
        await store.acquire(await store.claimed_source())
    assert await store.take_index() is None
    await store.execute("UPDATE indexes SET lease_until = NULL, due_at = now()")
    await store.execute("UPDATE indexes SET alone = true WHERE source_id = %(id)s", id=ids[0])
    assert await store.do(claims.any_due)
    assert await store.do(claims.alone_waits)

    busy = await store.take_index(idle=False)
    assert busy
    assert (busy.source_id, busy.attempt, busy.generation) == (ids[1], 2, 1)
    assert await store.take_index(idle=False) is None
    idle = await store.take_index(idle=True)
    assert idle
    assert (idle.source_id, idle.alone) == (ids[0], True)


async def test_a_lease_is_renewed_only_for_whoever_holds_it(store: Store) -> None:
    await due_sources(store, await store.customer(), count=1)
    mine, other = WorkerId(uuid4()), WorkerId(uuid4())
    claim = await store.take_source(worker_id=mine)
    assert claim
    renew = claims.renew_sources
    held = await store.do(renew, worker_id=mine, ids=[claim.id], lease_s=600)
    assert held == {(claim.id, 1)}
    assert await store.do(renew, worker_id=other, ids=[claim.id], lease_s=9) == set()
    left = (await store.fetch("SELECT lease_until - now() AS left FROM sources"))[0]["left"]
    assert left.total_seconds() > 500


async def test_a_source_that_has_turned_into_its_index_counts_as_held_and_gets_no_lease(
    store: Store,
) -> None:
    """A heartbeat may ask between the commit of the text and the moment its worker knows of it."""
    await due_sources(store, await store.customer(), count=1)
    worker_id = WorkerId(uuid4())
    claim = await store.take_source(worker_id=worker_id)
    assert claim
    await store.acquire(claim)
    held = await store.do(claims.renew_sources, worker_id=worker_id, ids=[claim.id], lease_s=9)
    assert held == {(claim.id, claim.attempt)}
    assert (await store.source_row(claim.id))["lease_until"] is None


async def test_a_source_that_was_taken_away_does_not_count_as_held(store: Store) -> None:
    await due_sources(store, await store.customer(), count=1)
    worker_id = WorkerId(uuid4())
    claim = await store.take_source(worker_id=worker_id)
    assert claim
    await store.execute("UPDATE sources SET lease_until = NULL, due_at = now()")
    renew = claims.renew_sources
    assert await store.do(renew, worker_id=worker_id, ids=[claim.id], lease_s=9) == set()
    again = await store.claimed_source()
    await store.acquire(again)
    held = await store.do(renew, worker_id=worker_id, ids=[claim.id], lease_s=9)
    assert (claim.id, claim.attempt) not in held


async def test_no_lease_is_renewed_once_its_rag_is_deleted(store: Store) -> None:
    await due_sources(store, await store.customer(), count=2)
    worker_id = WorkerId(uuid4())
    source = await store.take_source(worker_id=worker_id)
    index = await store.acquire(await store.claimed_source())
    await store.execute("UPDATE indexes SET worker_id = %(id)s", id=worker_id)
    assert source
    await store.execute("UPDATE rags SET deleted_at = now()")
    for renew, claim in ((claims.renew_sources, source), (claims.renew_indexes, index)):
        held = await store.do(renew, worker_id=worker_id, ids=[claim.id], lease_s=9)
        assert held == set()


class Explained(Tx):
    """Asks for the plan of what it is told to run, and runs it."""

    plan = ""

    async def one(self, kind: Any, query: Any, params: Any = None) -> Any:
        explain = "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, BUFFERS OFF) "
        rows = await (await self.connection.execute(explain + query, params)).fetchall()
        self.plan = "\n".join(row["QUERY PLAN"] for row in rows)


async def test_a_claim_among_100_000_due_rows_of_1_000_customers_reads_indexes_only(
    store: Store, admin_database_url: str
) -> None:
    with psycopg.connect(admin_database_url, autocommit=True) as admin:
        for statement in CROWD:
            admin.execute(statement)
    for claim, due, leased in (
        (claims.claim_source, "sources_due", "sources_leased"),
        (claims.claim_index, "indexes_due", "indexes_leased"),
    ):
        async with store.worker.transaction() as tx:
            explained = Explained(tx.connection)
            await claim(
                explained, worker_id=WorkerId(uuid4()), lease_s=LEASE_S, after=uuid4(), idle=True
            )
        plan = explained.plan
        assert "Seq Scan" not in plan, plan
        assert f"using {due}" in plan, plan
        assert f"using {leased}" in plan, plan
        assert "LockRows (actual rows=1.00 loops=1)" in plan, plan
        # Hardly anybody runs anything, so the walk may end after a handful of customers: four that
        # are free, where it begins, and perhaps the one whom the claim before this has served.
        assert re.search(r"Recursive Union \(actual rows=[56]\.00 loops=1\)", plan), plan
