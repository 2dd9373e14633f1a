"""Bytes to text: byte order mark, UTF-8, the claimed charset, the page's own, then a guess.

UTF-8 comes before the claim, because bytes with accents are valid UTF-8 by accident next to
never, while servers claim Latin-1 for everything.
"""

import codecs
import re

import msgspec
from charset_normalizer import from_bytes

from engine.errors import UnsupportedFormat
from engine.models import Warned
from workers.extract.sniff import HEAD_BYTES, wide_charset

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Escape-based charsets are all ASCII to UTF-8, so for them the claim has to come first.
_SEVEN_BIT = ("iso2022", "hz")
# These are codecs to Python, but no text on the web is written in them, and one is quadratic.
_NOT_TEXT = frozenset(
    {"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "utf_7", "mbcs"}
)
# What browsers do: these labels mean the larger charset that fills the holes they leave.
_WIDENED = {
    "iso8859-1": "cp1252",
    "ascii": "cp1252",
    "us-ascii": "cp1252",
    "iso8859-9": "cp1254",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
}
_WIDE = ("utf-16", "utf-32")
# Control bytes that no text in an ASCII-compatible charset has, and UTF-16 has all the time.
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
_META = re.compile(rb"<meta[^<>]{0,400}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_:.\-]{1,40})", re.I)
_GUESS_BYTES = 65_536
_REPLACED_SHARE_MAX = 0.01


class Decoded(msgspec.Struct, frozen=True, kw_only=True):
    """Text and what it took to get it."""

    text: str
    charset: str
    warnings: tuple[Warned, ...] = ()


def decode(data: bytes, *, declared: str) -> Decoded:
    """Any bytes that are text in some charset; UnsupportedFormat for what decodes to junk."""
    for mark, charset in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return _forced(data, charset=charset)
    wide, claimed = wide_charset(data), _codec(declared)
    seven_bit = claimed if claimed.startswith(_SEVEN_BIT) else ""
    wide = wide or claimed_wide(data, declared=declared)
    named = (claimed, _codec(_page_charset(data)))
    for charset in (wide, seven_bit, "utf-8", *named):
        if charset and (text := _strict(data, charset=charset)) is not None:
            return Decoded(text=text, charset=charset)
    if (decoded := _mostly_utf8(data)) is not None:
        return decoded
    for charset in named:
        if charset and (decoded := _nearly(data, charset=charset)) is not None:
            return decoded
    return _guessed(data)


def claimed_wide(data: bytes, *, declared: str) -> str:
    """The declared UTF-16 or UTF-32 where the bytes bear it out, else "".

    Control bytes have to speak for it, because any even number of ASCII letters decodes as well.
    """
    charset = _codec(declared)
    if not charset.startswith(_WIDE) or not _CONTROL.search(data):
        return ""
    return "" if _strict(data, charset=charset) is None else charset


def _codec(name: str) -> str:
    """Python's own name of a charset, "" when it is none that may be used for documents."""
    try:
        found = codecs.lookup(name.strip().lower()) if name else None
    except (LookupError, ValueError):
        return ""
    if found is None or found.name.replace("-", "_") in _NOT_TEXT:
        return ""
    return _WIDENED.get(found.name, found.name)


def _page_charset(data: bytes) -> str:
    found = _META.search(data[:HEAD_BYTES])
    return found.group(1).decode("ascii") if found else ""


def _strict(data: bytes, *, charset: str) -> str | None:
    try:
        return data.decode(charset)
    except (UnicodeError, LookupError):
        return None


def _forced(data: bytes, *, charset: str) -> Decoded:
    text = data.decode(charset, errors="replace")
    replaced = text.count("\ufffd")
    if replaced > max(16, len(text) * 0.1):
        raise UnsupportedFormat("The document seems to be binary data, which has no text.")
    return Decoded(text=text, charset=charset, warnings=_replaced(replaced, charset=charset))


def _mostly_utf8(data: bytes) -> Decoded | None:
    """UTF-8 with a few broken bytes, such as a text cut in the middle of a character."""
    text = data.decode("utf-8", errors="replace")
    replaced = text.count("\ufffd")
    foreign = len(text) - len(text.encode("ascii", "ignore")) - replaced
    if replaced > max(2, foreign // 4, len(text) * _REPLACED_SHARE_MAX) or foreign < replaced:
        return None
    return Decoded(text=text, charset="utf-8", warnings=_replaced(replaced, charset="utf-8"))


def _nearly(data: bytes, *, charset: str) -> Decoded | None:
    """A charset that fits but for a few bytes; a wrong one breaks most of what is not ASCII."""
    try:
        text = data.decode(charset, errors="replace")
    except (UnicodeError, LookupError):
        return None
    replaced = text.count("\ufffd")
    foreign = len(text) - len(text.encode("ascii", "ignore")) - replaced
    if replaced > len(text) * _REPLACED_SHARE_MAX or replaced * 4 > foreign:
        return None
    return Decoded(text=text, charset=charset, warnings=_replaced(replaced, charset=charset))


def _guessed(data: bytes) -> Decoded:
    """Guesses from a sample around the first byte that is not ASCII: the rest tells nothing."""
    first = next((at for at, byte in enumerate(data) if byte > 127), 0)
    sample = data[max(0, first - 1_024) : first + _GUESS_BYTES]
    best = from_bytes(sample, threshold=0.4).best()
    charset = _codec(best.encoding) if best else ""
    decoded = _nearly(data, charset=charset) if charset else None
    for name in (charset, "cp1252") if decoded is None else ():
        if name and (text := _strict(data, charset=name)) is not None:
            return Decoded(text=text, charset=name, warnings=(_guess_warning(name),))
    decoded = decoded or _forced(data, charset=charset or "cp1252")
    warnings = (_guess_warning(decoded.charset), *decoded.warnings)
    return Decoded(text=decoded.text, charset=decoded.charset, warnings=warnings)


def _guess_warning(charset: str) -> Warned:
    return Warned(
        code="charset_guessed",
        message=f"The text names no character set that fits; it was read as {charset}.",
    )


def _replaced(count: int, *, charset: str) -> tuple[Warned, ...]:
    if not count:
        return ()
    noun = "character" if count == 1 else "characters"
    message = f"{count} {noun} could not be read as {charset} and were replaced."
    return (Warned(code="replaced_characters", message=message),)
