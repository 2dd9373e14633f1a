"""What the command line reads of the API's answers. Fields that it does not use are left out."""

from collections.abc import Mapping
from typing import Any

import msgspec


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base: keys that are not named here are passed over, absent ones have defaults."""


class Failure(Answer, frozen=True, kw_only=True):
    code: str
    message: str
    remedy: str = ""


class Progress(Answer, frozen=True, kw_only=True):
    stage: str = ""
    done: int = 0
    total: int = 0


class Source(Answer, frozen=True, kw_only=True):
    id: str
    name: str
    status: str
    status_message: str = ""
    storage_file_id: str | None = None
    source_url: str | None = None
    error: Failure | None = None
    progress: Progress = Progress()
    attributes: Mapping[str, Any] = {}
    chunk_count: int = 0

    @property
    def terminal(self) -> bool:
        return self.status in ("ready", "error")


class SourceCounts(Answer, frozen=True, kw_only=True, omit_defaults=False):
    pending: int = 0
    processing: int = 0
    ready: int = 0
    error: int = 0
    total: int = 0


class Rag(Answer, frozen=True, kw_only=True):
    id: str
    name: str
    status: str
    source_counts: SourceCounts
    embedding_model: str = ""
    tm_create: str = ""


class File(Answer, frozen=True, kw_only=True):
    id: str
    name: str
    sha256: str


class HitSource(Answer, frozen=True, kw_only=True):
    name: str
    storage_file_id: str | None = None
    source_url: str | None = None


class Scores(Answer, frozen=True, kw_only=True):
    """What a score is made of; None where a side was not asked, or had nothing to say."""

    dense: float | None = None
    lexical: float | None = None


class Neighbour(Answer, frozen=True, kw_only=True):
    text: str
    start: int
    end: int


class Hit(Answer, frozen=True, kw_only=True):
    """`start` and `end` count characters of the source's canonical text."""

    chunk_id: str
    source_id: str
    text: str
    score: float
    start: int
    end: int
    source: HitSource
    scores: Scores = Scores()
    headings: tuple[str, ...] = ()
    page: int | None = None
    before: Neighbour | None = None
    after: Neighbour | None = None


class Hits(Answer, frozen=True, kw_only=True):
    results: tuple[Hit, ...]


class Readiness(Answer, frozen=True, kw_only=True):
    status: str
    checks: dict[str, str] = {}


class RagPage(Answer, frozen=True, kw_only=True):
    result: tuple[Rag, ...]
    next_page_token: str = ""


class SourcePage(Answer, frozen=True, kw_only=True):
    result: tuple[Source, ...]
    next_page_token: str = ""


class FilePage(Answer, frozen=True, kw_only=True):
    result: tuple[File, ...]
    next_page_token: str = ""


class Detail(Answer, frozen=True, kw_only=True):
    field: str
    issue: str


class Refusal(Answer, frozen=True, kw_only=True):
    """The body of an error."""

    reason: str
    message: str
    details: tuple[Detail, ...] = ()


class Refused(Answer, frozen=True, kw_only=True):
    error: Refusal
