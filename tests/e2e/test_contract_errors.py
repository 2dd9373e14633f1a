"""The error table of the contract, row by row, and input that must never become a 500.

One engine without workers for the module, with small limits; every test is a customer of its own.
"""

import socket
from collections.abc import Iterator

import contract_shapes as shapes
import httpx
import pytest
from contract_shapes import matches
from fix_engine import Caller, new_customer

from engine.config import Limits, Settings

LIMITS = Limits(
    file_bytes_max=100_000,
    request_bytes_max=300_000,
    json_bytes_max=50_000,
    request_sources_max=5,
    rag_sources_max=7,
)
NOBODY = "0b9d2c55-6f0e-4d3a-9a51-2f6f3f1f7a10"  # the same in each process that collects


@pytest.fixture
def caller(base_url: str, module_settings: Settings) -> Iterator[Caller]:
    with Caller(base_url, token=new_customer(module_settings, "errors")) as made:
        yield made


@pytest.fixture
def stranger(base_url: str, module_settings: Settings) -> Iterator[Caller]:
    with Caller(base_url, token=new_customer(module_settings, "stranger")) as made:
        yield made


@pytest.fixture
def rag(caller: Caller) -> dict:
    return caller.ok("POST", "/rags", json={"name": "a", "source_urls": ["https://a.example/x"]})


def refused(answer: httpx.Response, code: int, status: str, reason: str) -> dict[str, str]:
    """Checks an error answer in full; returns its details as field -> issue."""
    assert answer.status_code == code, answer.text
    body = answer.json()
    assert matches(shapes.ERROR, body)
    error = body["error"]
    assert (error["status"], error["reason"]) == (status, reason)
    assert error["request_id"] == answer.headers["X-Request-Id"]
    return {each["field"]: each["issue"] for each in error.get("details", [])}


def invalid(answer: httpx.Response) -> set[str]:
    return set(refused(answer, 400, "INVALID_ARGUMENT", "INVALID_ARGUMENT"))


ROUTES = [
    ("POST", "/storage_files"),
    ("GET", "/storage_files"),
    ("GET", f"/storage_files/{NOBODY}"),
    ("GET", f"/storage_files/{NOBODY}/file"),
    ("DELETE", f"/storage_files/{NOBODY}"),
    ("POST", "/rags"),
    ("GET", "/rags"),
    ("GET", f"/rags/{NOBODY}"),
    ("PUT", f"/rags/{NOBODY}"),
    ("DELETE", f"/rags/{NOBODY}"),
    ("POST", f"/rags/{NOBODY}/sources"),
    ("GET", f"/rags/{NOBODY}/sources"),
    ("GET", f"/rags/{NOBODY}/sources/{NOBODY}"),
    ("DELETE", f"/rags/{NOBODY}/sources/{NOBODY}"),
    ("POST", f"/rags/{NOBODY}/sources/{NOBODY}/refresh"),
    ("GET", f"/rags/{NOBODY}/sources/{NOBODY}/text"),
    ("GET", f"/rags/{NOBODY}/sources/{NOBODY}/chunks"),
    ("POST", f"/rags/{NOBODY}/query"),
    ("GET", "/customer"),
    ("GET", "/accesskeys"),
    ("POST", "/accesskeys"),
    ("DELETE", f"/accesskeys/{NOBODY}"),
]


# 401


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_route_asks_for_a_key(base_url, method, path):
    for prefix in ("", "/v1.0"):
        answer = httpx.request(method, f"{base_url}{prefix}{path}")
        refused(answer, 401, "UNAUTHENTICATED", "AUTHENTICATION_REQUIRED")
        assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer re_wrong"},
        {"X-API-Key": "re_wrong"},
        {"X-API-Key": "é".encode("latin-1")},
        {"Authorization": b"Bearer \xff\xfe"},
        {"Authorization": "Bearer " + "x" * 8_000},
    ],
)
def test_a_wrong_key_is_refused(base_url, headers):
    answer = httpx.get(f"{base_url}/rags", headers=headers)
    refused(answer, 401, "UNAUTHENTICATED", "INVALID_CREDENTIALS")


