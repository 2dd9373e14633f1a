"""The shapes on the wire, exactly as clients see them. The `tm_` spelling exists in this door only.

How nouns become them is in translate.py; what requests mean is checked by the verbs.
"""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from engine import hits, models
from engine.api.native.attributes import ATTRIBUTES, Filter, NewAttributes, OwnAttributes

T = TypeVar("T")

Time = Annotated[
    str,
    Meta(
        description="UTC, six digits, Z.",
        examples=["2026-03-15T09:00:00.000000Z"],
        extra_json_schema={"format": "date-time"},
    ),
]
Offset = Annotated[int, Meta(description="Characters (Unicode code points) of the text.", ge=0)]


class Shape(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Base of the wire shapes: fields that are UNSET are absent, never null. They hold no circles,
    which the garbage collector would look for."""


class ErrorDetail(Shape, frozen=True, kw_only=True):
    field: str
    issue: str


class ErrorBody(Shape, frozen=True, kw_only=True):
    status: Annotated[str, Meta(examples=["INVALID_ARGUMENT"])]
    reason: Annotated[str, Meta(examples=["INVALID_ARGUMENT"])]
    message: str
    request_id: Annotated[str, Meta(description="Also in the header X-Request-Id.")]
    details: tuple[ErrorDetail, ...] | UnsetType = UNSET


class Error(Shape, frozen=True, kw_only=True):
    error: ErrorBody


class Failure(Shape, frozen=True, kw_only=True):
    """Why it failed, whether it is tried again, and what its owner can do."""

    code: str
    message: str
    retryable: bool
    remedy: str


class Progress(Shape, frozen=True, kw_only=True):
    """`stage` is "" while nothing is at work; done and total count chunks being embedded."""

    stage: Annotated[str, Meta(examples=["embed"])]
    done: int
    total: int
    queue_position: (
        Annotated[int, Meta(description="In the answer for a single source only.")] | UnsetType
    ) = UNSET


class Warned(Shape, frozen=True, kw_only=True):
    code: str
    message: str


class Coverage(Shape, frozen=True, kw_only=True):
    """How much of the original became text; pages where its format has them."""

    characters: int
    tables: int
    warnings: tuple[Warned, ...]
    pages_total: int | UnsetType = UNSET
    pages_with_text: int | UnsetType = UNSET


class Source(Shape, frozen=True, kw_only=True):
    """A document of a RAG: either storage_file_id or source_url is there."""

    id: UUID
    customer_id: UUID
    storage_file_id: UUID | UnsetType = UNSET
    source_url: str | UnsetType = UNSET
    name: str
    attributes: Annotated[Mapping[str, Any], Meta(extra_json_schema=ATTRIBUTES)]
    status: models.State
    status_message: str
    error: Failure | UnsetType = UNSET
    progress: Progress
    coverage: Coverage | UnsetType = UNSET
    chunk_count: int
    attempt: int
    next_attempt_at: Time | UnsetType = UNSET
    tm_create: Time
    tm_update: Time


class SourceCounts(Shape, frozen=True, kw_only=True):
    pending: int
    processing: int
    ready: int
    error: int
    total: int


class Blocking(Shape, frozen=True, kw_only=True):
    """A source that answers now and could not be built with the new settings: delete or refresh it,
    send the same PUT again to have it tried again, or give the change up."""

    source_id: UUID
    name: str
    error: Failure | UnsetType = UNSET


class Change(Shape, frozen=True, kw_only=True):
    """What the RAG is changed to while it goes on answering as before: `done` of `total` sources
    that answer now are built, and when all are, it answers by all of them at once. `blocked`: only
    sources are left that `failed`, of which `blocking` names the first 20."""

    embedding_model: str
    chunk_tokens: int
    chunk_overlap_tokens: int
    status: models.ChangeStatus
    done: int
    total: int
    failed: int
    blocking: tuple[Blocking, ...]
    next_attempt_at: (
        Annotated[Time, Meta(description="Nothing is at work; then it is tried again.")] | UnsetType
    ) = UNSET
    tm_create: Time


class Rag(Shape, frozen=True, kw_only=True):
    """A knowledge base. `status` and `source_counts` are over all sources."""

    id: UUID
    customer_id: UUID
    name: str
    description: str
    status: models.State
    sources: tuple[Source, ...]
    embedding_model: str
    chunk_tokens: int
    chunk_overlap_tokens: int
    source_counts: SourceCounts
    change: Change | UnsetType = UNSET
    tm_create: Time
    tm_update: Time


class File(Shape, frozen=True, kw_only=True):
    id: UUID
    customer_id: UUID
    type: str
    name: str
    filename: str
    filesize: Annotated[int, Meta(description="Bytes.")]
    media_type: str
    sha256: Annotated[str, Meta(description="64 hexadecimal digits.")]
    uri_download: str
    tm_create: Time
    tm_update: Time


class Chunk(Shape, frozen=True, kw_only=True):
    id: UUID
    ordinal: int
    text: str
    start: Offset
    end: Offset
    page: int | UnsetType = UNSET
    headings: tuple[str, ...]
    tokens: int


class Scores(Shape, frozen=True, kw_only=True):
    """What `score` comes from: the cosine of the vectors, and BM25, which has no upper end."""

    dense: float | UnsetType = UNSET
    lexical: float | UnsetType = UNSET


class HitSource(Shape, frozen=True, kw_only=True):
    name: str
    storage_file_id: UUID | UnsetType = UNSET
    source_url: str | UnsetType = UNSET


class Neighbour(Shape, frozen=True, kw_only=True):
    """The passage before or after a hit, in the same source."""

    text: str
    start: Offset
    end: Offset


class Hit(Shape, frozen=True, kw_only=True):
    """A passage and where it stands. `score` is from 0 to 1, higher is better."""

    chunk_id: UUID
    source_id: UUID
    text: str
    score: float
    scores: Scores
    start: Offset
    end: Offset
    page: int | UnsetType = UNSET
    headings: tuple[str, ...]
    source: HitSource
    before: Neighbour | UnsetType = UNSET
    after: Neighbour | UnsetType = UNSET


class Hits(Shape, frozen=True, kw_only=True):
    results: tuple[Hit, ...]


class Limits(Shape, frozen=True, kw_only=True):
    file_bytes_max: int
    request_bytes_max: int
    json_bytes_max: int
    request_sources_max: int
    rag_sources_max: int
    name_characters_max: int
    description_characters_max: int
    url_characters_max: int
    query_characters_max: int
    top_k_max: int
    page_size_max: int
    customer_stored_bytes_max: int
    customer_sources_max: int
    customer_queued_sources_max: int
    customer_requests_per_s: float
    customer_requests_burst: int


class Usage(Shape, frozen=True, kw_only=True):
    """`stored_bytes`: each content once, fetched originals included; `queued_sources`: those that
    wait to be read. Both count against the limits of their names."""

    rags: int
    sources: int
    queued_sources: int
    files: int
    file_bytes: int
    stored_bytes: int
    chunks: int


class Customer(Shape, frozen=True, kw_only=True):
    id: UUID
    name: str
    limits: Limits
    usage: Usage
    tm_create: Time


class AccessKey(Shape, frozen=True, kw_only=True):
    """`prefix` is how a key can be told from others; `token` is in the answer of POST only."""

    id: UUID
    name: str
    prefix: str
    token: str | UnsetType = UNSET
    tm_create: Time
    tm_expire: Time | UnsetType = UNSET


class RagList(Shape, frozen=True, kw_only=True):
    result: tuple[Rag, ...]
    next_page_token: str


class SourceList(Shape, frozen=True, kw_only=True):
    result: tuple[Source, ...]
    next_page_token: str


class FileList(Shape, frozen=True, kw_only=True):
    result: tuple[File, ...]
    next_page_token: str


class ChunkList(Shape, frozen=True, kw_only=True):
    result: tuple[Chunk, ...]
    next_page_token: str


class AccessKeyList(Shape, frozen=True, kw_only=True):
    result: tuple[AccessKey, ...]
    next_page_token: str


class NewSources(Shape, frozen=True, kw_only=True):
    storage_file_ids: tuple[UUID, ...] = ()
    source_urls: tuple[str, ...] = ()
    attributes: NewAttributes = {}
    source_attributes: OwnAttributes = {}


class NewRag(Shape, frozen=True, kw_only=True):
    name: str
    description: str = ""
    storage_file_ids: tuple[UUID, ...] = ()
    source_urls: tuple[str, ...] = ()
    attributes: NewAttributes = {}
    source_attributes: OwnAttributes = {}
    embedding_model: str | UnsetType = UNSET
    chunk_tokens: int | UnsetType = UNSET
    chunk_overlap_tokens: int | UnsetType = UNSET


class RagUpdate(Shape, frozen=True, kw_only=True):
    """At least one of all. Model and chunk settings are changed in the background: see `change` of
    the RAG. What is not given of them stays; those that are live already end a change."""

    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    embedding_model: str | UnsetType = UNSET
    chunk_tokens: int | UnsetType = UNSET
    chunk_overlap_tokens: int | UnsetType = UNSET


class SourceUpdate(Shape, frozen=True, kw_only=True):
    """At least one of the two; the attributes replace the old ones, all of them."""

    name: str | UnsetType = UNSET
    attributes: NewAttributes | UnsetType = UNSET


class NewFile(Shape, frozen=True, kw_only=True):
    """What goes with the part `file`."""

    type: str = "rag"
    name: str = ""


class Query(Shape, frozen=True, kw_only=True):
    query: str
    top_k: int = 5
    mode: hits.Mode = hits.Mode.HYBRID
    source_ids: (
        Annotated[
            tuple[UUID, ...],
            Meta(
                min_length=1, description="Only these; none at all is refused, not taken for all."
            ),
        ]
        | UnsetType
    ) = UNSET
    filter: Filter | UnsetType = UNSET
    min_score: Annotated[float, Meta(description="From 0 to 1.")] | UnsetType = UNSET
    with_neighbours: Annotated[
        bool, Meta(description="Also the passages before and after each hit.")
    ] = False


class NewAccessKey(Shape, frozen=True, kw_only=True):
    name: str = ""
    expire_s: Annotated[int, Meta(description="Seconds until it expires.")] | UnsetType = UNSET


def given(value: T | UnsetType) -> T | None:
    """What a caller gave, None where it gave nothing."""
    return None if isinstance(value, UnsetType) else value


def present(value: T | None) -> T | UnsetType:
    """A key that is absent where there is no value."""
    return UNSET if value is None else value
