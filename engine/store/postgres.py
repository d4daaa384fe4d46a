"""The store of record: one shard in one schema of PostgreSQL.

Appends go one after the other and wait on the event loop, which goes on meanwhile, so a batch can grow while the one
before it commits. Reads go through a few threads, because what they bring may take long to unpack.

Knows no rules of workflows. Next: `recorder.py` (one append), `connections.py` (failures), `schema.sql`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, Self, TypeVar

import psycopg
from eventsourcing.persistence import IntegrityError
from msgspec.structs import astuple
from psycopg.rows import BaseRowFactory, args_row, kwargs_row, scalar_row, tuple_row

from domain.errors import TenutoError
from domain.state import STATE_VERSION
from engine.ports import (
    Batch,
    ClientCommand,
    DuplicateCommandError,
    Key,
    Loaded,
    OwedRow,
    Recorded,
    Session,
    Snapshot,
    StoreUnavailableError,
    VersionConflictError,
)
from engine.store import on_loop
from engine.store.admission import admit, refuse_unstorable
from engine.store.connections import Connections
from engine.store.recorder import EventLog
from engine.store.statements import SQL

READERS = 4  # threads, and so connections, for everything but appends
FUNCTIONS_SWITCH = "POSTGRES_ENABLE_DB_FUNCTIONS"

T = TypeVar("T")
Parameters = Mapping[str, Any] | Sequence[Any]


class UnsafeSwitchError(TenutoError):
    """The environment sets {name}, under which the eventsourcing library loses events: it appends without a
    lock, so projections skip some. Unset it."""


class PostgresStore:
    """Implements `engine.ports.Store`. Get one by `await PostgresStore.open(dsn)`; `close()` it."""

    def __init__(
        self, dsn: str, *, shard: str = "0", schema: str | None = None, state_version: int = STATE_VERSION
    ) -> None:
        """Connects to nothing yet. Snapshots of another `state_version` are not seen."""
        self.dsn = dsn
        self.shard = shard
        self.schema = schema or f"tenuto_{shard}"
        self._state_version = state_version
        self._connections = Connections(dsn, self.schema)
        self._log: EventLog | None = None
        self._writing = asyncio.Lock()
        self._readers = ThreadPoolExecutor(READERS, f"read-{self.schema}")

    @classmethod
    async def open(
        cls, dsn: str, *, shard: str = "0", schema: str | None = None, state_version: int = STATE_VERSION
    ) -> Self:
        """Connected, with the schema installed if it was absent.

        Raises StoreUnavailableError (saying where it looked, and what to do), SchemaTooNewError,
        BadDatabaseUrlError or UnsafeSwitchError.
        """
        for name in os.environ:
            if name.endswith(FUNCTIONS_SWITCH):
                raise UnsafeSwitchError(name=name)
        store = cls(dsn, shard=shard, schema=schema, state_version=state_version)
        try:
            store._log = await store._write(lambda: EventLog(store._connections))
        except BaseException:
            await store.close()
            raise
        return store

    # Appending ---------------------------------------------------------------

    async def append(self, batch: Batch) -> list[int]:
        admit(batch)
        if not (batch.events or batch.owe or batch.withdraw or batch.client_commands):
            return []
        return await self._write(lambda: self._append(batch))

    def _append(self, batch: Batch) -> list[int]:
        try:
            return self._opened.append(batch)
        except IntegrityError as error:
            raise _conflict(error, batch) from error

    async def replace_owed(self, instance: str, rows: Sequence[OwedRow], *, version: int) -> bool:
        refuse_unstorable([instance])
        admit(Batch(owe=list(rows)))
        recorder = self._opened.recorder
        return await self._write(lambda: recorder.replace_owed(instance, rows, version))

    # The log -----------------------------------------------------------------

    async def load(self, streams: Sequence[str]) -> Mapping[str, Loaded]:
        refuse_unstorable(streams)
        rows = await self._ask(
            "load",
            {"streams": list(set(streams)), "state_version": self._state_version},
            args_row(Recorded),
        )
        found = {stream: Loaded(None, []) for stream in streams}
        for row in rows:
            if not row.topic:  # a snapshot, which stands before the events
                snapshot = Snapshot(row.stream, row.version, self._state_version, row.payload)
                found[row.stream] = Loaded(snapshot, [])
            else:
                found[row.stream].events.append(row)
        return found

    async def read(
        self, stream: str, *, after: int = 0, upto: int | None = None, limit: int | None = None
    ) -> list[Recorded]:
        refuse_unstorable([stream])
        parameters = {"stream": stream, "after": after, "upto": upto, "limit": limit}
        return await self._ask("read", parameters, args_row(Recorded))

    async def versions(self, streams: Sequence[str]) -> Mapping[str, int]:
        refuse_unstorable(streams)
        rows: list[tuple[str, int]] = await self._ask("versions", {"streams": list(streams)}, tuple_row)
        return dict(rows)

    async def streams(self, prefix: str, *, after: str = "", limit: int = 1000) -> list[str]:
        refuse_unstorable([prefix, after])
        parameters = {"prefix": prefix, "after": after, "limit": limit}
        return await self._ask("streams", parameters, scalar_row)

    async def save_snapshots(self, snapshots: Iterable[Snapshot]) -> None:
        columns = _columns_of(map(astuple, sorted(snapshots, key=lambda snapshot: snapshot.stream)))
        if columns:
            await self._tell("save_snapshots", columns)

    async def client_commands(self, namespace: str, keys: Sequence[str]) -> Mapping[str, ClientCommand]:
        refuse_unstorable([namespace, *keys])
        parameters = {"namespace": namespace, "keys": list(keys)}
        rows = await self._ask("client_commands", parameters, kwargs_row(ClientCommand))
        return {row.key: row for row in rows}

    # What is owed ------------------------------------------------------------

    async def owed_by(self, horizon: datetime, limit: int, after: Key | None = None) -> list[OwedRow]:
        instance, key = after or ("", "")
        parameters = {"horizon": horizon, "limit": limit, "instance": instance, "key": key}
        return await self._ask("owed_by", parameters, kwargs_row(OwedRow))

    async def claimable(
        self, queues: Sequence[str], now: datetime, limit: int, exclude: Sequence[Key] = ()
    ) -> list[OwedRow]:
        refuse_unstorable(queues)
        instances, keys = _columns_of(exclude) or ([], [])
        parameters = {"queues": list(set(queues)), "now": now, "limit": limit}
        return await self._ask(
            "claimable", parameters | {"instances": instances, "keys": keys}, kwargs_row(OwedRow)
        )

    async def owed_of(self, instances: Sequence[str]) -> list[OwedRow]:
        refuse_unstorable(instances)
        return await self._ask("owed_of", {"instances": list(instances)}, kwargs_row(OwedRow))

    async def owed_under(self, sessions: Sequence[str]) -> list[OwedRow]:
        refuse_unstorable(sessions)
        return await self._ask("owed_under", {"sessions": list(sessions)}, kwargs_row(OwedRow))

    async def children(self, limit: int, after: Key | None = None) -> list[OwedRow]:
        instance, key = after or ("", "")
        parameters = {"limit": limit, "instance": instance, "key": key}
        return await self._ask("children", parameters, kwargs_row(OwedRow))

    async def listeners(self, namespace: str, correlation_key: str, signal: str) -> list[str]:
        refuse_unstorable([namespace, correlation_key, signal])
        parameters = {"namespace": namespace, "correlation_key": correlation_key, "signal": signal}
        return await self._ask("listeners", parameters, scalar_row)

    async def kept(self, now: datetime, limit: int, after: Key | None = None) -> list[OwedRow]:
        instance, key = after or ("", "")
        parameters = {"now": now, "limit": limit, "instance": instance, "key": key}
        return await self._ask("kept", parameters, kwargs_row(OwedRow))

    # Sessions ----------------------------------------------------------------

    async def renew(self, sessions: Iterable[Session]) -> None:
        by_id = {session.id: session for session in sessions}
        if not by_id:
            return
        refuse_unstorable(text for session in by_id.values() for text in (session.id, session.worker))
        ids, workers, expiries = _columns_of(astuple(by_id[each]) for each in sorted(by_id))
        await self._tell(
            "renew", {"ids": ids, "workers": workers, "expiries": expiries, "oldest": min(expiries)}
        )

    async def expired_sessions(self, now: datetime) -> list[str]:
        return await self._ask("expired_sessions", {"now": now}, scalar_row)

    async def end_session(self, session: str) -> None:
        refuse_unstorable([session])
        await self._tell("end_session", {"session": session})

    # The shard ---------------------------------------------------------------

    async def now(self) -> datetime:
        moment: datetime = (await self._ask("now", (), scalar_row))[0]
        return moment

    async def secret(self) -> bytes:
        secret: bytes = (await self._ask("secret", (), scalar_row))[0]
        return secret

    async def close(self) -> None:
        """Ends what is under way first; may be called twice."""
        async with self._writing:
            await asyncio.to_thread(self._readers.shutdown)
            self._connections.close()

    # Waiting -----------------------------------------------------------------

    @property
    def _opened(self) -> EventLog:
        if self._log is None:
            raise StoreUnavailableError(problem="the store was not opened: use PostgresStore.open")
        return self._log

    async def _write(self, work: Callable[[], T]) -> T:
        """On the loop, and in its turn. Cancelled, it is as if the server had been killed: stored, or not."""
        async with self._writing:
            return await on_loop.run(work)

    async def _ask(self, statement: str, parameters: Parameters, rows: BaseRowFactory[T]) -> list[T]:
        return await self._in_thread(lambda: self._fetch(statement, parameters, rows))

    async def _tell(self, statement: str, parameters: Parameters) -> None:
        await self._in_thread(lambda: self._fetch(statement, parameters, None))

    def _fetch(self, statement: str, parameters: Parameters, rows: BaseRowFactory[T] | None) -> list[T]:
        with self._connections.get_connection() as connection:
            if rows is None:
                connection.execute(SQL[statement], parameters, prepare=True)
                return []
            with connection.cursor(binary=True, row_factory=rows) as cursor:
                return cursor.execute(SQL[statement], parameters, prepare=True).fetchall()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            future = self._readers.submit(work)
        except RuntimeError as error:  # "cannot schedule new futures after shutdown"
            raise StoreUnavailableError(problem="the store is closed") from error
        return await asyncio.wrap_future(future)


def _conflict(error: IntegrityError, batch: Batch) -> TenutoError:
    """Which rows lost against another writer's. PostgreSQL names the first, in the words of its language."""
    cause = error.__cause__
    if not isinstance(cause, psycopg.IntegrityError):
        raise error
    detail = cause.diag.message_detail or ""
    match cause.diag.constraint_name:
        case "stored_events_pkey":
            streams = {e.stream for e in batch.events if f"({e.stream}, {e.version})" in detail}
        case "stream_without_holes":
            streams = {e.stream for e in batch.events if f"({e.stream})" in detail}
        case "client_commands_pkey":
            keys = [c.key for c in batch.client_commands]
            named = [c.key for c in batch.client_commands if f"({c.namespace}, {c.key})" in detail]
            return DuplicateCommandError(keys=named or keys)
        case _:
            raise error
    return VersionConflictError(streams=sorted(streams or {e.stream for e in batch.events}))


def _columns_of(rows: Iterable[Sequence[Any]]) -> list[list[Any]]:
    """What `unnest` takes; none at all when there are no rows."""
    return [list(column) for column in zip(*rows, strict=True)]
