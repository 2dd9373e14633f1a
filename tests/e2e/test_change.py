"""The model of a RAG is changed over HTTP while it is asked: no answer is empty or mixed."""

import asyncio
from pathlib import Path

import pytest
from fix_engine import api_process, new_customer, worker_process
from fix_hands import open_site, quick
from fix_models import Served, served
from fix_moving import PROFILES, Moving, expect_told, moved, used, with_two_models

from engine.config import Settings

__all__ = ["served"]  # fixtures

pytestmark = pytest.mark.anyio

CHANGES = 4
SEED = 5
ONE_PROFILE = """
SELECT (SELECT count(*) FROM profiles) = (SELECT count(*) FROM rags)
   AND NOT EXISTS (SELECT FROM indexes i JOIN rags r ON r.id = i.rag_id
                   WHERE i.profile_id <> r.profile_live)
   AND NOT EXISTS (SELECT FROM chunks c JOIN indexes i ON i.id = c.index_id
                   WHERE c.generation IS DISTINCT FROM i.generation_live)
"""


async def test_no_answer_is_empty_or_mixed_while_the_model_is_changed(
    settings: Settings, served: Served, tmp_path: Path, measured: list[str]
) -> None:
    ours = with_two_models(quick(settings), served=served, folder=tmp_path)
    token = await asyncio.to_thread(new_customer, ours, "first")
    with (
        api_process(ours, log=tmp_path / "api.log") as base_url,
        worker_process(ours, log=tmp_path / "workers.log"),
    ):
        async with moved(base_url, token=token, seed=SEED) as moving:
            await moving.begin()
            async with used(moving):
                await moving.move(changes=CHANGES)
        async with open_site(ours, folder=tmp_path) as site:
            await site.until(ONE_PROFILE)
    measured.append(f"model changes: {moving.told()}")
    expect_told(moving)


async def test_a_change_is_seen_given_up_and_refused_over_http(
    settings: Settings, served: Served, tmp_path: Path
) -> None:
    """No worker runs: nothing is built, so that each answer is the only possible one."""
    ours = with_two_models(settings, served=served, folder=tmp_path)
    token = await asyncio.to_thread(new_customer, ours, "first")
    with api_process(ours, log=tmp_path / "api.log") as base_url:
        async with moved(base_url, token=token, seed=SEED) as moving:
            await expect_put(moving)


async def expect_put(moving: Moving) -> None:
    rag = await moving.ok("POST", "/rags", json={"name": "r", **PROFILES[0]})
    path = f"/rags/{rag['id']}"
    refused = await moving.client.put(path, json={"embedding_model": "none", "chunk_tokens": 1})
    fields = {each["field"] for each in refused.json()["error"]["details"]}
    assert (refused.status_code, fields) == (400, {"embedding_model", "chunk_tokens"})
    assert await moving.ok("GET", path) == rag
    assert await moving.ok("PUT", path, json=PROFILES[0]) == rag
    empty = await moving.ok("PUT", path, json={**PROFILES[1], "name": "renamed"})
    assert "change" not in empty
    assert {name: empty[name] for name in PROFILES[1]} == PROFILES[1]
    assert empty["name"] == "renamed"
