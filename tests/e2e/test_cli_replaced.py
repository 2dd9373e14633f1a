"""What a file's new version takes over from the source that `ingest` replaces by it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fix_cli import Place, place

RAG = "replaced"


@pytest.fixture(scope="module")
def engine() -> Iterator[Place]:
    with place() as here, here.up():
        yield here


@pytest.fixture
def api(engine: Place) -> Iterator[httpx.Client]:
    key = (engine.data_dir / "key").read_text().strip()
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=engine.url, headers=headers, trust_env=False) as client:
        yield client


def sources(api: httpx.Client) -> dict[str, Any]:
    """Those of the newest RAG, by their names, as the API shows them."""
    rag = api.get("/rags").json()["result"][0]
    found = api.get(f"/rags/{rag['id']}/sources").json()["result"]
    return {
        each["name"]: each | {"path": f"/rags/{rag['id']}/sources/{each['id']}"} for each in found
    }


def describe(api: httpx.Client, name: str, **attributes: object) -> None:
    answer = api.put(sources(api)[name]["path"], json={"attributes": attributes})
    assert answer.status_code == 200, answer.text


def test_a_changed_file_keeps_the_attributes_of_its_source(
    engine: Place, api: httpx.Client, tmp_path: Path
) -> None:
    for name in ("walrus.txt", "seal.txt", "otter.txt"):
        (tmp_path / name).write_text(f"The {name} lives by the sea and eats what it finds.")
    assert engine.command("ingest", tmp_path, "--rag", RAG).code == 0
    describe(api, "walrus.txt", language="en", year=2026, tags=["a", "b"])
    describe(api, "seal.txt", language="de")

    for name in ("walrus.txt", "otter.txt"):
        (tmp_path / name).write_text(f"The {name} has moved into the mountains by now.")
    ended = engine.command("ingest", tmp_path, "--rag", RAG)
    assert ended.out == "0 added, 2 replaced, 1 skipped, 0 failed\n"
    assert {name: each["attributes"] for name, each in sources(api).items()} == {
        "walrus.txt": {"language": "en", "year": 2026, "tags": ["a", "b"]},
        "seal.txt": {"language": "de"},
        "otter.txt": {},
    }
    wanted = '{"eq": {"key": "language", "value": "en"}}'
    hits = engine.command("query", RAG, "Where?", "--filter", wanted, "--json").json["results"]
    assert ["mountains" in each["text"] for each in hits] == [True]
