"""Plain texts in every charset, true and lying, and bytes that are no text at all."""

import random

from cases import MIB, error, ready

GERMAN = "Größere Übung mit Ärger: ein Satz über Maße, der lang genug ist, um erkannt zu werden. "
RUSSIAN = "Это предложение по-русски, достаточно длинное, чтобы его можно было узнать. "
JAPANESE = "これは日本語の文章です。十分に長いので、文字コードがわかります。"
CHINESE = "这是一个中文句子，它足够长，可以被识别出来。我们希望它能被正确读取。"
KOREAN = "이것은 한국어 문장입니다. 알아볼 수 있을 만큼 충분히 깁니다."
GUESSED, REPLACED = ("charset_guessed",), ("replaced_characters",)
FOREIGN, EMPTY, LARGE = "unsupported_format", "empty_text", "document_too_large"


def coded(name, text, charset, *, said=None, **more):
    """A text in a charset that the server names rightly, unless `said` is another name."""
    claimed = charset if said is None else said
    return ready(name, (text * 3).encode(charset), text.strip(), charset=claimed, **more)


def _high():
    return bytes(random.Random(8).choices(range(0x80, 0x100), k=10_000))


CHARSETS = [
    coded("utf-8.txt", GERMAN, "utf-8"),
    coded("utf-8-mark.txt", GERMAN, "utf-8-sig", said=""),
    coded("utf-16-mark.txt", GERMAN, "utf-16", said=""),
    coded("utf-16-be.txt", GERMAN, "utf-16-be", said=""),
    coded("utf-16-le.txt", GERMAN, "utf-16-le", said=""),
    coded("utf-32-mark.txt", GERMAN, "utf-32", said=""),
    coded("latin-1.txt", GERMAN, "latin-1"),
    coded("windows-1252.txt", GERMAN + "“quoted” ", "cp1252", said="iso-8859-1"),
    coded("windows-1251.txt", RUSSIAN, "cp1251"),
    coded("koi8-r.txt", RUSSIAN, "koi8-r"),
    coded("mac-cyrillic.txt", RUSSIAN, "mac_cyrillic"),
    coded("shift-jis.txt", JAPANESE, "shift_jis"),
    coded("euc-jp.txt", JAPANESE, "euc_jp"),
    coded("iso-2022-jp.txt", JAPANESE, "iso2022_jp"),
    coded("gb18030.txt", CHINESE, "gb18030"),
    coded("big5.txt", "這是一個中文句子，它足夠長，可以被識別出來。", "big5"),
    coded("hz.txt", "这是一个中文句子", "hz"),
    coded("euc-kr.txt", KOREAN, "euc_kr"),
    coded("turkish.txt", "Bu cümle Türkçe yazılmıştır ve yeterince uzundur. ", "cp1254"),
    coded("greek.txt", "Αυτή η πρόταση είναι γραμμένη στα ελληνικά. ", "iso8859-7"),
    coded("says-latin-1-is-utf-8.txt", GERMAN, "utf-8", said="iso-8859-1"),
    coded("says-utf-8-is-latin-1.txt", GERMAN, "latin-1", said="utf-8", warns=GUESSED),
    coded("says-utf-16-is-utf-8.txt", GERMAN, "utf-8", said="utf-16"),
    coded("says-nothing-known.txt", GERMAN, "utf-8", said="x-nobody"),
    coded("says-idna.txt", GERMAN, "utf-8", said="idna"),
    coded("says-punycode.txt", GERMAN, "utf-8", said="punycode"),
    coded("says-base64.txt", GERMAN, "utf-8", said="base64"),
    coded("says-zlib.txt", GERMAN, "utf-8", said="zlib_codec"),
    coded("says-rot13.txt", GERMAN, "utf-8", said="rot13"),
    coded("says-undefined.txt", GERMAN, "utf-8", said="undefined"),
    coded("says-unicode-escape.txt", GERMAN, "utf-8", said="unicode_escape"),
    coded("says-a-path.txt", GERMAN, "utf-8", said="../../etc/passwd"),
    coded("says-nul.txt", GERMAN, "utf-8", said="utf-8\x00"),
    coded("says-too-much.txt", GERMAN, "utf-8", said="x" * 100_000),
]

