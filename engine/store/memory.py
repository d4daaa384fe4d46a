"""The store in memory: for fast tests and for simulation. No threads, no files, no time of its own.

Gives the answers that PostgreSQL gives (`tests/engine/test_store_contract.py`, and a random comparison), with
one difference that no caller may rely on: positions have no gaps, and a conflict names all that lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice

from msgspec.structs import replace

from domain.paths import UNDO
from domain.state import STATE_VERSION
from engine.ports import (
    Batch,
    ClientCommand,
    Clock,
    DuplicateCommandError,
    Key,
    Loaded,
    OwedRow,
    Recorded,
    Session,
    Snapshot,
    VersionConflictError,
)
from engine.store.admission import admit, last_of_each_key, refuse_unstorable


class MemoryStore:
    """Implements `engine.ports.Store`. `log` holds every event in commit order, for whoever follows it."""

    def __init__(
        self, clock: Clock, *, secret: bytes = b"of no use outside memory", state_version: int = STATE_VERSION
    ) -> None:
        self.log: list[Recorded] = []
        self._clock = clock
        self._secret = secret
        self._state_version = state_version
        self._streams: dict[str, list[Recorded]] = {}
        self._owed: dict[Key, OwedRow] = {}
        self._commands: dict[tuple[str, str], ClientCommand] = {}
        self._snapshots: dict[tuple[str, int], Snapshot] = {}
        self._sessions: dict[str, Session] = {}

    # Appending ---------------------------------------------------------------

    async def append(self, batch: Batch) -> list[int]:
        first = admit(batch)
        lost = [stream for stream, version in first.items() if version != self._version(stream) + 1]
        if lost:
            raise VersionConflictError(streams=sorted(lost))
        self._refuse_duplicates(batch.client_commands)
        start = len(self.log)
        for position, event in enumerate(batch.events, start + 1):
            recorded = replace(event, position=position)
            self.log.append(recorded)
            self._streams.setdefault(event.stream, []).append(recorded)
        for key in batch.withdraw:
            self._owed.pop(key, None)
        self._owed.update(((row.instance, row.key), row) for row in last_of_each_key(batch.owe))
        self._commands.update(((each.namespace, each.key), each) for each in batch.client_commands)
        return list(range(start + 1, len(self.log) + 1))

    def _refuse_duplicates(self, commands: Sequence[ClientCommand]) -> None:
        seen = set(self._commands)
        taken: list[str] = []
        for command in commands:
            key = (command.namespace, command.key)
            if key in seen:
                taken.append(command.key)
            seen.add(key)
        if taken:
            raise DuplicateCommandError(keys=taken)

    async def replace_owed(self, instance: str, rows: Sequence[OwedRow], *, version: int) -> bool:
        refuse_unstorable([instance])
        admit(Batch(owe=list(rows)))
        if self._version(instance) != version:
            return False
        for key in [key for key in self._owed if key[0] == instance]:
            del self._owed[key]
        self._owed.update(((row.instance, row.key), row) for row in last_of_each_key(rows))
        return True

    # The log -----------------------------------------------------------------

    async def load(self, streams: Sequence[str]) -> Mapping[str, Loaded]:
        refuse_unstorable(streams)
        return {stream: self._load(stream) for stream in streams}

    def _load(self, stream: str) -> Loaded:
        snapshot = self._snapshots.get((stream, self._state_version))
        after = snapshot.version if snapshot else 0
        return Loaded(snapshot, self._streams.get(stream, [])[after:])

    async def read(
        self, stream: str, *, after: int = 0, upto: int | None = None, limit: int | None = None
    ) -> list[Recorded]:
        refuse_unstorable([stream])
        found = (
            event
            for event in self._streams.get(stream, [])
            if after < event.version and (upto is None or event.version <= upto)
        )
        return list(islice(found, limit))

    async def versions(self, streams: Sequence[str]) -> Mapping[str, int]:
        refuse_unstorable(streams)
        return {stream: self._version(stream) for stream in streams}

    async def streams(self, prefix: str, *, after: str = "", limit: int = 1000) -> list[str]:
        refuse_unstorable([prefix, after])
        return sorted(each for each in self._streams if each.startswith(prefix) and each > after)[:limit]

    async def save_snapshots(self, snapshots: Iterable[Snapshot]) -> None:
        for snapshot in snapshots:
            key = (snapshot.stream, snapshot.state_version)
            if key not in self._snapshots or self._snapshots[key].version < snapshot.version:
                self._snapshots[key] = snapshot

    async def client_commands(self, namespace: str, keys: Sequence[str]) -> Mapping[str, ClientCommand]:
        refuse_unstorable([namespace, *keys])
        return {key: self._commands[namespace, key] for key in keys if (namespace, key) in self._commands}

    # What is owed ------------------------------------------------------------

    async def owed_by(self, horizon: datetime, limit: int, after: Key | None = None) -> list[OwedRow]:
        def due(row: OwedRow) -> bool:
            moments = (row.due_at if row.kind == "invoke" else None, row.timer_at)
            return any(moment is not None and moment <= horizon for moment in moments)

        return list(
            islice((row for row in self._rows() if due(row) and _key(row) > (after or ("", ""))), limit)
        )

    async def claimable(
        self, queues: Sequence[str], now: datetime, limit: int, exclude: Sequence[Key] = ()
    ) -> list[OwedRow]:
        refuse_unstorable(queues)
        left_out = set(exclude)
        found = [
            (row.priority, row.due_at, *_key(row))
            for row in self._owed.values()
            if row.kind == "invoke" and row.queue in queues and row.due_at is not None and row.due_at <= now
            if _key(row) not in left_out
        ]
        return [self._owed[instance, key] for _, _, instance, key in sorted(found)[:limit]]

    async def owed_of(self, instances: Sequence[str]) -> list[OwedRow]:
        refuse_unstorable(instances)
        return [row for row in self._rows() if row.instance in instances]

    async def owed_under(self, sessions: Sequence[str]) -> list[OwedRow]:
        refuse_unstorable(sessions)
        return [row for row in self._rows() if row.kind == "await" and row.session in sessions]

    async def children(self, limit: int, after: Key | None = None) -> list[OwedRow]:
        busy = {instance for instance, _ in self._owed}
        found = (
            row
            for row in self._rows()
            if row.kind == "child" and (row.token not in busy or row.key.endswith(UNDO))
        )
        return list(islice((row for row in found if _key(row) > (after or ("", ""))), limit))

    async def listeners(self, namespace: str, correlation_key: str, signal: str) -> list[str]:
        refuse_unstorable([namespace, correlation_key, signal])
        found = {
            row.instance
            for row in self._owed.values()
            if row.kind == "listen"
            and (row.namespace, row.correlation_key) == (namespace, correlation_key)
            and row.signal in {None, signal}
        }
        return sorted(found)

    async def kept(self, now: datetime, limit: int, after: Key | None = None) -> list[OwedRow]:
        heard = {
            (row.namespace, row.correlation_key, row.signal)
            for row in self._owed.values()
            if row.kind == "listen"
        }

        def settles(row: OwedRow) -> bool:
            wanted = {(row.namespace, row.correlation_key, signal) for signal in (None, row.signal)}
            over = row.due_at is not None and row.due_at <= now
            return over or row.token is not None or bool(wanted & heard)

        kept = (row for row in self._rows() if row.kind == "kept" and row.instance.startswith("signals/"))
        rows = (row for row in kept if _key(row) > (after or ("", "")))
        return list(islice(filter(settles, rows), limit))

    # Sessions ----------------------------------------------------------------

    async def renew(self, sessions: Iterable[Session]) -> None:
        for session in sessions:
            refuse_unstorable([session.id, session.worker])
            self._sessions[session.id] = session

    async def expired_sessions(self, now: datetime) -> list[str]:
        holders = {row.session for row in self._owed.values() if row.kind == "await" and row.session}
        return sorted(
            holder
            for holder in holders
            if holder not in self._sessions or self._sessions[holder].expires_at <= now
        )

    async def end_session(self, session: str) -> None:
        refuse_unstorable([session])
        self._sessions.pop(session, None)

    # The shard ---------------------------------------------------------------

    async def now(self) -> datetime:
        return self._clock.now()

    async def secret(self) -> bytes:
        return self._secret

    async def close(self) -> None:
        """Nothing to let go of."""

    def _version(self, stream: str) -> int:
        return len(self._streams.get(stream, []))

    def _rows(self) -> Iterator[OwedRow]:
        return (self._owed[key] for key in sorted(self._owed))


def _key(row: OwedRow) -> Key:
    return row.instance, row.key
