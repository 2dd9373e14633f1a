"""Text that breaks databases, on every path by which it reaches a column: stored clean, or refused.

The columns come from the catalog, so that a new one cannot be forgotten.
"""

import json
import os
from collections.abc import Mapping
from functools import partial
from typing import Any

import httpx
import psycopg
import pytest
from fix_engine import new_customer
from fix_tenants import KB, MODEL, NOBODY, House
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import sql

from engine.errors import InvalidRequest
from engine.store import Database

# Who fills each column with words from outside; "" for words of the engine's own.
COLUMNS: Mapping[str, str] = {
    "accesskeys.name": "POST /accesskeys",
    "accesskeys.prefix": "",
    "chunks.headings": "a document's headings",
    "chunks.text": "a document",
    "customers.name": "customers create",
    "documents.coverage": "",
    "documents.language": "a document's head",
    "documents.media_type": "",
    "documents.text": "a document",
    "documents.title": "a document's title",
    "files.filename": "an upload's filename",
    "files.media_type": "an upload's content type",
    "files.name": "POST /storage_files, and all documents of the second door",
    "files.type": "POST /storage_files",
    "folders.name": "POST /knowledge-base/folder",
    "indexes.failure": "",
    "indexes.stage": "",
    "indexes.state": "",
    "profiles.embedding_model": "POST /rags, one of the known names",
    "profiles.public_model": "POST /rag-index, one of the known names",
    "rags.description": "POST /rags",
    "rags.name": "POST /rags",
    "sources.attributes": "POST /rags",
    "sources.failure": "what a server says, and then not in its words",
    "segment_members.analyser": "",
    "segments.analysers": "",
    "segments.state": "",
    "sources.name": "a document's title, or its file's or URL's name",
    "sources.stage": "",
    "sources.state": "",
    "sources.url": "POST /rags",
    "workers.host": "the name of a worker's machine",
}
# How long a column of one line can be; the others are documents, and limited with them.
CHARACTERS_MAX: Mapping[str, int] = {
    "accesskeys.name": 255,
    "customers.name": 255,
    "files.filename": 255,
    "files.media_type": 255,
    "files.name": 255,
    "files.type": 64,
    "folders.name": 255,
    "rags.description": 4_096,
    "rags.name": 255,
    "sources.name": 255,
    "sources.url": 2_048,
}
LINES = {*CHARACTERS_MAX} - {"rags.name", "rags.description", "sources.url"}

# Written down here a second time, so that the sanitiser is not measured by itself.
UNCLEAN = {chr(n) for n in (*range(32), 127, *range(0xD800, 0xE000))} - {*"\t\n\r"}
UNCLEAN_IN_LINES = {*"\t\n\r\u2028\u2029", *map(chr, range(0x80, 0xA0))}
UNCLEAN_IN_LINES |= {*map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A)))}

# All code points, unpaired surrogates among them, and the worst of them more often than others.
WORST = "\x00\x01\x07\x08\x0b\x0c\x1b\x1f\x7f\x80\x85\x9b\ud800\udfff\ufffe\uffff\u202e\u2066\u2028"
WORST += "\ufeff\u200d\u0301\U000e0001\U0010ffff\u0378'\"\\%_\n\r\t /"
CHARACTERS = st.characters(codec=None, categories=None) | st.sampled_from(WORST)
ODD = st.text(CHARACTERS, max_size=40) | st.builds(
    lambda text, times: text * times, st.text(CHARACTERS, min_size=1, max_size=4), st.just(2_000)
)
EXAMPLES = 60 if os.environ.get("TENANTS") == "all" else 6
REFUSED = {400, 404, 409, 413, 415, 422}


def text_columns(connection: psycopg.Connection[Any]) -> set[str]:
    rows = connection.execute(
        """
        SELECT table_name || '.' || column_name FROM information_schema.columns
        WHERE table_schema = 'public'
          AND udt_name IN ('text', '_text', 'varchar', '_varchar', 'bpchar', 'json', 'jsonb',
                           'name', 'xml', 'citext')
        """
    ).fetchall()
    return {row[0] for row in rows}


def stored(admin_url: str) -> dict[str, set[str]]:
    """Every value of every such column; lists and JSON as the strings in them."""
    found = {}
    with psycopg.connect(admin_url) as connection:
        for column in text_columns(connection):
            table, name = map(sql.Identifier, column.split("."))
            query = sql.SQL("SELECT DISTINCT to_jsonb({}) FROM {} WHERE {} IS NOT NULL")
            rows = connection.execute(query.format(name, table, name)).fetchall()
            found[column] = {text for row in rows for text in strings(row[0])}
    return found


def strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for each in inside for text in strings(each)]


def expect_clean(admin_url: str) -> dict[str, set[str]]:
    """Nothing that Postgres or a terminal cannot take, and nothing too long, in any column."""
    found = stored(admin_url)
    for column, texts in found.items():
        longest = CHARACTERS_MAX.get(column, 10**9)
        for text in texts:
            assert UNCLEAN.isdisjoint(text), (column, text)
            assert len(text) <= longest, (column, len(text))
            if column in LINES:
                assert UNCLEAN_IN_LINES.isdisjoint(text), (column, text)
    return found


def test_every_column_of_text_is_known(house: House) -> None:
    with psycopg.connect(house.admin_url) as connection:
        assert text_columns(connection) == {*COLUMNS}


# Requests -------------------------------------------------------------------------------------


def json_of(**fields: Any) -> dict[str, Any]:
    """A body in which unpaired surrogates are escaped, as a careless client sends them."""
    content = json.dumps(fields).encode()
    return {"content": content, "headers": {"content-type": "application/json"}}


def form_of(text: str, *, field: str = "name") -> dict[str, Any]:
    """A form with the text as a field, as a filename and as a content type, raw."""
    raw = text.encode("utf-8", "surrogatepass")
    line = raw.replace(b"\r", b"").replace(b"\n", b"").replace(b'"', b"%22")
    content = b'--b\r\nContent-Disposition: form-data; name="' + field.encode() + b'"\r\n\r\n' + raw
    content += b'\r\n--b\r\nContent-Disposition: form-data; name="file"; filename="' + line
    content += b'.txt"\r\nContent-Type: ' + line + b"\r\n\r\nSome text.\r\n--b--\r\n"
    return {"content": content, "headers": {"content-type": "multipart/form-data; boundary=b"}}


def header_of(name: str, text: str) -> dict[str, Any]:
    """What this client agrees to send; raw requests are for other tests."""
    raw = text.encode("utf-8", "surrogatepass")
    value = bytes(byte for byte in raw if byte >= 0x20 and byte != 0x7F).strip()
    return {"headers": {name.encode(): value[:4_000]}}


def with_attributes(text: str, own: Any = None) -> dict[str, Any]:
    page = {"source_urls": ["https://e.org/attributes"], "source_attributes": own or {}}
    return json_of(name="fine", **page, attributes={"a": text, "b": [text]})


def with_filter(text: str) -> dict[str, Any]:
    parts = [{"eq": {"key": "a", "value": text}}, {"in": {"key": text, "value": [text]}}]
    return json_of(query="fine", filter={"or": parts})


ID = f"{KB}/{{document}}"
SOURCE = "/rags/{rag}/sources/{source}"
REQUESTS = {
    "rag": ("POST", "/rags", lambda t: json_of(name=t, description=t)),
    "rag's description": ("POST", "/rags", lambda t: json_of(name="fine", description=t)),
    "rag's model": ("POST", "/rags", lambda t: json_of(name="fine", embedding_model=t)),
    "rag by form": ("POST", "/rags", form_of),
    "rag renamed": ("PUT", "/rags/{rag}", lambda t: json_of(name=t, description=t)),
    "key": ("POST", "/accesskeys", lambda t: json_of(name=t)),
    "file": ("POST", "/storage_files", form_of),
    "file's type": ("POST", "/storage_files", partial(form_of, field="type")),
    "url": ("POST", "/rags", lambda t: json_of(name="u", source_urls=[f"https://e.org/{t}"])),
    "question": ("POST", "/rags/{rag}/query", lambda t: json_of(query=t)),
    "attributes": ("POST", "/rags", with_attributes),
    "attributes by form": ("POST", "/rags", lambda t: form_of(t, field="attributes")),
    "own attributes": ("POST", "/rags", lambda t: with_attributes("", own={t: {t: t}})),
    "new attributes": ("PUT", SOURCE, lambda t: json_of(attributes={"a": t, "b": [t], t: 1})),
    "source's new name": ("PUT", SOURCE, lambda t: json_of(name=t)),
    "filter": ("POST", "/rags/{rag}/query", with_filter),
    "state": ("GET", "/rags/{rag}/sources", lambda t: {"params": {"status": shown(t)}}),
    "place": ("GET", "/rags", lambda t: {"params": {"page_token": shown(t)}}),
    "idempotency": ("POST", "/accesskeys", lambda t: with_header("idempotency-key", t)),
    "request id": ("POST", "/accesskeys", lambda t: with_header("x-request-id", t)),
    "user agent": ("POST", "/accesskeys", lambda t: with_header("user-agent", t)),
    "etag": ("GET", "/rags/{rag}", lambda t: header_of("if-none-match", t)),
    "text": ("POST", f"{KB}/text", lambda t: json_of(text=t)),
    "text's name": ("POST", f"{KB}/text", lambda t: json_of(text="fine", name=t)),
    "folder": ("POST", f"{KB}/folder", lambda t: json_of(name=t)),
    "folder's place": ("POST", f"{KB}/folder", lambda t: json_of(name="f", parent_folder_id=t)),
    "page": ("POST", f"{KB}/url", lambda t: json_of(url=f"https://e.org/{t}", name=t)),
    "paper": ("POST", f"{KB}/file", form_of),
    "new name": ("PATCH", ID, lambda t: json_of(name=t)),
    "new content": ("PATCH", ID, lambda t: json_of(content=t)),
    "new file": ("PATCH", f"{KB}/{{paper}}/update-file", form_of),
    "beginning": ("GET", KB, lambda t: {"params": {"search": shown(t), "cursor": shown(t)}}),
    "search": ("GET", f"{KB}/search", lambda t: {"params": {"query": shown(t)}}),
    "several": ("POST", f"{KB}/bulk-delete", lambda t: json_of(document_ids=[t, NOBODY])),
    "model": ("POST", f"{ID}/rag-index", lambda t: json_of(model=t)),
    "models": (
        "POST",
        f"{KB}/rag-index",
        lambda t: json_of(items=[{"document_id": t, "model": MODEL}]),
    ),
}


