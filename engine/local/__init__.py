"""Embedded PostgreSQL (with pgvector) and Redis for `up` and for the tests, without containers.

What lives here: finding the servers' binaries, a folder for their data, starting, stopping and
cleaning up after a crash. Both listen on Unix sockets only. What does not: any SQL beyond making
the first role and database, and any client of either server.
"""

from engine.local.errors import LocalError
from engine.local.services import LocalServices, Services

__all__ = ["LocalError", "LocalServices", "Services"]
