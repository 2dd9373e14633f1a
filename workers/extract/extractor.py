"""Extraction as the conductor sees it: fetched bytes in, a document or a named error out."""

import asyncio
import math

import msgspec

from engine.config import MIB, Limits
from engine.errors import ExtractFailed
from engine.models import Document
from engine.text import is_clean
from workers.extract.sandbox import Allowance, Sandbox
from workers.shapes import Fetched

_PARSE = "workers.extract.parse:parse"
# A block takes up to this much beside its text, and there may be one for every few characters.
_RESULT_BYTES_PER_CHARACTER = 8


class Extractor:
    """Parses each document in a sandboxed child of its own. One per worker process."""

    def __init__(self, *, children_max: int = 2) -> None:
        self._sandbox = Sandbox(preload=("workers.extract.parse",), children_max=children_max)

    def start(self) -> None:
        """Begin to load the parsers; returns at once."""
        self._sandbox.start()

    def close(self) -> None:
        """End the parsers, whatever they are doing."""
        self._sandbox.close()

    async def extract(self, fetched: Fetched, *, limits: Limits) -> Document:
        """The document that the fetched file holds.

        Raises UnsupportedFormat, EmptyText, PdfEncrypted, PdfImageOnly, DocumentBroken,
        DocumentTooLarge, DocumentTooComplex and, when nobody knows why, ExtractFailed.
        """
        task = {"fetched": fetched, "limits": limits}
        allowance = Allowance(
            memory_bytes=limits.sandbox_memory_bytes,
            cpu_s=math.ceil(limits.sandbox_timeout_s),
            timeout_s=limits.sandbox_timeout_s,
            result_bytes_max=16 * MIB
            + limits.document_characters_max * _RESULT_BYTES_PER_CHARACTER,
        )
        answer = await self._sandbox.run(
            _PARSE,
            fetched.path,
            argument=msgspec.msgpack.encode(task, enc_hook=str),
            allowance=allowance,
        )
        return await asyncio.to_thread(_decoded, answer)


def _decoded(answer: bytes) -> Document:
    # The child is not trusted: a document that does not have the shape is no document.
    try:
        document = msgspec.msgpack.decode(answer, type=Document)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise ExtractFailed("The document could not be read.") from error
    said = {document.title, document.language or "", document.media_type, document.text}
    said |= {heading for block in document.blocks for heading in block.headings}
    said |= {word for each in document.coverage.warnings for word in (each.code, each.message)}
    if not all(map(is_clean, said)):
        raise ExtractFailed("The document could not be read.")
    return document
