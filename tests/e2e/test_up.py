"""`up` with real processes: the demo, its one permission, deaths, and what it refuses."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fix_cli import Place, eventually, place
from fix_web import Web

from engine.addresses import AllowList
from engine.cli import demo, operating
from engine.cli.place import Place as Kept
from engine.config import Settings
from engine.embedding import Registry
from engine.jobs import Bell
from engine.local import LocalServices
from engine.models import NewRag, NewSources
from engine.rags import Rags
from engine.store import Database
from engine.store.schema import apply_schema


@pytest.fixture
def here() -> Iterator[Place]:
    with place() as made:
        yield made


def api(here: Place) -> httpx.Client:
    token = (here.data_dir / "key").read_text().strip()
    return httpx.Client(base_url=here.url, headers={"X-API-Key": token})


def ended_source(client: httpx.Client, rag_id: str) -> dict[str, object]:
    """The only source of a RAG, once it is ready or in error."""
    found: list[dict[str, object]] = []

    def ended() -> bool:
        found[:] = client.get(f"/rags/{rag_id}").json()["sources"]
        return found[0]["status"] in ("ready", "error")

    eventually(ended, timeout_s=20)
    return found[0]


def with_pending_url(data_dir: Path, url: str) -> str:
    """A data folder where this URL waits for workers; returns the id of its RAG."""

    async def prepared(settings: Settings) -> str:
        await apply_schema(settings.database_url)
        customer_id = await operating.first_customer(settings, place=Kept(data_dir))
        database = await Database(settings.database_url, role="rag_api", connections=1).open()
        bell = Bell(settings.redis_url)
        rags = Rags(
            database=database,
            bell=bell,
            registry=Registry.from_settings(settings),
            settings=settings,
        )
        new = NewRag(name="other port", sources=NewSources(urls=(url,)))
        rag = await rags.create(customer_id, new)
        await bell.close()
        await database.close()
        return str(rag.id)

    with LocalServices(data_dir) as local:
        services = local.services
        return asyncio.run(
            prepared(
                Settings(
                    database_url=services.database_url,
                    redis_url=services.redis_url,
                    data_dir=data_dir,
                )
            )
        )


def test_the_demo_answers_with_a_citation_and_the_second_time_ingests_nothing(here: Place) -> None:
    first = here.command("up", "--exit-after-demo")
    token = (here.data_dir / "key").read_text()
    began = time.monotonic()
    second = here.command("up", "--exit-after-demo")
    took_s = time.monotonic() - began

    assert (first.code, second.code) == (0, 0), first.err + second.err
    for run in (first, second):
        assert "add a teaspoon of baking soda" in run.out
        assert "handbook.md · Larkspur kettle: handbook" in run.out
        assert "Taste of vinegar · characters " in run.out
        assert f'curl -H "Authorization: Bearer {token.strip()}" {here.url}/rags' in run.out
    for name in ("handbook.md", "guarantee.pdf", "Brewing with the Larkspur kettle"):
        assert f"ready    {name}: " in first.err
    assert second.err == ""
    assert took_s < 15
    assert (here.data_dir / "key").read_text() == token
    assert stat.S_IMODE((here.data_dir / "key").stat().st_mode) == 0o600
    assert not (here.data_dir / "engine.json").exists()


def test_another_loopback_port_is_refused_during_the_demo_and_after(here: Place, web: Web) -> None:
    web.add("/secret", body="<p>The admin password is hunter2, keep it to yourself.</p>")
    here.data_dir.mkdir(mode=0o711)
    elsewhere = f"http://localhost:{web.port}/secret"  # a name: the API cannot know where it leads
    rag_id = with_pending_url(here.data_dir, elsewhere)
    with here.up("--demo") as up, api(here) as client:
        up.until("Ask it yourself")
        during = ended_source(client, rag_id)
        sample = next(r for r in client.get("/rags").json()["result"] if r["name"] == demo.RAG)
        page = next(s for s in sample["sources"] if "source_url" in s)
        assert during["error"]["code"] == "fetch_refused_address"
        # Judged by the very workers that were allowed to fetch the sample's page.
        assert page["status"] == "ready"
        assert during["tm_update"] < page["tm_update"]

        literal = f"http://127.0.0.1:{web.port}/secret"
        answer = client.post("/rags", json={"name": "literal", "source_urls": [literal]})
        assert answer.status_code == 400
        for port in (web.port, page["source_url"].split(":")[2].split("/")[0]):
            url = f"http://localhost:{port}/{demo.PAGE}"
            rag = client.post("/rags", json={"name": "after", "source_urls": [url]}).json()
            assert ended_source(client, rag["id"])["error"]["code"] == "fetch_refused_address"
        for pid in here.processes():
            environment = Path(f"/proc/{pid}/environ").read_text().split("\0")
            allowed = [e for e in environment if e.startswith("RAG_ENGINE_ALLOW_NETWORKS=")]
            assert set(allowed) <= {"RAG_ENGINE_ALLOW_NETWORKS="}
    assert web.hits == {}


def test_the_permission_of_the_demo_is_one_host_and_port_and_leaves_the_users_alone() -> None:
    page = demo.PageServer()
    try:
        given = Settings(allow_networks=("10.0.0.0/8",))
        permitted = page.permitted(given)
        assert permitted.allow_networks == ("10.0.0.0/8", page.endpoint)
        only = AllowList.parse(page.permitted(Settings()).allow_networks)
        assert (only.networks, len(only.endpoints)) == ((), 1)
        assert httpx.get(page.url).status_code == 200
        assert httpx.get(page.url.replace(demo.PAGE, "handbook.md")).status_code == 404
    finally:
        page.close()
    with pytest.raises(httpx.ConnectError):
        httpx.get(page.url)


def test_a_busy_port_is_named_before_anything_is_started(here: Place) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", here.port))
        taken.listen()
        ended = here.command("up")
    assert ended.code == 1
    assert ended.err.startswith(f"rag-engine: Port {here.port} of 127.0.0.1 is in use")
    assert ended.err.count("\n") == 1
    assert not here.data_dir.exists()


def test_after_kill_9_nothing_stays_behind_and_the_next_start_goes_on(here: Place) -> None:
    with here.up() as up:
        first = here.command("status", "--json").json
        up.stop(signal.SIGKILL)
    assert first["rags"] == []  # without --demo nothing is ingested
    token = (here.data_dir / "key").read_text()
    # At once: the children may still be on their way out.
    with here.up() as up:
        assert (here.data_dir / "key").read_text() == token
        assert here.command("status").code == 0

        again = here.command("up")
        assert again.code == 1
        assert f"already, at {here.url}" in again.err

        old = children(up.popen.pid)
        assert len(old) == 4
        for pid in old:
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: here.command("status").code == 0, timeout_s=40)
        said = "".join(up.lines)
        for what in ("the workers ended", "the API ended", "the database or the queue ended"):
            assert what in said
        assert not set(old) & set(children(up.popen.pid))
        assert up.stop(signal.SIGINT) == 0
    assert json.loads((here.data_dir / "logs" / "api.log").read_text().splitlines()[-1])


def children(pid: int) -> list[int]:
    """The API, the workers' supervisor, and the two servers."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # one that ends meanwhile
            if int(entry.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(entry.parent.name))
    return found
