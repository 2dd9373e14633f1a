"""What guards an answer in a browser, on answers of every kind, and what uploads are served as."""

import re
from pathlib import Path

import httpx
import pytest
from fix_served import Home, Served
from litestar import get
from litestar.testing import TestClient
from raw_wire import INTERNALS, Answer, expect_plain

from engine.api import app as composition
from engine.api.app import create_app
from engine.config import Settings

NOBODY = "0b9d2c55-6f0e-4d3a-9a51-2f6f3f1f7a10"
DOOR = "/v1/convai/knowledge-base"
# (method, path, the code it must give), with @NAME@ for what the customer has.
EVERY_KIND = (
    ("GET", "/rags", 200),
    ("GET", "/rags/@RAG@", 200),
    ("HEAD", "/rags", 200),
    ("OPTIONS", "/rags", 204),
    ("GET", "/rags?page_size=0", 400),
    ("GET", f"/rags/{NOBODY}", 404),
    ("GET", "/nothing/here", 404),
    ("PATCH", "/rags", 405),
    ("TRACE", "/rags", 405),
    ("POST", "/rags", 400),
    ("GET", "/storage_files/@FILE@/file", 200),
    ("GET", "/rags/@RAG@/sources/@SOURCE@/text", 200),
    ("GET", "/healthz", 200),
    ("GET", "/readyz", 200),
    ("GET", "/metrics", 200),
    ("GET", "/schema", 200),
    ("GET", "/schema/openapi.json", 200),
    ("GET", "/v1.0/rags", 200),
    ("GET", DOOR, 200),
    ("GET", DOOR + "/@DOCUMENT@", 200),
    ("GET", DOOR + "/@DOCUMENT@/source-file-url", 200),
    ("GET", DOOR + f"/{NOBODY}", 404),
    ("GET", DOOR + "/nothing/here/at/all", 404),
    ("PUT", DOOR, 405),
    ("GET", DOOR + "?page_size=0", 422),
    ("GET", DOOR + "/source-file/nonsense", 404),
    ("GET", DOOR + "/openapi.json", 200),
)
DANGEROUS = (
    ("text/html", b"<script>alert(1)</script>"),
    ("image/svg+xml", b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"),
    ("application/xhtml+xml", b"<html xmlns='http://www.w3.org/1999/xhtml'/>"),
    ("text/xml", b"<?xml version='1.0'?><a/>"),
    ("application/javascript", b"alert(1)"),
    ("text/plain; charset=x\r\nX-A: b", b"words"),
    ("nonsense", b"%PDF-1.4 <script>"),
    ("multipart/x-mixed-replace", b"words"),
    ("", b"words"),
)
FILENAMES = (
    ("../../../etc/passwd", "passwd"),
    ("a\u202etxt.exe", "atxt.exe"),
    ('a"; filename="b.html', "a_; filename=_b.html"),
    ("C:\\temp\\a.txt", "a.txt"),
    (".htaccess", "htaccess"),
    ("a:b|c?.txt", "a_b_c_.txt"),
    ("é\U0001f600.txt", "é\U0001f600.txt"),
)


@pytest.mark.parametrize(("method", "path", "code"), EVERY_KIND)
def test_every_answer_is_guarded(
    served: Served, home: Home, method: str, path: str, code: int
) -> None:
    keys = {"X-API-Key": home.token, "xi-api-key": home.token}
    path = home.filled(path.encode()).decode()
    answer = httpx.request(method, served.base_url + path, headers=keys)
    assert answer.status_code == code
    plain = Answer(answer.status_code, dict(answer.headers), answer.content)
    expect_plain(plain, path=path, to_head=method == "HEAD")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert re.search("no-store|no-cache", answer.headers["cache-control"])
    for name in ("server", "x-powered-by", "set-cookie", "access-control-allow-origin"):
        assert name not in answer.headers


def uploaded(served: Served, home: Home, *, name: str, kind: str, body: bytes) -> httpx.Response:
    """A file sent and fetched again."""
    head = f'--X\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
    head += f"Content-Type: {kind}\r\n\r\n" if kind else "\r\n"
    keys = {"X-API-Key": home.token, "Content-Type": "multipart/form-data; boundary=X"}
    made = httpx.post(
        f"{served.base_url}/storage_files",
        content=head.encode() + body + b"\r\n--X--\r\n",
        headers=keys,
    )
    assert made.status_code == 200, made.text
    return httpx.get(f"{served.base_url}/storage_files/{made.json()['id']}/file", headers=keys)


@pytest.mark.parametrize(("kind", "body"), DANGEROUS)
def test_an_upload_is_served_as_something_to_save_and_never_as_something_to_run(
    served: Served, home: Home, kind: str, body: bytes
) -> None:
    answer = uploaded(served, home, name="a.txt", kind=kind, body=body)
    assert answer.content == body
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''a.txt"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-type"] in ("application/octet-stream", "text/plain")
    policy = answer.headers["content-security-policy"]
    assert "sandbox" in policy
    assert "default-src 'none'" in policy
    assert "x-a" not in answer.headers


