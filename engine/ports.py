"""What the engine needs of the world: a store, a clock. Two adapters each: PostgreSQL or real time, and memory.

Everything the engine awaits on the outside goes through these protocols, so a simulator can stand in their place.
`tests/engine/test_store_contract.py` holds every store to the same answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from msgspec import Struct, field

from domain.errors import TenutoError

Key = tuple[str, str]
"""Of a row that is owed: instance id, and execution, `@instance` or `@deadline/<name>`."""


class Recorded(Struct, frozen=True):
    """One event as it stands in the log. `position` is its notification id; 0 until it is appended."""

    stream: str
    version: int
    topic: str
    payload: bytes
    position: int = 0


class OwedRow(Struct, frozen=True, kw_only=True):
    """One row of the `owed` table. `kind` is `invoke`, `await`, `child`, `listen` or `wake` (see domain/owed.py), or
    `kept`: a signal that waits for a listener (engine/kept_signals.py), under its own stream.

    `priority` sorts ascending (0 is most urgent). `session` holds the lease of an `await`; the `token` of a `child` is
    the child's instance id.
    """

    namespace: str
    instance: str
    key: str
    kind: str
    attempt: int = 0
    action: str | None = None
    queue: str | None = None
    priority: int = 0
    due_at: datetime | None = None
    timer_at: datetime | None = None
    token: str | None = None
    session: str | None = None
    signal: str | None = None
    correlation_key: str | None = None

    def is_ready(self, now: datetime) -> bool:
        """Whether it is a task that a worker may take now."""
        return self.kind == "invoke" and self.due_at is not None and self.due_at <= now

    def urgency(self) -> tuple[int, datetime | None]:
        """What sorts tasks: priority, then age."""
        return self.priority, self.due_at


class ClientCommand(Struct, frozen=True, kw_only=True):
    """A client's key, what it asked (digest of the body), and what it was answered with."""

    namespace: str
    key: str
    body_hash: str
    instance: str
    version: int
    at: datetime


class Snapshot(Struct, frozen=True):
    stream: str
    version: int
    state_version: int
    payload: bytes


class Loaded(Struct, frozen=True):
    """A stream as the store has it: the newest usable snapshot, and every event after it."""

    snapshot: Snapshot | None
    events: list[Recorded]


class Batch(Struct, kw_only=True):
    """What one transaction appends. The events of one command stand together, in order."""

    events: list[Recorded] = field(default_factory=list)
    owe: list[OwedRow] = field(
        default_factory=list
    )  # Inserted, or put in the place of the row under the same key.
    withdraw: list[Key] = field(default_factory=list)
    client_commands: list[ClientCommand] = field(default_factory=list)


class Session(Struct, frozen=True, kw_only=True):
    """Who holds leases: a worker's session, or an engine's own dispatcher."""

    id: str
    worker: str
    expires_at: datetime


class VersionConflictError(TenutoError):
    """Another writer appended to {streams} first. Nothing of the batch was stored."""


class DuplicateCommandError(TenutoError):
    """The client command keys {keys} were recorded by another writer first. Nothing of the batch was stored."""


class CommitUnknownError(TenutoError):
    """The connection was lost during COMMIT: the batch is stored wholly or not at all, read back to know which."""


class StoreUnavailableError(TenutoError):
    """The database cannot be reached ({problem}); nothing was stored."""


class Store(Protocol):
    """The log of one shard and the rows derived from it in the same transaction. Times are UTC, microseconds."""

    async def append(self, batch: Batch) -> list[int]:
        """Stores the batch in one transaction, and answers the positions of its events when it is durable.

        Raises VersionConflictError, DuplicateCommandError, StoreUnavailableError (nothing stored) or
        CommitUnknownError (all or nothing, not known which).
        """
        ...

    async def load(self, streams: Sequence[str]) -> Mapping[str, Loaded]:
        """Every stream asked for; an unknown one has no events."""
        ...

    async def read(
        self, stream: str, *, after: int = 0, upto: int | None = None, limit: int | None = None
    ) -> list[Recorded]:
        """Events of one stream with `after` < version <= `upto`, in order, from the log alone."""
        ...

    async def versions(self, streams: Sequence[str]) -> Mapping[str, int]:
        """The newest version of each stream; 0 for an unknown one."""
        ...

    async def save_snapshots(self, snapshots: Iterable[Snapshot]) -> None: ...

    async def client_commands(self, namespace: str, keys: Sequence[str]) -> Mapping[str, ClientCommand]: ...

    async def owed_by(self, horizon: datetime, limit: int, after: Key | None = None) -> list[OwedRow]:
        """Rows whose `due_at` (invoke) or `timer_at` (any) is not later than `horizon`, in key order after `after`."""
        ...

    async def claimable(
        self, queues: Sequence[str], now: datetime, limit: int, exclude: Sequence[Key] = ()
    ) -> list[OwedRow]:
        """`invoke` rows of these queues that are due, by priority, then age."""
        ...

    async def owed_of(self, instances: Sequence[str]) -> list[OwedRow]: ...

    async def owed_under(self, sessions: Sequence[str]) -> list[OwedRow]:
        """`await` rows whose lease these sessions hold."""
        ...

    async def children(self, limit: int, after: Key | None = None) -> list[OwedRow]:
        """`child` rows with which something may be due, in key order after `after`: undos, and those whose child owes
        nothing (it was not started, has ended, or waits for a person)."""
        ...

    async def replace_owed(self, instance: str, rows: Sequence[OwedRow], *, version: int) -> bool:
        """Puts what the log implies in the place of what the table says; False (nothing done) when the stream moved on
        past `version` meanwhile."""
        ...

    async def listeners(self, namespace: str, correlation_key: str, signal: str) -> list[str]:
        """Ids of the instances that have this correlation key and listen for `signal` or for any."""
        ...

    async def kept(self, now: datetime, limit: int, after: Key | None = None) -> list[OwedRow]:
        """`kept` rows to be settled, in key order after `after`: their time (`due_at`) is over, they belong to an
        instance (`token`), or somebody listens for their signal."""
        ...

    async def renew(self, sessions: Iterable[Session]) -> None: ...

    async def expired_sessions(self, now: datetime) -> list[str]:
        """Sessions that hold leases in `owed` and have expired or are not known at all."""
        ...

    async def end_session(self, session: str) -> None: ...

    async def streams(self, prefix: str, *, after: str = "", limit: int = 1000) -> list[str]:
        """Stream ids that begin with `prefix`, in order, after `after`."""
        ...

    async def now(self) -> datetime:
        """The database's time."""
        ...

    async def secret(self) -> bytes:
        """The shard's secret, made once: signs lease tokens."""
        ...

    async def close(self) -> None: ...


class Clock(Protocol):
    """Time and chance. `now` is database time by a measured offset; `monotonic` never goes back (seconds)."""

    def now(self) -> datetime: ...

    def monotonic(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...

    async def wait(self, wanted: asyncio.Future[Any], seconds: float) -> None:
        """Until it is done, or so many seconds have passed; it is not cancelled."""
        ...

    def entropy(self) -> float:
        """A number in [0, 1)."""
        ...

    def new_id(self) -> str:
        """A new, unique, time-ordered id: 32 hex digits of a UUIDv7."""
        ...