def test_the_key_in_the_query_is_wrong_under_the_old_prefix_and_nothing_elsewhere(base_url):
    old = httpx.get(f"{base_url}/v1.0/rags", params={"accesskey": "re_wrong"})
    refused(old, 401, "UNAUTHENTICATED", "INVALID_CREDENTIALS")
    new = httpx.get(f"{base_url}/rags", params={"accesskey": "re_wrong"})
    refused(new, 401, "UNAUTHENTICATED", "AUTHENTICATION_REQUIRED")


# 400


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b"", {"name"}),
        (b"{", {"body"}),
        (b"[]", {"body"}),
        (b"\xff\xfe", {"body"}),
        (b'{"name": "\xff"}', {"body"}),
        (b'{"name": "a\\u0000"}', {"name"}),
        (b'{"name": "\\ud800"}', {"body"}),
        (b'{"name": 7, "nmae": "a"}', {"name", "nmae"}),
        (b'{"name": "a", "name": "b"}', {"name"}),
        (b'{"name": "a", "chunk_tokens": ' + b"9" * 5_000 + b"}", {"chunk_tokens"}),
        (b'{"name": "a", "chunk_tokens": 9223372036854775807}', {"chunk_tokens"}),
        (b'{"name": "a", "chunk_tokens": 1, "x": 1}', {"x"}),
        (b'{"name": ""}', {"name"}),
        (b'{"name": "   "}', {"name"}),
        (b'{"name": "' + b"n" * 256 + b'"}', {"name"}),
        (b'{"name": "a", "description": "' + b"d" * 4_097 + b'"}', {"description"}),
        (b'{"name": "a", "embedding_model": "nope"}', {"embedding_model"}),
        (
            b'{"name": "a", "storage_file_ids": ["x", 1]}',
            {f"storage_file_ids[{n}]" for n in (0, 1)},
        ),
        (b'{"name": "a", "source_urls": ["nope"]}', {"source_urls[0]"}),
        (b'{"name": "a", "source_urls": ["file:///etc/passwd"]}', {"source_urls[0]"}),
        (b'{"name": "a", "source_urls": ["http://10.0.0.1/"]}', {"source_urls[0]"}),
        (b'{"name": "a", "source_urls": ["http://169.254.169.254/"]}', {"source_urls[0]"}),
        (
            b'{"name": "", "source_urls": ["x", "http://[::1]/"]}',
            {"name", "source_urls[0]", "source_urls[1]"},
        ),
        (b'{"name": "a", "mode": "hybrid"}', {"mode"}),
        (b"[" * 20_000 + b"]" * 20_000, {"body"}),
        (b'{"name": ' + b"[" * 20_000 + b"]" * 20_000 + b"}", {"body"}),
    ],
)
def test_a_malformed_rag_is_refused_with_every_field(caller, body, fields):
    answer = caller.post("/rags", content=body, headers={"Content-Type": "application/json"})
    assert invalid(answer) == fields
    assert caller.ok("GET", "/rags")["result"] == []


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/mixed", "a;b=c"]
)
def test_another_content_type_is_refused(caller, content_type):
    answer = caller.post("/rags", content=b'{"name": "a"}', headers={"Content-Type": content_type})
    assert invalid(answer) == {"Content-Type"}


@pytest.mark.parametrize(
    ("method", "path"),
    [(method, path.replace(NOBODY, "not-a-uuid")) for method, path in ROUTES if NOBODY in path],
)
def test_a_malformed_id_is_refused(caller, method, path):
    assert invalid(caller.request(method, path)) == {"id"}


def test_a_malformed_source_id_is_refused(caller, rag):
    assert invalid(caller.get(f"/rags/{rag['id']}/sources/xyz")) == {"source_id"}


@pytest.mark.parametrize("path", ["/rags", "/storage_files", "/accesskeys", "/rags/{id}/sources"])
@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("page_size=0", "page_size"),
        ("page_size=101", "page_size"),
        ("page_size=x", "page_size"),
        ("page_size=%00", "page_size"),
        ("page_size=1&page_size=2", "page_size"),
        ("page_token=!", "page_token"),
        ("page_token=%00%ff", "page_token"),
        ("page_token=2026-99-99T00:00:00", "page_token"),
        ("page_token=LjE", "page_token"),
        ("page_token=" + "A" * 4_000, "page_token"),
    ],
)
def test_a_bad_page_is_refused(caller, rag, path, query, field):
    assert invalid(caller.get(f"{path.format(id=rag['id'])}?{query}")) == {field}


