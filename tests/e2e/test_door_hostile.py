"""Requests that no client of good will sends: each is an ordinary refusal, and gives nothing away.

The requests are written by hand, because clients of HTTP refuse to send most of them.
"""

import http.client
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from fix_engine import api_child, new_customer
from fix_sdk import DOORS, ELEVENLABS, MISTRAL, RETRIED, THREETONE, item
from msgspec.structs import replace

from engine.config import Settings

UNKNOWN = "knowledge_base_documentation_not_found"
TEXT = "The lock of the canal is opened at nine in the morning. " * 20
ANSWER_TIMEOUT_S = 30.0
DEEP = 100_000
HOSTILE_VALUES = {
    "null": b"null",
    "a long integer": b"1" + b"0" * 60,
    "a float": b"1.5",
    "no finite number": b"1e999",
    "true": b"true",
    "an array": b"[]",
    "an object": b"{}",
    "an empty text": b'""',
    "a NUL": b'"a\\u0000b"',
    "a lone surrogate": b'"\\ud800"',
    "a raw surrogate": b'"\xed\xa0\x80"',
    "invalid UTF-8": b'"\xff"',
    "nulls": b"[null]",
    "a long text": b'"' + b"a" * 20_000 + b'"',
    "depth": b"[" * DEEP + b"]" * DEEP,
}
HOSTILE_BODIES = {
    "nothing": b"",
    "null": b"null",
    "an array": b"[]",
    "no UTF-8": b"\xff\xfe",
    "a NUL": b"\0",
    "an open array": b"[" * DEEP,
    "an open object": b'{"a":' * DEEP,
    "depth in an unknown field": b'{"a":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "no number": b'{"a":NaN}',
    "UTF-16": "{}".encode("utf-16"),
}
# What takes JSON, with a field of it; {id} is a document of the caller.
JSON_CALLS = (
    ("POST", "/text", "text"),
    ("POST", "/text", "name"),
    ("POST", "/text", "parent_folder_id"),
    ("POST", "/url", "url"),
    ("POST", "/folder", "name"),
    ("PATCH", "/{id}", "name"),
    ("POST", "/{id}/move", "move_to"),
    ("POST", "/bulk-move", "document_ids"),
    ("POST", "/bulk-delete", "document_ids"),
    ("POST", "/dependent-agents", "document_ids"),
    ("POST", "/rag-index", "items"),
    ("POST", "/{id}/rag-index", "model"),
)
# What names a single document, with its body.
CALLS_OF_ONE: tuple[tuple[str, str, dict[str, Any] | None], ...] = (
    ("GET", "", None),
    ("PATCH", "", {"name": "mine now"}),
    ("PATCH", "", {"content": "mine now"}),
    ("GET", "/content", None),
    ("GET", "/source-file-url", None),
    ("GET", "/dependent-agents", None),
    ("POST", "/move", {}),
    ("POST", "/refresh", None),
    ("GET", f"/chunks?embedding_model={MISTRAL}", None),
    ("GET", f"/chunk/{uuid4()}", None),
    ("POST", "/rag-index", {"model": MISTRAL}),
    ("GET", "/rag-index", None),
    ("DELETE", f"/rag-index/{uuid4()}", None),
    ("DELETE", "?force=true", None),
)
HOSTILE_PARTS = {
    "no name": b'name=""\r\n\r\n\xff',
    "a dot for a name": b'name="."\r\n\r\n\xff',
    "brackets for a name": b'name="[]"; filename="x"\r\n\r\nx',
    "a file without a name": b'name=""; filename="x"\r\n\r\nx',
    "two files": b'name="file"; filename="b.txt"\r\n\r\nx',
    "a text that is called file": b'name="file"\r\n\r\nx',
    "a NUL in a filename": b'name="file"; filename="a\0.txt"\r\n\r\nx',
    "a filename that is no UTF-8": b'name="file"; filename="\xff.txt"\r\n\r\nx',
    "a text that is no UTF-8": b'name="name"\r\n\r\n\xed\xa0\x80',
}


class Answer(NamedTuple):
    code: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def status(self) -> str:
        status: str = json.loads(self.body)["detail"]["status"]
        return status


