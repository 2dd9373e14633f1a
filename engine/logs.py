"""JSON logs, one object a line on stderr. `bind` adds fields to every line of the current task.

Fields: at, level, logger, event, and what is bound (request, source, attempt, stage, ...). Never a
key, never a document's text: nobody logs one, and what a caller or a library puts where it does not
belong is covered as far as it can be told by its form.
"""

import contextvars
import logging
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import msgspec

_bound: contextvars.ContextVar[Mapping[str, Any]] = contextvars.ContextVar(
    "log_fields", default=MappingProxyType({})
)
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# An access key, a signed token, and who logs in with what in a URL.
_SECRET = re.compile(
    r"\bre_[A-Za-z0-9]{32}\b|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*|(?<=://)[^\s\"\\@/]*:[^\s\"\\@]*(?=@)"
)


class JsonFormatter(logging.Formatter):
    """Renders a record, its `extra` and the bound fields as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        extra = {key: v for key, v in vars(record).items() if key not in _STANDARD}
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **_bound.get(),
            **extra,
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        encoded = msgspec.json.encode({k: _encodable(v) for k, v in line.items()}, enc_hook=str)
        return _SECRET.sub("…", encoded.decode())


def _encodable(value: Any) -> Any:
    """Without unpaired surrogates: a line that cannot be written would be lost."""
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


def configure(level: str) -> None:
    """Send all logs of this process to stderr as JSON lines, from `level` up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for noisy in ("httpx", "httpcore", "arq", "uvicorn.access", "trafilatura", "pypdf"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


@contextmanager
def bind(**fields: Any) -> Iterator[None]:
    """Add fields to every log line inside the block, in this task and those it starts."""
    token = _bound.set({**_bound.get(), **fields})
    try:
        yield
    finally:
        _bound.reset(token)
