"""From errors to answers: the one table of this door, and the body of its refusals.

No ordinary refusal is 409, 429 or 5xx: the vendor's clients would send the request again.
"""

import re
from typing import NamedTuple

import msgspec
from litestar import MediaType, Response

from engine import errors
from engine.api.edge import request_id
from engine.api.elevenlabs import wire
from engine.api.refusals import Refusals

Kind = type[errors.EngineError]


class Row(NamedTuple):
    """How an error looks on the wire."""

    code: int
    status: str


def _rows(code: int, *kinds: Kind) -> dict[Kind, Row]:
    return {kind: Row(code, kind.code) for kind in kinds}


_DOCUMENT = Row(404, "knowledge_base_documentation_not_found")
TABLE: dict[Kind, Row] = {
    errors.InvalidRequest: Row(422, "validation_error"),
    errors.AuthenticationRequired: Row(401, "needs_authorization"),
    errors.InvalidCredentials: Row(401, "invalid_api_key"),
    errors.RagNotFound: _DOCUMENT,
    errors.SourceNotFound: _DOCUMENT,
    errors.StorageFileNotFound: _DOCUMENT,
    **_rows(404, errors.FolderNotFound, errors.RagIndexNotFound, errors.ChunkNotFound),
    **_rows(404, errors.LinkNotValid, errors.AccessKeyNotFound, errors.CustomerNotFound),
    **_rows(400, errors.FolderNotEmpty, errors.FolderMoveRefused, errors.KindRefused),
    **_rows(400, errors.TextNotReady, errors.TextMissing, errors.CrawlNotSupported),
    **_rows(400, errors.TooManySources, errors.TooManyFolders, errors.SourceExists),
    **_rows(400, errors.FileInUse, errors.RagNotReady, errors.IdempotencyKeyReused),
    **_rows(400, errors.SourceQuotaExceeded, errors.QueueFull, errors.TooManyIdempotencyKeys),
    **_rows(413, errors.BodyTooLarge, errors.FileTooLarge, errors.StorageQuotaExceeded),
    **_rows(429, errors.RateLimited),
    **_rows(503, errors.DatabaseUnavailable, errors.QueueUnavailable),
    **_rows(503, errors.StorageUnavailable, errors.ModelUnavailable, errors.Overloaded),
}
HTTP_TABLE = {
    404: Row(404, "not_found"),
    405: Row(405, "method_not_allowed"),
    413: TABLE[errors.BodyTooLarge],
    503: TABLE[errors.Overloaded],
}
_TYPES = {401: "authentication_error", 404: "not_found", 500: "internal_error", 503: "unavailable"}
_TYPES[429] = "rate_limit_error"
_STEP = re.compile(r"\[(\d+)\]|([^.\[\]]+)")


def failed(error: errors.CallerError) -> wire.Failed:
    """An error as one entry of a batch."""
    row = REFUSALS.row_of(error)
    return wire.Failed(error_code=row.code, error_status=row.status, error_message=error.message)


def _answer(
    method: str, row: Row, message: str, error: errors.EngineError | None
) -> Response[bytes]:
    body: wire.ValidationError | wire.Error
    if isinstance(error, errors.InvalidRequest):
        details = error.details or (errors.Detail(field="body", issue=message),)
        place = "query" if method == "GET" else "body"
        body = wire.ValidationError(detail=tuple(_fault(each, place=place) for each in details))
    else:
        names = {"code": row.status, "status": row.status, "request_id": request_id.get()}
        kind = _TYPES.get(row.code, "invalid_request")
        refusal = wire.Refusal(type=kind, message=message, **names)
        body = wire.Error(detail=refusal)
    content = msgspec.json.encode(body)
    return Response(content, status_code=row.code, media_type=MediaType.JSON)


def _fault(detail: errors.Detail, *, place: str) -> wire.Fault:
    """In the form of the vendor's validation errors. Verbs name a field alone, the door says also
    where it stands."""
    steps = [int(number) if number else name for number, name in _STEP.findall(detail.field)]
    is_placed = steps == ["body"] or (len(steps) > 1 and steps[0] in ("body", "query"))
    # A part of a form may have a name that leaves no step: then what is wrong is the whole body.
    loc = steps if is_placed else [place, *steps]
    kind = "missing" if detail.issue == "is required" else "value_error"
    return wire.Fault(loc=tuple(loc), msg=f"{loc[-1]} {detail.issue}", type=kind)


REFUSALS = Refusals(
    table=TABLE,
    http=HTTP_TABLE,
    other=lambda code: Row(code, "bad_request"),
    internal=Row(500, "internal_error"),
    answer=_answer,
)
