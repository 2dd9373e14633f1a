"""The canary of the namespace: listens on every address and says which of them was reached."""

import selectors
import socket
import threading
from ipaddress import ip_address
from urllib.parse import unquote

PORTS = (80, 443, 6379, 8080, 8443)


class Canary:
    """One listener per port on all addresses of both families, for the time of the block."""

    def __init__(self):
        self._reached = []
        self._selector = selectors.DefaultSelector()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        for port in PORTS:
            listener = socket.create_server(
                ("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64
            )
            self._selector.register(listener, selectors.EVENT_READ)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._closing.set()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()
        self._selector.close()

    def taken(self):
        """The addresses that were reached since the last call, in their order."""
        found, self._reached = self._reached, []
        return found

    def _serve(self):
        while not self._closing.is_set():
            for key, _ in self._selector.select(0.05):
                connection, _ = key.fileobj.accept()
                with connection:
                    self._meet(connection)

    def _meet(self, connection):
        # Told before a byte is read: to be reached at all is what must not happen.
        address = ip_address(connection.getsockname()[0].partition("%")[0])
        self._reached.append(str(address.ipv4_mapped or address))
        connection.settimeout(1)
        try:
            connection.sendall(_answer(connection.recv(65_536)))
        except OSError:
            return


def _answer(request):
    path = request.split(b" ")[1].decode("ascii") if request.startswith(b"GET ") else "/"
    if path.startswith("/hop-"):
        status, _, target = path.removeprefix("/hop-").partition("?")
        location = unquote(target).encode()
        return b"HTTP/1.1 %s Moved\r\nContent-Length: 0\r\nLocation: %s\r\n\r\n" % (
            status.encode(),
            location,
        )
    return b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\ncanary"
