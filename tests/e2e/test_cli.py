"""The verbs of the command line against a running engine, as scripts and people call them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from fix_cli import Place, place
from fix_services import REPOSITORY
from fix_web import Web, open_web

from engine.cli import main
from engine.cli.golden import read_questions

PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)


@pytest.fixture(scope="module")
def public_web() -> Iterator[Web]:
    """The only web server that the engine of this module may fetch from."""
    with open_web() as server:
        yield server


@pytest.fixture(scope="module")
def engine(public_web: Web) -> Iterator[Place]:
    """A local engine. Its short leases have the sweep begin soon after the start."""
    settings = {
        "RAG_ENGINE_ALLOW_NETWORKS": public_web.host_port,
        "RAG_ENGINE_LEASE_S": "4",
        "RAG_ENGINE_SWEEP_S": "0.2",
        "RAG_ENGINE_ORPHAN_AGE_S": "0.1",
    }
    with place(**settings) as here, here.up():
        yield here


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two texts in two levels, and what is to be passed over."""
    texts = {
        "lamps.md": "# Lamps\n\nThe reading lamp takes a bulb of four watts.\n",
        "garden/roses.md": "# Roses\n\nCut the roses back in the last week of February.\n",
        ".hidden.md": "hidden",
        "garden/.git/config.md": "hidden as well",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
def rag() -> str:
    """A name of the test's own."""
    return f"rag {uuid4()}"


def embedded(engine: Place) -> int:
    """How many passages the workers have embedded so far."""
    lines = (engine.data_dir / "logs" / "workers.log").read_text().splitlines()
    return sum(json.loads(line).get("passages", 0) for line in lines)


def outcomes(ended: dict[str, object]) -> dict[str, object]:
    return {word: ended[word] for word in ("added", "replaced", "skipped", "failed")}


def best(engine: Place, rag: str, question: str) -> str:
    return engine.command("query", rag, question, "--top-k=1", "--json").json["results"][0]["text"]


def test_a_folder_is_ingested_once_and_a_second_run_embeds_nothing(
    engine: Place, folder: Path, rag: str
) -> None:
    first = engine.command("ingest", folder, "--rag", rag)
    assert (first.code, first.out) == (0, "2 added, 0 replaced, 0 skipped, 0 failed\n")
    assert "ready    garden/roses.md: 1 chunk created" in first.err
    before = embedded(engine)
    assert before >= 2

    second = engine.command("ingest", folder, "--rag", rag, "--json")
    assert (second.code, second.err) == (0, "")
    assert outcomes(second.json) == {"added": 0, "replaced": 0, "skipped": 2, "failed": 0}
    assert [each["name"] for each in second.json["sources"]] == ["garden/roses.md", "lamps.md"]
    assert embedded(engine) == before


def test_a_rag_may_be_named_by_its_id_and_one_of_an_unknown_id_is_not_made(
    engine: Place, folder: Path, rag: str
) -> None:
    rag_id = engine.command("ingest", folder, "--rag", rag, "--json").json["rag"]["id"]
    again = engine.command("ingest", folder, "--rag", rag_id, "--json").json
    assert (again["rag"], again["skipped"]) == ({"id": rag_id, "name": rag}, 2)
    before = engine.command("status", "--json").json
    ended = engine.command("ingest", folder, "--rag", str(uuid4()))
    assert ended.code == 1
    assert "There is no RAG with the name or id" in ended.err
    assert engine.command("status", "--json").json["rags"] == before["rags"]


def test_a_changed_file_replaces_its_source(engine: Place, folder: Path, rag: str) -> None:
    engine.command("ingest", folder, "--rag", rag)
    (folder / "lamps.md").write_text("# Lamps\n\nThe reading lamp takes a bulb of nine watts.\n")
    ended = engine.command("ingest", folder, "--rag", rag, "--json")

    assert ended.code == 0
    assert outcomes(ended.json) == {"added": 0, "replaced": 1, "skipped": 1, "failed": 0}
    assert "nine watts" in best(engine, rag, "Which bulb?")
    sources = engine.command("status", rag, "--json").json["sources"]
    assert sorted(each["name"] for each in sources) == ["garden/roses.md", "lamps.md"]
    third = engine.command("ingest", folder, "--rag", rag, "--json").json
    assert third["skipped"] == 2


def test_a_change_that_fails_keeps_the_old_version_and_says_so(
    engine: Place, folder: Path, rag: str
) -> None:
    engine.command("ingest", folder, "--rag", rag)
    (folder / "lamps.md").write_bytes(PNG)
    for _ in range(2):
        ended = engine.command("ingest", folder, "--rag", rag)
        assert ended.code == 1
        assert "unsupported_format" in ended.out
        assert "The version that was there before still answers." in ended.out
        assert "Convert it to PDF" in ended.out
        assert ended.out.endswith("0 added, 0 replaced, 1 skipped, 1 failed\n")
    assert "four watts" in best(engine, rag, "Which bulb?")
    assert len(engine.command("status", rag, "--json").json["sources"]) == 2


def test_a_known_url_is_not_fetched_again_and_a_refused_one_fails(
    engine: Place, public_web: Web, other_web: Web, rag: str
) -> None:
    url = public_web.add("/tea", body="<h1>Tea</h1><p>Steep green tea for two minutes only.</p>")
    assert engine.command("ingest", url, "--rag", rag).code == 0
    again = engine.command("ingest", url + "#top", "--rag", rag, "--json")
    assert (again.code, outcomes(again.json)["skipped"]) == (0, 1)
    assert public_web.hits["/tea"] == 1

    literal, name = other_web.url("/x"), other_web.url("/y", host="localhost")
    ended = engine.command("ingest", url, literal, name, "--rag", rag, "--json")
    assert (ended.code, outcomes(ended.json)["skipped"]) == (1, 1)
    codes = {each["name"]: each["code"] for each in ended.json["sources"] if "code" in each}
    assert codes == {literal: "invalid_argument", name: "fetch_refused_address"}
    assert other_web.hits == {}


def test_a_source_in_error_gets_another_chance_in_the_next_run(
    engine: Place, public_web: Web, rag: str
) -> None:
    url = public_web.add("/late", status=404)
    assert engine.command("ingest", url, "--rag", rag, "--json").json["failed"] == 1
    public_web.add("/late", body="<h1>Late</h1><p>This page has come after all, better late.</p>")
    ended = engine.command("ingest", url, "--rag", rag, "--json")
    assert (ended.code, ended.json["added"]) == (0, 1)


def test_without_waiting_the_next_run_sees_the_replacement_through(
    engine: Place, folder: Path, rag: str
) -> None:
    engine.command("ingest", folder, "--rag", rag)
    (folder / "lamps.md").write_text("# Lamps\n\nThe reading lamp takes a bulb of two watts.\n")
    left = engine.command("ingest", folder, "--rag", rag, "--no-wait", "--json")
    assert (left.code, left.json["replaced"]) == (0, 1)
    assert engine.command("ingest", folder, "--rag", rag, "--json").json["skipped"] == 2
    sources = engine.command("status", rag, "--json").json["sources"]
    assert [each["status"] for each in sources] == ["ready", "ready"]
    assert "two watts" in best(engine, rag, "Which bulb?")


def test_a_query_shows_where_the_passage_stands(engine: Place, folder: Path, rag: str) -> None:
    engine.command("ingest", folder, "--rag", rag)
    shown = engine.command("query", rag, "When are the roses cut?")
    head, text = shown.out.splitlines()[:2]
    hit = engine.command("query", rag, "When are the roses cut?", "--json").json["results"][0]
    assert head.startswith(f"1. [{hit['score']:.2f}] garden/roses.md · Roses · ")
    assert head.endswith(f"characters {hit['start']}-{hit['end']}")
    assert "Roses" in text
    assert hit["text"].endswith("Cut the roses back in the last week of February.")


def test_a_query_takes_what_the_api_takes(engine: Place, folder: Path, rag: str) -> None:
    (folder / "rows.md").write_text("\n\n".join(f"# {n}\n\n{n} roses. " * 40 for n in "abc"))
    engine.command("ingest", folder, "--rag", rag)

    def ask(*options: str) -> list[dict[str, Any]]:
        ended = engine.command("query", rag, "When are roses cut?", "--json", *options)
        assert ended.code == 0, ended.err
        return list(ended.json["results"])

    sides = {mode: ask("--mode", mode)[0]["scores"] for mode in ("hybrid", "dense", "lexical")}
    assert {mode: set(scores) for mode, scores in sides.items()} == {
        "hybrid": {"dense", "lexical"}, "dense": {"dense"}, "lexical": {"lexical"},
    }  # fmt: skip
    least = ask()[1]["score"]
    assert 0 < len(ask("--min-score", str(least + 1e-6))) < len(ask("--min-score", str(least)))
    assert ask("--filter", '{"eq": {"key": "year", "value": 2026}}') == []
    shown = engine.command("query", rag, "b roses", "--with-neighbours", "--mode", "lexical")
    assert "\n   | " in shown.out
    assert "| " not in engine.command("query", rag, "b roses").out
    nothing = engine.command("query", rag, "roses", "--min-score", "1")
    assert (nothing.code, nothing.out) == (0, "Nothing was found.\n")


def golden(folder: Path, **places: dict[str, object]) -> Path:
    """A file of golden questions beside what is ingested."""
    lines = [json.dumps({"question": q, "find": [place]}) for q, place in places.items()]
    path = folder / ".questions.jsonl"
    path.write_text("\n".join(lines))
    return path


def test_golden_questions_tell_what_is_found_and_what_got_lost(
    engine: Place,
    folder: Path,
    rag: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    engine.command("ingest", folder, "--rag", rag)
    questions = golden(
        folder,
        bulb={"source": "lamps.md", "text": "takes a bulb of four watts"},
        roses={"source": "garden/roses.md"},
        nothing={"text": "an excerpt that nobody has written"},
    )
    before = folder / ".before.json"
    first = engine.command("evaluate", rag, questions, "--out", before)
    assert first.code == 0, first.err
    assert f"3 questions to {rag}, 10 hits each" in first.out
    assert "recall@10  0.667\n" in first.out
    assert "NOT FOUND\nnothing    “an excerpt that nobody has written”\n" in first.out
    report = json.loads(before.read_text())
    assert (report["version"], report["settings"]) == (1, {"top_k": 10, "mode": ""})
    assert report["figures"]["recall"]["10"] == 0.6667

    for name, value in engine.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("engine.cli.evaluate.NOTE_EVERY_S", -1.0)
    assert main(["evaluate", rag, str(questions), "--against", str(before)]) == 0
    same = capsys.readouterr()
    assert ("0 lost, 0 gained" in same.out, "LOST" in same.out) == (True, False)
    assert same.err.splitlines()[1] == "asked 2 of 3 questions"
    (folder / "lamps.md").write_text("# Lamps\n\nAll lamps were sold, every single one.\n")
    engine.command("ingest", folder, "--rag", rag)
    after = folder / ".after.json"
    worse = engine.command("evaluate", rag, questions, "--against", before, "--out", after)
    assert worse.code == 5
    assert "LOST\nbulb  lamps.md · “takes a bulb of four watts” (was at rank 1)\n" in worse.out
    assert "1 lost, 0 gained" in worse.out
    assert json.loads(after.read_text())["figures"]["recall"]["10"] == 0.3333


def test_what_cannot_be_evaluated_is_one_sentence_with_its_line(
    engine: Place, folder: Path, rag: str
) -> None:
    questions = golden(folder, why={"source": "a.md"})
    assert engine.command("ingest", "http://127.0.0.1:1/", "--rag", rag).code == 1
    ended = engine.command("evaluate", rag, questions, "--out", folder / ".out.json")
    assert ended.code == 1
    assert "Nothing in this RAG can be searched yet" in ended.err
    assert "(line 1, 0 of 1 questions asked)" in ended.err
    assert not (folder / ".out.json").exists()
    ended = engine.command("evaluate", rag, questions, "--top-k", "1000")
    assert (ended.code, "top_k must be from 1 to 100) (line 1, " in ended.err) == (2, True)


def test_the_golden_questions_of_the_readme_find_the_documents(
    engine: Place, folder: Path, rag: str
) -> None:
    """As the README asks them, of those documents that they are about."""
    questions = REPOSITORY / "bench" / "handbook.jsonl"
    named = sorted({each.source for asked in read_questions(questions) for each in asked.find})
    documents = [REPOSITORY / "docs" / name for name in named]
    assert engine.command("ingest", *documents, "--rag", rag).code == 0
    before = folder / ".before.json"
    first = engine.command("evaluate", rag, questions, "--out", before)
    assert first.code == 0, first.err
    assert json.loads(before.read_text())["figures"]["recall"]["10"] >= 0.6, first.out
    assert engine.command("evaluate", rag, questions, "--against", before).code == 0


def test_status_tells_queue_workers_and_rags(engine: Place, folder: Path, rag: str) -> None:
    engine.command("ingest", folder, "--rag", rag)
    found = engine.command("status", "--json").json
    assert (found["url"], found["status"]) == (engine.url, "ok")
    assert found["queue"]["workers"] == 1
    counts = {each["name"]: each["source_counts"] for each in found["rags"]}
    assert counts[rag] == {"pending": 0, "processing": 0, "ready": 2, "error": 0, "total": 2}
    assert f"ready at {engine.url}" in engine.command("status").out
    assert "1 chunk created" in engine.command("status", rag).out


def test_a_customer_is_made_works_apart_and_is_purged_to_the_last_row(
    engine: Place, folder: Path, tmp_path: Path, rag: str
) -> None:
    made = engine.command("customers", "create", "acme", "--json").json
    key = folder / ".acme.key"
    key.write_text(made["key"])
    engine.command("ingest", folder, "--rag", rag, "--key-file", key)
    assert engine.command("query", rag, "Which bulb?", "--key-file", key).code == 0
    assert engine.command("query", rag, "Which bulb?").code == 1  # the local customer's: no such
    listed = engine.command("customers", "list", "--json").json
    assert {"acme", "default"} <= {each["name"] for each in listed}

    assert engine.command("customers", "purge", made["id"]).code == 2  # not without --yes
    ended = engine.command("customers", "purge", made["id"], "--yes", "--json")
    assert ended.code == 0, ended.err
    assert (ended.json["removed"]["rags"], ended.json["removed"]["files"]) == (1, 2)
    assert ended.json["removed"]["blobs"] == 2
    assert set(ended.json["left"].values()) == {0}
    assert not list((engine.data_dir / "blobs").rglob(f"{made['id']}/*/*"))
    assert engine.command("status", "--key-file", key).code == 4
    assert "acme" not in engine.command("customers", "list").out


def test_keys_are_made_listed_and_revoked(engine: Place, tmp_path: Path) -> None:
    customer = engine.command("customers", "list", "--json").json[0]["id"]
    made = engine.command("keys", "--customer", customer, "create", "--name", "ci", "--json").json
    (tmp_path / "key").write_text(made["key"])
    assert engine.command("status", "--key-file", tmp_path / "key").code == 0
    listed = engine.command("keys", "--json").json  # the customer of the local key
    assert [each["name"] for each in listed if each["id"] == made["id"]] == ["ci"]
    assert made["key"] not in engine.command("keys", "list").out

    assert engine.command("keys", "delete", made["prefix"], "--customer", customer).code == 0
    assert engine.command("status", "--key-file", tmp_path / "key").code == 4
    assert engine.command("keys", "delete", made["prefix"]).code == 1


def test_the_doctor_finds_a_running_engine_well(engine: Place) -> None:
    ended = engine.command("doctor", "--json")
    assert ended.code == 0, ended.out
    assert [each["name"] for each in ended.json["checks"]] == [
        "postgres",
        "pgvector",
        "redis",
        "storage",
        "model",
        "disk",
        "port",
    ]
    assert all(each["ok"] and not each["remedy"] for each in ended.json["checks"])


def test_the_doctor_names_what_is_wrong_and_what_to_do(tmp_path: Path) -> None:
    nowhere = Place(
        tmp_path / "data",
        RAG_ENGINE_DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing",
        RAG_ENGINE_REDIS_URL="redis://127.0.0.1:1",
        RAG_ENGINE_MODELS_DIR=str(tmp_path),
    )
    ended = nowhere.command("doctor", "--json")
    assert ended.code == 1
    wrong = {each["name"]: each["remedy"] for each in ended.json["checks"] if not each["ok"]}
    assert set(wrong) == {"postgres", "pgvector", "redis", "model"}
    assert "RAG_ENGINE_DATABASE_URL" in wrong["postgres"]
    assert "rag-engine models pull" in wrong["model"]
    assert "WRONG  redis" in nowhere.command("doctor").out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["status"], 4, "There is no access key in"),
        (["status", "--key-file", "KEY"], 3, "No engine answers at http://127.0.0.1:"),
        (["customers", "list"], 3, "start one with `rag-engine up`"),
        (["serve"], 2, "RAG_ENGINE_DATABASE_URL: must be set here"),
        (["work"], 2, "RAG_ENGINE_DATABASE_URL: must be set here"),
        (["up", "--port", "99999"], 2, "99999 is not a port"),
        (["up", "--workers", "0"], 2, "RAG_ENGINE_WORKERS: must be at least 1"),
        (["ingest", "nowhere", "--rag", "x"], 2, "nowhere is neither a file, a folder nor a URL"),
        (["models", "pull", "no-such-model"], 2, "no-such-model"),
        (["query", "x", "y", "--mode", "sparse"], 2, "sparse"),
        (["query", "x", "y", "--filter", "{"], 2, "--filter is not JSON"),
        (["bogus"], 2, "bogus"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_with_its_code(
    tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    key = tmp_path / "key"
    key.write_text("re_nobody")
    here = Place(tmp_path / "data")
    ended = here.command(*[str(key) if each == "KEY" else each for each in arguments])
    assert ended.code == code, ended.err
    assert words in ended.err
    assert ended.err.startswith("rag-engine: ")
    assert ended.err.count("\n") == 1
    assert ended.out == ""


def test_an_unknown_rag_and_an_unknown_key_have_codes_of_their_own(
    engine: Place, tmp_path: Path
) -> None:
    unknown = engine.command("query", "no such rag", "what?")
    assert (unknown.code, "There is no RAG with the name" in unknown.err) == (1, True)
    (tmp_path / "key").write_text("re_wrong")
    assert engine.command("status", "--key-file", tmp_path / "key").code == 4


def test_models_lists_the_default_one_as_ready(engine: Place) -> None:
    first = engine.command("models", "--json").json[0]
    assert (first["default"], first["ready"], first["dimensions"]) == (True, True, 384)
    assert engine.command("models", "pull").code == 0
