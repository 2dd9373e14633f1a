"""Every error of the engine, as one tree. No HTTP in here: each door maps it to its own statuses.

    EngineError
    |-- CallerError                 the request cannot be served as it stands
    |   |-- InvalidRequest          carries `details`, one entry per offending field
    |   |-- Unauthenticated         AuthenticationRequired | InvalidCredentials
    |   |-- NotFound                RagNotFound | SourceNotFound | StorageFileNotFound
    |   |                           | AccessKeyNotFound | CustomerNotFound | FolderNotFound
    |   |                           | RagIndexNotFound | ChunkNotFound | LinkNotValid
    |   |-- AlreadyExists           SourceExists (carries `details`)
    |   |-- FailedPrecondition      FileInUse | RagNotReady | FolderNotEmpty | FolderMoveRefused
    |   |                           | KindRefused | TextNotReady | TextMissing
    |   |                           | CrawlNotSupported | IdempotencyKeyReused
    |   `-- LimitExceeded           BodyTooLarge | FileTooLarge | TooManySources | TooManyFolders
    |                               | StorageQuotaExceeded | SourceQuotaExceeded
    |                               | TooManyIdempotencyKeys | QueueFull | RateLimited
    |-- SourceError                 this source cannot become ready
    |   |-- PermanentError          final at the first attempt
    |   |   |-- fetch               FetchNotFound | FetchForbidden | FetchRejected
    |   |   |                       | FetchRefusedAddress | FetchTooLarge | FetchTooManyRedirects
    |   |   |                       | FetchBadEncoding | FileGone | StorageQuotaReached
    |   |   |-- extract             UnsupportedFormat | EmptyText | PdfEncrypted | PdfImageOnly
    |   |   |                       | DocumentBroken | DocumentTooLarge | DocumentTooComplex
    |   |   `-- chunk, any          TooManyChunks | DocumentTooSmall | RagLimitExceeded
    |   |                           | WorkerKilled
    |   `-- TransientError          tried again with backoff, up to `faults_max` times
    |                               FetchTimeout | FetchUnreachable | FetchServerError
    |                               | ExtractFailed | InternalFault
    |-- Superseded                  somebody else owns the row now; not a failure
    `-- Unavailable                 DatabaseUnavailable | QueueUnavailable | StorageUnavailable
                                    | ModelUnavailable | Overloaded; charged to nobody, tried again

An error carries a stable `code`, a `message` for the customer (the cause, without paths or driver
texts) and, for sources, a `remedy`. The chained cause goes to the log only.
"""

from typing import ClassVar

import msgspec


class Detail(msgspec.Struct, frozen=True, kw_only=True):
    """One offending field of a request."""

    field: str
    issue: str


class EngineError(Exception):
    """The root. `code` is stable: clients and dashboards may match on it."""

    code: ClassVar[str] = "internal"
    retry_after_s: float | None = None  # when the same request may do, if time alone helps
    message: str

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class CallerError(EngineError):
    """The request cannot be served as it stands; the same request will fail again."""

    details: tuple[Detail, ...]

    def __init__(self, message: str, *, details: tuple[Detail, ...] = ()) -> None:
        super().__init__(message)
        self.details = details


class InvalidRequest(CallerError):
    """Malformed or out of range; `details` names every offending field."""

    code = "invalid_argument"


class Unauthenticated(CallerError):
    """No caller could be made out."""


class AuthenticationRequired(Unauthenticated):
    code = "authentication_required"


class InvalidCredentials(Unauthenticated):
    code = "invalid_credentials"


class NotFound(CallerError):
    """Unknown, deleted, or another customer's: the three look the same."""


class RagNotFound(NotFound):
    code = "rag_not_found"


class SourceNotFound(NotFound):
    code = "source_not_found"


class StorageFileNotFound(NotFound):
    code = "file_not_found"


class AccessKeyNotFound(NotFound):
    code = "access_key_not_found"


class CustomerNotFound(NotFound):
    code = "customer_not_found"


class FolderNotFound(NotFound):
    code = "folder_not_found"


class RagIndexNotFound(NotFound):
    code = "rag_index_not_found"


class ChunkNotFound(NotFound):
    code = "chunk_not_found"


class LinkNotValid(NotFound):
    code = "link_not_valid"


class AlreadyExists(CallerError):
    """Would be there twice."""


class SourceExists(AlreadyExists):
    code = "source_exists"


class FailedPrecondition(CallerError):
    """Right in form, wrong in this state."""


class FileInUse(FailedPrecondition):
    code = "file_in_use"


class RagNotReady(FailedPrecondition):
    code = "rag_not_ready"


class FolderNotEmpty(FailedPrecondition):
    code = "folder_not_empty"


class FolderMoveRefused(FailedPrecondition):
    code = "folder_move_refused"


class KindRefused(FailedPrecondition):
    code = "kind_refused"


class TextNotReady(FailedPrecondition):
    code = "text_not_ready"


class TextMissing(FailedPrecondition):
    code = "text_missing"


class CrawlNotSupported(FailedPrecondition):
    code = "crawl_not_supported"


class IdempotencyKeyReused(FailedPrecondition):
    code = "idempotency_key_reused"


class LimitExceeded(CallerError):
    """Over a named limit."""


class BodyTooLarge(LimitExceeded):
    code = "body_too_large"


class FileTooLarge(LimitExceeded):
    code = "file_too_large"


