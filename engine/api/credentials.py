"""Who calls, for clients of other vendors' APIs: which credentials count, and where they stand."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from engine.access import Access
from engine.api.call import HttpRequest
from engine.errors import AuthenticationRequired
from engine.models import CustomerId

Authenticate: TypeAlias = Callable[[HttpRequest, Access], Awaitable[CustomerId]]


async def by_xi_api_key(request: HttpRequest, access: Access) -> CustomerId:
    """An access key in the header xi-api-key."""
    if key := request.headers.get("xi-api-key", "").strip():
        return await access.authenticate(key)
    raise AuthenticationRequired("Send your access key in the header xi-api-key.")


async def by_key_or_token(request: HttpRequest, access: Access) -> CustomerId:
    """An access key in x-api-key, or a JWT as Bearer. The key counts when both are sent."""
    if key := request.headers.get("x-api-key", "").strip():
        return await access.authenticate(key)
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return await access.authenticate_jwt(token.strip())
    raise AuthenticationRequired("Send an access key in x-api-key, or a token as a Bearer.")
