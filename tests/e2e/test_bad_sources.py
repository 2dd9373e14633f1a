"""Every way in which a source can be bad, through the whole engine: a stable code, a cause and a
remedy, at once where trying again cannot help, and no harm to the good one beside it."""

import io
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from fix_engine import Caller, api_child, new_customer, worker_process
from fix_web import Web, open_web
from fpdf import FPDF
from msgspec.structs import replace
from pypdf import PdfWriter

from engine.config import Settings

FETCH_BYTES_MAX = 64 * 1024


def pdf(*pages: str, password: str = "") -> bytes:
    document = FPDF()
    document.set_font("helvetica", size=12)
    for text in pages:
        document.add_page()
        if text:
            document.multi_cell(0, text=text)
    data = bytes(document.output())
    if not password:
        return data
    writer, locked = PdfWriter(clone_from=io.BytesIO(data)), io.BytesIO()
    writer.encrypt(password, algorithm="AES-256")
    writer.write(locked)
    return locked.getvalue()


GOOD = {
    "good.md": b"# Good\n\nThis one is as it should be.",
    # Bytes that are text all the same: what cannot be stored is taken out, the charset is found.
    "nul.txt": b"A line with a NUL\x00 in the middle of its words, and then some more of them.",
    "latin.txt": "Grüße aus Köln, schöne Tage an der Küste wünschen wir euch.".encode("latin-1"),
    "lying.txt": pdf("A page that calls itself plain text."),
}
BAD = {
    "picture.png": (b"\x89PNG\r\n\x1a\n" + bytes(100), "unsupported_format"),
    "blank.txt": (b" \n\t \n", "empty_text"),
    "empty.md": (b"", "empty_text"),
    "locked.pdf": (pdf("Secret.", password="secret"), "pdf_encrypted"),
    "scanned.pdf": (pdf("", ""), "pdf_image_only"),
    "broken.pdf": (b"%PDF-1.7\n" + b"1 0 obj << broken" * 20, "document_broken"),
    "archive.zip": (b"PK\x03\x04" + bytes(60), "unsupported_format"),
}


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    with open_web() as server:
        yield server


@pytest.fixture(scope="module")
def caller(
    module_settings: Settings, web: Web, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Caller]:
    limits = replace(
        module_settings.limits,
        poll_s=0.3,
        retry_base_s=0.1,
        faults_max=2,
        fetch_timeout_s=1.0,
        fetch_bytes_max=FETCH_BYTES_MAX,
    )
    settings = replace(module_settings, limits=limits, allow_networks=(web.host_port,))
    logs = tmp_path_factory.mktemp("logs")
    with (
        api_child(settings, log=logs / "api.log"),
        worker_process(settings, log=logs / "worker.log"),
    ):
        caller = Caller(settings.base_url, token=new_customer(settings, "bad sources"))
        yield caller
        caller.close()


def told(source: dict[str, Any]) -> str:
    """The code of a source in error, after checking that cause and remedy are told."""
    error = source["error"]
    assert source["status"] == "error", source
    assert error["message"]
    assert error["remedy"]
    assert source["status_message"] == f"{error['message']} {error['remedy']}"
    assert "Traceback" not in error["message"]
    assert "/" not in error["message"].replace("http://", "")
    return str(error["code"])


def test_bad_files_are_named_at_the_first_attempt_and_good_ones_beside_them_are_ready(
    caller: Caller,
) -> None:
    files = {**GOOD, **{name: data for name, (data, _) in BAD.items()}}
    rag = caller.ok(
        "POST",
        "/rags",
        data={"name": "mixed"},
        files=[("files", (name, data, "application/octet-stream")) for name, data in files.items()],
    )
    rag = caller.until_done(rag["id"])
    by_name = {source["name"]: source for source in rag["sources"]}

    assert {name: told(by_name[name]) for name in BAD} == {
        name: code for name, (_, code) in BAD.items()
    }
    assert {by_name[name]["attempt"] for name in BAD} == {1}
    assert [by_name[name]["status"] for name in GOOD] == ["ready"] * len(GOOD)
    assert rag["status"] == "ready"
    text = caller.get(f"/rags/{rag['id']}/sources/{by_name['latin.txt']['id']}/text").text
    assert text.startswith("Grüße aus Köln")
    nul = caller.get(f"/rags/{rag['id']}/sources/{by_name['nul.txt']['id']}/text").text
    assert nul.startswith("A line with a NUL in")


def test_bad_urls_are_named_and_only_what_may_pass_is_tried_again(caller: Caller, web: Web) -> None:
    gate = threading.Event()
    web.add("/slow", body=b"late", gate=gate)
    web.add("/gone", status=410, body=b"gone")
    web.add("/private", status=403, body=b"no")
    web.add("/down", status=503, body=b"later")
    web.add("/large", body=b"x" * (FETCH_BYTES_MAX + 1), media_type="text/plain")
    web.add("/round", status=302, headers={"Location": "/round"})
    web.add("/inside", status=302, headers={"Location": "http://127.0.0.1:9/"})
    web.add("/picture", body=b"\xff\xd8\xff\xe0" + bytes(64), media_type="text/html")
    expected = {
        "/missing": ("fetch_not_found", 1),
        "/gone": ("fetch_not_found", 1),
        "/private": ("fetch_forbidden", 1),
        "/large": ("fetch_too_large", 1),
        "/round": ("fetch_too_many_redirects", 1),
        "/inside": ("fetch_refused_address", 1),
        "/picture": ("unsupported_format", 1),
        "/slow": ("fetch_timeout", 2),
        "/down": ("fetch_server_error", 2),
    }
    urls = {web.url(path): outcome for path, outcome in expected.items()}
    urls["http://localhost:9/"] = ("fetch_refused_address", 1)
    rag = caller.ok("POST", "/rags", json={"name": "urls", "source_urls": list(urls)})
    rag = caller.until_done(rag["id"])
    gate.set()

    outcomes = {s["source_url"]: (told(s), s["attempt"]) for s in rag["sources"]}
    assert outcomes == urls
    assert rag["status"] == "error"
