"""docs/limits.md says of connections what the code does: these numbers are no settings."""

from pathlib import Path

from engine.api.call import BODY_BYTES_PER_S_MIN, BODY_IDLE_S
from engine.api.connection import Connection

LIMITS = Path(__file__).parent.parent / "docs" / "limits.md"


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
