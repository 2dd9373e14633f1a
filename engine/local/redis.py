"""Redis, the bell: how its server is launched. Nothing that matters lives in it, so nothing of it
is ever written to disk."""

import re
import signal
import socket
from pathlib import Path

import msgspec

from engine.local.account import Account
from engine.local.process import Launch

PING_TIMEOUT_S = 1.0
SETTINGS = {
    "port": "0",
    "unixsocketperm": "700",
    "save": "",
    "appendonly": "no",
    "daemonize": "no",
    "databases": "16",
    "maxmemory": "256mb",
    # A full bell refuses to ring, which is seen and healed; it must not forget silently.
    "maxmemory-policy": "noeviction",
}


class Redis(msgspec.Struct, frozen=True, kw_only=True):
    """Where one Redis server has its things. `mark` is the name that its process carries."""

    services: Path
    sockets: Path
    log: Path
    program: Path
    account: Account
    mark: str

    @property
    def url(self) -> str:
        """The address for redis-py and arq, over the Unix socket."""
        return f"unix://{self._socket}"

    def launch(self) -> Launch:
        """How to start, recognise and stop the server."""
        options = SETTINGS | {"unixsocket": str(self._socket), "dir": str(self.services)}
        # Redis rewrites its title but keeps the name it was called by; so the mark is that name.
        arguments = [f"{self.mark}-redis"]
        for name, value in options.items():
            arguments += [f"--{name}", value]
        title = re.compile(rf"{self.mark}-redis ")
        return Launch(
            name="Redis",
            arguments=tuple(arguments),
            executable=self.program,
            log=self.log,
            account=self.account,
            leader=title,
            member=title,
            stop_signal=signal.SIGTERM,
            ready=self._answers,
            stale=lambda: (self._socket,),
        )

    @property
    def _socket(self) -> Path:
        return self.sockets / "redis.sock"

    def _answers(self, pid: int) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(PING_TIMEOUT_S)
            try:
                client.connect(str(self._socket))
                client.sendall(b"PING\r\n")
                return client.recv(64).startswith(b"+PONG")
            except OSError:
                # Not there yet, or not listening yet: asked again until the process ends.
                return False
