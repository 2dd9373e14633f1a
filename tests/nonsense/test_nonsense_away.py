"""The only 5xx that callers may meet: 503 with Retry-After while something is away."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import psycopg
import pytest
from fix_disk import Disk
from fix_engine import Caller
from fix_served import Home, Served, serving
from fix_services import execute, free_port, make_folder, on_database, own_database
from msgspec.structs import replace
from psycopg import sql
from raw_wire import Answer, expect_plain

from engine.config import Settings
from engine.local import Services

NOBODY = "0b9d2c55-6f0e-4d3a-9a51-2f6f3f1f7a10"
DOOR = "/v1/convai/knowledge-base"
BACK_TIMEOUT_S = 15.0
# One call of each kind that needs rows, in both doors.
NEEDS_ROWS = (
    ("GET", "/rags", None),
    ("POST", "/rags", {"name": "a"}),
    ("GET", f"/rags/{NOBODY}", None),
    ("DELETE", f"/rags/{NOBODY}", None),
    ("POST", f"/rags/{NOBODY}/query", {"query": "a"}),
    ("GET", "/storage_files", None),
    ("GET", "/customer", None),
    ("POST", "/accesskeys", {"name": "a"}),
    ("GET", DOOR, None),
    ("POST", DOOR + "/text", {"text": "words"}),
    ("DELETE", f"{DOOR}/{NOBODY}", None),
    ("GET", "/v1/voiceai/knowledge-base", None),
)


@pytest.fixture(scope="module")
def small_disk() -> Iterator[Disk]:
    """A file system of 8 MiB."""
    if shutil.which("mount") is None:
        pytest.skip("there is no mount command here")
    path = make_folder()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        path.rmdir()
        pytest.skip("this machine does not let tests mount a file system")
    yield Disk(path)
    subprocess.run(["umount", "--lazy", str(path)], check=True)
    path.rmdir()


@pytest.fixture(scope="module")
def frail(
    own_settings: Settings,
    services: Services,
    template_database: str,
    small_disk: Disk,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Served]:
    """An API that tests may take things away from, with two connections and a small disk."""
    limits = replace(own_settings.limits, spool_free_bytes_min=1, database_waiting_max=4)
    with own_database(services, template=template_database) as url:
        ours = replace(
            own_settings,
            database_url=url,
            port=free_port(),
            data_dir=small_disk.path / "data",
            database_connections=2,
            limits=limits,
        )
        log = tmp_path_factory.mktemp("logs") / "frail.log"
        with serving(ours, log=log) as running:
            yield running


@pytest.fixture(scope="module")
def here(frail: Served) -> Home:
    return Home(frail, name="here")


def asked(served: Served, home: Home, call: tuple) -> httpx.Response:
    method, path, body = call
    keys = {"X-API-Key": home.token, "xi-api-key": home.token}
    answer = httpx.request(
        method, served.base_url + path, json=body, headers=keys, timeout=60, trust_env=False
    )
    plain = Answer(answer.status_code, dict(answer.headers), answer.content)
    expect_plain(plain, path=path)
    return answer


def until_served(served: Served, home: Home, call: tuple) -> float:
    """How long it takes until a call is answered again."""
    begun_s = time.monotonic()
    while (answer := asked(served, home, call)).status_code == 503:
        assert time.monotonic() < begun_s + BACK_TIMEOUT_S, answer.text
        time.sleep(0.1)
    return time.monotonic() - begun_s


def test_without_the_database_every_call_says_so_and_when_it_is_back_none_does(
    frail: Served, here: Home, services: Services, measured: list[str]
) -> None:
    url = frail.settings.database_url
    name = sql.Identifier(url.partition("?")[0].rpartition("/")[2])
    allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    execute(services.admin_url, allow.format(name, sql.SQL("false")))
    kill = sql.SQL("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = {}")
    execute(services.admin_url, kill.format(name.as_string().strip('"')))
    with ThreadPoolExecutor(len(NEEDS_ROWS)) as pool:
        answers = list(pool.map(lambda call: asked(frail, here, call), NEEDS_ROWS))
    assert {each.status_code for each in answers} == {503}
    assert httpx.get(f"{frail.base_url}/healthz").status_code == 200
    execute(services.admin_url, allow.format(name, sql.SQL("true")))
    back_s = max(until_served(frail, here, call) for call in NEEDS_ROWS)
    measured.append(f"the API answers {back_s:.1f} s after its database is back")
    assert frail.accidents() == []


def test_when_all_connections_wait_callers_are_told_to_come_back(
    frail: Served, here: Home, services: Services
) -> None:
    url = frail.settings.database_url
    admin_url = on_database(services.admin_url, database=url.partition("?")[0].rpartition("/")[2])
    with psycopg.connect(admin_url) as connection:
        connection.execute("LOCK TABLE rags IN ACCESS EXCLUSIVE MODE")
        with ThreadPoolExecutor(12) as pool:
            asking = [pool.submit(asked, frail, here, ("GET", "/rags", None)) for _ in range(12)]
            time.sleep(3)
            # Those in the queue, and those for whom there is no place in it.
            assert asked(frail, here, ("GET", "/rags", None)).status_code == 503
            time.sleep(4)
            connection.rollback()
            codes = [each.result().status_code for each in asking]
    assert set(codes) <= {200, 503}
    assert codes.count(503) >= 6
    assert until_served(frail, here, ("GET", "/rags", None)) < BACK_TIMEOUT_S
    assert frail.accidents() == []


def test_a_full_disk_refuses_uploads_and_nothing_else(
    frail: Served, here: Home, small_disk: Disk
) -> None:
    small_disk.fill()
    with Caller(frail.base_url, token=here.token) as caller:
        for path, files, data in (
            ("/storage_files", {"file": ("a.txt", b"b" * 200_000)}, {}),
            ("/rags", {"files": ("a.txt", b"c" * 200_000)}, {"name": "a"}),
            (DOOR + "/file", {"file": ("a.txt", b"d" * 200_000)}, {}),
            ("/storage_files", {"file": ("a.txt", b"e")}, {}),
        ):
            keys = {"xi-api-key": here.token}
            answer = caller.post(path, files=files, data=data, headers=keys)
            plain = Answer(answer.status_code, dict(answer.headers), answer.content)
            expect_plain(plain, path=path)
            assert answer.status_code == 503
        assert caller.ok("POST", "/rags", json={"name": "a"})["status"] == "pending"
        assert caller.ok("GET", f"/rags/{here.ids['RAG']}")["name"] == "a"
        small_disk.free()
        caller.ok("POST", "/storage_files", files={"file": ("a.txt", b"f" * 200_000)})
    assert frail.accidents() == []
