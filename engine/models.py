"""The nouns, as frozen structs, and the pure rules about them.

What lives here: ids, what the verbs take and return, the status rule. What does not: SQL, wire
spellings (each door has its own), anything that does I/O.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, NewType, TypeAlias, TypeVar
from uuid import UUID

import msgspec

CustomerId = NewType("CustomerId", UUID)
AccessKeyId = NewType("AccessKeyId", UUID)
FileId = NewType("FileId", UUID)
RagId = NewType("RagId", UUID)
ProfileId = NewType("ProfileId", UUID)
SourceId = NewType("SourceId", UUID)
FolderId = NewType("FolderId", UUID)
IndexId = NewType("IndexId", UUID)
ChunkId = NewType("ChunkId", UUID)
WorkerId = NewType("WorkerId", UUID)

# What an owner says about a source; the rules are in attributes.
Scalar: TypeAlias = str | int | float | bool
Attributes: TypeAlias = Mapping[str, Scalar | tuple[str, ...]]

T = TypeVar("T")


class Noun(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Keyword-only and immutable: rows become these, and nothing changes them after. So they hold
    no circles, and the garbage collector need not look at thousands of them."""


class State(StrEnum):
    """Of a source and of an index. The transitions are drawn in schema.sql."""

    PENDING = "pending"
    PROCESSING = "processing"
    READY = "ready"
    ERROR = "error"


class Stage(StrEnum):
    """The stages of the pipeline; the same words in modules, logs, metrics and error codes."""

    FETCH = "fetch"
    EXTRACT = "extract"
    CHUNK = "chunk"
    EMBED = "embed"
    STORE = "store"


class Customer(Noun, frozen=True, kw_only=True):
    id: CustomerId
    name: str
    created_at: datetime


class AccessKey(Noun, frozen=True, kw_only=True):
    """`prefix` is the first 11 characters of the token; the token itself is not kept."""

    id: AccessKeyId
    customer_id: CustomerId
    name: str
    prefix: str
    created_at: datetime
    expires_at: datetime | None = None
    position: int = 0


class File(Noun, frozen=True, kw_only=True):
    """An upload. `kept` files stay until their own DELETE, others go with their last source."""

    id: FileId
    customer_id: CustomerId
    type: str
    name: str
    filename: str
    file_bytes: int
    media_type: str
    sha256: bytes
    kept: bool
    created_at: datetime
    updated_at: datetime
    position: int = 0


class Upload(Noun, frozen=True, kw_only=True):
    """Bytes that stand in storage already: what a File is made from. `head` is how they begin."""

    name: str
    filename: str
    media_type: str
    file_bytes: int
    sha256: bytes
    head: bytes = b""


class Counts(Noun, frozen=True, kw_only=True):
    """How many sources of a RAG are in which state."""

    pending: int = 0
    processing: int = 0
    ready: int = 0
    error: int = 0

    @property
    def total(self) -> int:
        return self.pending + self.processing + self.ready + self.error


class Warned(Noun, frozen=True, kw_only=True):
    """Something that the reader of a source should know, and that did not stop it."""

    code: str
    message: str


class Coverage(Noun, frozen=True, kw_only=True):
    """How much of the original became text. Pages only where the format has them."""

    characters: int
    pages_total: int | None = None
    pages_with_text: int | None = None
    tables: int = 0
    warnings: tuple[Warned, ...] = ()


class Failure(Noun, frozen=True, kw_only=True):
    """Why a source is in error, or why its last attempt or refresh failed."""

    code: str
    message: str
    retryable: bool
    remedy: str


class Source(Noun, frozen=True, kw_only=True):
    """A file or URL of a RAG, with its place in the pipeline: exactly one of file_id and url."""

    id: SourceId
    customer_id: CustomerId
    rag_id: RagId
    file_id: FileId | None
    url: str | None
    name: str
    state: State
    stage: Stage | None
    done: int
    total: int
    attempt: int
    chunk_count: int
    searchable: bool
    due_at: datetime | None
    failure: Failure | None
    coverage: Coverage | None
    created_at: datetime
    updated_at: datetime
    position: int = 0
    attributes: Attributes = {}


class ChangeStatus(StrEnum):
    """Of a change: blocked once nothing is left to build and something has failed."""

    BUILDING = "building"
    BLOCKED = "blocked"


class Blocking(Noun, frozen=True, kw_only=True):
    """A source that answers now and could not be built under the next profile."""

    source_id: SourceId
    name: str
    failure: Failure | None


class Change(Noun, frozen=True, kw_only=True):
    """The next profile of a RAG, built beside the live one. It answers once `done` is `total`, the
    sources that answer now; `failed` of these keep it from doing so. `due_at`: nothing is at work,
    and this is when the next one is tried again. `blocking` may be the first of the failed ones."""

    embedding_model: str
    chunk_tokens: int
    chunk_overlap_tokens: int
    total: int
    done: int
    failed: int
    due_at: datetime | None
    created_at: datetime
    blocking: tuple[Blocking, ...] = ()

    @property
    def status(self) -> ChangeStatus:
        is_over = self.failed > 0 and self.done + self.failed >= self.total
        return ChangeStatus.BLOCKED if is_over else ChangeStatus.BUILDING