BYTES = [
    ready("nul-inside.txt", b"Before the NUL\x00 and behind it are words.", "NUL and behind"),
    ready(
        "controls-inside.txt", b"Words\x01\x02 and\x1b more of \x0bwords here.", "Words and more"
    ),
    ready("delete-inside.txt", b"Words with\x7f a delete.", "Words with a delete."),
    ready("c1-controls.txt", "Words with \x85 and \x9f inside of them.", "Words with"),
    ready("marks-inside.txt", "Words \ufeffwith marks\ufeff.", "Words"),
    ready("noncharacters.txt", "Words \ufffe\uffff\U0010ffff here.", "Words"),
    ready(
        "half-a-pair-in-utf-16.txt",
        b"\xff\xfeW\x00o\x00\x00\xd8r\x00d\x00s\x00 \x00" * 9,
        "Wo",
        warns=REPLACED,
    ),
    ready(
        "half-a-pair-in-utf-8.txt",
        (GERMAN * 9).encode() + b"\xed\xa0\x80",
        GERMAN.strip(),
        warns=REPLACED,
    ),
    ready(
        "pair-in-cesu-8.txt",
        (GERMAN * 30).encode() + b"\xed\xa0\xbd\xed\xb8\x80",
        GERMAN.strip(),
        warns=REPLACED,
    ),
    ready("overlong.txt", (GERMAN * 9).encode() + b"\xc0\xaf", GERMAN.strip(), warns=REPLACED),
    ready(
        "cut-in-a-character.txt", (GERMAN * 9).encode()[:-1] + b"\xc3", "Größere", warns=REPLACED
    ),
    ready("odd-utf-16.txt", GERMAN.encode("utf-16") + b"x", GERMAN.strip(), warns=REPLACED),
    ready("right-to-left.txt", "Words \u202efdp.exe\u202c and more.", "Words"),
    ready("zero-width.txt", "W\u200bo\u200dr\u2060ds.", "W\u200bo"),
    ready("combining.txt", "Words" + "\u0301" * 100_000 + " end.", " end."),
    ready("returns-only.txt", b"One line.\rAnother line.\r", "One line.\nAnother line."),
    ready("other-line-ends.txt", "One.\x0bTwo.\x0cThree.\u2028Four.\x85Five.", "One.\nTwo."),
    ready("one-character.txt", "x", "x"),
    ready("ten-megabytes-in-a-line.txt", lambda: "word " * (2 * MIB) + "end", "end", heavy=True),
    error("fifty-megabytes-in-a-line.txt", lambda: "x" * (50 * MIB), LARGE, heavy=True),
    ready("a-million-blank-lines.txt", lambda: "a" + "\n" * 1_000_000 + "b", "a", "b"),
    error("too-many-paragraphs.txt", lambda: "x\n\n" * 300_001, "document_too_complex"),
    error("no-bytes.txt", b"", EMPTY),
    error("only-a-mark.txt", b"\xef\xbb\xbf", EMPTY),
    error("only-a-wide-mark.txt", b"\xff\xfe", EMPTY),
    error("only-blanks.txt", b" \t\r\n" * 10_000, EMPTY),
    error("only-nuls.txt", bytes(100), FOREIGN),
    error("only-deletes.txt", b"\x7f" * 100, EMPTY),
    error("random-bytes.txt", lambda: random.Random(7).randbytes(100_000), FOREIGN),
    ready("random-high-bytes.txt", _high, warns=(*GUESSED, *REPLACED)),
]

MAGIC = {
    "png": b"\x89PNG\r\n\x1a\n",
    "jpeg": b"\xff\xd8\xff\xe0",
    "gif": b"GIF89a",
    "tiff": b"II*\x00",
    "webp": b"RIFF\x00\x00\x00\x00WEBP",
    "wav": b"RIFF\x00\x00\x00\x00WAVE",
    "mp4": b"\x00\x00\x00\x18ftypmp42",
    "mp3": b"ID3\x03",
    "ogg": b"OggS",
    "flac": b"fLaC",
    "mkv": b"\x1aE\xdf\xa3",
    "gz": b"\x1f\x8b\x08",
    "bz2": b"BZh9",
    "xz": b"\xfd7zXZ\x00",
    "zst": b"(\xb5/\xfd",
    "7z": b"7z\xbc\xaf'\x1c",
    "rar": b"Rar!\x1a\x07",
    "elf": b"\x7fELF",
    "class": b"\xca\xfe\xba\xbe",
    "wasm": b"\x00asm",
    "sqlite": b"SQLite format 3\x00",
    "doc": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
    "rtf": b"{\\rtf1\\ansi Words.}",
    "ps": b"%!PS-Adobe-3.0\n",
    "exe": b"MZ\x90\x00",
    "bmp": b"BM\x00\x00\x00\x00",
    "tar": b"a" * 257 + b"ustar",
    "parquet": b"PAR1",
    "ico": b"\x00\x00\x01\x00",
    "woff": b"wOFF",
}

FOREIGNERS = [
    error(f"foreign-{name}.txt", magic + bytes(64), FOREIGN, media_type="text/plain")
    for name, magic in MAGIC.items()
]

CASES = [*CHARSETS, *BYTES, *FOREIGNERS]
