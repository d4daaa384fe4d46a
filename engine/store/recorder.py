"""One append: a transaction, sent as a whole and answered once, of a batch's events and derived rows.

    BEGIN · advisory lock and NOTIFY · events · owed rows · client commands · COMMIT

The lock comes first, so whatever is compared afterwards cannot change, and no two appends can deadlock. The
library retries inserts when a connection fails; this recorder never does, because the lost answer may have
been a success. Knows nothing of asyncio or of which conflict matters to whom. Next: `postgres.py`, the store.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import psycopg
from eventsourcing.application import Application
from eventsourcing.persistence import InfrastructureFactory, Mapper, StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresFactory
from eventsourcing.utils import Environment, EnvType
from msgspec.structs import astuple
from psycopg import Cursor
from psycopg.rows import kwargs_row, scalar_row, tuple_row

from engine.ports import Batch, CommitUnknownError, OwedRow
from engine.store.admission import last_of_each_key
from engine.store.connections import Connections
from engine.store.installation import install
from engine.store.mapper import EventMapper
from engine.store.statements import SQL


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
            ids = connection.cursor(row_factory=scalar_row, binary=True)
            commit_sent = False
            try:
                with connection.pipeline(), connection.cursor() as cursor:
                    cursor.execute("BEGIN")
                    if stored_events:
                        self._notify_channel(cursor)
                        self._insert_stored_events(ids, stored_events)
                    else:
                        self._lock_table(cursor)
                    self._insert_events(cursor, stored_events, **kwargs)
                    commit_sent = True
                    cursor.execute("COMMIT")
            except psycopg.Error as error:
                if error.diag.severity_nonlocalized == "ERROR":
                    connection.rollback()  # A statement failed, so COMMIT was not carried out.
                elif commit_sent:
                    raise CommitUnknownError from error
                raise
            if connection.warnings:  # "… has already committed locally, but might not have been replicated …"
                raise CommitUnknownError
            return ids.fetchall() if stored_events else []

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
        """The rows that stand or fall with the events."""
        if any(unknown.values()):
            raise TypeError(f"the recorder does not know {', '.join(unknown)}")
        if batch is None:
            return
        if batch.withdraw:
            instances, keys = columns_of(sorted(set(batch.withdraw)))
            curs.execute(SQL["withdraw"], {"instances": instances, "keys": keys}, prepare=True)
        if batch.owe:
            curs.execute(SQL["owe"], columns_of(map(astuple, last_of_each_key(batch.owe))), prepare=True)
        if batch.client_commands:
            curs.execute(
                SQL["record_commands"], columns_of(map(astuple, batch.client_commands)), prepare=True
            )

    def _insert_stored_events(
        self, curs: Cursor[Any], stored_events: Sequence[StoredEvent], **_: Any
    ) -> None:
        first: dict[str, int] = {}
        for event in stored_events:
            first.setdefault(str(event.originator_id), event.originator_version)
        events = {
            "first_of": list(first),
            "firsts": list(first.values()),
            "streams": [event.originator_id for event in stored_events],
            "versions": [event.originator_version for event in stored_events],
            "topics": [event.topic for event in stored_events],
            "payloads": [event.state for event in stored_events],
        }
        curs.execute(SQL["append"], events, prepare=True)

    def _lock_table(self, curs: Cursor[Any]) -> None:
        curs.execute(SQL["lock"], {"lock": self._lock}, prepare=True)

    def _notify_channel(self, curs: Cursor[Any]) -> None:
        """Under the lock, which is taken here, too."""
        curs.execute(SQL["lock_and_notify"], {"lock": self._lock, "channel": self.channel_name}, prepare=True)


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


def columns_of(rows: Iterable[Sequence[Any]]) -> list[list[Any]]:
    """What `unnest` takes; none at all when there are no rows."""
    return [list(column) for column in zip(*rows, strict=True)]
