"""The shapes on the wire, exactly as the vendor's clients expect them.

`null` in a request means not given, and unknown fields are ignored. How nouns become shapes is in
translate.py; what requests mean is checked by the verbs.
"""

from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from engine.entries import EntryKind, FolderRef, RagIndexRequest, RagIndexStatus
from engine.snippets import Segment

T = TypeVar("T")


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    loc: tuple[str | int, ...]
    msg: str
    type: str


class ValidationError(msgspec.Struct, frozen=True, kw_only=True):
    detail: tuple[Fault, ...]


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """`status` is the older name of `code`."""

    type: str
    code: str
    status: str
    message: str
    request_id: str


class Error(msgspec.Struct, frozen=True, kw_only=True):
    detail: Refusal


class NewFile(msgspec.Struct, frozen=True, kw_only=True):
    name: str | None = None
    parent_folder_id: str | None = None


class NewText(NewFile, frozen=True, kw_only=True):
    text: str


class Synced(msgspec.Struct, frozen=True, kw_only=True):
    enable_auto_sync: bool | None = None


class NewUrl(Synced, frozen=True, kw_only=True):
    url: str
    name: str | None = None
    parent_folder_id: str | None = None


class NewFolder(Synced, frozen=True, kw_only=True):
    name: str
    parent_folder_id: str | None = None


class NewFileOrUrl(msgspec.Struct, frozen=True, kw_only=True):
    name: str | None = None
    url: str | None = None


class Update(Synced, frozen=True, kw_only=True):
    name: str | None = None
    content: str | None = None


class Move(msgspec.Struct, frozen=True, kw_only=True):
    move_to: str | None = None


class Several(msgspec.Struct, frozen=True, kw_only=True):
    document_ids: Annotated[tuple[str, ...], Meta(min_length=1, max_length=20)]


class BulkMove(Several, frozen=True, kw_only=True):
    move_to: str | None = None


class BulkDelete(Several, frozen=True, kw_only=True):
    force: bool | None = None


class IndexModel(msgspec.Struct, frozen=True, kw_only=True):
    model: str


class IndexBatch(msgspec.Struct, frozen=True, kw_only=True):
    items: Annotated[tuple[RagIndexRequest, ...], Meta(min_length=1, max_length=100)]


class Added(msgspec.Struct, frozen=True, kw_only=True):
    id: UUID
    name: str
    folder_path: tuple[FolderRef, ...]


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    created_at_unix_secs: int
    last_updated_at_unix_secs: int
    size_bytes: int


class AccessInfo(msgspec.Struct, frozen=True, kw_only=True):
    creator_name: str
    creator_email: str = ""
    is_creator: bool = True
    role: Literal["admin"] = "admin"


class Common(Added, frozen=True, kw_only=True):
    """`url` of a document from a URL; the counts of a folder."""

    type: EntryKind
    metadata: Metadata
    supported_usages: tuple[Literal["prompt", "auto"], ...] = ("prompt", "auto")
    access_info: AccessInfo
    folder_parent_id: UUID | None
    url: str | UnsetType = UNSET
    children_count: int | UnsetType = UNSET
    document_count: int | UnsetType = UNSET


class Summary(Common, frozen=True, kw_only=True):
    dependent_agents: tuple[Any, ...] = ()


class Document(Common, frozen=True, kw_only=True):
    """A folder has no text, and only files have a filename."""

    extracted_inner_html: str | UnsetType = UNSET
    content_format: Literal["html"] | UnsetType = UNSET
    filename: str | UnsetType = UNSET


class DocumentList(msgspec.Struct, frozen=True, kw_only=True):
    documents: tuple[Summary, ...]
    next_cursor: str | None
    has_more: bool


class Agents(msgspec.Struct, frozen=True, kw_only=True):
    """An engine without agents: nothing depends on a document."""

    agents: tuple[Any, ...] = ()
    branches: tuple[Any, ...] = ()
    next_cursor: str | None = None
    has_more: bool = False


class Found(msgspec.Struct, frozen=True, kw_only=True):
    document: Summary
    search_snippet: tuple[Segment, ...]
    score: float


class FoundList(msgspec.Struct, frozen=True, kw_only=True):
    results: tuple[Found, ...]
    next_cursor: str | None


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    id: UUID
    name: str
    content: str


class ChunkList(msgspec.Struct, frozen=True, kw_only=True):
    chunks: tuple[Chunk, ...]
    next_cursor: str | None


class Index(msgspec.Struct, frozen=True, kw_only=True):
    id: UUID
    model: str
    status: RagIndexStatus
    progress_percentage: float
    document_model_index_usage: dict[Literal["used_bytes"], int]


class ModelUsage(msgspec.Struct, frozen=True):
    model: str
    used_bytes: int


class Overview(msgspec.Struct, frozen=True):
    total_used_bytes: int
    total_max_bytes: int
    models: tuple[ModelUsage, ...]


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag_field="status", tag="failure"):
    error_code: int
    error_status: str
    error_message: str


class Success(
    msgspec.Struct, Generic[T], frozen=True, kw_only=True, tag_field="status", tag="success"
):
    data: T


IndexList = dict[Literal["indexes"], tuple[Index, ...]]
IndexedById = dict[str, Success[Index] | Failed]
SummarisedById = dict[str, Success[Summary] | Failed]
RemovedById = dict[str, Success[dict[str, str]] | Failed]
