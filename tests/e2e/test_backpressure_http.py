"""A pool or a disk that is full, as callers of both doors meet it: 503, when to come back, and
nothing that was half done."""

import contextlib
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx
import psycopg
import pytest
from fix_engine import Caller, api_process, new_customer
from msgspec.structs import replace

from engine.config import Limits, Settings

KB = "/v1/convai/knowledge-base"
CONNECTIONS, WAITING_MAX = 2, 2
LIMITS = Limits(database_waiting_max=WAITING_MAX, spool_free_bytes_min=1024 * 1024)
DISK_BYTES = 24 * 1024 * 1024
FILE_BYTES = 3 * 1024 * 1024
SOON_S = 3.0
TABLES = ("rags", "sources", "files", "folders", "idempotency_keys")

Send = Callable[[Caller], httpx.Response]


def file_of(name: str, content: bytes = b"Some plain text.") -> tuple[str, bytes]:
    return (f"{name}.txt", content)


def upload(caller: Caller, content: bytes = b"Some plain text.") -> httpx.Response:
    return caller.post("/storage_files", files={"file": file_of("a", content)})


def rag_of_files(caller: Caller) -> httpx.Response:
    files = [("files", file_of(name, name.encode())) for name in ("one", "two", "three")]
    return caller.post("/rags", data={"name": "a"}, files=files)


def rag_of_urls(caller: Caller) -> httpx.Response:
    return caller.post("/rags", json={"name": "a", "source_urls": ["https://a.example/x"]})


def keyed_rag(caller: Caller) -> httpx.Response:
    key = {"Idempotency-Key": "k"}
    files = [("files", file_of("four"))]
    return caller.post("/rags", data={"name": "a"}, files=files, headers=key)


def text(caller: Caller) -> httpx.Response:
    return caller.post(f"{KB}/text", json={"text": "Some plain text.", "name": "a"})


def document(caller: Caller) -> httpx.Response:
    return caller.post(f"{KB}/file", files={"file": file_of("a")})


def folder(caller: Caller) -> httpx.Response:
    return caller.post(f"{KB}/folder", json={"name": "a"})


STORING = (upload, rag_of_files, keyed_rag, text, document)
CREATING = (*STORING, rag_of_urls, folder)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where bytes are stored: a small file system, where this machine lets tests mount one."""
    where = tmp_path_factory.mktemp("disk")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(where)]
    is_mounted = subprocess.run(mount, check=False, capture_output=True).returncode == 0
    yield where
    if is_mounted:
        subprocess.run(["umount", str(where)], check=True)


@pytest.fixture(scope="module")
def engine(
    module_settings: Settings, disk: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Settings]:
    settings = replace(
        module_settings,
        limits=LIMITS,
        database_connections=CONNECTIONS,
        storage_url=(disk / "blobs").as_uri(),
    )
    with api_process(settings, log=tmp_path_factory.mktemp("logs") / "api.log"):
        yield settings


@pytest.fixture
def caller(engine: Settings) -> Iterator[Caller]:
    token = new_customer(engine, "pressed")
    with Caller(engine.base_url, token=token) as made:
        made.headers["xi-api-key"] = token
        yield made


def later(answer: httpx.Response, *reasons: str) -> None:
    """A refusal in its door's own form that says when to come back."""
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["Retry-After"]) > 0
    said = answer.json()
    reason = said["detail"]["status"] if "detail" in said else said["error"]["reason"]
    assert reason.lower() in reasons
    assert answer.elapsed.total_seconds() < SOON_S


def rows(settings: Settings) -> dict[str, int]:
    """Of all customers, in every table that a create writes to."""
    with psycopg.connect(settings.database_url, autocommit=True) as connection:
        connection.execute("SET ROLE rag_operator")
        return {
            table: next(iter(connection.execute(f"SELECT count(*) FROM {table}")))[0]
            for table in TABLES
        }


# The pool ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def jammed(settings: Settings) -> Iterator[None]:
    """Nobody gets at RAGs, as behind a statement that takes long."""
    with psycopg.connect(settings.database_url) as connection:
        connection.execute("LOCK TABLE rags IN ACCESS EXCLUSIVE MODE")
        yield


