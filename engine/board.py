"""Where tasks that are ready meet workers that wait: by priority, then age, and in turn over a worker's queues.

A hint, like everything in memory: whether a task may be handed out is decided by its instance. What is not here is
found again by the scan of the `owed` table.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Iterator
from datetime import datetime
from itertools import count
from typing import NamedTuple

from engine.messages import Poll, Task
from engine.ports import OwedRow

MAX_READY = 20_000
"""Ready tasks remembered per queue; the others wait in the table."""


class Ready(NamedTuple):
    """Sorts by priority, then age."""

    priority: int
    due_at: datetime
    number: int
    instance: str
    key: str
    attempt: int


class Poller:
    """One poll that waits. `reserved` counts the tasks that a batch under way is about to hand to it."""

    __slots__ = ("future", "poll", "reserved", "tasks", "withdrawn")

    def __init__(self, poll: Poll, future: asyncio.Future[list[Task]]) -> None:
        self.poll = poll
        self.future = future
        self.tasks: list[Task] = []
        self.reserved = 0
        self.withdrawn = False

    @property
    def room(self) -> int:
        return 0 if self.withdrawn or self.future.done() else self.poll.max_tasks - self.reserved


class Board:
    def __init__(self) -> None:
        self._ready: dict[str, list[Ready]] = {}
        self._known: set[tuple[str, str, int]] = set()
        self._waiting: dict[str, deque[Poller]] = {}  # By queue, or by prefix.
        self._prefixes: set[str] = set()
        self._numbers = count()

    # Tasks -----------------------------------------------------------------------

    def add(self, row: OwedRow) -> None:
        """A task that is due. One that is known already is not added twice."""
        assert row.queue is not None
        assert row.due_at is not None
        known = (row.instance, row.key, row.attempt)
        heap = self._ready.setdefault(row.queue, [])
        if known in self._known or len(heap) >= MAX_READY:
            return
        self._known.add(known)
        number = next(self._numbers)
        heapq.heappush(heap, Ready(row.priority, row.due_at, number, row.instance, row.key, row.attempt))

    def take(self, queue: str) -> Ready | None:
        heap = self._ready.get(queue)
        if not heap:
            return None
        ready = heapq.heappop(heap)
        self._known.discard((ready.instance, ready.key, ready.attempt))
        if not heap:
            del self._ready[queue]
        return ready

    def depth(self, queue: str) -> int:
        return len(self._ready.get(queue, ()))

    # Workers ---------------------------------------------------------------------

    def wait(self, poller: Poller) -> None:
        if poller.poll.prefix is not None:
            self._prefixes.add(poller.poll.prefix)
            self._waiting.setdefault(poller.poll.prefix, deque()).append(poller)
        for queue in poller.poll.queues:
            self._waiting.setdefault(queue, deque()).append(poller)

    def withdraw(self, poller: Poller) -> None:
        """It takes nothing any more. It leaves the lists when they are next looked through."""
        poller.withdrawn = True
        for queue in [*poller.poll.queues, *filter(None, [poller.poll.prefix])]:
            self._waiter(queue)

    def waiter_for(self, queue: str) -> Poller | None:
        """The poller that has waited longest for this queue and has room."""
        poller = self._waiter(queue)
        if poller is None:
            for prefix in self._prefixes:
                if queue.startswith(prefix):
                    poller = self._waiter(prefix)
                    break
        return poller

    def _waiter(self, queue: str) -> Poller | None:
        waiting = self._waiting.get(queue)
        while waiting:
            if waiting[0].room > 0:
                return waiting[0]
            waiting.popleft()
        self._waiting.pop(queue, None)
        return None

    def queues_without_work(self) -> list[str]:
        """Queues that somebody waits for while nothing is ready here: another server may have work for them."""
        return [queue for queue in list(self._waiting) if queue not in self._ready and self._waiter(queue)]

    def matches(self) -> Iterator[tuple[Poller, Ready]]:
        """Pairs tasks with waiting workers, until one side runs out. The caller reserves room before the next."""
        for queue in list(self._ready):
            while (poller := self.waiter_for(queue)) is not None:
                ready = self.take(queue)
                if ready is None:
                    break
                yield poller, ready
