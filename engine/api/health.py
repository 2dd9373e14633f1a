"""/healthz, /readyz and /metrics: for probes and scrapers, without a key.

What is measured is asked from engine.health; here is only how it is told.
"""

from litestar import MediaType, Response, get
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from engine.api.call import HttpRequest, Verbs
from engine.api.ratelimit import address_of
from engine.errors import Unavailable
from engine.health import Metrics


@get("/healthz", status_code=200)
async def healthz() -> dict[str, str]:
    """The process is alive; nothing else is asked."""
    return {"status": "ok"}


@get("/readyz", status_code=200)
async def readyz(request: HttpRequest) -> dict[str, str | dict[str, str]]:
    """What requests cannot do without answers; else the error names what is away."""
    verbs: Verbs = request.app.state.verbs
    verbs.throttle.address(address_of(request.scope.get("client")))
    checks = await verbs.health.ready()
    return {"status": "ok", "checks": checks}


@get("/metrics", status_code=200, media_type=MediaType.TEXT)
async def metrics(request: HttpRequest) -> Response[bytes]:
    """Prometheus text: the queue and the workers, then the requests of this process."""
    verbs: Verbs = request.app.state.verbs
    verbs.throttle.address(address_of(request.scope.get("client")))
    try:
        measured = await verbs.health.metrics()
    except Unavailable:
        measured = None
    text = generate_latest(gauges(measured)) + generate_latest(request.app.state.meter.registry)
    return Response(text, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})


def gauges(measured: Metrics | None) -> CollectorRegistry:
    """A registry of this scrape alone, so that workers that left leave no series behind.

    Without a database there is nothing to tell but that.
    """
    registry = CollectorRegistry()
    up = Gauge(
        "rag_engine_database_up", "1 while the database answers this process.", registry=registry
    )
    up.set(0 if measured is None else 1)
    if measured is None:
        return registry
    depth = Gauge("rag_engine_queue_depth", "Sources and indexes that are due.", registry=registry)
    depth.set(measured.queue_depth)
    age = Gauge(
        "rag_engine_queue_age_seconds",
        "For how long the oldest of them has been due.",
        registry=registry,
    )
    age.set(measured.queue_age_s)
    sources = Gauge("rag_engine_sources", "Sources by state.", ("state",), registry=registry)
    for state, count in measured.sources.items():
        sources.labels(state.value).set(count)
    running = Gauge(
        "rag_engine_worker_running", "Rows a worker works on.", ("worker",), registry=registry
    )
    heartbeat = Gauge(
        "rag_engine_worker_heartbeat_age_seconds",
        "Since a worker was last heard of.",
        ("worker",),
        registry=registry,
    )
    for load in measured.workers:
        running.labels(load.worker).set(load.running)
        heartbeat.labels(load.worker).set(load.heartbeat_age_s)
    return registry


HANDLERS = (healthz, readyz, metrics)