def waiting(settings: Settings) -> int:
    """Connections of the API that stand before a lock."""
    with psycopg.connect(settings.database_url, autocommit=True) as connection:
        query = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND application_name = 'rag_api' AND datname = current_database()"
        )
        return int(next(iter(connection.execute(query)))[0])


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_whoever_finds_the_pool_full_is_sent_away_at_once_and_what_waits_is_served(engine, caller):
    assert caller.get("/rags").status_code == 200
    before = rows(engine)
    with ThreadPoolExecutor(CONNECTIONS + WAITING_MAX) as pool:
        with jammed(engine):
            held = [pool.submit(read, caller) for _ in range(CONNECTIONS)]
            until(lambda: waiting(engine) == CONNECTIONS)
            queued = [pool.submit(read, caller) for _ in range(WAITING_MAX)]
            time.sleep(1)  # nothing shows who waits, and who asks would stand before them
            until(lambda: is_full(caller))
            for send in CREATING:
                later(send(caller), "overloaded")
            assert httpx.get(f"{engine.base_url}/healthz", verify=False).status_code == 200
        served: list[Future[int]] = [*held, *queued]
        assert {each.result(timeout=30) for each in served} == {200}
    assert rows(engine) == before
    for send in CREATING:
        assert send(caller).status_code == 200


def read(caller: Caller) -> int:
    headers = dict(caller.headers)
    url = f"{str(caller.base_url).rstrip('/')}/rags"
    return httpx.get(url, headers=headers, timeout=30, verify=False).status_code


def is_full(caller: Caller) -> bool:
    with contextlib.suppress(httpx.ReadTimeout):
        return caller.get("/accesskeys", timeout=0.5).status_code == 503
    return False


# The storage -------------------------------------------------------------------------------------


@contextlib.contextmanager
def unwritable(disk: Path) -> Iterator[None]:
    """Something else stands where the bytes were, also for root."""
    blobs, aside = disk / "blobs", disk / "aside"
    blobs.mkdir(exist_ok=True)
    blobs.rename(aside)
    blobs.write_bytes(b"")
    try:
        yield
    finally:
        blobs.unlink()
        aside.rename(blobs)


@contextlib.contextmanager
def full(disk: Path) -> Iterator[None]:
    if not disk.is_mount():
        pytest.skip("this machine does not let tests mount a file system")
    filler = disk / "filler"
    try:
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4_096))
        yield
    finally:
        filler.unlink()


def bytes_in(disk: Path) -> list[Path]:
    return sorted(path for path in disk.rglob("*") if path.is_file() and path.name != "filler")


@pytest.mark.parametrize("broken", [unwritable, full])
def test_what_needs_the_storage_comes_back_later_and_leaves_nothing(engine, caller, disk, broken):
    assert upload(caller, b"there before").status_code == 200
    before, kept = rows(engine), bytes_in(disk)
    with broken(disk):
        for send in STORING:
            later(send(caller), "storage_unavailable", "overloaded")
        # What needs no storage goes on.
        assert rag_of_urls(caller).status_code == 200
        assert folder(caller).status_code == 200
        assert caller.get("/rags").status_code == 200
    assert bytes_in(disk) == kept
    made = {name: count - before[name] for name, count in rows(engine).items()}
    assert made == {"rags": 1, "sources": 1, "files": 0, "folders": 1, "idempotency_keys": 0}
    for send in STORING:
        assert send(caller).status_code == 200
    (file, *_) = caller.ok("GET", "/storage_files")["result"]
    assert caller.get(f"/storage_files/{file['id']}/file").status_code == 200


def test_a_large_upload_that_does_not_fit_leaves_no_part_of_itself(engine, caller, disk):
    if not disk.is_mount():
        pytest.skip("this machine does not let tests mount a file system")
    before, kept = rows(engine), bytes_in(disk)
    filler = disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(disk).free - FILE_BYTES // 2))
    large = bytes(range(256)) * (FILE_BYTES // 256)
    later(upload(caller, large), "storage_unavailable")
    assert bytes_in(disk) == kept
    assert rows(engine) == before
    filler.unlink()
    made = upload(caller, large)
    assert made.status_code == 200
    assert caller.get(f"/storage_files/{made.json()['id']}/file").content == large
