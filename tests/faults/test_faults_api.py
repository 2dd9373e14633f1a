"""The API killed with -9 at the worst moments: what was acknowledged is done, nothing is half."""

import asyncio
from pathlib import Path

import httpx
import pytest
from fix_engine import api_child, new_customer
from fix_upload import upload
from fix_world import World

pytestmark = pytest.mark.anyio

HALF = 1 << 20


async def test_a_knowledge_base_whose_api_dies_before_the_bell_is_ingested_all_the_same(
    world: World, tmp_path: Path
) -> None:
    """Redis is silent: the API waits for it, with its commit behind it, when it is killed."""
    token = await asyncio.to_thread(new_customer, world.site.settings, "unlucky")
    with api_child(world.settings, log=tmp_path / "api.log") as child:
        world.redis.silence()
        request = asyncio.create_task(asyncio.to_thread(upload, world.settings, token=token))
        await world.site.until("SELECT count(*) = 2 FROM sources")
        child.kill()
        with pytest.raises(httpx.TransportError):
            await request
    world.hire()
    rows = await world.site.fetch("SELECT id FROM rags")
    await world.adopt(rows[0]["id"])
