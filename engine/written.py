"""A text that is sent in a request, as the file that it becomes: what it must have, its names, its
bytes. Pure. Storing the file is up to files, what it is for up to documents.
"""

import codecs
import re

from engine.errors import Detail, InvalidRequest
from engine.formats import HEAD_BYTES, foreign
from engine.text import clean_line, clean_text

MEDIA_TYPE = "text/plain; charset=utf-8"
SUFFIX = ".txt"  # tells the extractor that a text which looks like Markdown or CSV is just a text
NAME_CHARACTERS_MAX = 80  # of a name that is taken from the text

_FIRST_LINE_WITHIN = 1_000
_SEPARATORS = re.compile(r"[/\\]")


def checked(text: str, *, field: str) -> str:
    """Without what cannot be stored. InvalidRequest, naming the field, when the rest is blank."""
    cleaned = clean_text(text).lstrip("\ufeff")
    if not cleaned.strip():
        issue = "must have at least one character that is not blank"
        details = (Detail(field=field, issue=issue),)
        raise InvalidRequest("The text is empty or blank.", details=details)
    return cleaned


def name_of(text: str) -> str:
    """The first line that is not blank, cut; `text` as `checked` returns it."""
    first = text.lstrip()[:_FIRST_LINE_WITHIN].splitlines()[0]
    return clean_line(first, limit=NAME_CHARACTERS_MAX) or "text"


def filename(name: str, *, characters_max: int) -> str:
    """`<name>.txt`, one path segment, cut to `characters_max` with its suffix whole."""
    stem = _SEPARATORS.sub("-", name)[: characters_max - len(SUFFIX)].strip(" .")
    return (stem or "text") + SUFFIX


def encoded(text: str) -> bytes:
    """UTF-8. A text stays one although it begins with the word that some other format begins
    with: the byte order mark in front of it, which the extractor drops, says so."""
    data = text.encode()
    head = data[:HEAD_BYTES]
    return codecs.BOM_UTF8 + data if foreign(head) or b"%PDF-" in head else data
