"""The end of the log, read once for everybody: consumers that are there share its last events in memory.

A thousand idle consumers wait for one reader, and ask the database nothing; while there is none, nothing is read. Who
is further behind than what is kept reads the log itself, in bounded batches, at its own pace, and no more than a few do
so at a time. What it refuses to know: who consumes, and what they want.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_right
from typing import NamedTuple

import psycopg

from feeds.log import BATCH_EVENTS, MAX_BATCH_BYTES, Log
from feeds.messages import Message
from feeds.waiting import Clock, first_of

log = logging.getLogger("tenuto.feeds")

POLL = 0.2
"""Seconds between two looks at the log when nobody gives a hint."""
PACE = 0.01
"""Seconds between two batches that were not full: consumers are woken less often."""
BACK_OFF = 1.0
"""Seconds between two attempts to read, after one has failed."""
REST_AFTER = 5.0
"""Seconds without anybody who waits, until the log is not read any more."""
KEPT_EVENTS = 5_000
KEPT_BYTES = 16 * 1024 * 1024
"""Of the payloads that are kept for those at the end."""
READERS = 2
"""Consumers that read the log itself at one time; the others wait for their turn."""


class Slice(NamedTuple):
    """Events in order, and the position up to which there are no others."""

    messages: list[Message]
    position: int


class Tail:
    """`position` is how far it has read; it begins at the end of the log as it is when it starts."""

    def __init__(self, log: Log, clock: Clock, *, poll: float = POLL, kept_events: int = KEPT_EVENTS) -> None:
        self.log = log
        self.position = 0
        self._clock = clock
        self._poll = poll
        self._kept_events = kept_events
        self._kept: list[Message] = []
        self._bytes = 0
        self._floor = 0  # Everything after this position, and up to `position`, is kept.
        self._waiting = 0
        self._wanted = asyncio.Event()
        self._wanted_at = clock.monotonic()
        self._woken = asyncio.Event()
        self._moved = asyncio.Event()
        self._readers = asyncio.Semaphore(READERS)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Raises psycopg's errors: the server has just reached the database."""
        self.position = self._floor = await self.log.head()
        self._task = asyncio.create_task(self._follow(), name="tail of the log")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def wake(self) -> None:
        """A hint that the log has grown. Cheap; call it after every commit."""
        self._woken.set()

    async def read(self, after: int, limit: int = BATCH_EVENTS) -> Slice:
        """From memory when it is kept there, else from the log."""
        if after >= self._floor:
            begin = bisect_right(self._kept, after, key=_position)
            found = self._kept[begin : begin + limit]
            whole = begin + limit >= len(self._kept)
            return Slice(found, max(after, self.position) if whole else found[-1].position)
        async with self._readers:
            found = await self.log.read(after, limit)
        return Slice(found, found[-1].position if found else after)

    async def beyond(self, position: int) -> None:
        """Waits until there is something after a position."""
        self._waiting += 1
        self._wanted.set()
        try:
            while self.position <= position:
                await self._moved.wait()
        finally:
            self._waiting -= 1
            self._wanted_at = self._clock.monotonic()

    async def _follow(self) -> None:
        while True:
            try:
                if not self._waiting and self._clock.monotonic() - self._wanted_at > REST_AFTER:
                    await self._rest()
                full = await self._advance()
            except (psycopg.Error, OSError) as error:
                log.warning("the feed cannot read the log, and tries again: %s", error)
                await self._clock.sleep(BACK_OFF)
            except Exception:
                log.exception("the feed stopped at position %s; it tries again", self.position)
                await self._clock.sleep(BACK_OFF)
            else:
                if not full:
                    await self._clock.sleep(PACE)
                    await first_of(self._woken.wait(), self._clock.sleep(self._poll))
                    self._woken.clear()

    async def _rest(self) -> None:
        """Until somebody waits. What has come meanwhile is not kept: who wants it reads the log."""
        self._wanted.clear()
        await self._wanted.wait()
        self._kept, self._bytes = [], 0
        self.position = self._floor = await self.log.head()
        self._tell()

    def _tell(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    async def _advance(self) -> bool:
        """One batch; whether there may be more."""
        messages = await self.log.read(self.position)
        if not messages:
            return False
        self._kept += messages
        self._bytes += sum(len(message.payload) for message in messages)
        self._trim()
        self.position = messages[-1].position
        self._tell()
        size = sum(len(message.payload) for message in messages)
        return len(messages) == BATCH_EVENTS or size > MAX_BATCH_BYTES // 2

    def _trim(self) -> None:
        gone = max(0, len(self._kept) - self._kept_events)
        size = sum(len(message.payload) for message in self._kept[:gone])
        while self._bytes - size > KEPT_BYTES:
            size += len(self._kept[gone].payload)
            gone += 1
        if gone:
            self._floor = self._kept[gone - 1].position
            self._bytes -= size
            del self._kept[:gone]


def _position(message: Message) -> int:
    return message.position