class Raw:
    """Sends what it is told to, byte by byte, and looks at the form of every answer."""

    def __init__(self, settings: Settings, *, token: str = "", header: str = "xi-api-key") -> None:
        self._where = (settings.host, settings.port)
        self._headers = {header: token} if token else {}

    def send(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection(*self._where, timeout=ANSWER_TIMEOUT_S)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, body=body, headers={**self._headers, **named})
            answer = connection.getresponse()
            found = Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()
        well_formed(found)
        return found

    def json(self, method: str, path: str, body: Any) -> Answer:
        return self.send(method, path, json.dumps(body).encode(), content_type="application/json")

    def form(self, method: str, path: str, *parts: bytes) -> Answer:
        heads = (b"--X\r\nContent-Disposition: form-data; " + part + b"\r\n" for part in parts)
        kind = "multipart/form-data; boundary=X"
        return self.send(method, path, b"".join(heads) + b"--X--\r\n", content_type=kind)

    def made(self, kind: str, body: dict[str, Any]) -> str:
        made: str = json.loads(self.json("POST", f"{ELEVENLABS}/{kind}", body).body)["id"]
        return made


def well_formed(answer: Answer) -> None:
    """No answer may make clients try again, and a refusal has a body in the contract's form."""
    assert answer.code not in RETRIED, answer
    if answer.code < 400:
        return
    assert answer.headers["Content-Type"].startswith("application/json"), answer
    detail = json.loads(answer.body)["detail"]
    if answer.code == 422:
        assert detail, answer
        for fault in detail:
            assert set(fault) == {"loc", "msg", "type"}
            assert fault["loc"][0] in ("body", "query"), fault
    else:
        assert set(detail) == {"type", "code", "status", "message", "request_id"}, answer


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs") / "api.log"


@pytest.fixture(scope="module")
def engine(module_settings: Settings, log: Path) -> Iterator[Settings]:
    """An API without a worker: what is asked here is answered without any text being read."""
    limits = replace(module_settings.limits, text_wait_s=0.1)
    settings = replace(module_settings, limits=limits)
    with api_child(settings, log=log):
        yield settings


@pytest.fixture(scope="module")
def token(engine: Settings) -> str:
    return new_customer(engine, "mine")


@pytest.fixture
def mine(engine: Settings, token: str) -> Raw:
    return Raw(engine, token=token)


@pytest.fixture(scope="module")
def document(engine: Settings, token: str) -> str:
    return Raw(engine, token=token).made("text", {"text": TEXT})


@pytest.mark.parametrize("call", JSON_CALLS, ids=" ".join)
def test_hostile_json_is_refused_or_taken_and_never_an_accident(
    mine: Raw, document: str, call: tuple[str, str, str]
) -> None:
    method, path, field = call
    path = ELEVENLABS + path.replace("{id}", document)
    for body in HOSTILE_BODIES.values():
        mine.send(method, path, body, content_type="application/json")
    for value in HOSTILE_VALUES.values():
        body = b'{"text": "a text", "%s": %s}' % (field.encode(), value)
        mine.send(method, path, body, content_type="application/json")


def test_null_for_what_is_required_is_a_missing_field(mine: Raw) -> None:
    answer = mine.json("POST", ELEVENLABS + "/text", {"text": None})
    (fault,) = json.loads(answer.body)["detail"]
    assert fault == {"loc": ["body", "text"], "msg": "text is required", "type": "missing"}
    asked = {"items": [{**item(str(uuid4())), "create_if_missing": None}]}
    (fault,) = json.loads(mine.json("POST", ELEVENLABS + "/rag-index", asked).body)["detail"]
    assert (fault["loc"][-1], fault["type"]) == ("create_if_missing", "missing")


@pytest.mark.parametrize("part", HOSTILE_PARTS.values(), ids=HOSTILE_PARTS)
def test_a_hostile_part_of_a_form_is_a_validation_error(mine: Raw, part: bytes) -> None:
    good = b'name="file"; filename="a.txt"\r\n\r\nwords'
    for path in ("/file", ""):
        assert mine.form("POST", ELEVENLABS + path, good, part).code == 422


