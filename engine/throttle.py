"""Who may go on now: customers by their rate, strangers by their address.

A stranger is whoever presents credentials that have not been seen to be right a moment ago. Each
try costs its address a token, which it gets back when the credentials are right; an address without
tokens is sent away before the database is asked. What does not live here: how much a customer may
hold (quotas).
"""

import hashlib
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import ceil
from time import monotonic

from engine.buckets import Allowance, Buckets, Rate
from engine.config import Limits
from engine.errors import EngineError, RateLimited, Unauthenticated
from engine.models import CustomerId
from engine.rates import Rates
from engine.recent import Recent

KNOWN_S = 300.0
KNOWN_MAX = 50_000


class Throttle:
    """`rates` are shared by all processes; what strangers may do is counted in this one."""

    def __init__(self, *, rates: Rates, limits: Limits) -> None:
        self._rates = rates
        self._strangers = Buckets(
            Rate(per_s=limits.address_requests_per_s, burst=limits.address_requests_burst)
        )
        # Of credentials that were right only a keyed hash is held.
        self._known: Recent[bytes, bool] = Recent(kept_s=KNOWN_S, kept_max=KNOWN_MAX)
        self._secret = secrets.token_bytes(32)

    async def customer(self, customer_id: CustomerId) -> Allowance:
        """What is left of the customer's rate. Raises RateLimited when there is nothing."""
        left = await self._rates.take(str(customer_id))
        if not left.is_granted:
            raise _too_fast("You send", left)
        return left

    def address(self, address: str) -> None:
        """For what nobody needs a key for. Raises RateLimited."""
        left = self._strangers.take(address, now_s=monotonic())
        if not left.is_granted:
            raise _too_fast("Your address sends", left)

    @asynccontextmanager
    async def stranger(self, address: str, *, credentials: str) -> AsyncIterator[None]:
        """Around finding out who calls. Raises RateLimited before that is tried.

        Credentials that were right lately pass: who shares an address with a guesser must not be
        shut out. They are checked all the same, so that a revoked key ends at once.
        """
        digest = self._digest(credentials)
        is_known = self._known.get(digest, now_s=monotonic())
        if not is_known:
            self.address(address)
        try:
            yield
        except Unauthenticated:
            self._known.forget(digest)
            raise
        except EngineError:
            # Nobody found out: that is not held against the address.
            if not is_known:
                self._strangers.give_back(address, now_s=monotonic())
            raise
        if not is_known:
            self._strangers.give_back(address, now_s=monotonic())
        self._known.put(digest, True, now_s=monotonic())

    def remember(self, credentials: str) -> None:
        """Credentials that were found to be right elsewhere."""
        self._known.put(self._digest(credentials), True, now_s=monotonic())

    def _digest(self, credentials: str) -> bytes:
        raw = credentials.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(raw, key=self._secret, digest_size=16).digest()


def _too_fast(whose: str, left: Allowance) -> RateLimited:
    error = RateLimited(
        f"{whose} more requests than allowed: up to {left.burst} at once, then slower. Wait "
        f"{ceil(left.wait_s)} s, then go on."
    )
    error.retry_after_s, error.allowance_max = left.wait_s, left.burst
    return error