def shown(text: str) -> str:
    """What a client can put into a URL's query."""
    return text.encode("utf-8", "replace").decode()[:1_000]


def with_header(name: str, text: str) -> dict[str, Any]:
    body = json_of(name="fine")
    body["headers"] = {**body["headers"], **header_of(name, text)["headers"]}
    return body


@pytest.mark.parametrize("kind", REQUESTS)
def test_whatever_a_request_says_is_stored_clean_or_refused_clearly(
    house: House, kind: str
) -> None:
    method, path, made = REQUESTS[kind]
    path = path.format(**house.second_twin.ids)

    @settings(max_examples=EXAMPLES)
    @given(ODD)
    def send(text: str) -> None:
        more = made(text)
        credentials = house.second_twin.headers("/v1/convai" if path.startswith(KB) else "")
        more["headers"] = {**credentials, **more.get("headers", {})}
        answer = house.client.request(method, path, **more)
        assert answer.status_code in {200, 304, *REFUSED}, (text, answer.text)
        if answer.status_code in REFUSED:
            assert is_clear(answer), answer.text

    send()


def is_clear(answer: httpx.Response) -> bool:
    """In the words of the door, none of them the database's."""
    told = answer.json()
    words = json.dumps(told).lower()
    leaked = ("psycopg", "postgres", "encode", "codec", "0x00", "traceback", "surrogates not")
    return ("error" in told or "detail" in told) and not any(word in words for word in leaked)


def test_nothing_of_all_that_made_a_column_unclean(house: House) -> None:
    """After the tests above; and they did reach the columns that requests fill."""
    found = expect_clean(house.admin_url)
    filled = ("rags.name", "rags.description", "files.name", "files.filename", "folders.name")
    for column in (*filled, "sources.attributes"):
        assert any(not text.isascii() for text in found[column]), column


@settings(max_examples=20)
@given(ODD)
def test_a_customers_name_is_printable_or_refused(house: House, text: str) -> None:
    if text.isprintable() and text.strip() and len(text) <= CHARACTERS_MAX["customers.name"]:
        new_customer(house.settings, text)
        return
    with pytest.raises(InvalidRequest) as caught:
        new_customer(house.settings, text)
    assert caught.value.details[0].field == "name"


# The net below -------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_path_that_forgets_to_clean_stores_clean_text_all_the_same(
    database_url: str,
) -> None:
    """Straight into a column, alone and in a list."""
    dirty = "a\x00b\ud800c\x1bd"
    database = await Database(database_url, role="rag_operator", connections=1).open()
    try:
        async with database.transaction() as tx:
            await tx.run("INSERT INTO customers (name) VALUES (%(name)s)", {"name": dirty})
            await tx.run(
                "INSERT INTO customers (name) SELECT unnest(%(names)s::text[])",
                {"names": [dirty, dirty]},
            )
            names = await tx.all(dict[str, str], "SELECT name FROM customers")
        async with database.dedicated() as tx:
            echo = await tx.value(str, "SELECT %(text)s::text", {"text": dirty})
    finally:
        await database.close()
    assert [row["name"] for row in names] == ["abcd"] * 3
    assert echo == "abcd"
