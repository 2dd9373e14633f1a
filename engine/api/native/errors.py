"""From errors to answers: the one table of this door, and the body of its refusals.

Every error that a caller can meet has a row; a test walks the tree and demands it.
"""

from typing import NamedTuple

import msgspec
from litestar import MediaType, Response

from engine import errors
from engine.api.body import DETAILS_MAX
from engine.api.edge import request_id
from engine.api.native import wire
from engine.api.refusals import Refusals


class Row(NamedTuple):
    """How an error looks on the wire."""

    code: int
    status: str
    reason: str


INTERNAL = Row(500, "INTERNAL", "INTERNAL")

TABLE: dict[type[errors.EngineError], Row] = {
    errors.InvalidRequest: Row(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT"),
    errors.AuthenticationRequired: Row(401, "UNAUTHENTICATED", "AUTHENTICATION_REQUIRED"),
    errors.InvalidCredentials: Row(401, "UNAUTHENTICATED", "INVALID_CREDENTIALS"),
    errors.RagNotFound: Row(404, "NOT_FOUND", "RAG_NOT_FOUND"),
    errors.SourceNotFound: Row(404, "NOT_FOUND", "SOURCE_NOT_FOUND"),
    errors.StorageFileNotFound: Row(404, "NOT_FOUND", "FILE_NOT_FOUND"),
    errors.AccessKeyNotFound: Row(404, "NOT_FOUND", "ACCESS_KEY_NOT_FOUND"),
    errors.CustomerNotFound: Row(404, "NOT_FOUND", "CUSTOMER_NOT_FOUND"),
    errors.FolderNotFound: Row(404, "NOT_FOUND", "FOLDER_NOT_FOUND"),
    errors.RagIndexNotFound: Row(404, "NOT_FOUND", "RAG_INDEX_NOT_FOUND"),
    errors.ChunkNotFound: Row(404, "NOT_FOUND", "CHUNK_NOT_FOUND"),
    errors.LinkNotValid: Row(404, "NOT_FOUND", "LINK_NOT_VALID"),
    errors.SourceExists: Row(409, "ALREADY_EXISTS", "SOURCE_EXISTS"),
    errors.FileInUse: Row(409, "FAILED_PRECONDITION", "FILE_IN_USE"),
    errors.RagNotReady: Row(409, "FAILED_PRECONDITION", "RAG_NOT_READY"),
    errors.FolderNotEmpty: Row(409, "FAILED_PRECONDITION", "FOLDER_NOT_EMPTY"),
    errors.FolderMoveRefused: Row(409, "FAILED_PRECONDITION", "FOLDER_MOVE_REFUSED"),
    errors.KindRefused: Row(409, "FAILED_PRECONDITION", "KIND_REFUSED"),
    errors.TextNotReady: Row(409, "FAILED_PRECONDITION", "TEXT_NOT_READY"),
    errors.TextMissing: Row(409, "FAILED_PRECONDITION", "TEXT_MISSING"),
    errors.CrawlNotSupported: Row(409, "FAILED_PRECONDITION", "CRAWL_NOT_SUPPORTED"),
    errors.IdempotencyKeyReused: Row(409, "FAILED_PRECONDITION", "IDEMPOTENCY_KEY_REUSED"),
    errors.BodyTooLarge: Row(413, "RESOURCE_EXHAUSTED", "BODY_TOO_LARGE"),
    errors.FileTooLarge: Row(413, "RESOURCE_EXHAUSTED", "FILE_TOO_LARGE"),
    errors.TooManySources: Row(413, "RESOURCE_EXHAUSTED", "TOO_MANY_SOURCES"),
    errors.TooManyFolders: Row(413, "RESOURCE_EXHAUSTED", "TOO_MANY_FOLDERS"),
    errors.StorageQuotaExceeded: Row(413, "RESOURCE_EXHAUSTED", "STORAGE_QUOTA_EXCEEDED"),
    errors.SourceQuotaExceeded: Row(413, "RESOURCE_EXHAUSTED", "SOURCE_QUOTA_EXCEEDED"),
    errors.QueueFull: Row(429, "RESOURCE_EXHAUSTED", "QUEUE_FULL"),
    errors.RateLimited: Row(429, "RESOURCE_EXHAUSTED", "RATE_LIMITED"),
    errors.TooManyIdempotencyKeys: Row(429, "RESOURCE_EXHAUSTED", "TOO_MANY_IDEMPOTENCY_KEYS"),
    errors.DatabaseUnavailable: Row(503, "UNAVAILABLE", "DATABASE_UNAVAILABLE"),
    errors.QueueUnavailable: Row(503, "UNAVAILABLE", "QUEUE_UNAVAILABLE"),
    errors.StorageUnavailable: Row(503, "UNAVAILABLE", "STORAGE_UNAVAILABLE"),
    errors.ModelUnavailable: Row(503, "UNAVAILABLE", "MODEL_UNAVAILABLE"),
    errors.Overloaded: Row(503, "UNAVAILABLE", "OVERLOADED"),
}

# What the framework refuses by itself, before any handler of ours.
HTTP_TABLE: dict[int, Row] = {
    404: Row(404, "NOT_FOUND", "ROUTE_NOT_FOUND"),
    405: Row(405, "INVALID_ARGUMENT", "METHOD_NOT_ALLOWED"),
    413: TABLE[errors.BodyTooLarge],
    503: TABLE[errors.Overloaded],
}


def _answer(_: str, row: Row, message: str, error: errors.EngineError | None) -> Response[bytes]:
    details = error.details if isinstance(error, errors.CallerError) else ()
    unknown = isinstance(error, errors.Unauthenticated)
    body = wire.ErrorBody(
        status=row.status,
        reason=row.reason,
        message=message,
        request_id=request_id.get(),
        details=wire.present(
            tuple(
                wire.ErrorDetail(field=each.field, issue=each.issue)
                for each in details[:DETAILS_MAX]
            )
            or None
        ),
    )
    return Response(
        msgspec.json.encode(wire.Error(error=body)),
        status_code=row.code,
        media_type=MediaType.JSON,
        headers={"WWW-Authenticate": "Bearer"} if unknown else {},
    )


REFUSALS = Refusals(
    table=TABLE,
    http=HTTP_TABLE,
    other=lambda code: Row(code, "INVALID_ARGUMENT", "INVALID_ARGUMENT"),
    internal=INTERNAL,
    answer=_answer,
)
row_of = REFUSALS.row_of
