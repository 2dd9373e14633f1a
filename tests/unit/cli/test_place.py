"""The files of the data folder, and how an engine, its key and its database are found by them."""

import os
import stat
from pathlib import Path

import pytest

from engine.cli.exits import CliError, Exit
from engine.cli.place import (
    Place,
    Running,
    Where,
    address_of,
    database_settings,
    key_of,
    local_url,
    settings_of,
)
from engine.config import Settings, SettingsError


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("RAG_ENGINE_"):
            monkeypatch.delenv(name)


def running(pid: int) -> Running:
    return Running(
        url="http://127.0.0.1:9", pid=pid, database_url="postgresql://x", redis_url="unix:///x"
    )


def gone() -> int:
    """The id of a process that has ended."""
    pid = os.spawnlp(os.P_NOWAIT, "true", "true")
    os.waitpid(pid, 0)
    return pid


def test_key_and_record_are_for_this_user_only_and_come_back(tmp_path: Path) -> None:
    place = Place(tmp_path)
    assert (place.key(), place.running()) == (None, None)
    place.keep_key("re_secret")
    place.keep_running(running(os.getpid()))
    assert place.key() == "re_secret"
    assert place.running() == running(os.getpid())
    for path in (place.key_path, place.engine_path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    place.forget_running()
    place.forget_running()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key"]


def test_the_record_of_a_killed_engine_or_a_torn_one_leads_nowhere(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.keep_running(running(gone()))
    assert place.running() is None
    place.engine_path.write_text('{"url": "http')
    assert place.running() is None


def test_verbs_find_the_local_engine_its_key_and_its_database(tmp_path: Path) -> None:
    place, where = Place(tmp_path), Where(data_dir=tmp_path)
    place.keep_key("re_local")
    place.keep_running(running(os.getpid()))
    assert address_of(where) == "http://127.0.0.1:9"
    assert key_of(where) == "re_local"
    found = database_settings(where)
    assert (found.database_url, found.redis_url) == ("postgresql://x", "unix:///x")


def test_what_is_given_wins_over_the_local_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path)
    place.keep_key("re_local")
    place.keep_running(running(os.getpid()))
    (tmp_path / "other").write_text("re_other\n")
    where = Where(url="https://rag.example/", key_file=tmp_path / "other", data_dir=tmp_path)
    monkeypatch.setenv("RAG_ENGINE_DATABASE_URL", "postgresql://given")
    assert (address_of(where), key_of(where)) == ("https://rag.example", "re_other")
    assert settings_of(where).database_url == "postgresql://given"
    assert settings_of(where).redis_url == "unix:///x"


def test_without_an_engine_the_settings_say_where_it_would_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = Where(data_dir=tmp_path)
    monkeypatch.setenv("RAG_ENGINE_PORT", "8123")
    assert address_of(where) == "http://127.0.0.1:8123"
    monkeypatch.setenv("RAG_ENGINE_PUBLIC_URL", "https://rag.example")
    assert address_of(where) == "https://rag.example"
    with pytest.raises(CliError, match="rag-engine up") as caught:
        database_settings(where)
    assert caught.value.exit_code is Exit.UNREACHABLE
    with pytest.raises(CliError, match="There is no access key") as caught:
        key_of(where)
    assert caught.value.exit_code is Exit.UNAUTHORISED
    monkeypatch.setenv("RAG_ENGINE_BOOTSTRAP_KEY", "re_first")
    assert key_of(where) == "re_first"


def test_a_key_file_that_is_missing_is_a_wrong_setting(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--key-file"):
        key_of(Where(key_file=tmp_path / "nothing", data_dir=tmp_path))


@pytest.mark.parametrize("held", ["", "\n", " \t\n"])
def test_a_key_file_without_a_key_is_not_the_local_key(tmp_path: Path, held: str) -> None:
    Place(tmp_path).keep_key("re_local")
    (tmp_path / "other").write_text(held)
    with pytest.raises(SettingsError, match=r"^--key-file: .*/other is empty$"):
        key_of(Where(key_file=tmp_path / "other", data_dir=tmp_path))


def test_clients_of_this_machine_do_not_ask_a_wildcard() -> None:
    assert local_url(Settings(host="0.0.0.0", port=1)) == "http://127.0.0.1:1"
    assert local_url(Settings(host="::", port=1)) == "http://[::1]:1"
    assert local_url(Settings(port=1, public_url="https://rag.example")) == "http://127.0.0.1:1"
