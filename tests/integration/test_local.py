"""The embedded servers in life and death: kept data, crashes, neighbours."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis
from arq.connections import RedisSettings
from fix_local import (
    answers,
    is_alive,
    kill,
    kill_owner,
    local,
    marked,
    remember,
    remembered,
    wait_until_gone,
)
from fix_services import make_folder
from redis.asyncio import from_url

from engine.local import LocalError, LocalServices
from engine.local.account import Account

ROOT = os.geteuid() == 0


@pytest.fixture(scope="module")
def lived_in() -> Iterator[Path]:
    """A data folder that many tests start from one after the other, as a machine's owner would.

    Making a database takes ten times as long as starting one. Words in it are each test's own.
    """
    made = make_folder()
    yield made / "data"
    shutil.rmtree(made)


def test_data_is_kept_between_starts(folder: Path) -> None:
    services = LocalServices(folder / "data")
    with services:
        remember(services.services, word="kept")
    with services:
        assert remembered(services.services) == ["kept"]


def test_the_engine_role_owns_its_database_and_is_no_superuser(lived_in: Path) -> None:
    with (
        local(lived_in, redis=False) as running,
        psycopg.connect(running.services.database_url) as connection,
    ):
        row = connection.execute(
            "SELECT current_user, rolsuper, rolcreaterole, pg_get_userbyid(datdba) "
            "FROM pg_roles, pg_database WHERE rolname = current_user AND datname = 'rag_engine'"
        ).fetchone()
    assert row == ("rag_engine", False, True, "rag_engine")


def test_nothing_listens_on_tcp(lived_in: Path) -> None:
    with local(lived_in) as running:
        with psycopg.connect(running.services.admin_url) as connection:
            row = connection.execute("SHOW listen_addresses").fetchone()
        with redis.Redis.from_url(running.services.redis_url) as client:
            port = client.config_get("port")
    assert row == ("",)
    assert port == {"port": "0"}


@pytest.mark.anyio
async def test_redis_and_arq_read_the_same_address(lived_in: Path) -> None:
    with local(lived_in, postgres=False) as running:
        url = running.services.redis_url
        client = from_url(f"{url}?db=3")
        path = client.connection_pool.connection_kwargs["path"]
        assert await client.ping()
        await client.aclose()
    settings = RedisSettings.from_dsn(f"{url}?db=3")
    assert (settings.unix_socket_path, settings.database) == (path, 3)


def test_only_what_is_asked_for_is_started(lived_in: Path) -> None:
    with local(lived_in, postgres=False) as running:
        assert running.postgres_pid is None
        assert running.redis_pid is not None
        assert running.services.database_url == ""


def test_start_and_stop_may_be_called_twice(lived_in: Path) -> None:
    running = local(lived_in)
    assert running.start() == running.start()
    running.stop()
    running.stop()
    assert running.postgres_pid is None


def test_stop_leaves_no_process_and_no_socket(lived_in: Path) -> None:
    with local(lived_in) as running:
        home = running.folder
        assert home
        assert len(marked(home)) > 2
    assert marked(home) == []
    assert list((home / "run").iterdir()) == []


def test_a_killed_database_is_started_again_with_its_data(lived_in: Path) -> None:
    with local(lived_in) as running:
        remember(running.services, word="server killed")
        kill(running.postgres_pid)
        while running.postgres_pid:
            time.sleep(0.01)
        assert "server killed" in remembered(running.start())


def test_a_backend_that_outlives_its_killed_server_is_stopped(lived_in: Path) -> None:
    with local(lived_in, redis=False) as running:
        remember(running.services, word="backend left")
        with psycopg.connect(running.services.admin_url) as connection:
            backend = connection.info.backend_pid
            # A backend that computes does not look at its server until the query has ended.
            busy = "SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000)"
            connection.pgconn.send_query(busy.encode())
            connection.pgconn.flush()
            time.sleep(0.3)
            kill(running.postgres_pid)
            while running.postgres_pid:
                time.sleep(0.01)
            assert is_alive(backend)
            services = running.start()
            wait_until_gone(backend)
            connection.close()
        assert "backend left" in remembered(services)


def test_a_killed_redis_is_started_again_at_the_same_address(lived_in: Path) -> None:
    with local(lived_in) as running:
        before, killed = running.services, running.redis_pid
        kill(killed)
        while running.redis_pid:
            time.sleep(0.01)
        assert running.start() == before
        assert running.redis_pid != killed
        assert answers(before)


def test_the_servers_of_a_killed_owner_are_stopped_by_the_next_start(lived_in: Path) -> None:
    admin_url, postgres_pid, redis_pid = kill_owner(lived_in)
    assert is_alive(postgres_pid)
    assert is_alive(redis_pid)
    with psycopg.connect(admin_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE words (word text)")
    with local(lived_in) as running:
        wait_until_gone(postgres_pid)
        wait_until_gone(redis_pid)
        assert running.postgres_pid not in {postgres_pid, None}
        with psycopg.connect(running.services.admin_url) as connection:
            assert connection.execute("SELECT count(*) FROM words").fetchone() == (0,)
        assert answers(running.services)


def test_everything_killed_at_once_leaves_a_folder_that_starts(lived_in: Path) -> None:
    _, postgres_pid, redis_pid = kill_owner(lived_in)
    for pid in (postgres_pid, redis_pid):
        os.kill(pid, signal.SIGKILL)
        wait_until_gone(pid)
    with local(lived_in) as running:
        assert answers(running.services)


def test_a_pid_file_whose_number_a_stranger_has_now_is_no_obstacle(lived_in: Path) -> None:
    with local(lived_in, redis=False) as running:
        home = running.folder
        assert home
    owner = Account(uid=home.stat().st_uid, gid=home.stat().st_gid) if ROOT else Account()
    with open(os.devnull, "wb") as log:
        stranger = owner.spawn(["sleep", "600"], executable=Path("/bin/sleep"), log=log.fileno())
    try:
        pid_file = home / "postgres" / "postmaster.pid"
        pid_file.write_text(f"{stranger.pid}\n{home / 'postgres'}\n0\n5432\n\n\n\nready\n")
        os.chown(pid_file, home.stat().st_uid, home.stat().st_gid)
        with local(lived_in) as running:
            assert answers(running.services)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_two_folders_do_not_disturb_each_other(folder: Path) -> None:
    with local(folder / "one") as one, local(folder / "two") as two:
        remember(one.services, word="one")
        remember(two.services, word="two")
        one.stop()
        assert remembered(two.services) == ["two"]
        assert answers(two.services)


def test_a_copied_folder_is_another_database(folder: Path) -> None:
    with local(folder / "one", redis=False) as one:
        remember(one.services, word="both")
    subprocess.run(["cp", "-a", folder / "one", folder / "two"], check=True)
    with local(folder / "one") as one, local(folder / "two") as two:
        remember(two.services, word="copy")
        assert remembered(one.services) == ["both"]
        assert remembered(two.services) == ["both", "copy"]


def test_a_folder_in_use_is_refused_in_one_sentence(lived_in: Path) -> None:
    with local(lived_in) as running:
        with pytest.raises(LocalError) as refused:
            local(lived_in).start()
        assert answers(running.services)
    text = str(refused.value)
    assert f"in use by another engine (process {os.getpid()})" in text
    assert "\n" not in text


def test_restarted_servers_keep_their_addresses(lived_in: Path) -> None:
    with local(lived_in) as running:
        before = (running.postgres_pid, running.redis_pid)
        remember(running.services, word="restarted")
        running.restart_postgres()
        running.restart_redis()
        assert not {running.postgres_pid, running.redis_pid} & set(before)
        assert "restarted" in remembered(running.services)
        assert answers(running.services)


def test_ctrl_c_in_the_terminal_does_not_reach_the_servers(lived_in: Path) -> None:
    with local(lived_in) as running:
        for pid in (running.postgres_pid, running.redis_pid):
            assert pid
            assert os.getpgid(pid) != os.getpgrp()


def test_an_extension_of_an_older_wheel_is_brought_up_to_date(lived_in: Path) -> None:
    with (
        local(lived_in, redis=False) as running,
        psycopg.connect(running.services.admin_url.replace("/postgres?", "/rag_engine?")) as admin,
    ):
        current = admin.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
        version = current.fetchone()
        admin.execute("UPDATE pg_extension SET extversion = '0.8.4' WHERE extname = 'vector'")
    (lived_in / "vector.version").write_text("0.8.4")
    with (
        local(lived_in, redis=False) as running,
        psycopg.connect(running.services.database_url) as connection,
    ):
        updated = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
        assert updated.fetchone() == version
