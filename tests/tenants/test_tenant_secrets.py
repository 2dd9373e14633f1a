"""No secret in any log or row: a whole engine at its most talkative, through success and failure.

Each secret is drawn for the run, so that one that is found anywhere was leaked.
"""

import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import jwt
import psycopg
import pytest
import redis
from fix_engine import api_process, new_customer, process, worker_process
from fix_services import free_port, on_database
from fix_web import Web
from msgspec.structs import replace
from psycopg import sql

from engine.config import Settings
from engine.local import Services

TERMINAL_TIMEOUT_S = 60.0
AWAY_S = 6.0  # how long an engine without its services is listened to
MODELS = """
[models.remote]
url = "http://127.0.0.1:{port}/v1"
dimensions = 8
tokens_max = 128
version = "1"
api_key_env = "REMOTE_KEY"
timeout_s = 2
"""


class Secrets:
    """One of every kind, by its kind. `leaked` names those that stand in a text."""

    def __init__(self) -> None:
        kinds = (
            "database password",
            "redis password",
            "jwt key",
            "bootstrap key",
            "s3 secret",
            "provider key",
            "query of a url",
            "query of a redirect",
            "userinfo of a redirect",
            "userinfo of a url",
            "idempotency key",
            "text",
            "malformed password",
        )
        self.values = {kind: f"hush{secrets.token_hex(20)}" for kind in kinds}

    def __getitem__(self, kind: str) -> str:
        return self.values[kind]

    def add(self, kind: str, value: str) -> str:
        self.values[kind] = value
        return value

    def leaked(self, text: str, *, but: tuple[str, ...] = ()) -> set[str]:
        """Also as hexadecimal digits, which is how bytes are shown."""
        return {
            kind
            for kind, value in self.values.items()
            if kind not in but and (value in text or value.encode().hex() in text)
        }


