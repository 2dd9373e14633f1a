"""The environment and the logs of the children."""

import stat
from pathlib import Path

import pytest

from engine.cli.children import environment_of, fresh_log
from engine.config import Settings


def test_a_child_has_exactly_these_settings_whatever_the_user_has_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "networks").write_text("10.0.0.0/8")
    monkeypatch.setenv("RAG_ENGINE_ALLOW_NETWORKS_FILE", str(tmp_path / "networks"))
    monkeypatch.setenv("RAG_ENGINE_FAILPOINT", "store:1")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    given = Settings(allow_networks=("127.0.0.1:1",), data_dir=tmp_path)
    environment = environment_of(given)
    assert Settings.from_env(environment) == given
    assert environment["AWS_REGION"] == "eu-west-1"


def test_the_log_of_the_start_before_is_kept_beside_a_new_one(tmp_path: Path) -> None:
    log = fresh_log(tmp_path / "logs", name="api")
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    log.write_text("before")
    assert fresh_log(tmp_path / "logs", name="api").read_text() == ""
    assert (tmp_path / "logs" / "api.log.1").read_text() == "before"


def test_a_child_has_the_access_keys_of_models_whatever_their_variables_are_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAG_ENGINE_VLLM_KEY", "a key")
    monkeypatch.setenv("RAG_ENGINE_MODELS_DIR_FILE", "/somewhere")
    monkeypatch.setenv("RAG_ENGINE_MODELS_FILE", "/elsewhere")
    environment = environment_of(Settings())
    assert environment["RAG_ENGINE_VLLM_KEY"] == "a key"
    assert "RAG_ENGINE_MODELS_DIR_FILE" not in environment
    assert "RAG_ENGINE_MODELS_FILE" not in environment
