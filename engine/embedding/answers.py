"""What a server's answer means: vectors, or a fault in words. Pure.

Not here: asking, waiting and asking again (`provider`).
"""

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum, auto

import msgspec
import numpy as np

from engine.embedding.embedder import Vectors, unit
from engine.models import Noun

# What servers say of a text, or a batch, that is more than the model takes.
_LENGTH = re.compile(
    rb"context length|too (?:long|large|many)|exceed|less than|at most|batch size|maximum", re.I
)
# Some call it a failure of their own. There only what cannot mean anything else counts: a text must
# not be cut because a deadline was exceeded.
_LENGTH_IN_FAILURE = re.compile(rb"context length|input length|too (?:long|large)|batch size", re.I)
LENGTH_STATUSES = frozenset({400, 413, 422, 500})
# A number in JSON has up to 25 characters; some servers put each on a line of its own.
NUMBER_BYTES_MAX = 64
ITEM_BYTES_MAX = 1_024
FRAME_BYTES_MAX = 64 * 1024
RETRY_AFTER_S_MAX = 300.0


class Kind(Enum):
    """What a fault calls for."""

    AGAIN = auto()  # may pass: ask again
    SLOW = auto()  # the time is used up
    REFUSED = auto()  # every request would be refused: the operator has to act
    DOUBTED = auto()  # this request was refused, perhaps for its texts
    TOO_LONG = auto()  # smaller requests may do
    WRONG = auto()  # an answer that is none


class Fault(Exception):
    """Why there are no vectors. `words` are the rest of a sentence that begins with "its server".

    `wait_s` is how long the server asked to be left alone.
    """

    def __init__(self, words: str, *, kind: Kind, wait_s: float | None = None) -> None:
        super().__init__(words)
        self.words = words
        self.kind = kind
        self.wait_s = wait_s


class _Item(Noun, frozen=True, kw_only=True):
    index: int
    embedding: list[float]


class _Answer(Noun, frozen=True, kw_only=True):
    data: list[_Item]


_decoder = msgspec.json.Decoder(_Answer)


def answer_bytes_max(*, count: int, dimensions: int) -> int:
    """How many bytes an answer with so many vectors may have."""
    return FRAME_BYTES_MAX + count * (ITEM_BYTES_MAX + dimensions * NUMBER_BYTES_MAX)


def vectors_of(body: bytes, *, count: int, dimensions: int) -> Vectors:
    """Vectors of shape (count, dimensions), float32, of length 1, in the order of the request.

    Raises Fault when the answer is not exactly that many sound vectors.
    """
    try:
        items = _decoder.decode(body).data
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Fault("gave an answer that is no list of vectors", kind=Kind.WRONG) from error
    if sorted(item.index for item in items) != list(range(count)):
        words = f"gave {len(items)} vectors for {count} texts, or numbered them wrongly"
        raise Fault(words, kind=Kind.WRONG)
    items.sort(key=lambda item: item.index)
    for item in items:
        if len(item.embedding) != dimensions:
            found = len(item.embedding)
            words = f"gave a vector of {found} dimensions where the model has {dimensions}"
            raise Fault(words, kind=Kind.WRONG)
    # The decoder takes finite numbers only, but the square of one may be beyond 64 bits, and the
    # number beyond 32: so they are divided by the largest before anything else.
    numbers = np.array([item.embedding for item in items], dtype=np.float64)
    largest = np.abs(numbers).max(axis=-1, keepdims=True)
    if not largest.all():
        raise Fault("gave a vector of length zero", kind=Kind.WRONG)
    return unit((numbers / largest).astype(np.float32))


def fault_of(status: int, *, said: bytes = b"", retry_after: str | None = None) -> Fault:
    """What a status other than 200 means; `said` is the beginning of the body."""
    shown = f"({status})"
    length = _LENGTH_IN_FAILURE if status >= 500 else _LENGTH
    if status == 413 or (status in LENGTH_STATUSES and length.search(said)):
        return Fault(f"finds a text too long {shown}", kind=Kind.TOO_LONG)
    if status in (400, 422):
        return Fault(f"refuses the request {shown}", kind=Kind.DOUBTED)
    if status == 429:
        return Fault(f"is overloaded {shown}", kind=Kind.AGAIN, wait_s=seconds(retry_after))
    if status in (408, 425) or status >= 500:
        return Fault(f"failed {shown}", kind=Kind.AGAIN, wait_s=seconds(retry_after))
    return Fault(f"{_refusal(status)} {shown}", kind=Kind.REFUSED)


def seconds(retry_after: str | None, *, now: datetime | None = None) -> float | None:
    """How long a Retry-After header asks to wait, at most RETRY_AFTER_S_MAX; None without one."""
    if retry_after is None:
        return None
    try:
        wait_s = float(retry_after)
    except ValueError:
        try:
            at = parsedate_to_datetime(retry_after)
        except (ValueError, OverflowError):
            return None
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        wait_s = (at - (now or datetime.now(UTC))).total_seconds()
    return min(max(wait_s, 0.0), RETRY_AFTER_S_MAX) if math.isfinite(wait_s) else None


def _refusal(status: int) -> str:
    if status in (401, 403):
        return "refuses the access key"
    if status == 404:
        return "knows no such address or model"
    if 300 <= status < 400:
        return "redirects elsewhere, which is not followed"
    return "gave an unexpected answer" if status < 300 else "refuses the request"
