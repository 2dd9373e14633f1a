from uuid import uuid4

import pytest

from engine.buckets import Rate
from engine.config import Limits
from engine.errors import DatabaseUnavailable, InvalidCredentials, RateLimited
from engine.models import CustomerId
from engine.rates import Rates
from engine.throttle import Throttle

pytestmark = pytest.mark.anyio

# So slow that no token comes back while a test runs.
LIMITS = Limits(address_requests_per_s=0.001, address_requests_burst=3)


@pytest.fixture
def throttle() -> Throttle:
    return Throttle(rates=Rates("", rate=Rate(per_s=0.001, burst=2)), limits=LIMITS)


class Seen(Exception):
    """The database was asked."""


async def wrong(throttle: Throttle, *, key: str = "wrong", address: str = "a") -> None:
    with pytest.raises(InvalidCredentials):
        async with throttle.stranger(address, credentials=key):
            raise InvalidCredentials("no")


async def right(throttle: Throttle, *, key: str = "right", address: str = "a") -> None:
    async with throttle.stranger(address, credentials=key):
        pass


async def refused(throttle: Throttle, *, key: str = "wrong", address: str = "a") -> RateLimited:
    with pytest.raises(RateLimited) as caught:
        async with throttle.stranger(address, credentials=key):
            raise Seen
    return caught.value


async def test_an_address_that_guesses_is_sent_away_before_anybody_is_asked(throttle):
    for number in range(3):
        await wrong(throttle, key=f"guess {number}")
    error = await refused(throttle)
    assert (error.allowance_max, error.retry_after_s) == (3, pytest.approx(1_000, rel=0.01))
    await wrong(throttle, address="b")


async def test_right_credentials_cost_an_address_nothing(throttle):
    for number in range(20):
        await right(throttle, key=f"key {number}")
    await wrong(throttle)


async def test_credentials_that_were_right_pass_where_their_address_is_used_up(throttle):
    await right(throttle)
    for _ in range(3):
        await wrong(throttle)
    await refused(throttle, key="never seen")
    for _ in range(5):
        await right(throttle)


async def test_credentials_that_were_right_elsewhere_pass(throttle):
    """As those that came through here: an address without tokens does not shut them out."""
    for _ in range(3):
        await wrong(throttle)
    await refused(throttle, key="asks")
    throttle.remember("asks")
    await right(throttle, key="asks")
    await refused(throttle, key="another")


async def test_credentials_that_are_wrong_now_are_a_strangers_again(throttle):
    await right(throttle, key="revoked")
    await wrong(throttle, key="revoked")
    for _ in range(3):
        await wrong(throttle)
    await refused(throttle, key="revoked")


async def test_a_database_that_is_away_is_not_held_against_an_address(throttle):
    for _ in range(10):
        with pytest.raises(DatabaseUnavailable):
            async with throttle.stranger("a", credentials="any"):
                raise DatabaseUnavailable("away")
    await wrong(throttle)


async def test_who_asks_at_the_same_time_is_counted_before_anybody_has_an_answer(throttle):
    held = [throttle.stranger("a", credentials=f"{n}") for n in range(3)]
    for each in held:
        await each.__aenter__()
    await refused(throttle)
    for each in held:
        await each.__aexit__(None, None, None)
    await right(throttle)


async def test_a_customer_has_its_burst_and_another_customer_has_its_own(throttle):
    first, other = CustomerId(uuid4()), CustomerId(uuid4())
    assert [(await throttle.customer(first)).remaining for _ in range(2)] == [1, 0]
    with pytest.raises(RateLimited, match="up to 2 at once") as caught:
        await throttle.customer(first)
    assert caught.value.allowance_max == 2
    assert (await throttle.customer(other)).remaining == 1


async def test_credentials_that_are_no_text_are_counted_like_any(throttle):
    await wrong(throttle, key="\ud800")