def test_unknown_query_parameters_are_ignored(caller):
    assert caller.ok("GET", "/rags?nope=1&x[]=2&=&&")["result"] == []


def test_a_bad_status_filter_or_flag_is_refused(caller, rag):
    assert invalid(caller.get(f"/rags/{rag['id']}/sources?status=done")) == {"status"}
    assert invalid(caller.delete(f"/storage_files/{NOBODY}?force=maybe")) == {"force"}


def test_adding_no_source_is_refused(caller, rag):
    path = f"/rags/{rag['id']}/sources"
    assert len(invalid(caller.post(path, json={}))) == 1
    assert len(invalid(caller.post(path, json={"source_urls": []}))) == 1


def test_changing_nothing_is_refused(caller, rag):
    assert invalid(caller.put(f"/rags/{rag['id']}", json={})) == {"name"}
    assert invalid(caller.put(f"/rags/{rag['id']}", json={"name": None})) == {"name"}


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"query"}),
        ({"query": ""}, {"query"}),
        ({"query": "q" * 4_097}, {"query"}),
        ({"query": 1, "top_k": "5"}, {"query", "top_k"}),
        ({"query": "q", "top_k": 0}, {"top_k"}),
        ({"query": "q", "top_k": 101}, {"top_k"}),
        ({"query": "q", "top_k": 1.5}, {"top_k"}),
        ({"query": "q", "source_ids": ["x"]}, {"source_ids[0]"}),
        ({"query": "q", "source_ids": []}, {"source_ids"}),
        ({"query": "q", "mode": "sparse"}, {"mode"}),
        ({"query": "q", "mode": None}, {"mode"}),
        ({"query": "q", "min_score": "1", "with_neighbours": 1}, {"min_score", "with_neighbours"}),
        ({"query": "q", "min_score": 1.5, "top_k": 0}, {"min_score", "top_k"}),
        ({"query": "q", "min_score": -0.1}, {"min_score"}),
        ({"query": "q", "rank": "dense"}, {"rank"}),
    ],
)
def test_a_malformed_query_is_refused_with_every_field(caller, rag, body, fields):
    assert invalid(caller.post(f"/rags/{rag['id']}/query", json=body)) == fields


@pytest.mark.parametrize("body", [{"expire_s": 0}, {"expire_s": -1}, {"expire_s": 10**12}])
def test_an_access_key_with_an_odd_expiry_is_refused(caller, body):
    assert invalid(caller.post("/accesskeys", json=body)) == {"expire_s"}


# Forms

CUT = "multipart/form-data; boundary=cut"
PART = b'--cut\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
FILE_PART = b'--cut\r\nContent-Disposition: form-data; name="%s"; filename="%s"\r\n\r\n%s\r\n'
END = b"--cut--\r\n"


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b"", {"body"}),
        (b"nonsense", {"body"}),
        (PART % (b"name", b"a"), {"body"}),
        (END, {"name"}),
        (PART % (b"name", b"a") * 2 + END, {"name"}),
        (PART % (b"name", b"a\0b") + END, {"name"}),
        (PART % (b"name", b"\xff") + END, {"name"}),
        (PART % (b"nmae", b"a") + END, {"nmae", "name"}),
        (PART % (b"name", b"a") + PART % (b"files", b"x") + END, {"files"}),
        (PART % (b"name", b"a") + FILE_PART % (b"cover", b"c.png", b"x") + END, {"cover"}),
        (PART % (b"name", b"a") + FILE_PART % (b"files", b"a\0b", b"x") + END, {"files"}),
        (
            PART % (b"name", b"a") + PART % (b"storage_file_ids", b"x\ny") + END,
            {f"storage_file_ids[{n}]" for n in (0, 1)},
        ),
        (PART % (b"name", b"a") + PART % (b"source_urls", b"[1]") + END, {"source_urls"}),
    ],
)
def test_a_broken_form_is_refused_and_creates_nothing(caller, body, fields):
    answer = caller.post("/rags", content=body, headers={"Content-Type": CUT})
    assert invalid(answer) == fields
    assert caller.ok("GET", "/rags")["result"] == []


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (END, {"file"}),
        (FILE_PART % (b"file", b"", b"") + END, {"file"}),
        (FILE_PART % (b"file", b"a", b"x") * 2 + END, {"file"}),
        (FILE_PART % (b"files", b"a", b"x") + END, {"files"}),
        (FILE_PART % (b"file", b"a", b"x") + PART % (b"color", b"red") + END, {"color"}),
    ],
)
def test_a_broken_upload_is_refused_and_keeps_nothing(caller, body, fields):
    answer = caller.post("/storage_files", content=body, headers={"Content-Type": CUT})
    assert invalid(answer) == fields
    assert caller.ok("GET", "/storage_files")["result"] == []