class TooManySources(LimitExceeded):
    code = "too_many_sources"


class TooManyFolders(LimitExceeded):
    code = "too_many_folders"


class StorageQuotaExceeded(LimitExceeded):
    code = "storage_quota_exceeded"


class SourceQuotaExceeded(LimitExceeded):
    code = "source_quota_exceeded"


class TooManyIdempotencyKeys(LimitExceeded):
    code = "too_many_idempotency_keys"


class QueueFull(LimitExceeded):
    code = "queue_full"
    retry_after_s = 30  # workers make room


class RateLimited(LimitExceeded):
    code = "rate_limited"
    retry_after_s: float | None = 1
    allowance_max: int = 0  # the burst that was used up


class SourceError(EngineError):
    """This source cannot become ready. `remedy` says what its owner can do."""

    code: ClassVar[str] = "source_failed"
    remedy: ClassVar[str] = ""
    retryable: ClassVar[bool] = False


class PermanentError(SourceError):
    """Trying again would give the same answer: final at the first attempt."""


class FetchNotFound(PermanentError):
    code = "fetch_not_found"
    remedy = "Check the URL, then refresh the source."


class FetchForbidden(PermanentError):
    code = "fetch_forbidden"
    remedy = "Make the page public, or upload its content as a file."


class FetchRejected(PermanentError):
    code = "fetch_rejected"
    remedy = "Open the URL in a browser; if it works there, upload its content as a file."


class FetchRefusedAddress(PermanentError):
    code = "fetch_refused_address"
    remedy = "Use a public address, or ask the operator to add it to RAG_ENGINE_ALLOW_NETWORKS."


class FetchTooLarge(PermanentError):
    code = "fetch_too_large"
    remedy = "Link to a smaller document, or split it."


class FetchTooManyRedirects(PermanentError):
    code = "fetch_too_many_redirects"
    remedy = "Use the address that the redirects lead to."


class FetchBadEncoding(PermanentError):
    code = "fetch_bad_encoding"
    remedy = "Have the server send the document with gzip, deflate or no encoding at all."


class FileGone(PermanentError):
    code = "file_gone"
    remedy = "Upload the file again and add it to the RAG."


class StorageQuotaReached(PermanentError):
    code = "storage_quota_reached"
    remedy = "Delete files and sources that are not needed, then refresh the source."


class UnsupportedFormat(PermanentError):
    code = "unsupported_format"
    remedy = "Convert it to PDF, HTML, Markdown or plain text."


class EmptyText(PermanentError):
    code = "empty_text"
    remedy = "Check that the document contains text; for a page built by scripts, upload its text."


class PdfEncrypted(PermanentError):
    code = "pdf_encrypted"
    remedy = "Remove the password and upload the file again."


class PdfImageOnly(PermanentError):
    code = "pdf_image_only"
    remedy = "Run text recognition (OCR) over it and upload the result."


class DocumentBroken(PermanentError):
    code = "document_broken"
    remedy = "Open and save it again with the program that made it, then upload it anew."


class DocumentTooLarge(PermanentError):
    code = "document_too_large"
    remedy = "Split it into smaller documents."


class DocumentTooComplex(PermanentError):
    code = "document_too_complex"
    remedy = "Simplify it, or convert it to plain text."


class TooManyChunks(PermanentError):
    code = "too_many_chunks"
    remedy = "Split it into smaller documents, or use larger chunks."


class DocumentTooSmall(PermanentError):
    """Of a rag index only: the source itself is ready and searchable."""

    code = "document_too_small"
    remedy = "Use the text as it is; it is too short to be worth an index of its own."


class RagLimitExceeded(PermanentError):
    code = "rag_limit_exceeded"
    remedy = "Delete rag indexes that are not needed, or ask the operator for more."


class WorkerKilled(PermanentError):
    code = "worker_killed"
    remedy = "Convert it to plain text; report it, because no document should do this."


class TransientError(SourceError):
    """May pass: tried again with backoff until the charge is full."""

    retryable = True


class FetchTimeout(TransientError):
    code = "fetch_timeout"
    remedy = "Check that the server answers in time, then refresh the source."


class FetchUnreachable(TransientError):
    code = "fetch_unreachable"
    remedy = "Check the host name and that the server is up, then refresh the source."


class FetchServerError(TransientError):
    code = "fetch_server_error"
    remedy = "Wait until the server has recovered, then refresh the source."


class ExtractFailed(TransientError):
    code = "extract_failed"
    remedy = "Refresh the source; if it fails again, convert it to plain text."


class InternalFault(TransientError):
    code = "internal_fault"
    remedy = "Refresh the source; if it fails again, report it with the request id."


class Superseded(EngineError):
    """The row was deleted, refreshed or claimed by another worker: stop quietly."""

    code = "superseded"

    def __init__(self, message: str = "superseded") -> None:
        super().__init__(message)


class Unavailable(EngineError):
    """Something the engine stands on is away. Charged to nobody; tried again."""

    code = "unavailable"
    retry_after_s = 5


class DatabaseUnavailable(Unavailable):
    code = "database_unavailable"


class QueueUnavailable(Unavailable):
    code = "queue_unavailable"


class StorageUnavailable(Unavailable):
    code = "storage_unavailable"


class ModelUnavailable(Unavailable):
    code = "model_unavailable"


class Overloaded(Unavailable):
    code = "overloaded"
    retry_after_s = 2
