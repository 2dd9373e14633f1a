"""The only SQL of the engine: one module a table, one literal statement a function.

Callers open a transaction with `Database.transaction` and pass the `Tx` on; they decide where it
begins and ends and never see a statement. What does not live here: rules about when to do what.
"""

from engine.store.database import Database, Tx

__all__ = ["Database", "Tx"]
