"""Settings: read from one place, converted to their types, refused by name when they are wrong."""

from pathlib import Path

import pytest

from engine.config import MIB, PREFIX, Limits, Settings, SettingsError


def settings(**variables: str) -> Settings:
    return Settings.from_env({PREFIX + name: value for name, value in variables.items()})


@pytest.mark.parametrize("name", ["MODELS_DIR", "MODELS_FILE"])
def test_a_path_that_is_set_but_empty_is_not_given(name):
    settings = Settings.from_env({f"RAG_ENGINE_{name}": ""})
    assert getattr(settings, name.lower()) is None


def test_nothing_set_gives_the_defaults() -> None:
    assert settings() == Settings()


def test_values_come_in_their_types() -> None:
    read = settings(
        PORT="9000",
        DATA_DIR="/somewhere",
        LEASE_S="2.5",
        FILE_BYTES_MAX=str(MIB),
        LOG_LEVEL="DEBUG",
    )
    assert (read.port, read.data_dir, read.log_level) == (9000, Path("/somewhere"), "DEBUG")
    assert (read.limits.lease_s, read.limits.file_bytes_max) == (2.5, MIB)


def test_other_variables_are_left_alone() -> None:
    assert Settings.from_env({"PORT": "1", "RAG_PORT": "2", PREFIX + "NEW": "3"}) == Settings()


def test_allowed_networks_are_a_list_with_commas() -> None:
    read = settings(ALLOW_NETWORKS=" 10.0.0.0/8, 127.0.0.1:8080 ,,")
    assert read.allow_networks == ("10.0.0.0/8", "127.0.0.1:8080")
    assert settings(ALLOW_NETWORKS="").allow_networks == ()


def test_a_secret_may_lie_in_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "key"
    secret.write_text("a secret\n")
    assert settings(BOOTSTRAP_KEY_FILE=str(secret)).bootstrap_key == "a secret"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="RAG_ENGINE_BOOTSTRAP_KEY_FILE: cannot read"):
        settings(BOOTSTRAP_KEY_FILE=str(tmp_path / "none"))


def test_overrides_win_and_none_of_them_is_none() -> None:
    environ = {PREFIX + "PORT": "9000", PREFIX + "HOST": "0.0.0.0"}
    read = Settings.from_env(environ, port=9001, host=None)
    assert (read.port, read.host) == (9001, "0.0.0.0")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "eighty"),
        ("WORKERS", "0"),
        ("WORKER_JOBS", "-1"),
        ("DATABASE_CONNECTIONS", "0"),
        ("LEASE_S", "0"),
        ("LEASE_S", "soon"),
        ("FILE_BYTES_MAX", "1.5"),
        ("DATABASE_URL", "localhost/database"),
        ("REDIS_URL", "localhost"),
        ("STORAGE_URL", "/var/lib/blobs"),
        ("CHUNK_OVERLAP_TOKENS", "250"),
        ("CHUNK_OVERLAP_TOKENS", "-1"),
        ("ALLOW_NETWORKS", "not a network"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_setting(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^{PREFIX}{name}: "):
        settings(**{name: value})


def test_settings_reach_a_child_unchanged(tmp_path: Path) -> None:
    mine = Settings(
        database_url="postgresql://a@/b",
        data_dir=tmp_path,
        allow_networks=("10.0.0.0/8", "127.0.0.1:1"),
        failpoint="store:3",
        limits=Limits(lease_s=2.5, faults_max=5),
    )
    assert Settings.from_env(mine.env()) == mine
    assert Settings.from_env(Settings().env()) == Settings()


def test_paths_and_addresses_follow_from_each_other(tmp_path: Path) -> None:
    mine = Settings(data_dir=tmp_path, port=81)
    assert mine.models_path == tmp_path / "models"
    assert mine.blobs_url == (tmp_path / "blobs").as_uri()
    assert mine.base_url == "http://127.0.0.1:81"
    public = Settings(public_url="https://example.org/rag/", storage_url="s3://bucket/prefix")
    assert (public.base_url, public.blobs_url) == ("https://example.org/rag", "s3://bucket/prefix")
    assert Settings(models_dir=tmp_path).models_path == tmp_path


def test_a_wrong_entry_of_the_allow_list_is_named_with_its_setting() -> None:
    with pytest.raises(SettingsError, match=r"RAG_ENGINE_ALLOW_NETWORKS: 'nowhere' is neither"):
        Settings.from_env({"RAG_ENGINE_ALLOW_NETWORKS": "10.0.0.0/8, nowhere"})


@pytest.mark.parametrize("name", ["DATABASE_URL", "REDIS_URL"])
@pytest.mark.parametrize("password", ["hush%zz", "hush%", "hush%00"])
def test_a_password_with_a_bare_percent_sign_is_refused_without_being_told(
    name: str, password: str
) -> None:
    url = f"postgresql://user:{password}@host/name"
    with pytest.raises(SettingsError, match=f"RAG_ENGINE_{name}: .*%25") as caught:
        Settings.from_env({f"RAG_ENGINE_{name}": url})
    assert "hush" not in str(caught.value)
    fine = f"postgresql://user:{password.replace('%', '%25')}@host/name"
    assert Settings.from_env({f"RAG_ENGINE_{name}": fine})
