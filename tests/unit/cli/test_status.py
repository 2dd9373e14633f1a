"""What `status` reads out of the metrics."""

from engine.cli.status import queue_of

METRICS = """\
# HELP rag_engine_queue_depth Sources and indexes that are due.
# TYPE rag_engine_queue_depth gauge
rag_engine_queue_depth 12.0
rag_engine_queue_age_seconds 3.26
rag_engine_sources{state="ready"} 40.0
rag_engine_worker_running{worker="one:1"} 4.0
rag_engine_worker_running{worker="two:7"} 0.0
rag_engine_worker_heartbeat_age_seconds{worker="one:1"} 0.5
"""


def test_depth_age_workers_and_load_come_from_the_gauges() -> None:
    assert queue_of(METRICS) == {"depth": 12, "age_s": 3.3, "workers": 2, "running": 4}


def test_metrics_without_a_database_are_an_empty_queue() -> None:
    nothing = {"depth": 0, "age_s": 0.0, "workers": 0, "running": 0}
    assert queue_of("rag_engine_database_up 0.0\n") == nothing
