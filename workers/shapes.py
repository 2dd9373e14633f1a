"""What travels on the belt, from stage to stage. Document, Block and Passage are engine nouns
(they are stored); here is what exists only while a worker holds it."""

from pathlib import Path

import msgspec


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """The bytes of a source, in a local temporary file that the worker deletes afterwards.

    `media_type` is what the server or the uploader claimed (without parameters, lower case, ""
    when nothing); `charset` likewise. Content decides before either of them.
    """

    path: Path
    byte_count: int
    sha256: bytes
    filename: str
    media_type: str = ""
    charset: str = ""
    final_url: str = ""
