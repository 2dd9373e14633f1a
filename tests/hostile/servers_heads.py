"""Statuses, header lines and things that are no HTTP, and servers that take their time."""

import time

from behaviours import WORDS, answer, error, ready
from servers_bodies import endless

JUNK, SLOW, REJECTED = "fetch_unreachable", "fetch_timeout", "fetch_rejected"
TLS_ALERT = b"\x15\x03\x01\x00\x02\x02\x28"


def slowly(data, *, pause_s=0.05):
    """Byte for byte, each a little later."""

    def play(connection, closing):
        for at in range(len(data)):
            if closing.is_set():
                return
            connection.sendall(data[at : at + 1])
            time.sleep(pause_s)

    return play


def stalled(data):
    """These bytes, and then nothing until the other side hangs up."""

    def play(connection, _):
        connection.sendall(data)
        connection.recv(1)

    return play


STATUSES = [
    error("100-only", b"HTTP/1.1 100 Continue\r\n\r\n", JUNK),
    error("100-without-end", endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100), SLOW),
    error("103-without-end", endless(b"", b"HTTP/1.1 103 Hints\r\nLink: <x>\r\n\r\n" * 50), SLOW),
    ready("100-then-200", b"HTTP/1.1 100 Continue\r\n\r\n" + answer()),
    ready("103-fifty-times", b"HTTP/1.1 103 Hints\r\n\r\n" * 50 + answer()),
    error("101-unasked", answer(status="101 Switching", head="Upgrade: h2c"), JUNK),
    ready("201", answer(status="201 Created")),
    ready("204", answer(b"", status="204 None"), body=b""),
    error("206-unasked", answer(status="206 Part", head="Content-Range: bytes 0-25/99"), REJECTED),
    error("226", answer(status="400 Bad"), REJECTED),
    error("401", answer(status="401 Who", head="WWW-Authenticate: Basic"), "fetch_forbidden"),
    error("402", answer(status="402 Pay"), REJECTED),
    error("403", answer(status="403 No"), "fetch_forbidden"),
    error("404", answer(status="404 Gone"), "fetch_not_found"),
    error("406", answer(status="406 Not Acceptable"), REJECTED),
    error("407", answer(status="407 Proxy"), "fetch_forbidden"),
    error("408", answer(status="408 Slow"), "fetch_server_error"),
    error("410", answer(status="410 Gone"), "fetch_not_found"),
    error("416", answer(status="416 Range"), REJECTED),
    error("418", answer(status="418 Teapot"), REJECTED),
    error("429", answer(status="429 Later", head="Retry-After: 999999999"), "fetch_server_error"),
    error("451", answer(status="451 Law"), REJECTED),
    error("500", answer(status="500 Oh"), "fetch_server_error"),
    error(
        "503-forever", answer(status="503 Later", head="Retry-After: never"), "fetch_server_error"
    ),
    error("599", answer(status="599 Oh"), "fetch_server_error"),
    error("600", answer(status="600 What"), REJECTED),
    error("999", answer(status="999 What"), REJECTED),
    error("000", answer(status="000 What"), JUNK),
    error("status-negative", answer(status="-200 What"), JUNK),
    error("status-of-four-digits", answer(status="2000 What"), JUNK),
    error("status-of-words", answer(status="OK 200"), JUNK),
]

