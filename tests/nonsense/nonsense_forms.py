"""Forms that are broken, too large, or carry names that no file has."""

from itertools import product

from nonsense_case import DOOR, Case, case, form, part, request

UPLOADS = (
    ("/storage_files", b"file", 400),
    ("/rags", b"files", 400),
    (DOOR + "/file", b"file", 422),
)
NAME = part(b"name", b"a")
# Names that become a file's, cleaned.
FILENAMES = {
    "a path": b"../../../../etc/passwd",
    "a path of Windows": b"C:\\\\Windows\\\\win.ini",
    "dots": b"..",
    "a slash": b"/",
    "a CRLF": b"a%0D%0Ab.txt",
    "right to left": "a\u202etxt.exe".encode(),
    "300 letters": b"a" * 300 + b".txt",
    "8,000 letters": b"a" * 8_000 + b".txt",
    "spaces": b"   ",
    "a quote": b'a\\"b.txt',
    "a semicolon": b"a;b=c.txt",
    "no UTF-8": b"\xff\xfe.txt",
    "a control character": b"a\x01b.txt",
    "a reserved name": b"CON",
    "a star": b"*.txt",
    "emoji": "\U0001f600.txt".encode(),
    "no extension": b"a",
    "a hidden file": b".htaccess",
}


def cases() -> list[Case]:
    return [*_shapes(), *_boundaries(), *_names(), *_counts(), *_fields()]


def _body(path: str, body: bytes, kind: bytes = b"multipart/form-data; boundary=X") -> bytes:
    return request("POST", path, b"Content-Type: " + kind, body=body)


def _shapes() -> list[Case]:
    broken = {
        "nothing": b"",
        "no boundary in it": b"words",
        "its end only": b"--X--\r\n",
        "no end": b"--X\r\n@\r\n\r\nx",
        "an end in the middle of the boundary": b"--X\r\n@\r\n\r\nx\r\n--",
        "a cut head": b"--X\r\nContent-Disposition: form-d",
        "a part without a head": b"--X\r\n\r\nx\r\n--X--\r\n",
        "a head without a colon": b"--X\r\nnonsense\r\n\r\nx\r\n--X--\r\n",
        "no disposition": b"--X\r\nContent-Type: text/plain\r\n\r\nx\r\n--X--\r\n",
        "another disposition": b"--X\r\nContent-Disposition: attachment\r\n\r\nx\r\n--X--\r\n",
        "two dispositions": b"--X\r\n@\r\n@\r\n\r\nx\r\n--X--\r\n",
        "line feeds only": b"--X\n@\n\nx\n--X--\n",
        "another boundary": b"--Y\r\n@\r\n\r\nx\r\n--Y--\r\n",
        "a NUL in a head": b"--X\r\n@\0\r\n\r\nx\r\n--X--\r\n",
        "a head of 1 MB": b"--X\r\n@\r\nX-A: " + b"a" * 1_000_000 + b"\r\n\r\nx\r\n--X--\r\n",
        "a thousand heads": b"--X\r\n@\r\n" + b"X-A: a\r\n" * 1_000 + b"\r\nx\r\n--X--\r\n",
        "a preamble of 1 MB": b"a" * 1_000_000 + b"\r\n--X\r\n@\r\n\r\nx\r\n--X--\r\n",
        "a long line of dashes": b"-" * 1_000_000,
        "a length of its own": b"--X\r\n@\r\nContent-Length: 99999\r\n\r\nx\r\n--X--\r\n",
        "a part in a part": b"--X\r\n@\r\nContent-Type: multipart/mixed; boundary=X\r\n\r\n--X\r\n"
        b"@\r\n\r\nx\r\n--X--\r\n--X--\r\n",
        "another encoding": b"--X\r\n@\r\nContent-Transfer-Encoding: base64\r\n\r\n!!\r\n--X--\r\n",
    }
    good = {"another encoding", "a length of its own", "a preamble of 1 MB"}
    good |= {"two dispositions", "a NUL in a head", "a part in a part"}
    limits = {"a head of 1 MB", "a thousand heads"}
    head = b'Content-Disposition: form-data; name="@FIELD@"; filename="a.txt"'
    return [
        case(
            f"a form to {path} with {name}",
            _body(path, body.replace(b"@", head).replace(b"@FIELD@", field)),
            *((200, code, 413) if name in good else (413,) if name in limits else (code, 413)),
            path=path,
        )
        for (path, field, code), (name, body) in product(UPLOADS, broken.items())
    ]


