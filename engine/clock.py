"""Time and chance: the one module that may ask the machine for them. A real clock, and one for tests.

The real clock tells the database's time, so that every server of a shard agrees on when a timer is due: it
measures by how much the database is ahead of this process's monotonic clock, which never jumps.
"""

from __future__ import annotations

import asyncio
import heapq
import os
import random
import time
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Protocol, Self

from engine.waits import by_sleeping

SAMPLES = 5  # The quickest of so many questions is the most exact.
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class TellsTime(Protocol):
    """What the real clock needs of a store."""

    async def now(self) -> datetime: ...


class SystemClock:
    """Implements `engine.ports.Clock`. `offset`: microseconds from the epoch to the monotonic clock's zero."""

    def __init__(self, offset: int) -> None:
        self._offset = offset
        self._last = (0, 0)  # Of the newest id: milliseconds, and its number within them.

    @classmethod
    async def measured(cls, store: TellsTime) -> Self:
        """A clock that tells the store's time, exact to half of the quickest round trip."""
        clock = cls(0)
        await clock.synchronise(store)
        return clock

    async def synchronise(self, store: TellsTime) -> None:
        """Measures again: after a failover another machine's clock counts, and clocks drift. Time may step
        back by the difference; commands are never dated before their stream's last event, whatever this clock
        says."""
        best = (1 << 62, 0)
        for _ in range(SAMPLES):
            asked = time.monotonic_ns()
            told = await store.now()
            answered = time.monotonic_ns()
            best = min(best, (answered - asked, (told - EPOCH) // MICROSECOND - (asked + answered) // 2_000))
        self._offset = best[1]

    def now(self) -> datetime:
        return EPOCH + timedelta(microseconds=self._microseconds())

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def wait(self, wanted: asyncio.Future[Any], seconds: float) -> None:
        await asyncio.wait({wanted}, timeout=seconds)

    def entropy(self) -> float:
        return random.random()  # noqa: S311 - spreads retries; nothing depends on its being unpredictable

    def new_id(self) -> str:
        """RFC 9562 §6.2 method 1: ids of one millisecond are numbered, so the order of making is the order of
        ids."""
        now, (last, number) = self._microseconds() // 1_000, self._last
        self._last = (now, 0) if now > last else (last, number + 1) if number < 0xFFF else (last + 1, 0)
        milliseconds, number = self._last
        return _uuid7(milliseconds, number << 62 | int.from_bytes(os.urandom(8)) >> 2)

    def _microseconds(self) -> int:
        return time.monotonic_ns() // 1_000 + self._offset


class ManualClock:
    """Implements `engine.ports.Clock` for tests: time passes by `advance` alone, and chance repeats
    itself."""

    def __init__(self, start: datetime, *, seed: int = 0) -> None:
        self._start = start
        self._elapsed = timedelta()
        self._random = random.Random(seed)  # noqa: S311 - its whole point is to be repeatable
        self._numbers = count()
        self._sleepers: list[tuple[timedelta, int, asyncio.Future[None]]] = []

    def advance(self, by: timedelta | float) -> None:
        """Lets time pass (seconds, or a timedelta) and wakes who slept until now or before, in order."""
        passing = by if isinstance(by, timedelta) else timedelta(seconds=by)
        if passing < timedelta():
            raise ValueError("time does not go back")
        self._elapsed += passing
        while self._sleepers and self._sleepers[0][0] <= self._elapsed:
            _, _, sleeper = heapq.heappop(self._sleepers)
            if not sleeper.done():
                sleeper.set_result(None)

    @property
    def next_waking(self) -> datetime | None:
        """When the first sleeper wants to be woken; None when nobody sleeps."""
        waiting = [until for until, _, sleeper in self._sleepers if not sleeper.done()]
        return self._start + min(waiting) if waiting else None

    def now(self) -> datetime:
        return self._start + self._elapsed

    def monotonic(self) -> float:
        return self._elapsed.total_seconds()

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        sleeper = asyncio.get_running_loop().create_future()
        heapq.heappush(
            self._sleepers, (self._elapsed + timedelta(seconds=seconds), next(self._numbers), sleeper)
        )
        await sleeper

    async def wait(self, wanted: asyncio.Future[Any], seconds: float) -> None:
        await by_sleeping(self, wanted, seconds)

    def entropy(self) -> float:
        return self._random.random()

    def new_id(self) -> str:
        return _uuid7((self.now() - EPOCH) // timedelta(milliseconds=1), next(self._numbers))


def _uuid7(milliseconds: int, low: int) -> str:
    """RFC 9562 §5.7: 48 bits of time, and 74 of `low` around version and variant."""
    number = milliseconds << 80 | 0x7 << 76 | low >> 62 << 64 | 0b10 << 62 | low & (1 << 62) - 1
    return f"{number:032x}"
