"""Keeps the projections up with the log: wakes, applies, reports, and gets up again after the database was
gone.

One asyncio task per projection decides *when*; the batch itself runs in a thread (`projections/follower.py`),
so that the loop that serves everybody goes on meanwhile. A hint (`wake`) makes it quick, polling
makes it sure. An event that cannot be read or folded stops its projection, and only that one: it is reported
in `status`, and never skipped; `rebuild`, or a release that knows it, goes on from there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, Protocol, TypeVar

import psycopg
from msgspec import Struct
from psycopg.errors import ReadOnlySqlTransaction

from domain.errors import TenutoError
from projections.catalogue import PROJECTIONS
from projections.follower import Follower, Place, Site, window_of
from projections.log import BATCH_EVENTS
from projections.projection import Factory
from projections.rebuilding import Comparison, Rebuild

logger = logging.getLogger(__name__)

POLL = 0.2
"""Seconds between two looks at the log when nobody gives a hint."""
PACE = 0.1
"""Seconds between two batches that were not full, unless somebody waits: large ones cost less per event."""
BUSY = 8_000
"""Events a second, from which on batches are made larger still: …"""
BUSY_PACE = 0.4
"""… each then gathers for so many seconds. Up to that rate a projection is never much more than `PACE` behind."""
BACK_OFF = 1.0
"""Seconds between two attempts to reach the database."""
SWAP_PAUSE = 0.5
"""Seconds between two attempts to swap, for readers to finish."""

Condition = Literal["starting", "following", "disconnected", "stopped"]
Result = TypeVar("Result")

# The database went away, or is not the one to write to (a failover): connect again, nothing was lost.
_UNREACHABLE = (psycopg.OperationalError, psycopg.InterfaceError, ReadOnlySqlTransaction)


class Clock(Protocol):
    """Seconds; `monotonic` never goes back."""

    def monotonic(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...


class UnknownProjectionError(TenutoError):
    """There is no projection {name!r}; there are {known}."""


class Progress(Struct, frozen=True, kw_only=True, rename="camel"):
    """How far a projection is, as of its last look at the log. `lag_events`: positions behind the log's end;
    `lag_ms`: since when it has not been there. `problem`: what stopped it, or keeps it from the database."""

    name: str
    condition: Condition
    position: int
    lag_events: int
    lag_ms: int
    rebuilding: bool
    problem: str | None


class _Kept:
    """One projection and what its task knows of it."""

    def __init__(self, follower: Follower, now: float) -> None:
        self.follower = follower
        self.prepared = False
        self.rebuilding = False
        self.place = Place(0, 0)
        self.at_end = now  # Monotonic: when it last stood at the log's end.
        self.moved_at = now  # Monotonic: when its last batch ended.
        self.fault: str | None = None  # It stopped: only a rebuild or another release helps.
        self.unreachable: str | None = None
        self.waiting = 0  # Readers who want to see their own writes.
        self.woken = asyncio.Event()
        self.hurried = asyncio.Event()
        self.moved = asyncio.Condition()

    @property
    def condition(self) -> Condition:
        if self.fault is not None:
            return "stopped"
        if self.unreachable is not None:
            return "disconnected"
        return "following" if self.prepared else "starting"

    def step(self) -> Place:
        """In a thread: look, and apply the next batch if there is one."""
        place = self.follower.place()
        if self.fault is not None or place.position >= place.head:
            return place
        return Place(self.follower.advance(lazily=not self.waiting), place.head)

    def pace(self, position: int, now: float) -> float:
        """How long to gather events for the next batch."""
        events, seconds = position - self.place.position, now - self.moved_at
        if events:
            self.moved_at = now
        return BUSY_PACE if events > BUSY * seconds else PACE

    async def saw(self, place: Place, now: float) -> None:
        if place.position >= place.head and self.fault is None:
            self.at_end = now
        async with self.moved:
            self.place = place
            self.moved.notify_all()

    async def reach(self, position: int) -> bool:
        """False when it stopped before."""
        self.waiting += 1
        try:
            self.hurry()
            async with self.moved:
                await self.moved.wait_for(lambda: self.place.position >= position or self.fault is not None)
        finally:
            self.waiting -= 1
        return self.place.position >= position

    def hurry(self) -> None:
        self.hurried.set()
        self.woken.set()


class Runner:
    """All projections of one shard. `log` is the event log's schema, `views` the schema that the tables stand
    in, `published` that of the views for everybody."""

    def __init__(
        self,
        database: str,
        *,
        log: str,
        views: str,
        clock: Clock,
        table: str = "stored_events",
        projections: Mapping[str, Factory] = PROJECTIONS,
        poll: float = POLL,
        batch: int = BATCH_EVENTS,
        published: str | None = None,
    ) -> None:
        self._clock = clock
        self._poll = poll
        self._factories = projections
        self._site = Site(database, (log, table), views, batch, published)
        now = clock.monotonic()
        window = window_of(self._site, projections)
        self._kept = {
            name: _Kept(Follower(self._site, factory, window), now) for name, factory in projections.items()
        }
        # One thread for each projection, and one for its rebuild.
        self._threads = ThreadPoolExecutor(2 * len(self._kept), thread_name_prefix="projection")
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False

    def start(self) -> None:
        """Begins to follow, in tasks of the running loop. An unreachable database is waited for."""
        self._tasks = [
            asyncio.create_task(self._keep(kept), name=f"projection {name}")
            for name, kept in self._kept.items()
        ]

    async def stop(self) -> None:
        """Lets every batch under way end, and closes the connections."""
        self._stopping = True
        for kept in self._kept.values():
            kept.hurry()
        await asyncio.gather(*self._tasks)
        for kept in self._kept.values():
            kept.follower.close()
        self._threads.shutdown(wait=False)

    def wake(self) -> None:
        """A hint that the log has grown. Cheap; call it after every commit."""
        for kept in self._kept.values():
            kept.woken.set()

    def status(self) -> list[Progress]:
        """How far every projection is, without asking the database."""
        return [self._progress(kept) for kept in self._kept.values()]

    async def wait_for(self, position: int, timeout: float, *names: str) -> bool:  # noqa: ASYNC109 - by our clock
        """Waits until these projections (all, if none is named) have applied `position`; at most `timeout`
        seconds, of the injected clock. False when they have not."""
        chosen = [self._named(name) for name in names] or list(self._kept.values())
        reached = asyncio.gather(*(kept.reach(position) for kept in chosen))
        return await self._first_of(reached, self._clock.sleep(timeout)) and all(reached.result())

    async def rebuild(self, name: str, *, swap: bool = True) -> Comparison:
        """Makes the projection again from the first event while the live one serves, compares both at one
        position, and puts the new one in its place. Without `swap` it is a check: what was built is dropped.

        Differences do not keep it from swapping: the rebuilt one is what this release makes of the log.
        Raises UnknownProjectionError, RebuildRunningError, and what keeps the new one from being filled.
        """
        kept = self._named(name)
        work = Rebuild(self._site, self._factories[name])
        swapped = False
        try:
            await self._in_thread(work.begin)
            kept.rebuilding = True
            while not await self._in_thread(work.fill):
                pass
            comparison = await self._in_thread(work.compare)
            while swap and not swapped:
                swapped = await self._in_thread(work.swap)
                if not swapped:
                    await self._clock.sleep(SWAP_PAUSE)
        finally:
            kept.rebuilding = False
            await self._in_thread(work.close)
        if swapped:
            kept.fault = None
            kept.hurry()
        return comparison

    # What its tasks do ---------------------------------------------------------

    async def _keep(self, kept: _Kept) -> None:
        while not self._stopping:
            try:
                await self._once(kept)
            except _UNREACHABLE as error:
                if kept.unreachable is None:
                    logger.warning("projection %s: the database is gone: %s", kept.follower.name, error)
                kept.unreachable = str(error)
                kept.follower.close()
                await self._pause(BACK_OFF, kept.hurried)
            except Exception as error:  # noqa: BLE001 - whatever it is, it stops this projection and is reported
                await self._stopped(kept, error)

    async def _stopped(self, kept: _Kept, error: Exception) -> None:
        if kept.fault is None:  # The next look says where it stopped, and goes on saying how far the log is.
            logger.error("projection %s stopped", kept.follower.name, exc_info=error)
            kept.fault = f"{type(error).__name__}: {error}"
            return
        await kept.saw(kept.place, self._clock.monotonic())  # It cannot even look.
        await self._pause(self._poll, kept.woken)
        kept.woken.clear()

    async def _once(self, kept: _Kept) -> None:
        kept.hurried.clear()
        if not kept.prepared and kept.fault is None:
            if not await self._in_thread(kept.follower.prepare):
                await self.rebuild(kept.follower.name)  # Its tables are those of another release.
            kept.prepared = True
        place, before = await self._in_thread(kept.step), kept.place
        kept.unreachable = None
        pace = kept.pace(place.position, self._clock.monotonic())
        await kept.saw(place, self._clock.monotonic())
        if kept.fault is None and place.position < place.head:
            return
        if kept.fault is None and place.position > before.position and not kept.waiting:
            await self._pause(pace, kept.hurried)
        await self._pause(self._poll, kept.woken)
        kept.woken.clear()

    async def _pause(self, seconds: float, until: asyncio.Event) -> None:
        if not self._stopping:
            await self._first_of(asyncio.ensure_future(until.wait()), self._clock.sleep(seconds))

    async def _first_of(self, wanted: asyncio.Future[Any], limit: Coroutine[Any, Any, None]) -> bool:
        """Waits for one of the two, and gives up the other. Whether `wanted` came."""
        timer = asyncio.ensure_future(limit)
        try:
            await asyncio.wait({wanted, timer}, return_when=asyncio.FIRST_COMPLETED)
            return wanted.done()
        finally:
            for one in (wanted, timer):
                one.cancel()
            await asyncio.gather(wanted, timer, return_exceptions=True)

    def _in_thread(self, work: Callable[[], Result]) -> asyncio.Future[Result]:
        return asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _named(self, name: str) -> _Kept:
        if name not in self._kept:
            raise UnknownProjectionError(name=name, known=", ".join(self._kept))
        return self._kept[name]

    def _progress(self, kept: _Kept) -> Progress:
        lag = max(0, kept.place.head - kept.place.position)
        at_end = lag == 0 and kept.condition == "following"
        return Progress(
            name=kept.follower.name,
            condition=kept.condition,
            position=kept.place.position,
            lag_events=lag,
            lag_ms=0 if at_end else round((self._clock.monotonic() - kept.at_end) * 1000),
            rebuilding=kept.rebuilding,
            problem=kept.fault or kept.unreachable,
        )
