"""How errors become answers, the same for every door; each brings its own table and its own body.

Nothing of what went wrong inside leaves the process; all of it is logged.
"""

import logging
from collections.abc import Callable, Mapping
from math import ceil
from typing import Generic, Protocol, TypeVar

from litestar import Response
from litestar.exceptions import HTTPException

from engine import errors
from engine.api.call import HttpRequest
from engine.api.edge import request_id, without_tokens

log = logging.getLogger(__name__)


class Row(Protocol):
    """How an error looks on the wire; what else it holds is the door's."""

    @property
    def code(self) -> int: ...

    @property
    def status(self) -> str: ...


R = TypeVar("R", bound=Row)
# Of the request's method, a row, a message, and the error if it is the engine's.
Answer = Callable[[str, R, str, errors.EngineError | None], Response[bytes]]
HTTP_MESSAGES = {
    404: "There is no such route.",
    405: "This route does not take this method; see the header Allow.",
    413: "The request body is too large.",
}


class Refusals(Generic[R]):
    """`table` has a row for every error that a caller can meet, `http` for what the framework
    refuses by itself; `other` is for the rest of that."""

    def __init__(
        self,
        *,
        table: Mapping[type[errors.EngineError], R],
        http: Mapping[int, R],
        other: Callable[[int], R],
        internal: R,
        answer: Answer[R],
    ) -> None:
        self._table = table
        self._http = http
        self._other = other
        self._internal = internal
        self._answer = answer

    def row_of(self, error: errors.EngineError) -> R:
        """The row of an error's class, the internal one for those that no caller should meet."""
        return self._table.get(type(error), self._internal)

    def on_engine_error(self, request: HttpRequest, error: errors.EngineError) -> Response[bytes]:
        row = self.row_of(error)
        if row is self._internal:
            return self.on_unforeseen(request, error)
        answer = self._answer(request.method, row, error.message, error)
        if isinstance(error, errors.Unavailable):
            log.warning("unavailable", extra={"reason": row.status}, exc_info=error)
        if error.retry_after_s is not None:
            answer.headers["Retry-After"] = str(ceil(error.retry_after_s))
        if isinstance(error, errors.RateLimited):
            answer.headers["RateLimit-Limit"] = str(error.allowance_max)
            answer.headers["RateLimit-Remaining"] = "0"
            answer.headers["RateLimit-Reset"] = str(ceil(error.retry_after_s or 0))
        return answer

    def on_http_error(self, request: HttpRequest, error: HTTPException) -> Response[bytes]:
        """Unknown routes, wrong methods and whatever else the framework refuses."""
        code = error.status_code
        if code >= 500:
            return self.on_unforeseen(request, error)
        row = self._http.get(code) or self._other(code)
        message = HTTP_MESSAGES.get(code, "The request cannot be served as it stands.")
        given = error.headers or {}
        answer = self._answer(request.method, row, message, None)
        answer.headers |= {key: value for key, value in given.items() if key.lower() == "allow"}
        return answer

    def unread(self, code: int, message: str) -> Response[bytes]:
        """For what never became a request that could be read."""
        return self._answer("", self._http.get(code) or self._other(code), message, None)

    def on_unforeseen(self, request: HttpRequest, error: Exception) -> Response[bytes]:
        """The last handler."""
        path = without_tokens(request.scope["path"])
        log.error("unforeseen error", extra={"path": path}, exc_info=error)
        message = f"Something went wrong inside. Report it with the request id {request_id.get()}."
        return self._answer(request.method, self._internal, message, None)

    def on_error(self, request: HttpRequest, error: Exception) -> Response[bytes]:
        """Whatever was raised."""
        if isinstance(error, errors.EngineError):
            return self.on_engine_error(request, error)
        if isinstance(error, HTTPException):
            return self.on_http_error(request, error)
        return self.on_unforeseen(request, error)
