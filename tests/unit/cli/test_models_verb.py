"""What `models` says of models behind servers and of public names; nothing is asked."""

import json
from pathlib import Path

import pytest

from engine.cli import main
from engine.embedding.specs import MINILM

FILE = """
[models.mine]
url = "http://127.0.0.1:9/v1"
dimensions = 16
tokens_max = 512
version = "1"

[public]
gemini-embedding-001 = "mine"
"""


@pytest.fixture
def models_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "models.toml"
    path.write_text(FILE, encoding="utf-8")
    monkeypatch.setenv("RAG_ENGINE_MODELS_FILE", str(path))
    monkeypatch.setenv("RAG_ENGINE_MODELS_DIR", str(tmp_path))
    return path


def test_out_of_the_box_it_says_plainly_that_public_names_are_the_default_model(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.delenv("RAG_ENGINE_MODELS_FILE", raising=False)
    monkeypatch.setenv("RAG_ENGINE_MODELS_DIR", str(tmp_path))
    assert main(["models"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "all public names stand for the default model" in said
    assert f"asked for as e5_mistral_7b_instruct is made with {MINILM.name}" in said
    assert f"gemini-embedding-001 {MINILM.name}" in said


def test_models_of_the_file_and_what_public_names_stand_for_are_listed(models_file, capsys):
    assert main(["models"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "mine 16 512 server served by http://127.0.0.1:9/v1/embeddings" in lines
    assert "gemini-embedding-001 mine" in lines
    assert f"e5_mistral_7b_instruct {MINILM.name}" in lines
    assert not any("Out of the box" in line for line in lines)


def test_a_script_reads_the_same_from_json(models_file, capsys):
    assert main(["models", "--json"]) == 0
    models = {each["name"]: each for each in json.loads(capsys.readouterr().out)}
    assert models["mine"]["url"] == "http://127.0.0.1:9/v1/embeddings"
    assert models["mine"]["public_names"] == ["gemini-embedding-001"]
    assert models[MINILM.name]["url"] is None
    assert len(models[MINILM.name]["public_names"]) == 2


def test_a_model_with_a_tokenizer_of_its_own_needs_nothing_pulled(models_file, capsys):
    models_file.write_text(FILE.replace("[public]", 'tokenizer = "t.json"\n[public]'))
    assert main(["models", "pull", "mine"]) == 0
    assert "mine runs behind http://127.0.0.1:9/v1/embeddings" in capsys.readouterr().out


def test_a_broken_file_ends_the_command_in_one_sentence(models_file, capsys):
    models_file.write_text("[modles]")
    assert main(["models"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"rag-engine: RAG_ENGINE_MODELS_FILE: {models_file}: ")
    assert said.count("\n") == 1


def test_the_doctor_asks_the_server_of_the_default_model(
    models_file, models_path, monkeypatch, capsys
):
    monkeypatch.setenv("RAG_ENGINE_MODELS_DIR", str(models_path))
    monkeypatch.setenv("RAG_ENGINE_EMBEDDING_MODEL", "mine")
    assert main(["doctor", "--json"]) == 1
    checks = {each["name"]: each for each in json.loads(capsys.readouterr().out)["checks"]}
    assert checks["model"]["ok"] is False
    assert "its server cannot be reached" in checks["model"]["found"]
    assert "RAG_ENGINE_MODELS_FILE" in checks["model"]["remedy"]