def _boundaries() -> list[Case]:
    kinds = {
        "none": b"multipart/form-data",
        "an empty one": b"multipart/form-data; boundary=",
        "an empty quoted one": b'multipart/form-data; boundary=""',
        "an open quote": b'multipart/form-data; boundary="X',
        "10 kB": b"multipart/form-data; boundary=" + b"X" * 10_000,
        "a NUL": b"multipart/form-data; boundary=%00",
        "no ASCII": b"multipart/form-data; boundary=\xff\xfe",
        "spaces": b'multipart/form-data; boundary="   "',
        "an encoded one": b"multipart/form-data; boundary*=utf-8''%ff",
        "another multipart": b"multipart/mixed; boundary=X",
        "urlencoded": b"application/x-www-form-urlencoded",
        "JSON": b"application/json",
    }
    whole = b"--X\r\n" + part(b"file", b"x", filename=b"a.txt") + b"\r\n--X--\r\n"
    return [
        case(
            f"a form to {path} whose boundary is {name}", _body(path, whole, kind), code, path=path
        )
        for (path, _, code), (name, kind) in product(UPLOADS, kinds.items())
    ]


def _names() -> list[Case]:
    return [
        case(
            f"a file called by {name} to {path}",
            form(path, part(field, b"words", filename=filename), NAME),
            *(
                (code,)
                if name == "no UTF-8"
                else (413,)
                if name == "8,000 letters"
                else (200, code)
            ),
            path=path,
        )
        for (path, field, code), (name, filename) in product(UPLOADS, FILENAMES.items())
    ]


def _name_codes(name: str, code: int) -> tuple[int, ...]:
    return {"no UTF-8": (code,), "8,000 letters": (413,)}.get(name, (200, code))


def _counts() -> list[Case]:
    one = part(b"file", b"x", filename=b"a.txt")
    many = [part(b"f%d" % n, b"x") for n in range(10_000)]
    big = part(b"file", b"x" * 2_100_000, filename=b"a.txt")
    return [
        case("two files to /storage_files", form("/storage_files", one, one), 400),
        case("two files to the door", form(DOOR + "/file", one, one), 422, path=DOOR),
        case("10,000 parts to /rags", form("/rags", NAME, *many), 413),
        case("10,000 parts to the door", form(DOOR + "/file", one, *many), 413, path=DOOR),
        case("70 files", form("/rags", NAME, *[part(b"files", b"", filename=b"a")] * 70), 413),
        case("a file over the limit", form("/storage_files", big), 413),
        case("a file over the limit to the door", form(DOOR + "/file", big), 413, path=DOOR),
        case("a form over the limit", form("/rags", NAME, *[big[:1_900_000]] * 5), 400, 413),
        case("a text over the limit", form("/rags", part(b"name", b"a" * 2_100_000)), 413),
        case("an empty filename", form("/storage_files", part(b"file", b"x", filename=b"")), 400),
        case("no file", form("/storage_files", NAME), 400),
        case("no file to the door", form(DOOR + "/file", NAME), 422, path=DOOR),
        case(
            "a file without bytes", form("/storage_files", part(b"file", filename=b"a")), 200, 400
        ),
    ]


def _fields() -> list[Case]:
    texts = {
        "a NUL": b"a\0b",
        "no UTF-8": b"\xff",
        "a surrogate": b"\xed\xa0\x80",
        "300 letters": b"a" * 300,
        "spaces": b"  ",
        "a CRLF": b"a\r\nb",
        "right to left": "\u202e".encode(),
    }
    made = [
        case(f"a name of {name} in a form", form("/rags", part(b"name", text)), 200, 400)
        for name, text in texts.items()
    ]
    numbers = [b"", b"x", b"1e999", b"-1", b"1" * 400, b"\xd9\xa3", b"0x10", b"1.5", b"NaN"]
    made += [
        case(
            f"chunk_tokens of {n[:20]!r} in a form",
            form("/rags", NAME, part(b"chunk_tokens", n)),
            400,
        )
        for n in numbers
    ]
    odd = [b"", b".", b"[]", b"name[]", b"__proto__", b"a" * 8_000, b"\xff", b"na\0me", b"NAME"]
    made += [
        case(f"a field called {n[:20]!r}", form("/rags", NAME, part(n, b"x")), 400, 413)
        for n in odd
    ]
    made.append(case("a field twice", form("/rags", NAME, NAME), 400))
    return made
