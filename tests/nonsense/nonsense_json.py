"""Bodies that are no JSON, or JSON that no client means."""

from itertools import product

from nonsense_case import DOOR, Case, case, posted, request

DEPTH = 100_000
DEEP = b"[" * DEPTH + b"]" * DEPTH
VALUES = {
    "null": b"null",
    "true": b"true",
    "an array": b"[]",
    "an object": b"{}",
    "an array of arrays": b"[[[]]]",
    "depth": DEEP,
    "objects in depth": b'{"a":' * DEPTH + b"1" + b"}" * DEPTH,
    "1e999": b"1e999",
    "-1e999": b"-1e999",
    "NaN": b"NaN",
    "Infinity": b"-Infinity",
    "10**400": b"1" + b"0" * 400,
    "10**5000": b"1" + b"0" * 5_000,
    "2**63": b"9223372036854775808",
    "2**64": b"18446744073709551616",
    "a denormal": b"5e-324",
    "minus zero": b"-0.0",
    "a leading zero": b"007",
    "hexadecimal": b"0x10",
    "an escaped NUL": b'"a\\u0000b"',
    "a raw NUL": b'"a\0b"',
    "a lone surrogate": b'"\\ud800"',
    "surrogates the wrong way": b'"\\udc00\\ud800"',
    "an encoded surrogate": b'"\xed\xa0\x80"',
    "invalid UTF-8": b'"\xff\xfe"',
    "overlong UTF-8": b'"\xc0\xaf"',
    "an unknown escape": b'"\\x41"',
    "a control character": b'"\x01"',
    "an open text": b'"abc',
    "a long text": b'"' + b"a" * 300_000 + b'"',
    "spaces": b'"   "',
    "an empty text": b'""',
    "right to left": '"\u202egpj.exe"'.encode(),
}
# Where each value stands, and what a body needs besides.
FIELDS = (
    ("POST", "/rags", b'{"name": @}'),
    ("POST", "/rags", b'{"name": "a", "source_urls": [@]}'),
    ("POST", "/rags", b'{"name": "a", "storage_file_ids": @}'),
    ("POST", "/rags", b'{"name": "a", "chunk_tokens": @}'),
    ("PUT", "/rags/@RAG@", b'{"description": @}'),
    ("POST", "/rags/@RAG@/query", b'{"query": "a", "top_k": @}'),
    ("POST", "/rags/@RAG@/query", b'{"query": @}'),
    ("POST", "/accesskeys", b'{"name": "a", "expire_s": @}'),
    ("POST", DOOR + "/text", b'{"text": @}'),
    ("POST", DOOR + "/folder", b'{"name": @}'),
    ("PATCH", DOOR + "/@DOCUMENT@", b'{"name": @}'),
    ("POST", DOOR + "/bulk-move", b'{"document_ids": ["@DOCUMENT@"], "move_to": @}'),
)
BODIES = {
    "nothing": b"",
    "a space": b" ",
    "a NUL": b"\0",
    "a comma": b",",
    "an open object": b"{",
    "an open key": b'{"name',
    "a truncated value": b'{"name": "abc',
    "an open array": b"[" * DEPTH,
    "an open object in depth": b'{"a":' * DEPTH,
    "two objects": b"{}{}",
    "a tail": b'{"name": "a"} x',
    "a comment": b'{"name": "a"} // x',
    "a trailing comma": b'{"name": "a",}',
    "single quotes": b"{'name': 'a'}",
    "a bare word": b"name",
    "an array for an object": b"[]",
    "a text for an object": b'"a"',
    "a number for an object": b"1",
    "null for an object": b"null",
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"name": "a"}'.encode("utf-16"),
    "UTF-32": '{"name": "a"}'.encode("utf-32"),
    "latin-1": '{"name": "é"}'.encode("latin-1"),
    "depth in an unknown field": b'{"name": "a", "x": ' + DEEP + b"}",
    "a thousand fields": b"{" + b",".join(b'"f%d": 1' % n for n in range(1_000)) + b"}",
    "a key of 100 kB": b'{"' + b"k" * 100_000 + b'": 1}',
    "a NUL in a key": b'{"a\\u0000": 1}',
    "a surrogate in a key": b'{"\\ud800": 1}',
    "a form": b"name=a",
    "XML": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
}
TYPES = {
    "a page": "text/html",
    "a picture": "image/png",
    "a form": "application/x-www-form-urlencoded",
    "nothing": "",
    "no type": ";;;",
    "half a type": "application/",
    "a list": "application/json, text/html",
    "XML": "application/xml",
    "NDJSON": "application/x-ndjson",
    "10 kB": "application/json; x=" + "a" * 10_000,
    "another charset": "application/json; charset=utf-16",
    "an unknown charset": "application/json; charset=x-nothing",
}


def cases() -> list[Case]:
    return [*_values(), *_bodies(), *_types(), *_encodings()]


def _values() -> list[Case]:
    return [
        case(
            f"{name} in {method} {path} {body.decode()}",
            posted(
                path, body.replace(b"@}", value + b"}").replace(b"@]", value + b"]"), method=method
            ),
            *_value_codes(path),
            path=path,
        )
        for (method, path, body), (name, value) in product(FIELDS, VALUES.items())
    ]


def _value_codes(path: str) -> tuple[int, ...]:
    return (200, 400, 404, 422) if path.startswith(DOOR) else (200, 400, 404, 409)


def _bodies() -> list[Case]:
    native = [
        case(
            f"{name} as the body of {method} {path}",
            posted(path, body, method=method),
            400,
            path=path,
        )
        for (method, path), (name, body) in product(
            (("POST", "/rags"), ("PUT", "/rags/@RAG@"), ("POST", "/rags/@RAG@/query")),
            BODIES.items(),
        )
    ]
    door = [
        case(f"{name} as the body of POST {path}", posted(path, body), 422, path=path)
        for path, (name, body) in product((DOOR + "/text", DOOR + "/rag-index"), BODIES.items())
    ]
    repeated = [
        case("a repeated key", posted("/rags", b'{"name": "a", "name": "b"}'), 400),
        case(
            "a key repeated by an escape", posted("/rags", b'{"name": "a", "n\\u0061me": "b"}'), 400
        ),
        case("3 MB", posted("/rags", b'{"name": "' + b"a" * 3_000_000 + b'"}'), 413),
        case("3 MB of spaces", posted("/rags", b" " * 3_000_000), 413),
    ]
    return native + door + repeated


def _types() -> list[Case]:
    body = b'{"name": "a"}'
    # An empty type counts as none, and JSON is UTF-8 whatever its announced charset.
    taken = {"nothing", "no type", "10 kB", "another charset", "an unknown charset"}
    return [
        case(
            f"JSON announced as {name}",
            request("POST", "/rags", f"Content-Type: {kind}", body=body),
            200 if name in taken else 400,
        )
        for name, kind in TYPES.items()
    ]


def _encodings() -> list[Case]:
    import gzip

    bomb = gzip.compress(b'{"name": "' + b"a" * 100_000_000 + b'"}', compresslevel=9)
    return [
        case(
            f"a body in {name} on {path}",
            posted(path, body, f"Content-Encoding: {name}"),
            code,
            path=path,
        )
        for path, code, plain in (
            ("/rags", 400, b'{"name": "a"}'),
            (DOOR + "/text", 422, b'{"text": "words"}'),
        )
        for name, body in (
            ("gzip", bomb),
            ("deflate", b"\x78\x9c"),
            ("br", b"\x81"),
            ("nonsense", plain),
            ("gzip, gzip", bomb[:1_000]),
        )
    ]
