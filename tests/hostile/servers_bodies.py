"""Bodies that swell, stop, lie about their length or are encoded in more than one way."""

import gzip
import zlib

from behaviours import BYTES_MAX, WORDS, answer, chunked, error, ready

LARGE, CUT, BAD = "fetch_too_large", "fetch_unreachable", "fetch_bad_encoding"
GZIP, DEFLATE = "Content-Encoding: gzip", "Content-Encoding: deflate"
MIB = 1024 * 1024


def bare(data):
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    return stream.compress(data) + stream.flush()


def bomb(mebibytes, *, window=31):
    stream = zlib.compressobj(9, zlib.DEFLATED, window)
    block = bytes(MIB)
    return b"".join(stream.compress(block) for _ in range(mebibytes)) + stream.flush()


def endless(head, piece):
    """A server that sends `piece` until nobody listens any more."""

    def play(connection, closing):
        connection.sendall(head)
        while not closing.is_set():
            connection.sendall(piece)

    return play


OPEN = b"HTTP/1.1 200 OK\r\n\r\n"
SMALL_CHUNK = b"200\r\n" + bytes(512) + b"\r\n"
# With a file name of two kilobytes, so that the wire's limit is met before the deadline.
EMPTY_MEMBER = gzip.compress(b"")
EMPTY_MEMBER = (
    EMPTY_MEMBER[:3] + b"\x08" + EMPTY_MEMBER[4:10] + b"n" * 2_000 + b"\0" + EMPTY_MEMBER[10:]
)
OPEN_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

LENGTHS = [
    ready("as-long-as-it-says", answer()),
    ready("says-less", answer(WORDS + b" more", length=len(WORDS))),
    error("says-more", answer(length=1_000), CUT),
    error("says-too-much", answer(length=10**12), LARGE),
    error("says-more-than-integers", answer(length="9" * 30), CUT),
    error("says-negative", answer(length=-1), CUT),
    error("says-hex", answer(length="0x10"), CUT),
    error("says-a-fraction", answer(length="26.0"), CUT),
    error("says-a-plus", answer(length="+26"), CUT),
    error("says-full-width-digits", answer(length="\xb2\xb6"), CUT),
    error("says-words", answer(length="many"), CUT),
    error("says-thousands-of-digits", answer(length="1" * 5_000), CUT),
    error("says-two-lengths", answer(head="Content-Length: 5"), CUT),
    ready("says-one-length-twice", answer(head=f"Content-Length: {len(WORDS)}")),
    ready("says-nothing", answer(length="")),
    ready("says-nothing-and-has-nothing", answer(b"", length=""), body=b""),
    error("one-byte-over-the-limit", answer(b"x" * (BYTES_MAX + 1)), LARGE),
    ready("at-the-limit", answer(b"x" * BYTES_MAX), body=b"x" * BYTES_MAX),
    error("endless", endless(OPEN, b"x" * 65_536), LARGE),
    error("endless-zeros", endless(OPEN, bytes(65_536)), LARGE),
]

CHUNKS = [
    ready("chunked", chunked(WORDS[:5], WORDS[5:])),
    ready("chunked-in-single-bytes", chunked(*(WORDS[at : at + 1] for at in range(len(WORDS))))),
    ready("chunks-with-extensions", chunked(end=b"1a;x=y\r\n" + WORDS + b"\r\n0\r\n\r\n")),
    ready("chunks-with-trailers", chunked(WORDS, end=b"0\r\nX-Evil: 1\r\n\r\n")),
    error("chunk-cut-off", chunked(end=b"ff\r\nwords"), CUT),
    error("chunks-without-end", chunked(WORDS, end=b""), CUT),
    error("chunk-size-negative", chunked(end=b"-5\r\nwords\r\n0\r\n\r\n"), CUT),
    error("chunk-size-of-billions", chunked(end=b"ffffffffffffffffffff\r\nwords"), CUT),
    error("chunk-size-of-words", chunked(end=b"zz\r\nwords\r\n0\r\n\r\n"), CUT),
    error("chunk-longer-than-it-says", chunked(end=b"2\r\nwords\r\n0\r\n\r\n"), CUT),
    error("chunk-line-without-end", endless(OPEN_CHUNKED, b"1" * 65_536), CUT),
    error("chunks-without-number", endless(OPEN_CHUNKED, SMALL_CHUNK * 100), LARGE),
    error("trailers-without-end", endless(OPEN_CHUNKED + b"0\r\n", b"X-A: b\r\n" * 1_000), CUT),
    error("chunked-twice", chunked(WORDS, head="Transfer-Encoding: chunked\r\n"), CUT),
    error("transfer-encoding-unknown", answer(length="", head="Transfer-Encoding: nobody"), CUT),
    error("transfer-gzip", answer(length="", head="Transfer-Encoding: gzip, chunked"), CUT),
    ready("chunked-and-a-length", chunked(WORDS, head="Content-Length: 3\r\n")),
]

