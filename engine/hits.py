"""What a query answers with, and what it ranks by. The other nouns are in `models`."""

from enum import StrEnum

from engine.models import ChunkId, FileId, Noun, SourceId


class Mode(StrEnum):
    """What a query ranks passages by."""

    HYBRID = "hybrid"  # both
    DENSE = "dense"  # what they mean: vectors
    LEXICAL = "lexical"  # their words: BM25


class Neighbour(Noun, frozen=True, kw_only=True):
    """The passage before or after a hit."""

    text: str
    start: int
    end: int


class Hit(Noun, frozen=True, kw_only=True):
    """A passage that a query found, with where it stands. `score` is in 0..1, higher is better;
    `dense` and `lexical` are what it comes from, None where that side was not asked or had none."""

    chunk_id: ChunkId
    source_id: SourceId
    text: str
    score: float
    dense: float | None
    lexical: float | None = None
    start: int
    end: int
    headings: tuple[str, ...]
    source_name: str
    file_id: FileId | None
    url: str | None
    page: int | None = None
    before: Neighbour | None = None
    after: Neighbour | None = None
