"""When to look again at what: the near future of the `owed` table, in memory.

Only what is due within `HORIZON` is kept; the scan brings the rest in time. Entries are not removed when their row
goes: `armed` says which still count.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import count
from typing import Literal

from engine.ports import Key, OwedRow

HORIZON = timedelta(seconds=60)
COMPACT_ABOVE = 10_000

What = Literal["timer", "ready"]


class Alarms:
    """`earlier` is set when what is to be looked at first has changed."""

    def __init__(self) -> None:
        self.earlier = asyncio.Event()
        self._heap: list[tuple[datetime, int, Key, What]] = []
        self._armed: dict[tuple[Key, What], tuple[datetime, OwedRow]] = {}
        self._numbers = count()

    def arm(self, row: OwedRow, now: datetime) -> None:
        """Takes what is coming up of the row in the place of what was known under its key."""
        key = (row.instance, row.key)
        self.disarm(key)
        if row.kind == "invoke" and row.due_at is not None and row.due_at > now:
            self._set(key, "ready", row.due_at, row, now)
        if row.timer_at is not None:
            self._set(key, "timer", row.timer_at, row, now)

    def again(self, row: OwedRow, at: datetime) -> None:
        """Looks at the row's timer at `at`, whatever it says itself."""
        self._push((row.instance, row.key), "timer", at, row)

    def disarm(self, key: Key) -> None:
        self._armed.pop((key, "timer"), None)
        self._armed.pop((key, "ready"), None)

    def due(self, now: datetime) -> Iterator[tuple[What, OwedRow]]:
        while self._heap and self._heap[0][0] <= now:
            at, _, key, what = heapq.heappop(self._heap)
            armed = self._armed.get((key, what))
            if armed is not None and armed[0] == at:
                del self._armed[key, what]
                yield what, armed[1]

    def next_at(self) -> datetime | None:
        while self._heap:
            at, _, key, what = self._heap[0]
            armed = self._armed.get((key, what))
            if armed is not None and armed[0] == at:
                return at
            heapq.heappop(self._heap)
        return None

    def _set(self, key: Key, what: What, at: datetime, row: OwedRow, now: datetime) -> None:
        if at <= now + HORIZON:
            self._push(key, what, at, row)

    def _push(self, key: Key, what: What, at: datetime, row: OwedRow) -> None:
        number = next(self._numbers)
        self._armed[key, what] = (at, row)
        heapq.heappush(self._heap, (at, number, key, what))
        if self._heap[0][1] == number:
            self.earlier.set()
        if len(self._heap) > COMPACT_ABOVE and len(self._heap) > 2 * len(self._armed):
            self._compact()

    def _compact(self) -> None:
        self._heap = [(at, next(self._numbers), key, what) for (key, what), (at, _) in self._armed.items()]
        heapq.heapify(self._heap)
