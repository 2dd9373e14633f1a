"""How an attempt ended that did not finish: what its owner is told, and when it is tried again.

Pure but for the log line. What is written to the rows is in workers.ingest.
"""

import logging
import random

from engine.errors import EngineError, InternalFault, SourceError, Unavailable
from engine.models import Failure

log = logging.getLogger(__name__)

DELAY_S_MAX = 300.0


def delay_s_after(faults: int, *, base_s: float) -> float:
    """Exponential backoff with jitter: what failed together does not return together."""
    delay_s = min(DELAY_S_MAX, float(base_s * 2**faults))
    return delay_s * random.uniform(0.5, 1.5)  # noqa: S311 - spreads load, guards nothing


def failure_of(error: BaseException | None) -> Failure | None:
    """What the owner of the source is told; None when nothing is charged."""
    if error is None or isinstance(error, Unavailable):
        return None
    if not isinstance(error, SourceError):
        error = InternalFault("The engine failed while working on this document.")
    return Failure(
        code=error.code, message=error.message, retryable=error.retryable, remedy=error.remedy
    )


def log_end(error: BaseException | None, *, final: bool, delay_s: float) -> None:
    extra: dict[str, object] = {"final": final, "retry_in_s": None if final else round(delay_s, 1)}
    if error is None:
        log.info("given back", extra=extra)
    elif isinstance(error, EngineError):
        extra |= {"code": error.code, "cause": repr(error.__cause__)}
        log.warning("source failed", extra=extra)
    else:
        log.error("source failed unexpectedly", extra=extra, exc_info=error)