def test_an_upload_that_is_no_form_is_refused(caller):
    assert invalid(caller.post("/storage_files", json={"file": "x"})) == {"Content-Type"}
    answer = caller.post(
        "/storage_files", content=b"x", headers={"Content-Type": "multipart/form-data"}
    )
    assert invalid(answer) == {"Content-Type"}


# 404


@pytest.mark.parametrize(
    ("method", "path", "reason"),
    [
        (method, path, reason)
        for method, path in ROUTES
        if NOBODY in path
        for start, reason in (
            ("/storage", "FILE_NOT_FOUND"),
            ("/rags", "RAG_NOT_FOUND"),
            ("/access", "ACCESS_KEY_NOT_FOUND"),
        )
        if path.startswith(start)
    ],
)
def test_what_does_not_exist_is_not_found(caller, method, path, reason):
    bodies = {"/query": {"query": "q"}, "/sources": {"source_urls": ["https://a.example/"]}}
    body = next((body for end, body in bodies.items() if path.endswith(end)), {"name": "a"})
    answer = caller.request(method, path, json=body if method in {"POST", "PUT"} else None)
    refused(answer, 404, "NOT_FOUND", reason)


def test_an_unknown_source_is_not_found(caller, rag):
    path = f"/rags/{rag['id']}/sources/{NOBODY}"
    for method, end in (
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/refresh"),
        ("GET", "/text"),
        ("GET", "/chunks"),
    ):
        refused(caller.request(method, path + end), 404, "NOT_FOUND", "SOURCE_NOT_FOUND")


def test_an_unknown_file_in_a_new_rag_is_not_found_and_named(caller):
    answer = caller.post("/rags", json={"name": "a", "storage_file_ids": [NOBODY]})
    assert refused(answer, 404, "NOT_FOUND", "FILE_NOT_FOUND") != {}
    assert caller.ok("GET", "/rags")["result"] == []


def test_another_customers_things_are_not_found(caller, stranger, rag):
    source = f"/rags/{rag['id']}/sources/{rag['sources'][0]['id']}"
    file = caller.ok("POST", "/storage_files", files={"file": ("a", b"x")})
    key = caller.ok("POST", "/accesskeys", json={})
    for method, path, body, reason in (
        ("GET", f"/rags/{rag['id']}", None, "RAG_NOT_FOUND"),
        ("PUT", f"/rags/{rag['id']}", {"name": "mine"}, "RAG_NOT_FOUND"),
        ("DELETE", f"/rags/{rag['id']}", None, "RAG_NOT_FOUND"),
        ("GET", source, None, "RAG_NOT_FOUND"),
        ("DELETE", source, None, "RAG_NOT_FOUND"),
        ("POST", f"{source}/refresh", None, "RAG_NOT_FOUND"),
        ("GET", f"{source}/text", None, "RAG_NOT_FOUND"),
        ("POST", f"/rags/{rag['id']}/query", {"query": "q"}, "RAG_NOT_FOUND"),
        ("GET", f"/storage_files/{file['id']}", None, "FILE_NOT_FOUND"),
        ("GET", f"/storage_files/{file['id']}/file", None, "FILE_NOT_FOUND"),
        ("DELETE", f"/storage_files/{file['id']}", None, "FILE_NOT_FOUND"),
        ("POST", "/rags", {"name": "a", "storage_file_ids": [file["id"]]}, "FILE_NOT_FOUND"),
        ("DELETE", f"/accesskeys/{key['id']}", None, "ACCESS_KEY_NOT_FOUND"),
    ):
        refused(stranger.request(method, path, json=body), 404, "NOT_FOUND", reason)
    assert stranger.ok("GET", "/rags")["result"] == []
    assert stranger.ok("GET", "/storage_files")["result"] == []
    assert caller.ok("GET", f"/rags/{rag['id']}") == rag


