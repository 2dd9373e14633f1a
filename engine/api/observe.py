"""Around every request: its id, the headers of its answer that no handler writes, its line in the
access log, and counts for /metrics.

Outermost of all, so that unknown routes and refused methods are seen as well. The path is logged
without its query, where a key may stand.
"""

import logging
from time import perf_counter

from litestar.types import ASGIApp, HTTPScope, Message, Receive, Send
from prometheus_client import CollectorRegistry, Counter, Histogram

from engine.api.edge import request_id, request_id_of, without_tokens
from engine.api.headers import guarded, told
from engine.logs import bind

log = logging.getLogger("engine.api.access")

METHODS = frozenset({"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"})
BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


class RequestMeter:
    """Counts and durations of this process, labelled by route template and never by path."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "rag_engine_http_requests",
            "Requests answered by this process.",
            ("method", "route", "code"),
            registry=self.registry,
        )
        self._durations = Histogram(
            "rag_engine_http_request_seconds",
            "From the first byte of a request to the last of its answer, in this process.",
            ("method", "route"),
            buckets=BUCKETS_S,
            registry=self.registry,
        )

    def count(self, *, method: str, route: str, code: int, duration_s: float) -> None:
        known = method if method in METHODS else "other"
        self._requests.labels(known, route, str(code)).inc()
        self._durations.labels(known, route).observe(duration_s)


async def observed(
    app: ASGIApp, scope: HTTPScope, receive: Receive, send: Send, *, meter: RequestMeter
) -> None:
    """Run `app` with a request id that its logs and its answer carry, and note how it ended."""
    given = next((v for k, v in scope["headers"] if k.lower() == b"x-request-id"), None)
    own_id = request_id_of(given.decode("latin-1") if given is not None else None)
    # 499 is what stays when the caller left before there was an answer.
    code = 499

    async def send_with_id(message: Message) -> None:
        nonlocal code
        if message["type"] == "http.response.start":
            code = message["status"]
            own = (b"x-request-id", own_id.encode())
            message["headers"] = guarded([*message["headers"], own, *told(scope)])
        await send(message)

    begun = perf_counter()
    token = request_id.set(own_id)
    with bind(request=own_id):
        try:
            await app(scope, receive, send_with_id)
        finally:
            _note(scope, code=code, duration_s=perf_counter() - begun, meter=meter)
            request_id.reset(token)


def _note(scope: HTTPScope, *, code: int, duration_s: float, meter: RequestMeter) -> None:
    method: str = scope["method"]
    route = scope.get("path_template") or "unmatched"
    meter.count(method=method, route=route, code=code, duration_s=duration_s)
    log.info(
        "request",
        extra={
            "method": method,
            "path": without_tokens(scope["path"]),
            "code": code,
            "duration_ms": round(duration_s * 1000, 1),
        },
    )
