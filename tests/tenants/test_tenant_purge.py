"""A purged customer leaves nothing anywhere, whatever was under way; others lose nothing."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psycopg
import pytest
import redis
from fix_engine import REPOSITORY, api_process, worker_process
from fix_hands import long_text
from fix_services import on_database
from fix_tenants import Tenant, blob_folder, digest, furnished, tenant_tables
from fix_web import Web, open_web
from msgspec.structs import replace
from psycopg import sql

from engine.config import Limits, Settings
from engine.local import Services
from engine.store.purge import Receipt

PURGE_TIMEOUT_S = 60.0
# Merges make fewer rows of these at any moment.
MERGED = {"segments", "segment_members", "dead_members", "postings"}
QUICK = Limits(
    lease_s=2.0,
    poll_s=0.3,
    sweep_s=0.2,
    text_wait_s=0.2,
    exact_chunks_max=1,
    ann_s=0.2,
    customer_requests_per_s=1_000.0,
    customer_requests_burst=2_000,
)


class Ward(msgspec.Struct, kw_only=True):
    """An engine with a worker, a customer that goes and one that stays."""

    settings: Settings
    admin_url: str
    client: httpx.Client
    going: Tenant
    staying: Tenant

    def command(self) -> "subprocess.Popen[bytes]":
        """`customers purge` of the one that goes, just started."""
        verb = ("customers", "purge", self.going.customer_id, "--yes", "--json")
        return subprocess.Popen(
            [sys.executable, "-m", "engine", *verb, "--timeout-s", str(PURGE_TIMEOUT_S)],
            env={**os.environ, **self.settings.env()},
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
        )

    def purge(self) -> dict[str, Any]:
        """To its end; returns the receipt."""
        child = self.command()
        told = child.communicate(timeout=PURGE_TIMEOUT_S + 20)[0]
        assert child.returncode == 0, told
        receipt: dict[str, Any] = json.loads(told)
        return receipt

    def counts(self) -> dict[str, int]:
        """Rows of the one that goes, table by table."""
        found = {}
        with psycopg.connect(self.admin_url) as connection:
            for table, column in tenant_tables(connection).items():
                query = sql.SQL("SELECT count(*) FROM {} WHERE {} = %s").format(
                    sql.Identifier(table), sql.Identifier(column)
                )
                row = connection.execute(query, [self.going.customer_id]).fetchone()
                found[table] = row[0] if row else 0
        return found

    def mentions(self) -> set[str]:
        """Tables in which any column of any row has an id or the word of the one that goes."""
        words = [self.going.customer_id, self.going.word, *self.going.ids.values()]
        pattern = "|".join(words)
        with psycopg.connect(self.admin_url) as connection:
            tables = connection.execute(
                "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p', 'm')"
                " AND relnamespace = 'public'::regnamespace"
            ).fetchall()
            assert len(tables) > 10
            return {
                name
                for (name,) in tables
                if connection.execute(
                    sql.SQL("SELECT 1 FROM {} t WHERE t::text ~ %s LIMIT 1").format(
                        sql.Identifier(name)
                    ),
                    [pattern],
                ).fetchone()
            }

    def expect_nothing(self) -> None:
        assert set(self.counts().values()) == {0}
        assert self.mentions() == set()
        left = blob_folder(self.settings, self.going.customer_id)  # type: ignore[arg-type]
        assert not [path for path in left.rglob("*") if path.is_file()]

    def spooled(self) -> list[Path]:
        """What of uploads lies on the disk of the API."""
        return [*(self.settings.data_dir / "spool").rglob("*")]

    def settle(self) -> None:
        """Until the sweep has tidied up behind what was made."""
        deadline = time.monotonic() + 30
        with psycopg.connect(self.admin_url, autocommit=True) as connection:
            while connection.execute("SELECT 1 FROM indexes WHERE retired LIMIT 1").fetchone():
                assert time.monotonic() < deadline
                time.sleep(0.1)

    def digest_of_staying(self) -> Any:
        return digest(self.admin_url, self.settings, self.staying.customer_id)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    with open_web() as server:
        yield server


@pytest.fixture(scope="module")
def wards(
    module_settings: Settings,
    services: Services,
    web: Web,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Iterator[Ward]]:
    """One engine for all tests of this module; each of them takes a customer that goes."""
    ours = replace(module_settings, limits=QUICK, allow_networks=(web.host_port,))
    name = ours.database_url.partition("?")[0].rpartition("/")[2]
    folder = tmp_path_factory.mktemp("ward")
    with (
        api_process(ours, log=folder / "api.log") as base_url,
        worker_process(ours, log=folder / "worker.log"),
        httpx.Client(base_url=base_url, timeout=30) as client,
    ):
        *going, staying = furnished(ours, "first", "second", "staying", client=client)
        made = [
            Ward(
                settings=ours,
                admin_url=on_database(services.admin_url, database=name),
                client=client,
                going=each,
                staying=staying,
            )
            for each in going
        ]
        made[0].settle()
        yield iter(made)


@pytest.fixture
def ward(wards: Iterator[Ward]) -> Ward:
    return next(wards)


def busy(ward: Ward, web: Web, gate: threading.Event) -> None:
    """Give a worker work of the one that goes, on every stage of it."""
    headers = ward.going.headers("")
    web.hits.clear()
    web.add("/slow", body=f"<p>{ward.going.word}</p>" * 50, gate=gate)
    asked = {"name": ward.going.word, "chunk_tokens": "16"}
    text = long_text(1_500).replace("Note", ward.going.word)
    for number in range(2):
        files = {"files": (f"{number}.md", f"{number}\n\n{text}")}
        assert (
            ward.client.post("/rags", headers=headers, data=asked, files=files).status_code == 200
        )
    pages = {"name": "slow", "source_urls": [web.url("/slow")]}
    assert ward.client.post("/rags", headers=headers, json=pages).status_code == 200
    deadline = time.monotonic() + 30
    while ward.counts()["chunks"] < 200 or not web.hits["/slow"]:
        assert time.monotonic() < deadline, ward.counts()
        time.sleep(0.02)


def half_an_upload(ward: Ward) -> socket.socket:
    """A request of the one that goes, known and let in, whose body is still arriving."""
    connection = socket.create_connection(("127.0.0.1", ward.settings.port), timeout=20)
    head = (
        "POST /storage_files HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
        f"Authorization: Bearer {ward.going.token}\r\nContent-Length: 100134\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
        '--b\r\nContent-Disposition: form-data; name="file"; filename="late.txt"\r\n\r\n'
    )
    connection.sendall(head.encode() + b"x" * 50_000)
    return connection


def test_a_purge_leaves_no_row_no_byte_and_no_neighbour_behind_and_says_what_it_removed(
    ward: Ward, web: Web
) -> None:
    gate = threading.Event()
    before = ward.digest_of_staying()
    busy(ward, web, gate)
    with half_an_upload(ward) as late:
        counts = ward.counts()
        receipt = ward.purge()
        assert set(receipt["left"].values()) == {0}
        assert set(receipt["removed"]) == set(counts) == {*Receipt.__struct_fields__}
        # Work in progress may have added chunks and what they need since they were counted.
        for table, count in counts.items():
            if table not in MERGED:
                assert receipt["removed"][table] >= count > 0, table
        ward.expect_nothing()
        # What was under way ends now: the page arrives, and so does the rest of the upload.
        gate.set()
        late.sendall(b"x" * 50_000 + b"\r\n--b--\r\n")
        answer = late.recv(65_536).decode()
    assert answer.split()[1] in {"401", "404", "503"}, answer
    time.sleep(3 * QUICK.lease_s / 2)
    ward.expect_nothing()
    assert ward.spooled() == []
    assert ward.digest_of_staying() == before
    assert ward.client.get("/customer", headers=ward.going.headers("")).status_code == 401
    with redis.Redis.from_url(ward.settings.redis_url) as client:
        keys = [key for key in client.scan_iter() if ward.going.customer_id.encode() in key]
    assert keys == []


def test_a_purge_that_was_killed_is_ended_by_the_next_one(ward: Ward, web: Web) -> None:
    gate = threading.Event()
    gate.set()
    busy(ward, web, gate)
    before = ward.digest_of_staying()
    first = ward.command()
    deadline = time.monotonic() + 30
    while ward.counts()["accesskeys"]:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    again = ward.command()
    told = again.communicate(timeout=PURGE_TIMEOUT_S + 20)[0]
    # The worker goes on without anybody: with luck it had removed the last row before the question.
    if again.returncode == 0:
        receipt = json.loads(told)
        assert (receipt["removed"]["accesskeys"], receipt["removed"]["customers"]) == (0, 1)
        assert set(receipt["left"].values()) == {0}
    ward.expect_nothing()
    assert ward.digest_of_staying() == before


def test_a_receipt_counts_every_table_that_customers_have_rows_in(
    services: Services, template_database: str
) -> None:
    admin_url = on_database(services.admin_url, database=template_database)
    with psycopg.connect(admin_url) as connection:
        assert set(tenant_tables(connection)) == {*Receipt.__struct_fields__}
