"""Reads whole histories in a process of its own, so that nobody waits for it: for checks and for what-if.

Blocking, read only, and in one moment: what it sees of the log, of snapshots and of what is owed belongs together.
Memory is bounded by one history's events if its caller keeps them, else by one fetch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from types import TracebackType
from typing import Self

from psycopg.rows import args_row, kwargs_row, tuple_row

from domain.state import STATE_VERSION
from engine.ports import OwedRow, Snapshot
from engine.store.connections import Connections, StoreConnection
from engine.store.statements import SQL

FETCH = 2_000
"""Events fetched at a time."""

Row = tuple[str, int, str, bytes]
"""Stream, version, topic, payload."""


class Reader:
    """A context manager: the connection is closed at its end."""

    def __init__(self, dsn: str, schema: str) -> None:
        self._connections = Connections(dsn, schema)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connections.close()

    @contextmanager
    def moment(self) -> Iterator[Moment]:
        """What is read through it is of one moment. Raises StoreUnavailableError."""
        with self._connections.get_connection() as connection, connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield Moment(connection)


class Moment:
    def __init__(self, connection: StoreConnection) -> None:
        self._connection = connection

    def histories(self, streams: Sequence[str]) -> Iterator[tuple[str, Iterator[Row]]]:
        """Stream by stream, in order of their ids; one without events is left out. Read each before the next."""
        with self._connection.cursor(name="histories", binary=True, row_factory=tuple_row) as cursor:
            cursor.itersize = FETCH
            cursor.execute(SQL["histories"], {"streams": list(streams)})
            yield from groupby(cursor, key=itemgetter(0))

    def snapshots(self, streams: Sequence[str]) -> dict[str, Snapshot]:
        parameters = {"streams": list(streams), "state_version": STATE_VERSION}
        with self._connection.cursor(binary=True, row_factory=args_row(Snapshot)) as cursor:
            return {one.stream: one for one in cursor.execute(SQL["snapshots_of"], parameters)}

    def owed(self, streams: Sequence[str]) -> dict[str, dict[str, OwedRow]]:
        """By instance, then by key."""
        found: dict[str, dict[str, OwedRow]] = {stream: {} for stream in streams}
        with self._connection.cursor(binary=True, row_factory=kwargs_row(OwedRow)) as cursor:
            for row in cursor.execute(SQL["owed_of"], {"instances": list(streams)}):
                found[row.instance][row.key] = row
        return found
