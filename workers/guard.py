"""The connector of the fetcher: resolves a name once, checks every address, connects to those.

The rules are engine.addresses; the HTTP above the sockets is workers.fetch. A name is never
resolved a second time between the check and the connection, so an answer that changes in between
(DNS rebinding) has nothing to change. Proxy variables of the environment are not read.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import ip_address

import httpcore

from engine.addresses import Address, AllowList, is_reachable
from engine.errors import FetchRefusedAddress, FetchUnreachable

# (host, port) -> addresses in the order in which to try them. Raises OSError or UnicodeError.
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
SocketOption = (
    tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]
)

CONNECT_TIMEOUT_S = 5.0
RESOLVERS_MAX = 16
REFUSED_MESSAGE = "The URL leads to an address that this engine does not fetch from."

# A lookup cannot be cancelled and may hang for half a minute. Threads of its own keep dead names
# from using up those that everything else in the process shares.
_RESOLVERS = ThreadPoolExecutor(RESOLVERS_MAX, thread_name_prefix="resolve")


async def resolve_name(host: str, port: int) -> Sequence[str]:
    """Ask the system's resolver; literal addresses come back as they are, in plain spelling."""
    loop = asyncio.get_running_loop()
    ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    found = await loop.run_in_executor(_RESOLVERS, ask)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Opens TCP connections to checked addresses only.

    TLS is started by the pool with the name of the URL, so certificates are checked against that
    and not against the address.
    """

    def __init__(self, *, allow_list: AllowList, resolve: Resolve = resolve_name) -> None:
        self._allow_list = allow_list
        self._resolve = resolve
        self._sockets = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is httpcore's
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first checked address of `host` that answers.

        Raises FetchRefusedAddress if any address is forbidden, FetchUnreachable if there is none,
        and httpcore's ConnectError or ConnectTimeout if none answers.
        """
        *first, last = await self._checked_addresses(host, port=port)
        # Each address gets its own share of patience: one that swallows packets must not keep
        # its siblings from being tried.
        patience_s = min(timeout or CONNECT_TIMEOUT_S, CONNECT_TIMEOUT_S)
        for address in first:
            try:
                return await self._sockets.connect_tcp(str(address), port, patience_s)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._sockets.connect_tcp(str(last), port, patience_s)

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is httpcore's
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Raises FetchRefusedAddress, always."""
        raise FetchRefusedAddress(REFUSED_MESSAGE)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _checked_addresses(self, host: str, *, port: int) -> list[Address]:
        addresses = await self._addresses(host, port=port)
        # One bad address refuses them all: a name that mixes public and private addresses is
        # either an attack or a mistake, and both should be seen.
        for address in addresses:
            if not is_reachable(address, port=port, host=host, allow_list=self._allow_list):
                raise FetchRefusedAddress(REFUSED_MESSAGE)
        return addresses

    async def _addresses(self, host: str, *, port: int) -> list[Address]:
        try:
            addresses = [ip_address(text) for text in await self._resolve(host, port)]
        except (OSError, UnicodeError) as error:
            raise FetchUnreachable("The host name of the URL could not be resolved.") from error
        if not addresses:
            raise FetchUnreachable("The host name of the URL has no address.")
        return addresses


def guarded_pool(
    *, allow_list: AllowList, resolve: Resolve, ssl_context: ssl.SSLContext
) -> httpcore.AsyncConnectionPool:
    """A pool for one fetch: HTTP/1.1, no proxy, no retries, every connection through the guard."""
    return httpcore.AsyncConnectionPool(
        ssl_context=ssl_context,
        max_connections=2,
        max_keepalive_connections=1,
        http1=True,
        http2=False,
        retries=0,
        network_backend=GuardedBackend(allow_list=allow_list, resolve=resolve),
    )
