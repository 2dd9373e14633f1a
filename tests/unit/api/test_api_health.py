from prometheus_client import generate_latest

from engine.api.health import gauges
from engine.health import Metrics, WorkerLoad
from engine.models import State


def test_the_gauges_say_what_was_measured():
    measured = Metrics(
        queue_depth=7,
        queue_age_s=1.5,
        sources={State.READY: 3, State.ERROR: 1},
        workers=(WorkerLoad(worker="host:12", running=2, heartbeat_age_s=0.5),),
    )
    lines = generate_latest(gauges(measured)).decode().splitlines()
    assert set(lines) >= {
        "rag_engine_database_up 1.0",
        "rag_engine_queue_depth 7.0",
        "rag_engine_queue_age_seconds 1.5",
        'rag_engine_sources{state="ready"} 3.0',
        'rag_engine_sources{state="error"} 1.0',
        'rag_engine_worker_running{worker="host:12"} 2.0',
        'rag_engine_worker_heartbeat_age_seconds{worker="host:12"} 0.5',
    }


def test_without_a_database_only_that_is_told():
    text = generate_latest(gauges(None)).decode()
    assert "rag_engine_database_up 0.0" in text
    assert "rag_engine_queue_depth" not in text