ENCODINGS = [
    ready("gzip", answer(gzip.compress(WORDS), head=GZIP)),
    ready("x-gzip", answer(gzip.compress(WORDS), head="Content-Encoding: x-gzip")),
    ready("gzip-in-capitals", answer(gzip.compress(WORDS), head="CONTENT-ENCODING: GZip")),
    ready(
        "gzip-of-two-members",
        answer(gzip.compress(WORDS[:5]) + gzip.compress(WORDS[5:]), head=GZIP),
    ),
    ready("gzip-with-padding", answer(gzip.compress(WORDS) + bytes(500), head=GZIP)),
    ready("gzip-of-nothing", answer(gzip.compress(b""), head=GZIP), body=b""),
    ready("deflate", answer(zlib.compress(WORDS), head=DEFLATE)),
    ready("deflate-bare", answer(bare(WORDS), head=DEFLATE)),
    ready("identity", answer(head="Content-Encoding: identity")),
    ready(
        "identity-and-gzip", answer(gzip.compress(WORDS), head="Content-Encoding: identity, gzip")
    ),
    error("gzip-that-is-none", answer(head=GZIP), BAD),
    error("deflate-that-is-none", answer(b"\xff" * 40, head=DEFLATE), BAD),
    error("gzip-cut-off", answer(gzip.compress(WORDS)[:-9], head=GZIP), CUT),
    error("gzip-of-one-byte", answer(b"\x1f", head=GZIP), CUT),
    error("gzip-crc-wrong", answer(gzip.compress(WORDS)[:-8] + bytes(8), head=GZIP), BAD),
    error(
        "gzip-twice",
        answer(gzip.compress(gzip.compress(WORDS)), head="Content-Encoding: gzip, gzip"),
        BAD,
    ),
    error("gzip-in-two-lines", answer(gzip.compress(WORDS), head=f"{GZIP}\r\n{GZIP}"), BAD),
    error("encodings-by-the-thousand", answer(head="Content-Encoding: " + "gzip, " * 1_000), BAD),
    error(
        "brotli-bomb", answer(b"\xcf\xff\xff\x7f\xf8\x27" * 130, head="Content-Encoding: br"), BAD
    ),
    error("zstandard", answer(b"(\xb5/\xfd", head="Content-Encoding: zstd"), BAD),
    error("compress", answer(b"\x1f\x9d\x90", head="Content-Encoding: compress"), BAD),
    error("encoding-nobody-knows", answer(head="Content-Encoding: rot13"), BAD),
    error("gzip-bomb", answer(bomb(300), head=GZIP), LARGE),
    error("deflate-bomb", answer(bomb(300, window=15), head=DEFLATE), LARGE),
    error("bare-deflate-bomb", answer(bomb(300, window=-15), head=DEFLATE), LARGE),
    error("chunked-gzip-bomb", chunked(bomb(100), head=GZIP + "\r\n"), LARGE),
    error(
        "gzip-of-endless-empty-members",
        endless(OPEN[:-2] + GZIP.encode() + b"\r\n\r\n", EMPTY_MEMBER * 20),
        LARGE,
    ),
    error(
        "gzip-with-an-endless-name",
        endless(
            OPEN[:-2] + GZIP.encode() + b"\r\n\r\n\x1f\x8b\x08\x08\x00\x00\x00\x00\x00\x03",
            b"n" * 65_536,
        ),
        LARGE,
    ),
    error(
        "deflate-of-endless-empty-blocks",
        endless(OPEN[:-2] + DEFLATE.encode() + b"\r\n\r\n", b"\x00\x00\x00\xff\xff" * 10_000),
        LARGE,
    ),
]

CASES = [*LENGTHS, *CHUNKS, *ENCODINGS]
