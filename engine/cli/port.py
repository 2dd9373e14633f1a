"""Whether a port can be listened on, asked before anything is started."""

import socket

PORT_MAX = 65_535


def busy(host: str, *, port: int) -> str:
    """Why the address cannot be listened on, as one sentence with what to do; "" when it can."""
    if not 1 <= port <= PORT_MAX:  # the resolver would take it modulo 65536
        return f"{port} is not a port: choose one from 1 to {PORT_MAX} with --port."
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        return f"The address {host!r} is not known on this machine: set RAG_ENGINE_HOST to one."
    family, kind, protocol, _, address = found[0]
    with socket.socket(family, kind, protocol) as probe:
        # As the server will do: connections of an earlier one that linger do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except PermissionError:
            return f"This user may not listen on port {port}: choose one above 1023 with --port."
        except OSError:
            return (
                f"Port {port} of {host} is in use by another program: "
                "stop that, or choose another one with --port."
            )
    return ""