class Echo(BaseHTTPRequestHandler):
    """A provider that refuses everything, and says it with all that it was sent."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        body = f"refused: {self.headers}".encode()
        self.send_response(401)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def provider() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, args=(0.02,)).start()
    yield int(server.server_address[1])
    server.shutdown()
    server.server_close()


@pytest.fixture
def hushed() -> Secrets:
    return Secrets()


@pytest.fixture
def secretive(
    settings: Settings,
    services: Services,
    hushed: Secrets,
    provider: int,
    web: Web,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Settings]:
    """Settings with a secret wherever there can be one."""
    monkeypatch.setenv("REMOTE_KEY", hushed["provider key"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", hushed["s3 secret"])
    models_file = tmp_path / "models.toml"
    models_file.write_text(MODELS.format(port=provider))
    with redis.Redis.from_url(services.redis_url) as client:
        password = hushed["redis password"]
        client.acl_setuser(
            "hushed",
            enabled=True,
            passwords=f"+{password}",
            keys="*",
            categories=["+@all"],
            channels="*",
        )
        socket = settings.redis_url.removeprefix("unix://").partition("?")
        yield replace(
            settings,
            database_url=settings.database_url.replace("@", f":{hushed['database password']}@", 1),
            redis_url=f"unix://hushed@{socket[0]}?{socket[2]}&password={password}",
            jwt_key=hushed["jwt key"],
            jwt_audience="hushed",
            bootstrap_key=hushed["bootstrap key"],
            models_file=models_file,
            allow_networks=(web.host_port,),
            log_level="DEBUG",
        )
        client.acl_deluser("hushed")


def journey(settings: Settings, hushed: Secrets, web: Web) -> None:
    """Everything that carries a secret, done well and done badly."""
    token = hushed.add("access key", new_customer(settings, "hushed"))
    native = {"authorization": f"Bearer {token}"}
    with httpx.Client(base_url=settings.base_url, timeout=20) as client:
        made = client.post(
            "/accesskeys", headers=native | {"idempotency-key": hushed["idempotency key"]}, json={}
        )
        hushed.add("another access key", made.json()["token"])
        customer = client.get("/customer", headers=native).json()["id"]
        claims = {"customer_id": customer, "aud": "hushed", "exp": time.time() + 60}
        token_of = jwt.encode(claims, hushed["jwt key"])
        hushed.add("jwt", token_of)
        hushed.add("bad jwt", jwt.encode(claims, "another secret, long enough to sign with it"))
        rag = sources_added(client, hushed, web=web, headers=native)
        door = {"xi-api-key": token}
        paper = {"file": ("a.md", hushed["text"])}
        made = client.post("/v1/convai/knowledge-base/file", headers=door, files=paper)
        path = f"/v1/convai/knowledge-base/{made.json()['id']}/source-file-url"
        link = client.get(path, headers=door).json()["signed_url"]
        hushed.add("link", link.rpartition("/")[2])
        assert client.get(link).status_code == 200
        misplaced(client, hushed)
        until_done(client, f"/rags/{rag}", headers=native)


def sources_added(
    client: httpx.Client, hushed: Secrets, *, web: Web, headers: dict[str, str]
) -> str:
    """Pages behind secrets, and a RAG whose model refuses our key; returns the first RAG."""
    web.add("/fine", body="<p>A page.</p>")
    query = hushed["query of a redirect"]
    web.add("/moved", status=302, headers={"Location": f"/gone?token={query}"})
    inside = web.url("/fine").replace("//", f"//user:{hushed['userinfo of a redirect']}@")
    web.add("/inside", status=302, headers={"Location": inside})
    urls = [
        web.url(f"/{page}?token={hushed['query of a url']}")
        for page in ("fine", "moved", "inside", "absent")
    ]
    made = client.post("/rags", headers=headers, json={"name": "pages", "source_urls": urls})
    assert made.status_code == 200, made.text
    bad = web.url("/fine").replace("//", f"//user:{hushed['userinfo of a url']}@")
    refused = client.post("/rags", headers=headers, json={"name": "r", "source_urls": [bad]})
    assert (refused.status_code, hushed.leaked(refused.text)) == (400, set())
    remote = {"name": "remote", "embedding_model": "remote"}
    files = {"files": ("a.md", hushed["text"])}
    assert client.post("/rags", headers=headers, data=remote, files=files).status_code == 200
    rag: str = made.json()["id"]
    return rag


def misplaced(client: httpx.Client, hushed: Secrets) -> None:
    """Credentials where they belong, and everywhere else."""
    key, kb = hushed["access key"], "/v1/voiceai/knowledge-base"
    for headers, path in (
        ({"authorization": f"Bearer {hushed['bootstrap key']}"}, "/customer"),
        ({"authorization": f"Bearer {hushed['jwt']}"}, kb),
        ({"authorization": f"Bearer {hushed['bad jwt']}"}, kb),
        ({"authorization": f"Basic {key}"}, "/customer"),
        ({"authorization": f"Bearer {key}x"}, "/customer"),
        ({"x-api-key": key}, f"/rags/{key}"),
        ({}, f"/v1.0/customer?accesskey={key}"),
        ({}, f"/customer?accesskey={key}"),
        ({}, f"/{key}/{key}"),
        ({}, f"{kb}/source-file/{hushed['link']}x"),
        ({"x-api-key": key}, f"{kb}/{hushed['link']}"),
    ):
        assert client.get(path, headers=headers).status_code < 500
    client.post("/rags", headers={"x-api-key": key}, content=b'{"name": "' + key.encode())


def until_done(client: httpx.Client, path: str, *, headers: dict[str, str]) -> None:
    deadline = time.monotonic() + TERMINAL_TIMEOUT_S
    while (rag := client.get(path, headers=headers).json())["status"] == "processing":
        assert time.monotonic() < deadline, rag
        time.sleep(0.1)
    states = [source["status"] for source in rag["sources"]]
    assert set(states) == {"ready", "error"}, states


def rows_of(admin_url: str) -> dict[str, str]:
    """Every row of every table as text, but what sources are called and where they are."""
    with psycopg.connect(admin_url) as connection:
        tables = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r'"
            " AND relnamespace = 'public'::regnamespace"
        ).fetchall()
        return {
            name: "\n".join(
                str(row[0])
                for row in connection.execute(
                    sql.SQL("SELECT to_jsonb(t) {} FROM {} t").format(
                        sql.SQL("- 'url' - 'name'" if name == "sources" else ""),
                        sql.Identifier(name),
                    )
                ).fetchall()
            )
            for (name,) in tables
        }


def test_no_secret_is_in_any_log_or_row(
    secretive: Settings, services: Services, hushed: Secrets, web: Web, tmp_path: Path
) -> None:
    name = secretive.database_url.partition("?")[0].rpartition("/")[2]
    admin_url = on_database(services.admin_url, database=name)
    logs = [tmp_path / "api.log", tmp_path / "worker.log"]
    with (
        api_process(secretive, log=logs[0]),
        worker_process(secretive, log=logs[1]),
    ):
        journey(secretive, hushed, web)
    for log in logs:
        text = log.read_text()
        assert len(text) > 1_000, "the most talkative engine was to say something"
        assert hushed.leaked(text) == set(), leaks(text, hushed)
    for table, text in rows_of(admin_url).items():
        # The text of a document is what documents and chunks are for.
        assert hushed.leaked(text, but=("text",) if table in ("documents", "chunks") else ()) == (
            set()
        ), (table, leaks(text, hushed))


def leaks(text: str, hushed: Secrets) -> list[str]:
    return [line[:1_500] for line in text.splitlines() if hushed.leaked(line)][:3]


def away(settings: Settings, hushed: Secrets) -> dict[str, Settings]:
    """Settings whose services are not there, or are no addresses at all."""
    password, port = hushed["database password"], free_port()
    dead = f"postgresql://user:{password}@127.0.0.1:{port}/db"
    odd = hushed["malformed password"]
    return {
        "database away": replace(settings, database_url=dead),
        "no percent sign": replace(settings, database_url=f"postgresql://user:%z{odd}@h/db"),
        "a slash in it": replace(settings, database_url=f"postgresql://user:{odd}/x@h/db"),
        "redis away": replace(
            settings, redis_url=f"redis://user:{hushed['redis password']}@127.0.0.1:{port}/0"
        ),
        "redis refuses": replace(settings, redis_url=settings.redis_url + odd),
        "no port": replace(settings, redis_url=f"redis://user:{odd}/@127.0.0.1:x/0"),
        "storage away": replace(settings, storage_url="s3://bucket/prefix"),
    }


# In a short run only what ends soon.
KINDS = ("no percent sign", "a slash in it")
if os.environ.get("TENANTS") == "all":
    KINDS += ("database away", "redis away", "redis refuses", "no port", "storage away")


@pytest.mark.parametrize("kind", KINDS)
def test_no_secret_is_told_when_a_service_is_away_or_its_address_is_none(
    kind: str,
    secretive: Settings,
    hushed: Secrets,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = away(secretive, hushed)[kind]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    api = ("-m", "uvicorn", "--factory", "engine.api.app:from_env", "--port", str(settings.port))
    log = tmp_path / "log"
    with (
        process(*api, settings=settings, log=log) as serving,
        process("-m", "workers", settings=settings, log=log) as working,
    ):
        asked(settings, is_over=lambda: serving.poll() is not None and working.poll() is not None)
    text = log.read_text()
    assert text
    assert hushed.leaked(text) == set(), leaks(text, hushed)


def asked(settings: Settings, *, is_over: Callable[[], Any]) -> None:
    """Send requests that need what is away, for a while or until both have ended."""
    deadline = time.monotonic() + AWAY_S
    while time.monotonic() < deadline and not is_over():
        try:
            with httpx.Client(base_url=settings.base_url, timeout=AWAY_S) as client:
                client.get("/readyz")
                headers = {"authorization": f"Bearer {settings.bootstrap_key}"}
                files = {"file": ("a.txt", b"text")}
                client.post("/storage_files", headers=headers, files=files)
        except httpx.TransportError:
            pass
        time.sleep(0.3)