HEADS = [
    ready("no-headers", b"HTTP/1.1 200 OK\r\n\r\n" + WORDS),
    ready("http-1.0", b"HTTP/1.0 200 OK\r\n\r\n" + WORDS),
    error("http-0.9", WORDS, JUNK),
    error("http-2-preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", JUNK),
    error("http-2-frames", b"\x00\x00\x00\x04\x00\x00\x00\x00\x00", JUNK),
    ready("http-3.7", b"HTTP/3.7 200 OK\r\n\r\n" + WORDS),
    error("icy", b"ICY 200 OK\r\n\r\n" + WORDS, JUNK),
    error("ssh", b"SSH-2.0-OpenSSH_9.0\r\n", JUNK),
    error("smtp", b"220 mail ESMTP\r\n", JUNK),
    error("redis", b"-ERR wrong number of arguments\r\n", JUNK),
    error("tls-alert", TLS_ALERT, JUNK),
    error("tls-hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc" + bytes(500), JUNK),
    error("tls-that-is-http", answer(), JUNK, tls=True),
    error("nuls", bytes(10_000), JUNK),
    error("random", bytes(range(256)) * 100, JUNK),
    error("nothing", b"", JUNK),
    error("one-byte", b"H", JUNK),
    error("head-cut-off", b"HTTP/1.1 200 OK\r\nContent-", JUNK),
    ready("bare-line-feeds", b"HTTP/1.1 200 OK\nContent-Length: 26\n\n" + WORDS),
    error("header-without-colon", answer(head="no colon at all"), JUNK),
    error("header-with-blank-name", answer(head=": value"), JUNK),
    error("header-with-blank-in-name", answer(head="Bad Name: value"), JUNK),
    error("header-with-nul", answer(head="X-A: a\x00b"), JUNK),
    ready("header-folded", answer(head="X-A: a\r\n b")),
    ready("header-in-latin-1", answer(head="X-A: \xe9\xff")),
    ready("five-hundred-headers", answer(head="\r\n".join(f"X-{n}: a" for n in range(500)))),
    error("header-of-a-megabyte", answer(head="X-A: " + "a" * 1_000_000), JUNK),
    error("header-without-end", endless(b"HTTP/1.1 200 OK\r\nX-A: ", b"a" * 65_536), JUNK),
    error("headers-without-end", endless(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n" * 5_000), JUNK),
    error("reason-without-end", endless(b"HTTP/1.1 200 ", b"a" * 65_536), JUNK),
    ready("cookies", answer(head="\r\n".join(f"Set-Cookie: a{n}=b" for n in range(200)))),
    ready("range-unasked", answer(head="Content-Range: bytes 0-5/9\r\nAccept-Ranges: bytes")),
    ready("keep-alive-without-end", answer(head="Connection: keep-alive\r\nKeep-Alive: max=9999")),
    ready("two-answers", answer() + answer(b"second")),
    ready("type-missing", answer(head="X: y"), charset=""),
    ready("type-junk", answer(head="Content-Type: ;;;=,/"), charset=""),
    ready("type-twice", answer(head="Content-Type: text/html\r\nContent-Type: image/png")),
    ready("type-of-kilobytes", answer(head="Content-Type: text/" + "x" * 50_000)),
    ready("charset-junk", answer(head="Content-Type: text/html; charset=../../x"), charset=".."),
    ready(
        "name-outside",
        answer(head="Content-Disposition: attachment; filename=../../etc/passwd"),
        filename="passwd",
    ),
    ready(
        "name-absolute",
        answer(head='Content-Disposition: x; filename="/etc/shadow"'),
        filename="shadow",
    ),
    ready(
        "name-with-backslashes",
        answer(head='Content-Disposition: x; filename="C:\\\\a\\\\b.txt"'),
        filename="b.txt",
    ),
    ready(
        "name-with-nul",
        answer(head="Content-Disposition: x; filename*=utf-8''a%00b%0d%0a.txt"),
        filename="ab.txt",
    ),
    ready("name-of-dots", answer(head="Content-Disposition: x; filename=.."), filename=""),
    ready(
        "name-of-kilobytes",
        answer(head=f"Content-Disposition: x; filename={'n' * 9_000}"),
        filename="n" * 255,
    ),
]

SLOWNESS = [
    error("never-answers", stalled(b""), SLOW),
    error("stalls-in-the-status", stalled(b"HTTP/1.1 2"), SLOW),
    error("stalls-in-the-headers", stalled(b"HTTP/1.1 200 OK\r\nX-A:"), SLOW),
    error("stalls-in-the-body", stalled(answer(length=99)), SLOW),
    error(
        "stalls-in-a-chunk",
        stalled(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n"),
        SLOW,
    ),
    error(
        "stalls-in-the-gzip",
        stalled(answer(b"\x1f\x8b\x08", length=99, head="Content-Encoding: gzip")),
        SLOW,
    ),
    error("stalls-before-the-end", stalled(answer(length=len(WORDS) + 1)), SLOW),
    error("drips-the-headers", slowly(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 100), SLOW),
    error("drips-the-body", slowly(answer(b"x" * 500), pause_s=0.05), SLOW),
    error("drips-hints", slowly(b"HTTP/1.1 103 Hints\r\n\r\n" * 100), SLOW),
    ready("a-little-slow", slowly(answer(), pause_s=0.002)),
    error("hangs-up-at-once", lambda connection, _: None, JUNK),
]

CASES = [*STATUSES, *HEADS, *SLOWNESS]
