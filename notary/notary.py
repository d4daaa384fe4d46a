"""Follows the log, signs what it has become once a minute and when asked, and proves what is asked.

One asyncio task decides when; what blocks runs in two threads: one lets the tree grow and signs, one reads for proofs.
Before it signs, it proves to itself that the tree goes on from the last checkpoint that was exported; a log that does
not (restored, cut off, rewritten) is signed no more. Next: `ledger.py`, `shelf.py`, `keys.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Protocol, TypeVar

import psycopg
from msgspec import Struct
from psycopg.errors import ReadOnlySqlTransaction

from domain.errors import TenutoError
from notary.errors import (
    KeyUnusableError,
    LogInconsistentError,
    NotCoveredError,
    NotExportedError,
    SizeOutOfRangeError,
    UnknownEventError,
)
from notary.keys import signing_key
from notary.ledger import BATCH_EVENTS, Ledger, Ranked, Reader
from notary.shelf import Shelf, Signed
from tenuto.audit.leaf import Row, leaf_of
from tenuto.audit.note import Checkpoint, Signer, Verifier
from tenuto.audit.tree import consistency_proof, includes, inclusion_proof

INTERVAL = 60.0
"""Seconds between two checkpoints of a log that grows."""
PACE = 1.0
"""Seconds between two looks at a log that grows: large batches cost less."""
POLL = 5.0
"""Seconds between two looks when nobody gives a hint: another server may have appended."""
BACK_OFF = 1.0

_UNREACHABLE = (psycopg.OperationalError, psycopg.InterfaceError, ReadOnlySqlTransaction)
_log = logging.getLogger(__name__)
Result = TypeVar("Result")


class Clock(Protocol):
    def now(self) -> datetime: ...

    def monotonic(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...

    def new_id(self) -> str: ...


class Place(Struct, frozen=True):
    """Where the database does not reach: the folder of exported checkpoints, and the file of the signing key."""

    folder: Path
    key: Path


class Standing(Struct, frozen=True, kw_only=True, rename="camel"):
    """How far the notary is. `problem` is what keeps it from signing."""

    origin: str | None
    key: str | None
    size: int
    position: int
    exported: int | None
    problem: str | None


class Proof(Struct, frozen=True, kw_only=True):
    """That an event is leaf `index` of the tree of `size` leaves, whose root the checkpoint signs."""

    ranked: Ranked
    size: int
    hashes: list[bytes]
    signed: Signed | None


class Notary:
    """The notary of one shard. `log` is the event log's schema, `schema` the notary's own."""

    def __init__(
        self,
        database: str,
        *,
        log: str,
        schema: str,
        clock: Clock,
        place: Place,
        interval: float = INTERVAL,
        batch: int = BATCH_EVENTS,
    ) -> None:
        self._clock = clock
        self._place = place
        self._interval = interval
        self._ledger = Ledger(database, log=log, schema=schema, batch=batch)
        self._reader = Reader(database, log=log, schema=schema)
        self._shelf = Shelf(place.folder)
        self._writing = ThreadPoolExecutor(1, "notary")
        self._reading = ThreadPoolExecutor(1, "proofs")
        self._signer: Signer | None = None
        self._last: Signed | None = None
        self._problem: str | None = None
        self._woken = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to follow, in a task of the running loop. An unreachable database is waited for."""
        self._task = asyncio.create_task(self._keep(), name="notary")

    async def stop(self) -> None:
        self._stopping = True
        self._woken.set()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._in(self._writing, self._ledger.close)
        await self._in(self._reading, self._reader.close)
        self._writing.shutdown(wait=False)
        self._reading.shutdown(wait=False)

    def wake(self) -> None:
        """A hint that the log has grown. Cheap; call it after every commit."""
        self._woken.set()

    def standing(self) -> Standing:
        verifier = None if self._signer is None else self._signer.verifier
        return Standing(
            origin=None if verifier is None else verifier.name,
            key=None if verifier is None else str(verifier),
            size=self._ledger.size,
            position=self._ledger.position,
            exported=None if self._last is None else self._last.checkpoint.size,
            problem=self._problem,
        )

    # Signing -------------------------------------------------------------------

    async def checkpoint(self) -> Signed:
        """Signs and exports what the log is now; the one before if it has not grown since.

        Raises LogInconsistentError, NotExportedError, KeyUnusableError."""
        try:
            signed = await self._in(self._writing, self._sign)
        except (LogInconsistentError, NotExportedError, KeyUnusableError) as error:
            if str(error) != self._problem:
                _log.error("notary: %s", error)
            self._problem = str(error)
            raise
        self._problem = None
        return signed

    async def verifier(self) -> Verifier:
        """The public key. Raises KeyUnusableError, LogInconsistentError, NotExportedError."""
        return (await self._in(self._writing, self._prepared)).verifier

    async def signer(self) -> Signer:
        """The key itself, for evidence. Raises as `verifier`."""
        return await self._in(self._writing, self._prepared)

    @property
    def last(self) -> Signed | None:
        """The last checkpoint that this process exported or found."""
        return self._last

    def _prepared(self) -> Signer:
        if self._signer is None:
            kept = self._shelf.origin()
            head = self._ledger.prepare(kept or f"tenuto/{self._clock.new_id()}")
            if kept not in (None, head.origin):
                problem = (
                    f"{self._place.folder} holds checkpoints of the log {kept}, and this is {head.origin}"
                )
                raise LogInconsistentError(problem=problem)
            signer = Signer(head.origin, signing_key(self._place.key))
            self._last = self._shelf.last(signer.verifier)
            self._signer = signer
        return self._signer

    def _follow(self) -> Signer:
        """To the end of the log, or to the end of this process."""
        signer = self._prepared()
        try:
            while self._ledger.follow() and not self._stopping:
                pass
        except LookupError as error:
            raise LogInconsistentError(problem=f"the tree has lost a part: {error}") from error
        return signer

    def _sign(self) -> Signed:
        signer = self._follow()
        self._last = self._shelf.last(signer.verifier)
        size, position = self._ledger.size, self._ledger.position
        if self._last is not None:
            self._goes_on_from(self._last.checkpoint)
            if self._last.checkpoint.size == size:
                return self._last
        checkpoint = Checkpoint(signer.verifier.name, size, self._ledger.root)
        signed = Signed(checkpoint, position, self._clock.now(), signer.sign(checkpoint.text))
        self._shelf.add(signed, signer.verifier)
        self._last = signed
        self._ledger.record(size, str(signer.verifier), position, signed.at, signed.note)
        return signed

    def _goes_on_from(self, exported: Checkpoint) -> None:
        size = self._ledger.size
        if size < exported.size:
            problem = f"it has {size} events, and a checkpoint of {exported.size} was exported"
            raise LogInconsistentError(problem=problem)
        try:
            root = self._ledger.root_at(exported.size)
        except LookupError as error:
            raise LogInconsistentError(problem=f"the tree has lost a part: {error}") from error
        if root != exported.root:
            problem = (
                f"its first {exported.size} events have another root than the checkpoint exported of them"
            )
            raise LogInconsistentError(problem=problem)

    # Proofs --------------------------------------------------------------------

    async def checkpoints(self, after: int, limit: int) -> list[Signed]:
        """Those with more than `after` events, oldest first."""
        verifier = await self.verifier()
        found = await self._in(self._reading, lambda: self._reader.checkpoints(str(verifier), after, limit))
        return [
            Signed(Checkpoint(verifier.name, size, b""), position, at, note)
            for size, position, at, note in found
        ]

    async def rows(self, after: int, limit: int) -> list[Row]:
        """The log itself, after a position."""
        return await self._in(self._reading, lambda: self._reader.rows(after, limit))

    async def inclusion(
        self,
        *,
        position: int | None = None,
        stream: str | None = None,
        version: int | None = None,
        size: int | None = None,
    ) -> Proof:
        """That an event is in the tree of `size` leaves; without it, in that of the last checkpoint.

        Raises UnknownEventError, NotCoveredError, SizeOutOfRangeError, LogInconsistentError."""
        named = str(position) if stream is None else f"{version} of {stream}"
        signed = None if size is not None else self._last
        limit = size if size is not None else (signed.checkpoint.size if signed else 0)

        def prove() -> Proof:
            known = self._reader.head().size
            if limit > known:
                raise SizeOutOfRangeError(name="size", value=limit, expected=f"at most {known}, the tree's")
            found = self._reader.ranked(position=position, stream=stream, version=version)
            if not found:
                raise UnknownEventError(event=named)
            index = found[0].rank
            if index is None or index >= limit:
                raise NotCoveredError(event=named, size=limit)
            return Proof(ranked=found[0], size=limit, hashes=self._proved(found[0], limit), signed=signed)

        return await self._in(self._reading, prove)

    async def consistency(self, first: int, second: int) -> list[bytes]:
        """That the tree of `first` leaves has grown into that of `second`. Raises SizeOutOfRangeError."""

        def prove() -> list[bytes]:
            size = self._reader.head().size
            if second > size:
                raise SizeOutOfRangeError(name="to", value=second, expected=f"at most {size}, the tree's")
            if not 0 < first <= second:
                raise SizeOutOfRangeError(name="from", value=first, expected=f"from 1 to {second}")
            return consistency_proof(first, second, self._reader.node())

        return await self._in(self._reading, prove)

    async def streams(self, *asked: tuple[str, int]) -> tuple[Signed, list[list[tuple[Ranked, list[bytes]]]]]:
        """The events of some streams, at most so many of each, with their proofs under a checkpoint that is new."""
        signed = await self.checkpoint()
        size = signed.checkpoint.size

        def prove() -> list[list[tuple[Ranked, list[bytes]]]]:
            node = self._reader.node()
            found = [self._reader.ranked(stream=name, limit=limit) for name, limit in asked]
            return [
                [
                    (one, inclusion_proof(one.rank, size, node))
                    for one in each
                    if one.rank is not None and one.rank < size
                ]
                for each in found
            ]

        return signed, await self._in(self._reading, prove)

    def _proved(self, found: Ranked, size: int) -> list[bytes]:
        node, index = self._reader.node(), found.rank or 0
        hashes = inclusion_proof(index, size, node)
        root = self._reader.root_at(size)
        if not includes(root, size, index, leaf_of(found.row), hashes):
            problem = (
                f"the event at position {found.row.position} is not the one that was taken into the tree"
            )
            raise LogInconsistentError(problem=problem)
        return hashes

    # When ----------------------------------------------------------------------

    async def _keep(self) -> None:
        due = self._clock.monotonic()
        while not self._stopping:
            self._woken.clear()
            try:
                await self._in(self._writing, self._follow)
                if self._clock.monotonic() >= due:
                    due = self._clock.monotonic() + self._interval
                    await self.checkpoint()
            except _UNREACHABLE as error:
                if self._problem is None:
                    _log.warning("notary: the database is gone: %s", error)
                self._problem = str(error)
                await self._in(self._writing, self._ledger.close)
                await self._clock.sleep(BACK_OFF)
            except (TenutoError, psycopg.Error) as error:
                if str(error) != self._problem:
                    _log.error("notary: %s", error)
                self._problem = str(error)
                await self._clock.sleep(POLL)
            await self._clock.sleep(PACE)
            await self._pause(min(POLL, max(0.0, due - self._clock.monotonic())))

    async def _pause(self, seconds: float) -> None:
        woken = asyncio.create_task(self._woken.wait())
        slept = asyncio.create_task(self._slept(seconds))
        await asyncio.wait({woken, slept}, return_when=asyncio.FIRST_COMPLETED)
        for task in (woken, slept):
            task.cancel()
        await asyncio.gather(woken, slept, return_exceptions=True)

    async def _slept(self, seconds: float) -> None:
        await self._clock.sleep(seconds)

    async def _in(self, threads: ThreadPoolExecutor, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(threads, work)
