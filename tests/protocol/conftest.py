"""Makes the fixtures over a database and its roles known to the tests of this folder."""

from fix_store import store

__all__ = ["store"]
