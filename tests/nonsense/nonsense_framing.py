"""Where a request ends: lengths that lie, broken chunks, other protocols, requests cut in half."""

from nonsense_case import JSON, NO_ANSWER, Case, case, request

BODY = b'{"name": "a"}'
CHUNKED = b"Transfer-Encoding: chunked"


def cases() -> list[Case]:
    return [*_lengths(), *_chunks(), *_protocols(), *_halves(), *_pieces()]


def _post(*headers: bytes, body: bytes = b"") -> bytes:
    return request("POST", "/rags", JSON, *headers, length=False) + body


def _lengths() -> list[Case]:
    wrong = {
        "negative": b"Content-Length: -1",
        "no number": b"Content-Length: abc",
        "empty": b"Content-Length:",
        "with a sign": b"Content-Length: +13",
        "hexadecimal": b"Content-Length: 0x0d",
        "a fraction": b"Content-Length: 13.0",
        "two numbers": b"Content-Length: 13, 13",
        "twice": b"Content-Length: 13\r\nContent-Length: 13",
        "twice and different": b"Content-Length: 13\r\nContent-Length: 0",
        "beyond 64 bits": b"Content-Length: 99999999999999999999999",
        "10**400": b"Content-Length: 1" + b"0" * 400,
        "beside chunks": b"Content-Length: 13\r\n" + CHUNKED,
        "behind chunks": CHUNKED + b"\r\nContent-Length: 13",
    }
    made = [
        case(f"a length that is {name}", _post(line, body=BODY), 400)
        for name, line in wrong.items()
    ]
    made += [
        case("no length", _post(body=BODY), 400),
        case("a length that is too short", _post(b"Content-Length: 5", body=BODY), 400),
        case(
            "a length that is too long",
            _post(b"Content-Length: 100", body=BODY),
            400,
            finish=True,
        ),
        case(
            "a length of 8 EiB",
            _post(b"Content-Length: 9223372036854775807", body=BODY),
            400,
            finish=True,
        ),
        case(
            "a length over every limit",
            _post(b"Content-Length: 3000000", body=b" " * 3_000_000),
            413,
        ),
    ]
    return made


def _chunks() -> list[Case]:
    end = b"0\r\n\r\n"
    whole = b"d\r\n" + BODY + b"\r\n"
    broken = {
        "a size that is no number": b"zz\r\n" + BODY,
        "a negative size": b"-d\r\n" + BODY + b"\r\n" + end,
        "a size beyond 64 bits": b"fffffffffffffffff\r\n" + BODY,
        "an empty size": b"\r\n" + BODY + b"\r\n" + end,
        "a size that is too short": b"5\r\n" + BODY + b"\r\n" + end,
        "no line end behind a chunk": b"d\r\n" + BODY + end,
        "a NUL in a size": b"\0d\r\n" + BODY + b"\r\n" + end,
    }
    made = [
        case(f"chunks with {name}", _post(CHUNKED, body=body), 400) for name, body in broken.items()
    ]
    made += [
        case(
            "a chunk with an extension",
            _post(CHUNKED, body=whole.replace(b"d\r", b"d;a=b\r", 1) + end),
            200,
        ),
        case(
            "an extension of 1 MB",
            _post(CHUNKED, body=b"d;a=" + b"b" * 1_000_000 + b"\r\n" + BODY + b"\r\n" + end),
            400,
            431,
            NO_ANSWER,
        ),
        case("a trailer", _post(CHUNKED, body=whole + b"0\r\nX-A: b\r\n\r\n"), 200),
        case(
            "a trailer with a length",
            _post(CHUNKED, body=whole + b"0\r\nContent-Length: 5\r\n\r\n"),
            200,
            400,
        ),
        case(
            "a trailer with a key",
            _post(CHUNKED, body=whole + b"0\r\nX-API-Key: other\r\n\r\n"),
            200,
        ),
        case(
            "a trailer of 1 MB",
            _post(CHUNKED, body=whole + b"0\r\nX-A: " + b"b" * 1_000_000 + b"\r\n\r\n"),
            400,
            431,
        ),
        case("chunks without an end", _post(CHUNKED, body=whole), 400, finish=True),
        case("a chunk that is cut off", _post(CHUNKED, body=whole[:9]), 400, finish=True),
        case("13 chunks of a byte", _post(CHUNKED, body=_ones(BODY) + end), 200),
        case(
            "100,000 chunks of a byte", _post(CHUNKED, body=_ones(b" " * 100_000 + BODY) + end), 200
        ),
        case(
            "3 MB in chunks",
            _post(CHUNKED, body=_ones(b" " * 3_000, by=100) * 1_000 + end),
            413,
            400,
        ),
        case("chunks twice", _post(CHUNKED, CHUNKED, body=whole + end), 400),
        case(
            "gzip, then chunks",
            _post(b"Transfer-Encoding: gzip, chunked", body=whole + end),
            400,
            200,
        ),
        case(
            "chunks, then gzip", _post(b"Transfer-Encoding: chunked, gzip", body=whole + end), 400
        ),
        case("another encoding", _post(b"Transfer-Encoding: nonsense", body=whole + end), 400),
        case(
            "an encoding with a tab",
            _post(b"Transfer-Encoding:\tchunked", body=whole + end),
            200,
            400,
        ),
        case(
            "an encoding with a tail",
            _post(b"Transfer-Encoding: chunked\x0b", body=whole + end),
            400,
        ),
        case("a name with a space", _post(b"Transfer-Encoding : chunked", body=whole + end), 400),
    ]
    return made


