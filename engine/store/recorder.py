"""One append: a transaction of a batch's events and derived rows, in one statement and with one answer.

    advisory lock and NOTIFY · events · owed rows · client commands

The lock comes first, so whatever is compared afterwards cannot change, and no two appends can deadlock. The
library retries inserts when a connection fails; this recorder never does, because the lost answer may have
been a success. Knows nothing of asyncio or of which conflict matters to whom. Next: `postgres.py`, the store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import Any

import psycopg
from eventsourcing.application import Application
from eventsourcing.persistence import InfrastructureFactory, Mapper, StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresFactory
from eventsourcing.utils import Environment, EnvType
from msgspec import Struct
from msgspec.structs import astuple
from psycopg import Cursor
from psycopg.rows import kwargs_row, scalar_row, tuple_row

from engine.ports import Batch, ClientCommand, CommitUnknownError, OwedRow
from engine.store.admission import last_of_each_key
from engine.store.columns import Bigints, Column, Integers, Payloads, Texts, Times
from engine.store.connections import Connections
from engine.store.installation import install
from engine.store.mapper import EventMapper
from engine.store.statements import SQL

TYPES: Mapping[str, type[Column]] = {
    "attempt": Integers,
    "priority": Integers,
    "due_at": Times,
    "timer_at": Times,
    "version": Bigints,
    "at": Times,
}
"""Of the fields of rows that are no texts."""


class BatchRecorder(PostgresApplicationRecorder):
    """The library's recorder; `insert_events(events, batch=batch)` adds the batch's rows to the transaction."""

    datastore: Connections

    def __init__(self, datastore: Connections, *, events_table_name: str = "stored_events") -> None:
        super().__init__(datastore, events_table_name=events_table_name)
        self._lock = datastore.advisory_key("append")

    def create_table(self) -> None:
        """Installs our schema. The library's own would add a function that appends without the lock."""
        install(self.datastore)

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int]:
        """The positions, once durable. Raises the library's IntegrityError (its cause names the constraint),
        StoreUnavailableError (nothing was stored) or CommitUnknownError."""
        with self.datastore.get_connection() as connection:
            connection.warnings.clear()
            positions = connection.cursor(row_factory=scalar_row, binary=True)
            try:
                self._insert_events(positions, stored_events, **kwargs)
            except psycopg.Error as error:
                severity = error.diag.severity_nonlocalized
                unheard = severity is None and isinstance(error, psycopg.OperationalError)
                if unheard or severity in ("FATAL", "PANIC"):
                    raise CommitUnknownError from error
                raise
            if connection.warnings:  # "… has already committed locally, but might not have been replicated …"
                raise CommitUnknownError
            return positions.fetchall()

    def replace_owed(self, instance: str, rows: Sequence[OwedRow], version: int) -> bool:
        """Under the same lock as appends, so the stream stands still between the comparison and the rows."""
        with self.datastore.get_connection() as connection, connection.transaction():
            with connection.cursor(row_factory=tuple_row) as cursor:
                self._lock_table(cursor)
                found = cursor.execute(SQL["versions"], {"streams": [instance]}).fetchall()
            if found != [(instance, version)]:
                return False
            with connection.cursor(row_factory=kwargs_row(OwedRow)) as cursor:
                standing = cursor.execute(SQL["owed_of"], {"instances": [instance]}).fetchall()
            kept = {(row.instance, row.key) for row in rows}
            gone = [key for row in standing if (key := (row.instance, row.key)) not in kept]
            with connection.cursor() as cursor:
                self._insert_events(cursor, (), batch=Batch(owe=list(rows), withdraw=gone))
        return True

    def _insert_events(
        self,
        curs: Cursor[Any],
        stored_events: Sequence[StoredEvent],
        *,
        batch: Batch | None = None,
        **unknown: Any,
    ) -> None:
        """With the rows that stand or fall with them."""
        if any(unknown.values()):
            raise TypeError(f"the recorder does not know {', '.join(unknown)}")
        parameters = parameters_of(stored_events, batch or Batch())
        parameters |= {"lock": self._lock, "channel": self.channel_name}
        curs.execute(SQL["append"], parameters, prepare=True)

    def _lock_table(self, curs: Cursor[Any]) -> None:
        curs.execute(SQL["lock"], {"lock": self._lock}, prepare=True)


class LogFactory(PostgresFactory):
    """The library's infrastructure on connections that are there already, instead of POSTGRES_* variables."""

    datastore: Connections

    def __init__(self, env: Environment, datastore: Connections) -> None:
        InfrastructureFactory.__init__(self, env)  # The one between would make a datastore of its own.
        self.datastore = datastore

    def application_recorder(self) -> BatchRecorder:
        recorder = BatchRecorder(self.datastore)
        recorder.create_table()
        return recorder


class EventLog(Application[str]):
    """The library's application of one shard: mapper, recorder, and the log as its readers know it."""

    recorder: BatchRecorder

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        super().__init__()

    def construct_env(self, name: str, env: EnvType | None = None) -> Environment:
        """None of the process's environment: a stray variable must not add a cipher, or drop the lock."""
        return Environment(env={"IS_SNAPSHOTTING_ENABLED": "n"})

    def construct_factory(self, env: Environment) -> Any:
        return LogFactory(env, self._connections)

    def construct_mapper(self) -> Mapper[str]:
        return EventMapper(transcoder=self.construct_transcoder())

    def append(self, batch: Batch) -> list[int]:
        """The positions of its events. Raises what `BatchRecorder.insert_events` raises."""
        stored = [self.mapper.to_stored_event(event) for event in batch.events]  # type: ignore[arg-type]
        return list(self.recorder.insert_events(stored, batch=batch))


def parameters_of(events: Sequence[StoredEvent], batch: Batch) -> dict[str, Any]:
    """Of the statement `append`."""
    first: dict[str, int] = {}
    for event in events:
        first.setdefault(str(event.originator_id), event.originator_version)
    gone = sorted(set(batch.withdraw))
    owed = last_of_each_key(batch.owe)
    return {
        "first_of": Texts(first),
        "firsts": Bigints(first.values()),
        "streams": Texts(event.originator_id for event in events),
        "versions": Bigints(event.originator_version for event in events),
        "topics": Texts(event.topic for event in events),
        "payloads": Payloads(event.state for event in events),
        "gone_instances": Texts(instance for instance, _ in gone),
        "gone_keys": Texts(key for _, key in gone),
        **_columns("owed", OwedRow, owed),
        **_columns("command", ClientCommand, batch.client_commands),
    }


def _columns(prefix: str, kind: type[Struct], rows: Sequence[Struct]) -> dict[str, Column]:
    """One column per field."""
    values = zip(*map(astuple, rows), strict=True) if rows else repeat(())
    return {
        f"{prefix}_{name}": TYPES.get(name, Texts)(column)
        for name, column in zip(kind.__struct_fields__, values, strict=False)
    }
