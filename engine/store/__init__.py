"""Where the log is kept: the only package, with the projection runner, that knows the eventsourcing library.

`PostgresStore` is the store of record; `MemoryStore` stands in for it in tests and simulations. Both
implement `engine.ports.Store`, where the errors are that they raise. Next: `postgres.py`, or `schema.sql` for
the tables."""

from engine.store.memory import MemoryStore
from engine.store.postgres import PostgresStore

__all__ = ["MemoryStore", "PostgresStore"]