@pytest.mark.parametrize(
    "path", ["/nope", "/rags/a/b/c", "/v1.0/nope", "/v1.0/rags/a/b/c", "/%00%ff"]
)
def test_an_unknown_route_is_not_found_in_the_same_shape(base_url, path):
    refused(httpx.get(f"{base_url}{path}"), 404, "NOT_FOUND", "ROUTE_NOT_FOUND")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PATCH", f"/rags/{NOBODY}", {"GET", "PUT", "DELETE"}),
        ("DELETE", "/rags", {"GET", "POST"}),
        ("POST", "/healthz", {"GET"}),
        ("LOCK", "/v1.0/customer", {"GET"}),
    ],
)
def test_another_method_is_refused_with_what_would_be_right(base_url, method, path, allowed):
    answer = httpx.request(method, f"{base_url}{path}")
    refused(answer, 405, "INVALID_ARGUMENT", "METHOD_NOT_ALLOWED")
    assert allowed <= {each.strip() for each in answer.headers["Allow"].split(",")}


# 409


def test_the_same_url_twice_is_refused_with_all_duplicates(caller):
    urls = ["https://A.example:443/x#top", "https://a.example/x", "https://a.example/y"]
    answer = caller.post("/rags", json={"name": "a", "source_urls": urls})
    assert refused(answer, 409, "ALREADY_EXISTS", "SOURCE_EXISTS") != {}
    assert len(answer.json()["error"]["details"]) == 2
    assert caller.ok("GET", "/rags")["result"] == []


def test_a_source_that_is_there_already_is_refused_and_nothing_is_added(caller, rag):
    urls = ["https://a.example/new", "HTTPS://A.EXAMPLE/x"]
    answer = caller.post(f"/rags/{rag['id']}/sources", json={"source_urls": urls})
    refused(answer, 409, "ALREADY_EXISTS", "SOURCE_EXISTS")
    (detail,) = answer.json()["error"]["details"]
    assert "HTTPS://A.EXAMPLE/x" in detail["issue"]
    assert caller.ok("GET", f"/rags/{rag['id']}") == rag


def test_what_is_there_already_is_named_beside_what_is_given_twice(caller, rag):
    urls = ["https://a.example/x", "https://a.example/b", "https://a.example/b"]
    answer = caller.post(f"/rags/{rag['id']}/sources", json={"source_urls": urls})
    refused(answer, 409, "ALREADY_EXISTS", "SOURCE_EXISTS")
    named = {each["issue"].split(": ")[0] for each in answer.json()["error"]["details"]}
    assert named == set(urls)


def test_too_many_source_ids_in_a_query_are_refused_briefly(caller, rag):
    ids = ["d4e5f6a7-b8c9-4123-defa-456789012345"] * 1_001
    answer = caller.post(f"/rags/{rag['id']}/query", json={"query": "a", "source_ids": ids})
    assert list(refused(answer, 400, "INVALID_ARGUMENT", "INVALID_ARGUMENT")) == ["source_ids"]


def test_the_same_file_twice_is_refused(caller):
    file = caller.ok("POST", "/storage_files", files={"file": ("a", b"x")})
    body = {"name": "a", "storage_file_ids": [file["id"]] * 2}
    refused(caller.post("/rags", json=body), 409, "ALREADY_EXISTS", "SOURCE_EXISTS")


def test_a_file_in_use_is_not_deleted(caller):
    file = caller.ok("POST", "/storage_files", files={"file": ("a", b"x")})
    caller.ok("POST", "/rags", json={"name": "a", "storage_file_ids": [file["id"]]})
    answer = caller.delete(f"/storage_files/{file['id']}")
    refused(answer, 409, "FAILED_PRECONDITION", "FILE_IN_USE")
    assert caller.ok("GET", f"/storage_files/{file['id']}") == file