@pytest.mark.parametrize(("sent", "served_as"), FILENAMES)
def test_a_filename_can_be_saved_under_and_hides_nothing(
    served: Served, home: Home, sent: str, served_as: str
) -> None:
    escaped = sent.replace("\\", "\\\\").replace('"', '\\"')
    answer = uploaded(served, home, name=escaped, kind="text/plain", body=b"words")
    mark = "attachment; filename*=UTF-8''"
    told = answer.headers["content-disposition"]
    assert told.startswith(mark)
    assert httpx.URL("http://a/" + told.removeprefix(mark)).path.removeprefix("/") == served_as


def test_the_page_of_the_schema_needs_nothing_that_its_policy_forbids(served: Served) -> None:
    page = httpx.get(f"{served.base_url}/schema")
    policy = page.headers["content-security-policy"]
    assert "style-src 'unsafe-inline'" in policy
    assert "script-src" not in policy
    assert "<style>" in page.text
    # Nothing is loaded and nothing runs: no element or attribute that would have to be let in.
    assert (
        re.findall(r"<(script|img|iframe|link|object|embed|form|base|audio|video)\b", page.text)
        == []
    )
    assert re.findall(r"\s(src|style|on\w+|background)\s*=", page.text) == []
    assert "@import" not in page.text
    assert "url(" not in page.text


def test_the_json_of_the_schema_is_for_everybody_and_names_no_machine(served: Served) -> None:
    for path in ("/schema/openapi.json", DOOR + "/openapi.json"):
        text = httpx.get(served.base_url + path).text
        assert str(served.settings.data_dir) not in text
        assert served.settings.database_url not in text


def test_an_accident_is_told_as_such_and_as_nothing_more(tmp_path: Path) -> None:
    @get(["/accident", "/v1/convai/accident"], sync_to_thread=False)
    def accident() -> None:
        raise RuntimeError("psycopg: SELECT secret FROM /work/private.py")

    app = create_app(Settings(data_dir=tmp_path))
    app.register(accident)
    app.lifespan_managers = ()
    app._lifespan_managers = []
    with TestClient(app, raise_server_exceptions=False) as client:
        for path in ("/accident", "/v1/convai/accident"):
            answer = client.get(path, headers={"Accept": "text/html"})
            assert answer.status_code == 500
            assert answer.headers["content-type"].startswith("application/json")
            assert INTERNALS.search(answer.text) is None
            assert "secret" not in answer.text
            assert answer.headers["x-request-id"] in answer.text
            assert answer.headers["x-frame-options"] == "DENY"


def test_debug_is_off_whatever_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LITESTAR_DEBUG", "LITESTAR_PDB", "DEBUG"):
        monkeypatch.setenv(name, "1")
    app = composition.create_app(Settings(data_dir=tmp_path, log_level="DEBUG"))
    assert app.debug is False
    assert app.pdb_on_exception is False
