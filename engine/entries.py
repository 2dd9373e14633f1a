"""Nouns of a customer's library: all its documents and folders across RAGs, and their rag indexes.

The library is what the second door shows. An entry is a source or a folder; a rag index is an
indexes row under a public model name. What does not live here: wire spellings, SQL, I/O.
"""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from engine.models import (
    CustomerId,
    Failure,
    FolderId,
    IndexId,
    Noun,
    RagId,
    State,
)

TOO_SMALL = "document_too_small"  # the code of errors.DocumentTooSmall
OVER_LIMIT = "rag_limit_exceeded"  # the code of errors.RagLimitExceeded


class EntryKind(StrEnum):
    """A text is a file that was written in a request instead of being uploaded."""

    FILE = "file"
    URL = "url"
    TEXT = "text"
    FOLDER = "folder"


class EntrySort(StrEnum):
    NAME = "name"
    CREATED_AT = "created_at"
    UPDATED_AT = "updated_at"
    SIZE = "size"


class SortDirection(StrEnum):
    ASC = "asc"
    DESC = "desc"


class FolderRef(Noun, frozen=True, kw_only=True):
    id: FolderId
    name: str


class Entry(Noun, frozen=True, kw_only=True):
    """A source or a folder. `folder_path` leads from the root to its parent.

    Of a source: `byte_count` of the original, `url` or `filename`, its RAG and state. Of a folder:
    `children_count`, what lies directly in it, and `document_count`, the sources anywhere below.
    """

    id: UUID
    customer_id: CustomerId
    kind: EntryKind
    name: str
    created_at: datetime
    updated_at: datetime
    byte_count: int = 0
    folder_path: tuple[FolderRef, ...] = ()
    rag_id: RagId | None = None
    url: str | None = None
    filename: str | None = None
    state: State | None = None
    failure: Failure | None = None
    children_count: int = 0
    document_count: int = 0

    @property
    def parent_id(self) -> FolderId | None:
        return self.folder_path[-1].id if self.folder_path else None


class EntryFilter(Noun, frozen=True, kw_only=True):
    """Which entries, in which order.

    `prefix` of the name, without regard to case; `creator` is the customer's id or "@me", nobody
    else has made any; no `kinds`: all of them; `parent_id`: directly in that folder;
    `ancestor_id`: anywhere below it.
    """

    prefix: str = ""
    creator: str = ""
    kinds: tuple[EntryKind, ...] = ()
    parent_id: FolderId | None = None
    ancestor_id: FolderId | None = None
    folders_first: bool = False
    sort: EntrySort = EntrySort.CREATED_AT
    descending: bool = True


class EntryCursor(Noun, frozen=True, kw_only=True):
    """The last entry of a page: its place in the order that the page was read in."""

    group: int
    key: str
    id: UUID


class EntryPage(Noun, frozen=True, kw_only=True):
    items: tuple[Entry, ...]
    next: EntryCursor | None = None


class EntryText(Noun, frozen=True, kw_only=True):
    """An entry with its canonical text, "" for a folder or while there is none yet."""

    entry: Entry
    text: str = ""


class EntryHit(Noun, frozen=True, kw_only=True):
    """The best passage of a document for a question; `score` is in 0..1, higher is better."""

    entry: Entry
    text: str
    score: float


class RagIndexStatus(StrEnum):
    """The life cycle: created -> processing -> one of the others, which are final."""

    CREATED = "created"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    RAG_LIMIT_EXCEEDED = "rag_limit_exceeded"
    DOCUMENT_TOO_SMALL = "document_too_small"
    CANNOT_INDEX_FOLDER = "cannot_index_folder"


class RagIndexRequest(Noun, frozen=True, kw_only=True):
    """`document_id` as the caller spells it: an id that cannot be one is an unknown document."""

    document_id: str
    model: str
    create_if_missing: bool


class RagIndex(Noun, frozen=True, kw_only=True):
    """`progress` is 0..100, and 100 exactly when succeeded. `used_bytes` is the size of the
    original while the index answers, else 0."""

    id: IndexId
    model: str
    status: RagIndexStatus
    progress: float = 0.0
    used_bytes: int = 0


class RagIndexOverview(Noun, frozen=True, kw_only=True):
    """What a customer's rag indexes count against its limit, by public model name."""

    used_bytes: int
    bytes_max: int
    models: dict[str, int]


class IndexFacts(Noun, frozen=True, kw_only=True):
    """What the status of a rag index follows from: its row, and its source's."""

    state: State
    attempt: int
    done: int
    total: int
    generation_live: int | None
    failure: Failure | None
    source_state: State
    source_revision: int
    source_due: bool  # its text is to be read anew, or is being read


def entry_id_of(text: str) -> UUID | None:
    """An id as a caller spells it. None for what cannot be one: it is unknown like any other."""
    try:
        entry_id = UUID(text)
    except ValueError:
        return None
    # Without its dashes, or in the braces that UUID takes as well, it is no id anywhere else.
    return entry_id if str(entry_id) == text.lower() else None


def rag_index_status(facts: IndexFacts) -> RagIndexStatus:
    """Succeeded only when it answers with the newest text: while a document is read anew its index
    is processing, and failed when it cannot be made of the new text, although the old one goes on
    answering."""
    if facts.source_due or facts.state in (State.PENDING, State.PROCESSING):
        untouched = facts.attempt == 0 and facts.state is State.PENDING
        return RagIndexStatus.CREATED if untouched else RagIndexStatus.PROCESSING
    if facts.failure is not None and facts.failure.code == TOO_SMALL:
        return RagIndexStatus.DOCUMENT_TOO_SMALL
    if facts.failure is not None and facts.failure.code == OVER_LIMIT:
        return RagIndexStatus.RAG_LIMIT_EXCEEDED
    if facts.state is State.READY and facts.generation_live == facts.source_revision:
        return RagIndexStatus.SUCCEEDED
    return RagIndexStatus.FAILED


def rag_index_progress(facts: IndexFacts, *, status: RagIndexStatus) -> float:
    """0..100: 100 when succeeded and never before."""
    if status is RagIndexStatus.SUCCEEDED:
        return 100.0
    if status is not RagIndexStatus.PROCESSING or facts.source_due or not facts.total:
        return 0.0
    return min(99.0, 100.0 * facts.done // facts.total)