@pytest.mark.parametrize("kind", ["others document", "others folder", "unknown", "no id", "plain"])
def test_whatever_is_not_the_callers_is_unknown_on_every_call(
    engine: Settings, mine: Raw, document: str, kind: str
) -> None:
    other = Raw(engine, token=new_customer(engine, "other"))
    ids = {
        "others document": other.made("text", {"text": TEXT}),
        "others folder": other.made("folder", {"name": "Theirs"}),
        "unknown": str(uuid4()),
        "no id": "%00..%2e%ff",
        "plain": document.replace("-", ""),  # batches know ids with dashes only
    }
    named = ids[kind]
    for method, path, body in CALLS_OF_ONE:
        at = f"{ELEVENLABS}/{named}{path}"
        answer = mine.send(method, at) if body is None else mine.json(method, at, body)
        assert (answer.code, answer.status) == (404, UNKNOWN), (method, path)
    part = b'name="file"; filename="a.txt"\r\n\r\nwords'
    assert mine.form("PATCH", f"{ELEVENLABS}/{named}/update-file", part).status == UNKNOWN
    moved = mine.json("POST", ELEVENLABS + "/bulk-move", {"document_ids": [document, named]})
    assert (moved.code, moved.status) == (404, UNKNOWN)
    for path, asked in (
        ("/bulk-delete", {"document_ids": [named], "force": True}),
        ("/rag-index", {"items": [item(named)]}),
    ):
        entry = json.loads(mine.json("POST", ELEVENLABS + path, asked).body)[named]
        assert (entry["error_code"], entry["error_status"]) == (404, UNKNOWN)
    summaries = json.loads(mine.send("GET", f"{ELEVENLABS}/summaries?document_ids={named}").body)
    assert [each["error_code"] for each in summaries.values()] == [404]


@pytest.mark.parametrize("kind", ["others", "unknown", "a document", "no id"])
def test_whatever_is_not_the_callers_folder_is_an_unknown_folder(
    engine: Settings, mine: Raw, document: str, kind: str
) -> None:
    other = Raw(engine, token=new_customer(engine, "other"))
    ids = {
        "others": other.made("folder", {"name": "Theirs"}),
        "unknown": str(uuid4()),
        "a document": document,
        "no id": "a\0b",
    }
    named = ids[kind]
    for path, body in (
        ("/text", {"text": TEXT, "parent_folder_id": named}),
        ("/url", {"url": "https://example.com/", "parent_folder_id": named}),
        ("/folder", {"name": "Mine", "parent_folder_id": named}),
        (f"/{document}/move", {"move_to": named}),
        ("/bulk-move", {"document_ids": [document], "move_to": named}),
    ):
        assert mine.json("POST", ELEVENLABS + path, body).status == "folder_not_found", path
    for name in ("parent_folder_id", "ancestor_folder_id"):
        listed = mine.send("GET", f"{ELEVENLABS}?{name}={named}".replace("\0", "%00"))
        assert (listed.code, listed.status) == (404, "folder_not_found")


def place(fields: Any) -> str:
    return (
        urlsafe_b64encode(json.dumps(fields, separators=(",", ":")).encode()).rstrip(b"=").decode()
    )


def test_a_cursor_of_another_list_or_of_nobody_is_refused(mine: Raw, document: str) -> None:
    mine.made("text", {"text": TEXT})
    mine.json("POST", f"{ELEVENLABS}/{document}/rag-index", {"model": MISTRAL})
    listed = json.loads(mine.send("GET", ELEVENLABS + "?page_size=1").body)["next_cursor"]
    chunks = f"{ELEVENLABS}/{document}/chunks?embedding_model={MISTRAL}"
    lists = (ELEVENLABS + "?", ELEVENLABS + "/search?query=locks", chunks)
    assert mine.send("GET", f"{lists[0]}&cursor={listed}").code == 200
    for path in lists[1:]:
        assert mine.send("GET", f"{path}&cursor={listed}").code == 422
    by_hand: tuple[Any, ...] = ({}, [], None, {"position": "1"}, {"at": None}, {"position": 1.5})
    for path, fields in product(lists, by_hand):
        assert mine.send("GET", f"{path}&cursor={place(fields)}").code == 422, fields
    for key in ("9" * 40, "-" + "9" * 18, "9" * 5_000, "", "x", "a\0"):
        fields = {"group": 2**70, "key": key, "id": str(uuid4())}
        mine.send("GET", f"{ELEVENLABS}?cursor={place(fields)}")
        mine.send("GET", f"{ELEVENLABS}?sort_by=name&cursor={place({**fields, 'group': 0})}")
    for position in (-1, 2**31, 2**63, 10**30):
        mine.send("GET", f"{chunks}&cursor={place({'at': None, 'position': position})}")


