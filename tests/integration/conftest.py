"""Makes the fixtures over a database and its roles known to the tests of this folder."""

from fix_crews import crew_of
from fix_large import filler, large
from fix_store import admin_database_url, store

__all__ = ["admin_database_url", "crew_of", "filler", "large", "store"]