def _ones(body: bytes, *, by: int = 1) -> bytes:
    size = f"{by:x}\r\n".encode()
    return b"".join(size + body[at : at + by] + b"\r\n" for at in range(0, len(body), by))


def _protocols() -> list[Case]:
    raw = {
        "HTTP/0.9": b"GET /rags\r\n",
        "HTTP/0.9 with an end": b"GET /rags\r\n\r\n",
        "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
        "HTTP/2.0 in words": b"GET /rags HTTP/2.0\r\nHost: a\r\n\r\n",
        "HTTP/9.9": b"GET /rags HTTP/9.9\r\nHost: a\r\n\r\n",
        "HTTP/1": b"GET /rags HTTP/1\r\nHost: a\r\n\r\n",
        "http/1.1": b"GET /rags http/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 with a tail": b"GET /rags HTTP/1.1x\r\nHost: a\r\n\r\n",
        "ICY": b"GET /rags ICE/1.0\r\nHost: a\r\n\r\n",
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500,
        "SSH": b"SSH-2.0-OpenSSH_9.9\r\n",
        "SMTP": b"EHLO engine\r\n",
        "a Redis command": b"*1\r\n$4\r\nPING\r\n",
        "a Postgres start": b"\0\0\0\x08\x04\xd2\x16\x2f",
        "RTSP": b"OPTIONS rtsp://a/b RTSP/1.0\r\nCSeq: 1\r\n\r\n",
        "a proxy line": b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\nGET /rags HTTP/1.1\r\n\r\n",
        "a NUL": b"\0",
        "a mebibyte of NULs": b"\0" * (1 << 20),
        "an answer": b"HTTP/1.1 200 OK\r\n\r\n",
        "letters": b"a" * 100,
        "a mebibyte of letters": b"A" * (1 << 20),
        "a mebibyte of path": b"GET /" + b"a" * (1 << 20),
    }
    others = {"a mebibyte of path": (431,), "RTSP": (404,)}
    made = [case(name, sent, *others.get(name, (400,)), finish=True) for name, sent in raw.items()]
    made += [
        case("HTTP/1.0", b"GET /rags HTTP/1.0\r\nX-API-Key: @TOKEN@\r\n\r\n", 200),
        case("HTTP/1.0 without a host", b"GET /rags HTTP/1.0\r\n\r\n", 401),
        case(
            "HTTP/1.1 without a host", b"GET /rags HTTP/1.1\r\nConnection: close\r\n\r\n", 400, 401
        ),
        case("line ends before a request", b"\r\n" * 10 + request("GET", "/rags"), 200),
        case("line ends only", b"\r\n" * 100_000, NO_ANSWER, 400, 431, finish=True),
        case("nothing at all", b"", NO_ANSWER, finish=True),
    ]
    return made


def _halves() -> list[Case]:
    """Requests that end too early; who has said all of one gets its answer."""
    get, post = request("GET", "/rags"), request("POST", "/rags", JSON, body=BODY)
    made = [
        case(f"a request cut at byte {cut}", get[:cut], 400, finish=True)
        for cut in (1, 3, 5, 9, 20, 40, len(get) - 2, len(get) - 1)
    ]
    made += [
        case(f"a body cut {short} bytes early", post[:-short], 400, finish=True)
        for short in (1, 5, len(BODY))
    ]
    keyless = b"POST /rags HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{"
    return [
        *made,
        case("a whole request and no more", get, 200, finish=True),
        case("a whole request with a body and no more", post, 200, finish=True),
        case("a body cut early by nobody", keyless, 400, 401, finish=True),
    ]


def _pieces() -> list[Case]:
    post = request("POST", "/rags", JSON, body=BODY)
    by_seven = tuple(post[at : at + len(post) // 7] for at in range(0, len(post), len(post) // 7))
    expect = request("POST", "/rags", JSON, "Expect: 100-continue", body=BODY)
    wrong = request("POST", "/rags", JSON, "Expect: nonsense", body=BODY)
    return [
        Case("a request in pieces", "/rags", by_seven, frozenset({200})),
        case("a client that waits to be asked", expect, 200),
        case("a client that waits for something else", wrong, 200, 417),
    ]
