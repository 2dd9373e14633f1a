"""The first answer again, for a request that comes twice with the same Idempotency-Key.

The answer is kept in the very transaction that does what was asked: either both are there or none,
whenever the process dies. Of two that come at the same time the second waits for the first and gets
its answer. A refusal is not kept, because nothing was done.

What does not live here: how requests are compared and answers are written, which is the door's.
"""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from engine.config import Limits
from engine.errors import DatabaseUnavailable, IdempotencyKeyReused, TooManyIdempotencyKeys
from engine.models import CustomerId, Noun
from engine.store import Database, Tx, idempotency

N = TypeVar("N")
T = TypeVar("T")


class Keyed(Noun, frozen=True, kw_only=True):
    """A request that came with a key."""

    customer_id: CustomerId
    key: str
    request_hash: bytes

    @property
    def key_hash(self) -> bytes:
        return hashlib.sha256(self.key.encode()).digest()


class Replay(Noun, frozen=True, kw_only=True):
    """The first answer, as it was kept."""

    answer: bytes


class _Taken(Exception):
    """Another request with this key was committed while this one was under way."""


class Keep(Generic[N]):
    """What a verb calls first and last in the transaction in which it makes an `N`."""

    def __init__(self, keyed: Keyed, *, encode: Callable[[N], bytes], limits: Limits) -> None:
        self._keyed = keyed
        self._encode = encode
        self._limits = limits

    async def begin(self, tx: Tx) -> None:
        """Take the key. Raises TooManyIdempotencyKeys."""
        taken = await idempotency.take(
            tx,
            customer_id=self._keyed.customer_id,
            key_hash=self._keyed.key_hash,
            request_hash=self._keyed.request_hash,
            keep_s=self._limits.idempotency_keep_s,
        )
        if not taken:
            raise _Taken
        keys_max = self._limits.customer_idempotency_keys_max
        if await idempotency.total(tx, customer_id=self._keyed.customer_id) > keys_max:
            raise TooManyIdempotencyKeys(
                f"At most {keys_max} keys are kept, each for {_hours(self._limits)}: send the "
                "request without Idempotency-Key, or wait."
            )

    async def end(self, tx: Tx, noun: N) -> None:
        await idempotency.answer(
            tx,
            customer_id=self._keyed.customer_id,
            key_hash=self._keyed.key_hash,
            answer=self._encode(noun),
        )


class Idempotency:
    """`limits` say for how long answers are kept and how many of a customer."""

    def __init__(self, *, database: Database, limits: Limits) -> None:
        self._database = database
        self._limits = limits

    async def once(
        self,
        keyed: Keyed,
        make: Callable[[Keep[N]], Awaitable[T]],
        *,
        encode: Callable[[N], bytes],
    ) -> T | Replay:
        """What `make` makes, or the first answer. Raises IdempotencyKeyReused for a key that came
        with another request, and whatever `make` raises."""
        if found := await self._answered(keyed):
            return found
        try:
            return await make(Keep(keyed, encode=encode, limits=self._limits))
        except _Taken as error:
            found = await self._answered(keyed)
            if found is None:  # it grew too old at this very moment
                raise DatabaseUnavailable("The data changed at the same moment.") from error
            return found

    async def _answered(self, keyed: Keyed) -> Replay | None:
        async with self._database.transaction(customer_id=keyed.customer_id) as tx:
            found = await idempotency.find(
                tx,
                customer_id=keyed.customer_id,
                key_hash=keyed.key_hash,
                keep_s=self._limits.idempotency_keep_s,
            )
        if found is None:
            return None
        if found.request_hash != keyed.request_hash:
            raise IdempotencyKeyReused(
                f"This Idempotency-Key came with another request in the last {_hours(self._limits)}"
                ": send a new key with a new request, or the same request as before."
            )
        return Replay(answer=found.answer)


def _hours(limits: Limits) -> str:
    return f"{limits.idempotency_keep_s / 3_600:g} hours"
