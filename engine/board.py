"""Where tasks that are ready meet workers that wait: by priority, then age, and in turn over a worker's queues.

A hint, like everything in memory: whether a task may be handed out is decided by its instance. What is not here is
found again by the scan of the `owed` table.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
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
    queue: str


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

    @property
    def lists(self) -> list[str]:
        """Under which names it is listed: its queues, or its prefix."""
        return [*self.poll.queues, *filter(None, [self.poll.prefix])]


class Board:
    """Listed are the pollers that have room, and no others: whoever is first in a list can take a task."""

    def __init__(self) -> None:
        self._ready: dict[str, list[Ready]] = {}  # By queue; the one served last stands last.
        self._known: set[tuple[str, str, int]] = set()
        self._waiting: dict[str, OrderedDict[Poller, None]] = {}  # By queue, or by prefix.
        self._prefixes: set[str] = set()
        self._hasty: list[Poller] = []
        self._numbers = count()

    # Tasks -----------------------------------------------------------------------

    def add(self, row: OwedRow) -> None:
        """A task that is due. One that is known already is not added twice."""
        assert row.queue is not None
        assert row.due_at is not None
        number = next(self._numbers)
        self.put_back(Ready(row.priority, row.due_at, number, row.instance, row.key, row.attempt, row.queue))

    def put_back(self, ready: Ready) -> None:
        """It was taken and could not be handed out: it keeps its place."""
        known = (ready.instance, ready.key, ready.attempt)
        if known not in self._known and self.depth(ready.queue) < MAX_READY:
            self._known.add(known)
            heapq.heappush(self._ready.setdefault(ready.queue, []), ready)

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
        """A poll that does not want to wait is dismissed after the turn that follows: see `hasty`."""
        if poller.poll.prefix is not None:
            self._prefixes.add(poller.poll.prefix)
        if poller.poll.wait_seconds <= 0:
            self._hasty.append(poller)
        self._list(poller)

    def hasty(self) -> list[Poller]:
        """Those who take what this turn has for them, and go."""
        hasty, self._hasty = self._hasty, []
        return hasty

    def dismiss(self, pollers: Iterable[Poller]) -> None:
        """They leave with what they have, if no batch is about to hand them more."""
        for poller in pollers:
            self.withdraw(poller)
            if not poller.reserved and not poller.future.done():
                poller.future.set_result(poller.tasks)

    def pollers(self) -> dict[str, int]:
        """How many polls wait, by queue; those that take every queue of a prefix count under the prefix."""
        return {name: len(waiting) for name, waiting in self._waiting.items()}

    def everyone(self) -> list[Poller]:
        return list(dict.fromkeys(poller for waiting in self._waiting.values() for poller in waiting))

    def withdraw(self, poller: Poller) -> None:
        """It takes nothing any more, but what is on its way."""
        poller.withdrawn = True
        self._unlist(poller)

    def reserve(self, poller: Poller) -> None:
        """A task is on its way to it."""
        poller.reserved += 1
        if poller.room <= 0:
            self._unlist(poller)

    def release(self, poller: Poller) -> None:
        """The task did not come: its room is free again, and it keeps its place."""
        poller.reserved -= 1
        if not poller.withdrawn:
            self._list(poller, first=True)
        elif not poller.reserved and not poller.future.done():
            poller.future.set_result(poller.tasks)

    def answer(self, poller: Poller) -> None:
        """It leaves with what has come."""
        self._unlist(poller)
        if not poller.future.done():
            poller.future.set_result(poller.tasks)

    def refuse(self, poller: Poller, error: Exception) -> None:
        """A task did not come because the poll itself is at fault: its caller hears of it, unless it gets others."""
        if poller.reserved == 1 and not poller.tasks and not poller.future.done():
            self.withdraw(poller)
            poller.future.set_exception(error)
            poller.future.exception()  # Whoever asked may have gone.
        self.release(poller)

    def waiter_for(self, queue: str) -> Poller | None:
        """The poller that has waited longest for this queue and has room."""
        poller = self._first(queue)
        if poller is None:
            for prefix in self._prefixes:
                if queue.startswith(prefix):
                    return self._first(prefix)
        return poller

    def waiting_in(self, queue: str) -> int:
        """How many pollers have room for a task of this queue."""
        prefixes = [prefix for prefix in self._prefixes if queue.startswith(prefix)]
        return sum(len(self._waiting.get(name, ())) for name in (queue, *prefixes))

    def _first(self, name: str) -> Poller | None:
        waiting = self._waiting.get(name)
        while waiting:
            poller = next(iter(waiting))
            if poller.room > 0:
                return poller
            self._unlist(poller)  # Its caller has gone, and will say so in a moment.
        return None

    def _list(self, poller: Poller, *, first: bool = False) -> None:
        for name in poller.lists if poller.room > 0 else ():
            waiting = self._waiting.setdefault(name, OrderedDict())
            waiting[poller] = None
            if first:
                waiting.move_to_end(poller, last=False)

    def _unlist(self, poller: Poller) -> None:
        for name in poller.lists:
            waiting = self._waiting.get(name)
            if waiting is not None:
                waiting.pop(poller, None)
                if not waiting:
                    del self._waiting[name]

    # Both ------------------------------------------------------------------------

    def queues_without_work(self) -> list[str]:
        """Queues that somebody waits for while nothing is ready here: another server may have work for them."""
        return [name for name in self._waiting if name not in self._ready and name not in self._prefixes]

    def matches(self) -> Iterator[tuple[Poller, Ready]]:
        """Pairs tasks with waiting workers, one of each queue in turn, until one side runs out.

        The caller reserves room before the next.
        """
        queues = deque(self._ready)
        while queues:
            queue = queues.popleft()
            poller = self.waiter_for(queue)
            ready = None if poller is None else self.take(queue)
            if poller is None or ready is None:
                continue
            if queue in self._ready:
                self._ready[queue] = self._ready.pop(queue)
                queues.append(queue)
            yield poller, ready