class Rag(Noun, frozen=True, kw_only=True):
    """A knowledge base. `counts` is over all of its sources, `sources` may be the first of them.
    `is_changing`: to the profile that `change` tells of."""

    id: RagId
    customer_id: CustomerId
    name: str
    description: str
    embedding_model: str
    chunk_tokens: int
    chunk_overlap_tokens: int
    created_at: datetime
    updated_at: datetime
    position: int = 0
    is_changing: bool = False
    counts: Counts = Counts()
    sources: tuple[Source, ...] = ()
    change: Change | None = None


class Block(Noun, frozen=True, kw_only=True):
    """A run of the canonical text that belongs together. Offsets count Unicode code points.

    `kind` is one of heading, paragraph, list, table, code. `headings` is the path above it.
    For a table, `header_end` is where its header rows end (equal to `start` without any).
    """

    kind: str
    start: int
    end: int
    headings: tuple[str, ...] = ()
    page: int | None = None
    header_end: int | None = None


class Document(Noun, frozen=True, kw_only=True):
    """One revision of a source's text. For every block `text[start:end]` is its text, in order."""

    title: str
    text: str
    blocks: tuple[Block, ...]
    media_type: str
    coverage: Coverage
    language: str | None = None


class Passage(Noun, frozen=True, kw_only=True):
    """A piece of a document as the chunker cut it: `document.text[start:end] == text`, always.

    `embedded` is what the model reads: title and heading path plus the text. `tokens` counts
    `embedded` by the model's own tokenizer.
    """

    ordinal: int
    text: str
    start: int
    end: int
    embedded: str
    tokens: int
    headings: tuple[str, ...] = ()
    page: int | None = None


class Chunk(Noun, frozen=True, kw_only=True):
    """A stored passage."""

    id: ChunkId
    ordinal: int
    text: str
    start: int
    end: int
    headings: tuple[str, ...]
    tokens: int
    page: int | None = None


class NewSources(Noun, frozen=True, kw_only=True):
    """What a caller asks to add. Uploads become files that go with their last source.

    `attributes` are for all of them; `source_attributes` are added to them, or take their place,
    for one source: by file id, URL or the filename of an upload. Both as they came.
    """

    file_ids: tuple[FileId, ...] = ()
    urls: tuple[str, ...] = ()
    uploads: tuple[Upload, ...] = ()
    attributes: Mapping[str, Any] = {}
    source_attributes: Mapping[str, Mapping[str, Any]] = {}

    @property
    def total(self) -> int:
        return len(self.file_ids) + len(self.urls) + len(self.uploads)


class NewRag(Noun, frozen=True, kw_only=True):
    """None means: the engine's default."""

    name: str
    description: str = ""
    sources: NewSources = NewSources()
    embedding_model: str | None = None
    chunk_tokens: int | None = None
    chunk_overlap_tokens: int | None = None


class Cursor(Noun, frozen=True, kw_only=True):
    """Where a page ended: lists go by (created_at, position), chunks by position alone.

    `at` without a position (0) is the original API's form of a token: everything beyond that time.
    """

    at: datetime | None = None
    position: int = 0


class Page(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """One page of a list; `next` is where the following one begins, None on the last."""

    items: tuple[T, ...]
    next: Cursor | None = None


class Usage(Noun, frozen=True, kw_only=True):
    """What a customer holds. `stored_bytes`: each content once, fetched originals included;
    `queued_sources`: those that wait to be read, or to be tried again."""

    rags: int
    sources: int
    queued_sources: int
    files: int
    file_bytes: int
    stored_bytes: int
    chunks: int


def rag_status(counts: Counts) -> State:
    """The status of a RAG, from its sources alone.

    No source: pending. Any not terminal: processing. All terminal: ready if one is, else error.
    """
    if counts.total == 0:
        return State.PENDING
    if counts.pending or counts.processing:
        return State.PROCESSING
    return State.READY if counts.ready else State.ERROR


def status_message(source: Source) -> str:
    """One line for people: empty while waiting, the stage at work, the chunks, or the cause."""
    match source.state:
        case State.PENDING:
            return ""
        case State.PROCESSING:
            return _stage_message(source)
        case State.READY:
            return (
                "1 chunk created"
                if source.chunk_count == 1
                else (f"{source.chunk_count} chunks created")
            )
        case State.ERROR:
            failure = source.failure
            return f"{failure.message} {failure.remedy}".strip() if failure else ""


_STAGE_WORDS = {
    Stage.FETCH: "fetching",
    Stage.EXTRACT: "extracting",
    Stage.CHUNK: "chunking",
    Stage.EMBED: "embedding",
    Stage.STORE: "storing",
}


def _stage_message(source: Source) -> str:
    if source.stage is None:
        return "waiting"
    word = _STAGE_WORDS[source.stage]
    if source.stage is Stage.EMBED and source.total:
        return f"{word} {source.done} of {source.total} chunks"
    return word
