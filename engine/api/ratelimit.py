"""Limits at the edge, before anything costs: by address until a caller is known, then by customer.

How much is allowed is decided in engine.throttle; here is where a request comes from, and how it is
told what is left.
"""

from collections.abc import Awaitable, Callable
from ipaddress import IPv6Address, ip_address
from math import ceil
from typing import Any

from litestar import Request

from engine.api.headers import Headers, tell
from engine.buckets import Allowance
from engine.models import CustomerId
from engine.throttle import Throttle

# A network gives each of its hosts as many addresses as it likes: all of a /64 are one.
IPV6_NETWORK_BITS = 64
CREDENTIALS = ("authorization", "x-api-key", "xi-api-key")
UNKNOWN = "unknown"  # whoever comes over a Unix socket


def address_of(client: Any) -> str:
    """What an address is counted under. `client` is (host, port), as the server made it out."""
    try:
        address = ip_address(client[0])
    except (TypeError, IndexError, ValueError):
        return UNKNOWN
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Address(int(address) >> IPV6_NETWORK_BITS << IPV6_NETWORK_BITS))


async def identified(
    request: Request[Any, Any, Any],
    *,
    throttle: Throttle,
    authenticate: Callable[[], Awaitable[CustomerId]],
) -> CustomerId:
    """Who calls, when the address may go on. Raises RateLimited, Unauthenticated."""
    address = address_of(request.scope.get("client"))
    async with throttle.stranger(address, credentials=_credentials(request)):
        return await authenticate()


async def admitted(
    request: Request[Any, Any, Any], *, throttle: Throttle, customer_id: CustomerId
) -> None:
    """Let a customer go on, and tell what is left of its rate. Raises RateLimited."""
    tell(request.scope, *headers_of(await throttle.customer(customer_id)))


def seen_right(request: Request[Any, Any, Any], *, throttle: Throttle) -> None:
    """The credentials of a request that did not come through `identified`."""
    throttle.remember(_credentials(request))


def _credentials(request: Request[Any, Any, Any]) -> str:
    given = [request.headers.get(name, "") for name in CREDENTIALS]
    return "\n".join([*given, *request.query_params.getall("accesskey", [])])


def headers_of(left: Allowance) -> Headers:
    """What a request that was let in is told of its customer's rate."""
    values = {"limit": left.burst, "remaining": left.remaining, "reset": ceil(left.full_s)}
    return [(f"ratelimit-{name}".encode(), f"{value}".encode()) for name, value in values.items()]
