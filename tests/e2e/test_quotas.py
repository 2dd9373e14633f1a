"""Quotas, kept in the transaction that adds, also when others add at the same moment."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from hashlib import sha256
from pathlib import Path

import pytest
from fix_hands import Site, open_site, quick
from msgspec.structs import replace

from engine.blobs import Blobs
from engine.config import Limits, Settings
from engine.embedding import Registry
from engine.errors import EngineError, QueueFull, SourceQuotaExceeded, StorageQuotaExceeded
from engine.files import Files
from engine.models import NewRag, NewSources, Rag, Source, State, Upload
from engine.quotas import check_bytes, check_queue
from engine.rags import Rags
from engine.store import blobs, quotas, sources
from engine.store.quotas import Held

pytestmark = pytest.mark.anyio

LIMITS = Limits(
    customer_sources_max=6,
    customer_queued_sources_max=4,
    customer_stored_bytes_max=100,
    text_wait_s=0.1,
)


@pytest.fixture
async def site(settings: Settings, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(replace(settings, limits=LIMITS), folder=tmp_path) as made:
        yield made


def urls(name: str, count: int) -> NewSources:
    return NewSources(urls=tuple(f"https://a.example/{name}/{n}" for n in range(count)))


async def made(site: Site, name: str, count: int) -> Rag:
    return await site.rags.create(site.customer_id, NewRag(name=name, sources=urls(name, count)))


async def read(site: Site) -> None:
    """As if workers had read all that waits."""
    async with site.operator.transaction() as tx:
        await tx.run("UPDATE sources SET due_at = NULL, state = 'ready'")


async def stored(site: Site, content: str) -> Upload:
    async def once() -> AsyncIterator[bytes]:
        yield content.encode()

    return await site.files.receive(
        site.customer_id, once(), filename="a.txt", media_type="text/plain"
    )


async def counted(site: Site) -> int:
    rows = await site.fetch("SELECT count(*) AS count FROM sources")
    return int(rows[0]["count"])


async def outcomes(*asked: object) -> list[type[EngineError] | None]:
    found = await asyncio.gather(*asked, return_exceptions=True)  # type: ignore[call-overload]
    return [type(each) if isinstance(each, EngineError) else None for each in found]


async def test_sources_of_all_rags_count_together_and_a_refusal_adds_nothing(site):
    await made(site, "a", 3)
    await read(site)
    rag = await made(site, "b", 3)
    await read(site)
    with pytest.raises(SourceQuotaExceeded, match=r"hold 6 sources .* would make 7"):
        await site.rags.add_sources(site.customer_id, rag.id, urls("c", 1))
    with pytest.raises(SourceQuotaExceeded):
        await made(site, "d", 1)
    with pytest.raises(SourceQuotaExceeded):
        await site.documents.create_url(
            site.customer_id, url="https://a.example/z", name=None, folder_id=None
        )
    assert await counted(site) == 6
    assert len(await site.fetch("SELECT FROM rags")) == 2


async def test_a_deleted_rag_makes_room_at_once(site):
    rag = await made(site, "a", 3)
    await read(site)
    await made(site, "b", 3)
    await read(site)
    await site.rags.delete(site.customer_id, rag.id)
    await made(site, "c", 3)


async def test_a_rag_without_sources_can_always_be_made(site):
    await made(site, "a", 4)
    await made(site, "b", 0)


async def test_a_full_queue_refuses_until_something_is_read(site):
    rag = await made(site, "a", 4)
    with pytest.raises(QueueFull, match="At most 4") as caught:
        await site.rags.add_sources(site.customer_id, rag.id, urls("b", 1))
    assert caught.value.retry_after_s
    await read(site)
    await site.rags.add_sources(site.customer_id, rag.id, urls("b", 1))


async def test_sources_of_a_deleted_rag_stand_in_no_queue(site):
    rag = await made(site, "a", 4)
    await site.rags.delete(site.customer_id, rag.id)
    await made(site, "b", 4)


async def sources_now(site: Site) -> list[dict]:
    return await site.fetch("SELECT id, state, attempt, edit_id FROM sources ORDER BY position")


async def test_reading_a_source_again_needs_a_place_in_the_queue(site):
    rag = await made(site, "a", 1)
    await read(site)
    await made(site, "b", 4)
    before = await sources_now(site)
    refresh = partial(site.rags.refresh_source, site.customer_id, rag.id, rag.sources[0].id)
    with pytest.raises(QueueFull, match=r"At most 4 .* would make 5; nothing was changed"):
        await refresh()
    assert await sources_now(site) == before
    await read(site)
    assert (await refresh()).state is State.PENDING
    await made(site, "c", 1)


@pytest.mark.parametrize("change", ["refresh", "text", "file"])
async def test_a_document_that_is_read_again_needs_a_place_in_the_queue(site, change):
    upload = await stored(site, "the first content")
    entry = await site.documents.create_file(
        site.customer_id, upload=upload, name="a", folder_id=None
    )
    await read(site)
    await made(site, "b", 4)
    before = await sources_now(site)
    ids = (site.customer_id, entry.id)
    with pytest.raises(QueueFull):
        await changed(site, change, ids=ids)
    assert await sources_now(site) == before
    await read(site)
    await changed(site, change, ids=ids)
    (first, *_), (was, *_) = await sources_now(site), before
    assert (first["state"], first["attempt"]) == ("pending", was["attempt"] + 1)


async def changed(site: Site, change: str, *, ids: tuple) -> None:
    if change == "refresh":
        await site.documents.refresh(*ids)
    elif change == "text":
        await site.documents.update(*ids, name=None, content="another text")
    else:
        upload = await stored(site, "the second content")
        await site.documents.replace_file(*ids, upload=upload)


async def test_what_waits_already_can_be_asked_for_again_in_a_full_queue(site):
    rag = await made(site, "a", 4)
    source = rag.sources[0]
    await site.rags.refresh_source(site.customer_id, rag.id, source.id)


async def test_who_holds_too_many_sources_may_still_refresh_them(site):
    """A limit that was lowered bounds what is added, not what is there."""
    rag = await made(site, "a", 3)
    await read(site)
    site.settings = replace(site.settings, limits=replace(LIMITS, customer_sources_max=1))
    await rags_of(site).refresh_source(site.customer_id, rag.id, rag.sources[0].id)


async def test_one_that_is_refreshed_waits_for_another_that_is(site):
    rag = await made(site, "a", 2)
    await read(site)
    await made(site, "b", 3)

    async def again(source: Source, *, done: asyncio.Event) -> None:
        ids = {"customer_id": site.customer_id, "rag_id": rag.id, "source_id": source.id}
        async with site.api.transaction(customer_id=site.customer_id) as tx:
            await sources.refresh(tx, **ids)
            await check_queue(tx, customer_id=site.customer_id, limits=LIMITS)
            await done.wait()

    done = asyncio.Event()
    both = [asyncio.create_task(again(source, done=done)) for source in rag.sources]
    await asyncio.sleep(0.3)
    done.set()
    assert sorted(map(str, await outcomes(*both))) == sorted(map(str, (None, QueueFull)))


async def test_many_that_add_at_the_same_moment_never_go_over(site):
    rag = await made(site, "a", 0)
    found = await outcomes(
        *(made(site, f"{n}", 1) for n in range(6)),
        *(site.rags.add_sources(site.customer_id, rag.id, urls(f"s{n}", 1)) for n in range(6)),
    )
    assert found.count(None) == LIMITS.customer_queued_sources_max
    assert set(found) == {None, QueueFull}
    assert await counted(site) == LIMITS.customer_queued_sources_max


async def test_another_customers_sources_do_not_count(site):
    await made(site, "a", 4)
    site.customer_id = await site.customer()
    await made(site, "a", 4)


async def test_bytes_count_once_for_the_same_content(site):
    for _ in range(3):
        await stored(site, "x" * 60)
    await stored(site, "y" * 40)
    with pytest.raises(StorageQuotaExceeded, match=r"store 100 bytes, .* make 101"):
        await stored(site, "z")
    await stored(site, "x" * 60)
    rows = await site.fetch("SELECT sum(file_bytes)::int AS bytes FROM blobs")
    assert rows == [{"bytes": 100}]


async def test_content_that_is_there_needs_no_room(site):
    """Also where the quota was lowered below what is stored."""
    await stored(site, "x" * 60)
    site.files = Files(
        database=site.api,
        blobs=Blobs(site.settings.blobs_url),
        limits=replace(LIMITS, customer_stored_bytes_max=50),
        spool_dir=site.settings.data_dir / "spool",
    )
    await stored(site, "x" * 60)
    with pytest.raises(StorageQuotaExceeded):
        await stored(site, "y")


async def test_one_that_adds_bytes_waits_for_another_that_does(site):
    async def add(content: bytes, *, done: asyncio.Event) -> None:
        async with site.api.transaction(customer_id=site.customer_id) as tx:
            await blobs.ensure(
                tx, customer_id=site.customer_id, sha256=sha256(content).digest(), file_bytes=60
            )
            await check_bytes(tx, customer_id=site.customer_id, limits=LIMITS)
            await done.wait()

    done = asyncio.Event()
    both = [asyncio.create_task(add(content, done=done)) for content in (b"a", b"b")]
    await asyncio.sleep(0.3)
    done.set()
    assert sorted(map(str, await outcomes(*both))) == sorted(map(str, (None, StorageQuotaExceeded)))


async def test_what_others_hold_is_not_counted_whoever_counts(site):
    """Workers see the rows of all customers."""
    await made(site, "a", 3)
    await stored(site, "x" * 60)
    other = await site.customer()
    async with site.operator.transaction() as tx:
        assert await quotas.sources(tx, customer_id=other) == Held(sources=0, queued=0)
        assert await quotas.sources(tx, customer_id=site.customer_id) == Held(sources=3, queued=3)
        assert await quotas.stored_bytes(tx, customer_id=other) == 0
        assert await quotas.stored_bytes(tx, customer_id=site.customer_id) == 60


async def test_uploads_at_the_same_moment_never_go_over(site):
    found = await outcomes(*(stored(site, f"{n}" * 30) for n in range(8)))
    assert found.count(None) == 3
    assert set(found) == {None, StorageQuotaExceeded}
    rows = await site.fetch("SELECT sum(file_bytes)::int AS bytes FROM blobs")
    assert rows == [{"bytes": 90}]


async def test_fetched_originals_count_and_one_too_many_fails_its_source_alone(site, web):
    web.add("/small", body="<p>A small page.</p>" + " " * 40)
    web.add("/large", body="<p>A large page.</p>" + " " * 90)
    site.settings = replace(quick(site.settings), allow_networks=(web.host_port,))
    new = NewSources(urls=(web.url("/small"),))
    site.rags = rags_of(site)
    rag = await site.rags.create(site.customer_id, NewRag(name="a", sources=new))
    site.hire()
    await site.until_terminal(rag)
    more = NewSources(urls=(web.url("/large"),))
    await site.rags.add_sources(site.customer_id, rag.id, more)
    done = await site.until_terminal(rag)
    small, large = done.sources
    assert (small.state, large.state) == (State.READY, State.ERROR)
    assert large.failure.code == "storage_quota_reached"
    rows = await site.fetch("SELECT sum(file_bytes)::int AS bytes FROM blobs")
    assert rows[0]["bytes"] <= 100


def rags_of(site: Site) -> Rags:
    """The verbs, with the site's settings as they are now."""
    registry = Registry.from_settings(site.settings)
    return Rags(database=site.api, bell=site.bell, registry=registry, settings=site.settings)
