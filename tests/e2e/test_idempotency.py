"""Answers that are kept with what they answer: whatever dies, both are there or none."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from fix_hands import Site, open_site
from msgspec.structs import replace

from engine.access import Access, Operator
from engine.blobs import Blobs
from engine.config import Limits, Settings
from engine.errors import IdempotencyKeyReused, TooManyIdempotencyKeys
from engine.idempotency import Idempotency, Keep, Keyed, Replay
from engine.models import AccessKey, CustomerId, NewRag, NewSources, Rag
from engine.store import Database
from workers.sweep import Sweep

pytestmark = pytest.mark.anyio

LIMITS = Limits(customer_idempotency_keys_max=3, idempotency_keep_s=3_600)
NEW = NewRag(name="a", sources=NewSources(urls=("https://a.example/x",)))


@pytest.fixture
async def site(settings: Settings, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(replace(settings, limits=LIMITS), folder=tmp_path) as made:
        yield made


@pytest.fixture
def idempotency(site: Site) -> Idempotency:
    return Idempotency(database=site.api, limits=LIMITS)


def keyed(customer_id: CustomerId, key: str = "k", *, request: bytes = b"a request") -> Keyed:
    digest = hashlib.sha256(request).digest()
    return Keyed(customer_id=customer_id, key=key, request_hash=digest)


def encoded(rag: Rag) -> bytes:
    return str(rag.id).encode()


async def create(site: Site, idempotency: Idempotency, key: str = "k") -> Rag | Replay:
    return await idempotency.once(
        keyed(site.customer_id, key),
        lambda keep: site.rags.create(site.customer_id, NEW, keep=keep),
        encode=encoded,
    )


async def rows(site: Site) -> tuple[int, int]:
    """RAGs and keys."""
    found = await site.fetch(
        "SELECT (SELECT count(*) FROM rags) AS rags,"
        " (SELECT count(*) FROM idempotency_keys) AS keys"
    )
    return found[0]["rags"], found[0]["keys"]


async def age(site: Site, *, hours: int) -> None:
    async with site.operator.transaction() as tx:
        await tx.run(
            "UPDATE idempotency_keys SET created_at = now() - make_interval(hours => %(hours)s)",
            {"hours": hours},
        )


class Died(Exception):
    """The process, in the middle of a transaction."""


async def test_what_was_made_and_its_answer_are_committed_together(site, idempotency):
    def dying(_: Rag) -> bytes:
        raise Died

    with pytest.raises(Died):
        await idempotency.once(
            keyed(site.customer_id),
            lambda keep: site.rags.create(site.customer_id, NEW, keep=keep),
            encode=dying,
        )
    assert await rows(site) == (0, 0)
    made = await create(site, idempotency)
    assert isinstance(made, Rag)
    assert await create(site, idempotency) == Replay(answer=encoded(made))
    assert await rows(site) == (1, 1)


async def test_who_came_second_while_the_first_was_at_work_gets_its_answer(site, idempotency):
    """The second has looked and found nothing before the first commits."""
    first: list[Rag] = []

    async def overtaken(keep: Keep[Rag]) -> Rag:
        made = await create(site, idempotency)
        assert isinstance(made, Rag)
        first.append(made)
        return await site.rags.create(site.customer_id, NEW, keep=keep)

    answer = await idempotency.once(keyed(site.customer_id), overtaken, encode=encoded)
    assert answer == Replay(answer=encoded(first[0]))
    assert await rows(site) == (1, 1)


async def test_a_key_is_one_requests_until_it_is_old_and_then_anybodys(site, idempotency):
    await create(site, idempotency)
    with pytest.raises(IdempotencyKeyReused, match="1 hours"):
        await idempotency.once(
            keyed(site.customer_id, request=b"another"),
            lambda keep: site.rags.create(site.customer_id, NEW, keep=keep),
            encode=encoded,
        )
    await age(site, hours=2)
    assert isinstance(await create(site, idempotency), Rag)
    assert isinstance(await create(site, idempotency), Replay)
    assert await rows(site) == (2, 1)


async def test_the_number_of_keys_is_bounded_and_a_refusal_takes_none(site, idempotency):
    for number in range(3):
        await create(site, idempotency, f"{number}")
    with pytest.raises(TooManyIdempotencyKeys, match="At most 3"):
        await create(site, idempotency, "one more")
    assert await rows(site) == (3, 3)


async def test_only_the_hash_of_a_key_is_kept_and_no_token_with_it(site, idempotency):
    access = Access(database=site.api)
    key, token = await idempotency.once(
        keyed(site.customer_id, "a telling name"),
        lambda keep: access.create_key(site.customer_id, name="ci", expire_s=None, keep=keep),
        encode=msgspec.json.encode,
    )
    assert isinstance(key, AccessKey)
    found = await site.fetch(
        "SELECT encode(key_hash, 'escape') || encode(answer, 'escape') AS all FROM idempotency_keys"
    )
    assert str(key.id) in found[0]["all"]
    assert token not in found[0]["all"]
    assert "a telling name" not in found[0]["all"]


@pytest.fixture
async def sweep(site: Site) -> AsyncIterator[Sweep]:
    database = await Database(site.settings.database_url, role="rag_worker", connections=2).open()
    blobs = Blobs(site.settings.blobs_url)
    yield Sweep(database=database, blobs=blobs, bell=site.bell, limits=LIMITS)
    await database.close()


async def test_the_sweep_forgets_what_is_old_and_nothing_else(site, idempotency, sweep):
    await create(site, idempotency, "old")
    await age(site, hours=2)
    await create(site, idempotency, "young")
    await sweep.once()
    assert await rows(site) == (2, 1)
    assert isinstance(await create(site, idempotency, "young"), Replay)


async def test_a_closed_customer_leaves_no_key(site, idempotency, sweep):
    await create(site, idempotency)
    operator = Operator(database=site.operator)
    receipt = await operator.close_customer(site.customer_id)
    assert receipt.idempotency_keys == 1
    for _ in range(3):
        await sweep.once()
    assert await rows(site) == (0, 0)
    assert await site.fetch("SELECT FROM customers") == []
