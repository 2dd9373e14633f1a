"""The documents say of connections what the code does: these numbers are no settings."""

from pathlib import Path

from engine.api.app import OPERATOR_CONNECTIONS
from engine.api.call import BODY_BYTES_PER_S_MIN, BODY_IDLE_S
from engine.api.connection import Connection
from workers import main

REPOSITORY = Path(__file__).parent.parent
LIMITS = REPOSITORY / "docs" / "limits.md"
OPERATING = REPOSITORY / "docs" / "operating.md"
WORKERS = REPOSITORY / "workers"


def test_the_limits_of_connections_are_documented_as_they_are() -> None:
    text = LIMITS.read_text("utf-8").partition("## Connections")[2].partition("\n## ")[0]
    said = " ".join(text.split())
    for figure in (
        f"holds {Connection.connections_max} connections",
        f"{Connection.head_timeout_s:g} s and {Connection.head_bytes_max // 1024} KiB",
        f"stands still for {BODY_IDLE_S:g} s",
        f"slower than {BODY_BYTES_PER_S_MIN:,} bytes a second",
        f"of an answer for {Connection.write_timeout_s:g} s",
    ):
        assert figure in said


def test_a_worker_uses_as_many_connections_to_the_database_as_documented() -> None:
    """Those of the pool, and one for each loop that holds a lock or keeps leases."""
    texts = [path.read_text("utf-8") for path in WORKERS.rglob("*.py")]
    loops = sum(text.count(".dedicated() as") + text.count(".owned() as") for text in texts)
    beyond = main.BESIDE_JOBS + loops
    said = OPERATING.read_text("utf-8")
    assert f"a worker process uses up to WORKER_JOBS + {beyond}." in said
    assert f"workers × (WORKER_JOBS + {beyond})" in said
    assert f"API_PROCESSES × (DATABASE_CONNECTIONS + {OPERATOR_CONNECTIONS})" in said