def test_a_rag_with_nothing_searchable_is_not_ready_for_queries(caller, rag):
    answer = caller.post(f"/rags/{rag['id']}/query", json={"query": "q"})
    refused(answer, 409, "FAILED_PRECONDITION", "RAG_NOT_READY")


# 413


def test_a_file_over_its_limit_is_refused(caller):
    for path, field, data in (("/storage_files", "file", {}), ("/rags", "files", {"name": "a"})):
        answer = caller.post(path, files={field: ("a", b"x" * 100_001)}, data=data)
        refused(answer, 413, "RESOURCE_EXHAUSTED", "FILE_TOO_LARGE")
    assert caller.ok("POST", "/storage_files", files={"file": ("a", b"x" * 100_000)})


def test_a_request_over_its_limit_is_refused_whether_announced_or_not(caller):
    files = [("files", (str(number), b"x" * 90_000)) for number in range(4)]
    answer = caller.post("/rags", data={"name": "a"}, files=files)
    refused(answer, 413, "RESOURCE_EXHAUSTED", "BODY_TOO_LARGE")

    def chunked() -> Iterator[bytes]:
        yield FILE_PART[:-2] % (b"files", b"a", b"")
        for _ in range(40):
            yield b"\r\n" + b"x" * 10_000

    answer = caller.post("/rags", content=chunked(), headers={"Content-Type": CUT})
    refused(answer, 413, "RESOURCE_EXHAUSTED", "FILE_TOO_LARGE")


def test_a_json_body_over_its_limit_is_refused(caller):
    body = {"name": "a", "description": "x" * 50_000}
    refused(caller.post("/rags", json=body), 413, "RESOURCE_EXHAUSTED", "BODY_TOO_LARGE")


def test_too_many_sources_are_refused(caller, rag):
    urls = [f"https://a.example/{number}" for number in range(6)]
    answer = caller.post("/rags", json={"name": "a", "source_urls": urls})
    refused(answer, 413, "RESOURCE_EXHAUSTED", "TOO_MANY_SOURCES")
    files = [("files", (str(number), b"x")) for number in range(6)]
    answer = caller.post("/rags", data={"name": "a"}, files=files)
    refused(answer, 413, "RESOURCE_EXHAUSTED", "TOO_MANY_SOURCES")
    path = f"/rags/{rag['id']}/sources"
    caller.ok("POST", path, json={"source_urls": urls[:4]})
    answer = caller.post(path, json={"source_urls": [*urls[4:], "https://a.example/z"]})
    refused(answer, 413, "RESOURCE_EXHAUSTED", "TOO_MANY_SOURCES")
    assert caller.ok("GET", f"/rags/{rag['id']}")["source_counts"]["total"] == 5


# Request ids


def test_the_callers_request_id_comes_back(caller):
    answer = caller.get("/rags", headers={"X-Request-Id": "Mine_1-2"})
    assert answer.headers["X-Request-Id"] == "Mine_1-2"
    answer = caller.get("/nope", headers={"X-Request-Id": "Mine_3"})
    assert answer.json()["error"]["request_id"] == "Mine_3"
    odd = caller.get("/rags", headers={"X-Request-Id": "a b"})
    assert odd.headers["X-Request-Id"] not in {"", "a b"}


def test_an_upload_that_breaks_off_leaves_the_engine_well(caller, base_url, api_log):
    host, port = base_url.removeprefix("http://").split(":")
    head = (
        f"POST /storage_files HTTP/1.1\r\nHost: {host}\r\nX-Request-Id: broken-off\r\n"
        f"Authorization: Bearer {caller.token}\r\nContent-Type: {CUT}\r\n"
        "Content-Length: 90000\r\n\r\n"
    )
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head.encode() + FILE_PART[:-2] % (b"file", b"a", b"half"))
    assert caller.ok("GET", "/storage_files")["result"] == []


def test_nothing_here_was_an_internal_error(api_log):
    lines = api_log.read_text()
    assert '"code":400' in lines
    assert '"code":500' not in lines
    assert "unforeseen error" not in lines
    assert "Traceback" not in lines
