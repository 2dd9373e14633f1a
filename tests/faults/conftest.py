"""The world that the fault tests break: real services behind proxies, a site, and a calm record.

`make faults` names the long tests of this folder by their files; a plain run collects the short
ones.
"""

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from msgspec.structs import replace

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))

import fix_engine
from fix_audit import Stored, keep_journal, stored
from fix_corpus import CHUNK_TOKENS, CORPUS, SHORT_FORM
from fix_disk import disk
from fix_hands import open_site, quick
from fix_services import copy_database, make_folder, on_database
from fix_web import Web
from fix_world import World, opened_world

from engine.config import Settings
from engine.local import LocalServices, Services
from engine.store.schema import apply_schema

__all__ = ["disk"]

CALM_TIMEOUT_S = 110.0
# On a machine that is busy with other things a process may take a minute to start.
fix_engine.START_TIMEOUT_S = 90.0


@pytest.fixture(scope="session")
def calm(
    services: Services,
    template_database: str,
    models_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Stored:
    """What a run without any fault stores of the corpus, or of the part that a plain run takes."""
    name, folder = "rag_calm", tmp_path_factory.mktemp("calm")
    settings = Settings(
        database_url=copy_database(services, template=template_database, name=name),
        redis_url=f"{services.redis_url}?db=14",
        data_dir=folder / "data",
        models_dir=models_path,
    )
    is_long = any(item.path.name.startswith("long_") for item in request.session.items)
    corpus = CORPUS if is_long else SHORT_FORM
    asyncio.run(_run_calmly(quick(settings), corpus=corpus, folder=folder))
    return stored(on_database(services.admin_url, database=name))


async def _run_calmly(settings: Settings, *, corpus: tuple[str, ...], folder: Path) -> None:
    async with open_site(settings, folder=folder) as site:
        site.hire()
        rag = await site.rag(*corpus, chunk_tokens=CHUNK_TOKENS)
        await site.until_terminal(rag, timeout_s=CALM_TIMEOUT_S)


@pytest.fixture
async def world(
    services: Services, settings: Settings, calm: Stored, web: Web, tmp_path: Path
) -> AsyncIterator[World]:
    """A database of its own on the session's servers, which stay up: only the ways are broken."""
    name = settings.database_url.partition("?")[0].rpartition("/")[2]
    admin_url = on_database(services.admin_url, database=name)
    keep_journal(admin_url)
    ours = replace(quick(settings), allow_networks=(web.host_port,))
    async with opened_world(ours, admin_url=admin_url, calm=calm, folder=tmp_path) as made:
        yield made


@pytest.fixture
def own_services() -> Iterator[LocalServices]:
    """Servers that this test may stop."""
    folder = make_folder()
    with ExitStack() as undo:
        undo.callback(shutil.rmtree, folder)
        local = undo.enter_context(LocalServices(folder / "data", durable=False))
        asyncio.run(apply_schema(local.services.database_url))
        yield local


@pytest.fixture
async def own_world(
    own_services: LocalServices, settings: Settings, calm: Stored, tmp_path: Path
) -> AsyncIterator[World]:
    """As world, over servers that the test may stop."""
    ours = own_services.services
    name = ours.database_url.partition("?")[0].rpartition("/")[2]
    admin_url = on_database(ours.admin_url, database=name)
    keep_journal(admin_url)
    settings = replace(quick(settings), database_url=ours.database_url, redis_url=ours.redis_url)
    async with opened_world(settings, admin_url=admin_url, calm=calm, folder=tmp_path) as made:
        yield made