@pytest.mark.parametrize("name", ["page_size", "types", "search", "cursor", "folders_first"])
def test_hostile_parameters_are_no_accident(mine: Raw, name: str) -> None:
    for value in ("%00", "%ff", "%ed%a0%80", "%zz", "-1", "9" * 30, "%D9%A3", "a" * 7_000):
        for path in ("", "/search"):
            mine.send("GET", f"{ELEVENLABS}{path}?query=a&{name}={value}&{name}={value}")


def test_each_door_takes_its_own_credentials_only(engine: Settings, token: str) -> None:
    for door, header in product(DOORS.values(), ("xi-api-key", "x-api-key", "authorization")):
        sent = f"Bearer {token}" if header == "authorization" else token
        answer = Raw(engine, token=sent, header=header).send("GET", door.prefix)
        assert answer.code == (200 if header == door.header else 401), (door.name, header)
    nobody = Raw(engine)
    for prefix in (ELEVENLABS, THREETONE):
        # Nobody learns what there is, or what would be wrong with a request, without a key.
        for method, path, body in (
            ("GET", "/no-id", None),
            ("POST", "/rag-index", b"{"),
            ("DELETE", f"/{uuid4()}", None),
        ):
            assert nobody.send(method, prefix + path, body).status == "needs_authorization"
    tampered = ("eyJhbGciOiJub25lIn0.e30.", place([]) + ".e30.e30", "a.b.c", "é")
    for junk in tampered:
        bearer = Raw(engine, token=f"Bearer {junk}", header="authorization")
        assert bearer.send("GET", THREETONE).code == 401


def test_a_page_that_was_uploaded_never_runs_as_a_page_of_ours(engine: Settings, mine: Raw) -> None:
    page = (
        b'name="file"; filename="a\\"b.html"\r\nContent-Type: text/html\r\n\r\n<script>x()</script>'
    )
    made = json.loads(mine.form("POST", ELEVENLABS + "/file", page).body)
    link = json.loads(mine.send("GET", f"{ELEVENLABS}/{made['id']}/source-file-url").body)
    opened = Raw(engine).send("GET", link["signed_url"].removeprefix(engine.base_url))
    assert opened.body == b"<script>x()</script>"
    assert opened.headers["Content-Disposition"].startswith("attachment;")
    assert opened.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in opened.headers["Content-Security-Policy"]
    assert "no-store" in opened.headers["Cache-Control"]


def test_a_signed_link_opens_one_document_while_it_lives_and_stays_out_of_the_log(
    engine: Settings, mine: Raw, document: str, log: Path
) -> None:
    kept = mine.made("text", {"text": TEXT})
    answer = mine.send("GET", f"{ELEVENLABS}/{kept}/source-file-url")
    path = json.loads(answer.body)["signed_url"].removeprefix(engine.base_url)
    nobody = Raw(engine)
    assert nobody.send("GET", path).code == 200
    head, _, token = path.rpartition("/")
    header, payload, signature = token.split(".")
    claims = urlsafe_b64decode(payload + "=" * (-len(payload) % 4)).decode()
    other = urlsafe_b64encode(claims.replace(kept, document).encode()).rstrip(b"=").decode()
    nested = urlsafe_b64encode(b"[" * 600).rstrip(b"=").decode()
    for forged in (
        f"{header}.{other}.{signature}",
        f"{header}.{payload}.",
        f"{place({'alg': 'none'})}.{payload}.",
        f"{nested}.{payload}.{signature}",
        f"{token[:-3]}AAA",
        "%00",
    ):
        assert nobody.send("GET", f"{head}/{forged}").status == "link_not_valid", forged
    assert nobody.send("POST", path).code == 405
    mine.send("DELETE", f"{ELEVENLABS}/{kept}")
    assert nobody.send("GET", path).status == "link_not_valid"
    written = log.read_text()
    assert head in written
    assert signature not in written
