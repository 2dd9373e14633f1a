"""The long form: object storage that stops, refuses and falls silent under uploads and reads."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from subprocess import DEVNULL, Popen

import httpx
import pytest
from fix_corpus import SHORT
from fix_engine import api_process, new_customer
from fix_proxy import Proxy
from fix_services import free_port
from fix_upload import upload
from fix_web import Web
from fix_world import World
from msgspec.structs import replace

from engine.models import NewRag, NewSources

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240)]


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A server that speaks S3, behind a proxy."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (
        Popen(command, stdout=DEVNULL, stderr=DEVNULL) as server,
        closing(Proxy(("127.0.0.1", port))) as proxy,
    ):
        with httpx.Client(transport=httpx.HTTPTransport(retries=8)) as client:
            client.put(f"http://127.0.0.1:{port}/bucket").raise_for_status()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        yield proxy
        server.terminate()


async def test_storage_that_refuses_is_said_to_the_caller_and_waited_for_by_workers(
    world: World, storage: Proxy, tmp_path: Path
) -> None:
    world.settings = replace(world.settings, storage_url="s3://bucket/prefix")
    with api_process(world.settings, log=tmp_path / "api.log"):
        token = await asyncio.to_thread(new_customer, world.site.settings, "uploader")
        taken = (await asyncio.to_thread(upload, world.settings, token=token)).json()
        storage.refuse()
        refused = await asyncio.to_thread(upload, world.settings, token=token)
        assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
    hand = world.hire()
    await hand.wait_for("source failed", timeout_s=60)
    assert {line["code"] for line in hand.lines("source failed")} == {"storage_unavailable"}
    storage.accept()
    await world.adopt(taken["id"])


async def test_storage_that_is_silent_while_an_original_is_kept_is_waited_for(
    world: World, storage: Proxy, web: Web
) -> None:
    """The request of half a minute ends, nobody is charged, and the next attempt is whole."""
    world.settings = replace(world.settings, storage_url="s3://bucket/prefix")
    urls = tuple(
        web.add(f"/{n}", body=text, media_type="text/markdown") for n, text in enumerate(SHORT[:2])
    )
    hand = world.hire()
    storage.silence()
    rag = await world.site.rags.create(
        world.site.customer_id,
        NewRag(name="r", sources=NewSources(urls=urls), chunk_tokens=16),
    )
    await hand.wait_for("extracted", count=2)
    await asyncio.sleep(3 * world.settings.limits.lease_s)
    assert (await world.count("ready")) == 0
    storage.speak()
    await world.expect_sound(rag)
