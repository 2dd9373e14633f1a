"""First lines and headers that no client sends: paths, queries, methods, keys, ranges."""

from itertools import product

from nonsense_case import DOOR, NATIVE, Case, case, request

# Each stands where an id belongs.
IDS = {
    "a NUL": "%00",
    "no UTF-8": "%ff%fe",
    "a surrogate": "%ed%a0%80",
    "an overlong slash": "%c0%af",
    "no escape": "%zz",
    "a percent sign": "%",
    "a quote": "'%20OR%201=1--",
    "a number": "1",
    "10**400": "1" + "0" * 400,
    "braces": "{id}",
    "a CRLF": "%0d%0aX-A:%20b",
    "8,000 letters": "a" * 8_000,
    "a UUID in braces": "%7B00000000-0000-0000-0000-000000000000%7D",
    "a UUID too long": "00000000-0000-0000-0000-0000000000000",
    "an URN": "urn:uuid:00000000-0000-0000-0000-000000000000",
    "full-width digits": "%EF%BC%90" * 8 + "-0000-0000-0000-000000000000",
    "a semicolon": ";a=b",
    "a space": "%20",
    "an emoji": "%F0%9F%98%80",
}
PATHS = {
    "dots": "/rags/../../etc/passwd",
    "encoded dots": "/rags/%2e%2e/%2e%2e/etc/passwd",
    "slashes": "//rags//",
    "an encoded slash": "/rags%2f@RAG@",
    "a backslash": "/rags\\..",
    "a thousand segments": "/a" * 1_000,
    "a file": "/favicon.ico",
    "a dotfile": "/.git/config",
    "a script": "/wp-admin/setup-config.php",
    "a fragment": "/rags#a",
    "a NUL": "/rags%00.json",
    "a doubled escape": "/rags/%2500",
}
# Other spellings of a path that there is.
SAME_PATHS = {"slashes", "an encoded slash", "a fragment"}
QUERIES = {
    "a NUL": "page_size=%00",
    "no UTF-8": "page_size=%ff",
    "no escape": "page_size=%zz&page_token=%",
    "a negative": "page_size=-1",
    "zero": "page_size=0",
    "10**400": "page_size=1" + "0" * 400,
    "1e999": "page_size=1e999",
    "NaN": "page_size=NaN",
    "an Arabic digit": "page_size=%D9%A3",
    "an empty value": "page_size=",
    "no value": "page_size",
    "twice": "page_size=1&page_size=2",
    "brackets": "page_size[]=1",
    "a token": "page_token=%00%ff",
    "a token of 8 kB": "page_token=" + "A" * 8_000,
    "a token of a number": "page_token=LjE",
    "a token of a time": "page_token=9999-99-99T99:99:99Z",
    "a token of a year 0": "page_token=0000-01-01T00:00:00Z",
    "a token of the last year": "page_token=9999-12-31T23:59:59.999999Z",
    "a token far away": "page_token=OTk5OTk5OTk5OTk5OTk5OTk5Ljk5OTk5OTk5OTk5OTk5OTk5OQ",
    "a thousand parameters": "&".join(f"a{n}=1" for n in range(1_000)),
    "ampersands": "&" * 5_000,
    "semicolons": "page_size=1;page_size=2",
    "a question mark": "?page_size=1",
}
# Of these the second door ignores what is empty or given twice.
LENIENT = {"an empty value", "no value", "twice", "brackets", "a question mark"}
IGNORED = {"a thousand parameters", "ampersands", "brackets", "a question mark"}
METHODS = [
    "PUT",
    "PATCH",
    "DELETE",
    "TRACE",
    "PROPFIND",
    "SEARCH",
    "LOCK",
    "PURGE",
    "LINK",
    "REPORT",
]
# Not even a method of HTTP that the parser knows.
UNKNOWN_METHODS = ["FOO", "get", "G\xc9T", "GET\0", "", "A" * 1_000, "GET GET", "-", "{}"]
HEADERS = {
    "a name with a space": (b"X A: b", 400),
    "a name without a colon": (b"nonsense", 400),
    "an empty name": (b": b", 400),
    "a NUL": (b"X-A: a\0b", 400),
    "a control character": (b"X-A: a\x01b", 200, 400),
    "a bare line feed": (b"X-A: a\nX-B: c", 200, 400),
    "a bare carriage return": (b"X-A: a\rb", 400),
    "a folded line": (b"X-A: a\r\n b", 200, 400),
    "bytes beyond ASCII": (b"X-A: \xff\xfe", 200),
    "a name beyond ASCII": (b"X-\xff: a", 400),
    "60 kB": (b"X-A: " + b"a" * 60_000, 200),
    "70 kB": (b"X-A: " + b"a" * 70_000, 431),
    "1 MB": (b"X-A: " + b"a" * 1_000_000, 431),
    "a name of 1 MB": (b"X" * 1_000_000 + b": a", 431),
    "5,000 headers": (b"\r\n".join([b"X-A: a"] * 5_000), 200),
    "50,000 headers": (b"\r\n".join([b"X-A: a"] * 50_000), 431),
    "two hosts": (b"Host: other", 200, 400),
    "a host with a path": (b"X-Forwarded-Host: a/b\\c", 200),
    "a range": (b"Range: bytes=0-1", 200),
    "a range of nonsense": (b"Range: bytes=9-1,-,--,1-99999999999999999999", 200),
    "10,000 ranges": (b"Range: bytes=" + b"0-1," * 10_000, 200),
    "a condition": (b"If-Match: nonsense", 200),
    "a date": (b"If-Modified-Since: yesterday", 200),
    "no type that is taken": (b"Accept: image/nothing;q=NaN", 200),
    "a thousand types": (b"Accept: " + b"a/b;q=0.1," * 1_000, 200),
    "languages": (b"Accept-Language: " + b"\xff," * 100, 200),
    "a cookie": (b"Cookie: " + b"a=b;" * 5_000, 200),
    "a broken cookie": (b'Cookie: a="\\; =; \xff', 200),
    "an upgrade to WebSocket": (
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        200,
        400,
    ),
    "an upgrade to HTTP/2": (b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c", 200, 400),
    "a request id": (b"X-Request-Id: a b\tc'\"<script>", 200),
    "a request id of 1 kB": (b"X-Request-Id: " + b"a" * 1_000, 200),
    "a method of another": (b"X-HTTP-Method-Override: DELETE", 200),
    "a trace": (b"traceparent: 00-\xff", 200),
    "a key once more": (b"X-API-Key: other", 200, 401),
    "an Idempotency-Key of 300": (b"Idempotency-Key: " + b"a" * 300, 200, 400),
}
CREDENTIALS = {
    "none": b"X-A: a",
    "an empty one": b"Authorization:",
    "a scheme only": b"Authorization: Bearer",
    "another scheme": b"Authorization: Basic YTpi",
    "a digest": b'Authorization: Digest username="a", uri="/"',
    "beyond ASCII": b"Authorization: Bearer \xff\xfe",
    "10 kB": b"Authorization: Bearer " + b"a" * 10_000,
    "a JWT of no algorithm": b"Authorization: Bearer eyJhbGciOiJub25lIn0.e30.",
    "a prefix": b"X-API-Key: re_",
    "a quote": b"X-API-Key: ' OR '1'='1",
    "two": b"X-API-Key: a\r\nAuthorization: Bearer b",
}
EMPTY = b"\r\nHost: engine\r\nConnection: close\r\n\r\n"


def cases() -> list[Case]:
    return [*_ids(), *_paths(), *_queries(), *_methods(), *_headers(), *_credentials()]


def _ids() -> list[Case]:
    places = (
        ("/rags/@", 400),
        ("/rags/@RAG@/sources/@", 400),
        ("/storage_files/@/file", 400),
        (DOOR + "/@", 404),
        (DOOR + "/@/content", 404),
        (DOOR + "/source-file/@", 404),
    )
    # An id may be given as an URN; then there is none with it.
    return [
        case(
            f"{name} for an id in {path}",
            request(
                "GET",
                path.removesuffix("@").replace("/@/", f"/{text}/")
                + (text if path.endswith("@") else ""),
            ),
            code,
            404,
            path=path,
        )
        for (path, code), (name, text) in product(places, IDS.items())
    ]


def _paths() -> list[Case]:
    made = [
        case(
            f"{name} in a path below {prefix or 'the root'}",
            request("GET", prefix + path),
            *((200,) if name in SAME_PATHS and not prefix else (400, 404)),
            path=prefix,
        )
        for prefix, (name, path) in product(("", "/v1/convai"), PATHS.items())
    ]
    raw = {
        "no path": b"GET  HTTP/1.1",
        "a star": b"GET * HTTP/1.1",
        "a bare word": b"GET rags HTTP/1.1",
        "bytes beyond ASCII": b"GET /\xff\xfe HTTP/1.1",
        "a NUL": b"GET /\0 HTTP/1.1",
        "a tab": b"GET\t/rags\tHTTP/1.1",
        "an authority": b"CONNECT engine:443 HTTP/1.1",
        "an authority without a port": b"CONNECT engine HTTP/1.1",
        "a port that is none": b"GET http://engine:99999999/ HTTP/1.1",
        "a scheme only": b"GET http:// HTTP/1.1",
        "another scheme": b"GET javascript:alert(1) HTTP/1.1",
        "an open bracket": b"GET http://[::1 HTTP/1.1",
    }
    made += [case(f"{name} for a path", line + EMPTY, 400, 404) for name, line in raw.items()]
    long = request("GET", "/rags?a=" + "a" * 60_000)
    made += [
        case("a path of 60 kB", request("GET", "/" + "a" * 60_000), 404),
        case("a path of 100 kB", request("GET", "/" + "a" * 100_000), 431),
        case("a path of 2 MB", request("GET", "/" + "a" * 2_000_000), 431),
        case("a query of 60 kB", long, 200),
        case("a query of 2 MB", request("GET", "/rags?a=" + "a" * 2_000_000), 431),
        case("a whole address", request("GET", "http://other/rags"), 200),
    ]
    return made


def _queries() -> list[Case]:
    refused = {name: {400} for name in QUERIES} | {name: {200} for name in IGNORED}
    refused |= {"a token of the last year": {200}, "a token of a year 0": {200, 400}}
    refused |= {"semicolons": {200, 400}, "no value": {200, 400}, "a token far away": {200, 400}}
    native = [
        case(f"{name} in a query of {path}", request("GET", f"{path}?{query}"), *refused[name])
        for path, (name, query) in product(
            (NATIVE, "/storage_files", "/rags/@RAG@/sources", "/accesskeys"), QUERIES.items()
        )
    ]
    door = [
        case(
            f"{name} in a query of {DOOR}",
            request("GET", f"{DOOR}?{query.replace('page_token', 'cursor')}"),
            *(200, 422),
            path=DOOR,
        )
        for name, query in QUERIES.items()
    ]
    return native + door


def _methods() -> list[Case]:
    made = [
        case(f"{method} {path}", request(method, path, length=False), 405, path=path)
        for method, path in product(METHODS, ("/rags", "/healthz", DOOR + "/search"))
        if path != DOOR + "/search" or method not in ("PATCH", "DELETE")
    ]
    made += [
        case(
            f"the method {method[:20]!r}",
            f"{method} /rags HTTP/1.1".encode("latin-1") + EMPTY,
            400,
            405,
        )
        for method in UNKNOWN_METHODS
    ]
    made += [
        case("OPTIONS /rags", request("OPTIONS", "/rags"), 200, 204),
        case("OPTIONS *", b"OPTIONS * HTTP/1.1" + EMPTY, 400, 404),
        case("HEAD /rags", request("HEAD", "/rags"), 200),
        case("HEAD of nothing", request("HEAD", "/nothing"), 404),
        case("HEAD of a file", request("HEAD", "/storage_files/@FILE@/file"), 200),
        case("HEAD of a refusal", request("HEAD", "/rags?page_size=0"), 400),
        case("a body with GET", request("GET", "/rags", body=b"{" * 1_000), 200),
        case("a large body with GET", request("GET", "/rags", body=b"a" * 3_000_000), 200),
        case(
            "a body with DELETE",
            request("DELETE", f"{NATIVE}/{'0' * 8}-0000-0000-0000-{'0' * 12}", body=b"\0"),
            404,
        ),
        case("a body with HEAD", request("HEAD", "/rags", body=b"{}"), 200),
    ]
    return made


def _headers() -> list[Case]:
    return [
        case(f"{name} in a header", request("GET", "/rags", line), *codes)
        for name, (line, *codes) in HEADERS.items()
    ]


def _credentials() -> list[Case]:
    return [
        case(
            f"{name} for a key of {method} {path}",
            f"{method} {path} HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n".encode()
            + line
            + b"\r\nContent-Length: 2\r\n\r\n{}",
            401,
            path=path,
        )
        for (method, path), (name, line) in product(
            (
                ("GET", "/rags"),
                ("POST", "/rags"),
                ("GET", DOOR),
                ("POST", "/v1/voiceai/knowledge-base/text"),
            ),
            CREDENTIALS.items(),
        )
    ]
