"""The store of a simulated world: the store in memory, as far away as a database is, and as unreliable.

`Database` is the server, which outlives every process; `Connection` is what one engine has of it. A statement travels,
is carried out at one instant, and its answer travels back: what was read may be stale when it arrives, and what was
committed may never be heard of. Conflicts are real: they come from other engines in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import datetime
from random import Random
from typing import Any, TypeVar

from domain.errors import TenutoError
from engine.ports import (
    Batch,
    ClientCommand,
    CommitUnknownError,
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
from engine.store.memory import MemoryStore
from simulation.faults import Faults
from simulation.virtual_time import Process, VirtualLoop, result_of

LEAST, MOST = 0.0001, 0.002
"""Seconds that a statement, or its answer, is under way."""
SLOW = 2.0
LATE = 3.0

T = TypeVar("T")
Act = Callable[[], Coroutine[Any, Any, T]]


class Database:
    """`on_commit` hears of the events of each transaction, at the instant of its commit."""

    def __init__(self, loop: VirtualLoop, memory: MemoryStore, random: Random, faults: Faults) -> None:
        self.loop = loop
        self.memory = memory
        self.random = random
        self.faults = faults
        self.process = Process("database")
        self.on_commit: list[Callable[[list[Recorded]], None]] = []
        self.down: dict[str, None] = {}  # Names of engines that cannot reach it.

    async def append(self, batch: Batch) -> list[int]:
        before = len(self.memory.log)
        try:
            positions = await self.memory.append(batch)
        except VersionConflictError as conflict:
            raise VersionConflictError(streams=[self._one_of(conflict, "streams")]) from None
        except DuplicateCommandError as conflict:
            raise DuplicateCommandError(keys=[self._one_of(conflict, "keys")]) from None
        for listener in self.on_commit:
            listener(self.memory.log[before:])
        return positions

    def delay(self) -> float:
        slow = self.faults.strikes("store slow")
        return self.random.uniform(MOST, SLOW) if slow else self.random.uniform(LEAST, MOST)

    def _one_of(self, conflict: VersionConflictError | DuplicateCommandError, what: str) -> str:
        """PostgreSQL names one row that lost, not all of them."""
        names: list[str] = conflict.details[what]  # type: ignore[assignment]
        return names[int(self.random.random() * len(names))]


class Connection:
    """Implements `engine.ports.Store` for one engine."""

    def __init__(self, database: Database, process: Process) -> None:
        self._database = database
        self._process = process
        self._commits = asyncio.Lock()  # As PostgreSQL's store, which commits from one thread.

    # Appending -------------------------------------------------------------------

    async def append(self, batch: Batch) -> list[int]:
        async with self._commits:
            return await self._append(batch)

    async def _append(self, batch: Batch) -> list[int]:
        faults, loop = self._database.faults, self._database.loop
        await self._reach()

        def commit() -> Coroutine[Any, Any, list[int]]:
            return self._database.append(batch)

        if faults.strikes("commit lost"):
            await asyncio.sleep(self._database.delay())
            raise StoreUnavailableError(problem="the connection broke before COMMIT")
        if faults.strikes("commit unknown, not stored"):
            await asyncio.sleep(self._database.delay())
            raise CommitUnknownError
        if faults.strikes("commit unknown, stored late"):
            late = self._database.random.uniform(0, LATE)
            loop.call_later(late, self._carry_out, commit, None, context=self._database.process.context)
            await asyncio.sleep(self._database.delay())
            raise CommitUnknownError
        lost = faults.strikes("commit unknown, stored")
        positions = await self._carried_out(commit)
        if lost:
            raise CommitUnknownError
        return positions

    # On its way --------------------------------------------------------------------

    async def _ask(self, act: Act[T]) -> T:
        """One statement. One that is refused may have been carried out: of those asked here, none minds."""
        await self._reach()
        if self._database.faults.strikes("store refuses"):
            if self._database.random.random() < 0.5:
                await self._carried_out(act)
            raise StoreUnavailableError(problem="the connection broke")
        return await self._carried_out(act)

    async def _reach(self) -> None:
        if self._process.name in self._database.down:
            await asyncio.sleep(self._database.delay())
            raise StoreUnavailableError(problem="the database is away")

    async def _carried_out(self, act: Act[T]) -> T:
        database = self._database
        answer: asyncio.Future[T] = database.loop.create_future()
        database.loop.call_later(
            database.delay(), self._carry_out, act, answer, context=database.process.context
        )
        return await answer

    def _carry_out(self, act: Act[T], answer: asyncio.Future[T] | None) -> None:
        try:
            result = result_of(act())
        except TenutoError as error:
            self._travel(answer, "set_exception", error)
        else:
            self._travel(answer, "set_result", result)

    def _travel(self, answer: asyncio.Future[T] | None, how: str, what: object) -> None:
        if answer is not None:
            self._database.loop.call_later(
                self._database.delay(), _give, answer, how, what, context=self._process.context
            )

    # The rest of the port ----------------------------------------------------------

    async def load(self, streams: Sequence[str]) -> Mapping[str, Loaded]:
        return await self._ask(lambda: self._memory.load(streams))

    async def read(
        self, stream: str, *, after: int = 0, upto: int | None = None, limit: int | None = None
    ) -> list[Recorded]:
        return await self._ask(lambda: self._memory.read(stream, after=after, upto=upto, limit=limit))

    async def versions(self, streams: Sequence[str]) -> Mapping[str, int]:
        return await self._ask(lambda: self._memory.versions(streams))

    async def save_snapshots(self, snapshots: Iterable[Snapshot]) -> None:
        kept = list(snapshots)
        await self._ask(lambda: self._memory.save_snapshots(kept))

    async def client_commands(self, namespace: str, keys: Sequence[str]) -> Mapping[str, ClientCommand]:
        return await self._ask(lambda: self._memory.client_commands(namespace, keys))

    async def owed_by(self, horizon: datetime, limit: int, after: Key | None = None) -> list[OwedRow]:
        return await self._ask(lambda: self._memory.owed_by(horizon, limit, after))

    async def claimable(
        self, queues: Sequence[str], now: datetime, limit: int, exclude: Sequence[Key] = ()
    ) -> list[OwedRow]:
        return await self._ask(lambda: self._memory.claimable(queues, now, limit, exclude))

    async def owed_of(self, instances: Sequence[str]) -> list[OwedRow]:
        return await self._ask(lambda: self._memory.owed_of(instances))

    async def owed_under(self, sessions: Sequence[str]) -> list[OwedRow]:
        return await self._ask(lambda: self._memory.owed_under(sessions))

    async def children(self, limit: int, after: Key | None = None) -> list[OwedRow]:
        return await self._ask(lambda: self._memory.children(limit, after))

    async def replace_owed(self, instance: str, rows: Sequence[OwedRow], *, version: int) -> bool:
        return await self._ask(lambda: self._memory.replace_owed(instance, rows, version=version))

    async def listeners(self, namespace: str, correlation_key: str, signal: str) -> list[str]:
        return await self._ask(lambda: self._memory.listeners(namespace, correlation_key, signal))

    async def kept(self, now: datetime, limit: int, after: Key | None = None) -> list[OwedRow]:
        return await self._ask(lambda: self._memory.kept(now, limit, after))

    async def renew(self, sessions: Iterable[Session]) -> None:
        kept = list(sessions)
        if kept:
            await self._ask(lambda: self._memory.renew(kept))

    async def expired_sessions(self, now: datetime) -> list[str]:
        return await self._ask(lambda: self._memory.expired_sessions(now))

    async def end_session(self, session: str) -> None:
        await self._ask(lambda: self._memory.end_session(session))

    async def streams(self, prefix: str, *, after: str = "", limit: int = 1000) -> list[str]:
        return await self._ask(lambda: self._memory.streams(prefix, after=after, limit=limit))

    async def now(self) -> datetime:
        return await self._ask(self._memory.now)

    async def secret(self) -> bytes:
        return await self._ask(self._memory.secret)

    async def close(self) -> None:
        """Nothing to let go of."""

    @property
    def _memory(self) -> MemoryStore:
        return self._database.memory


def _give(answer: asyncio.Future[Any], how: str, what: object) -> None:
    if not answer.done():
        getattr(answer, how)(what)
