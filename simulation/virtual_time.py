"""Virtual time: an event loop that never sleeps, whose every choice comes from a seed, and clocks that read it.

Time jumps to the next timer when nothing is left to run. Of what could run next, chance takes one: each `await` is a
point at which anything else may come first. Whatever runs belongs to a node (`nodes.py`): that of a dead one never
runs again, not even its `finally`, and that of a frozen one waits. It refuses to know what runs on it.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
from collections.abc import Callable, Coroutine, Generator
from datetime import UTC, datetime, timedelta
from itertools import count
from math import ceil
from random import Random
from typing import Any, TypeVar, TypeVarTuple

from domain.errors import TenutoError
from engine.waits import by_sleeping

START = datetime(2026, 1, 1, tzinfo=UTC)
"""When every simulation begins."""
MAX_STEPS = 5_000_000
"""Of one run: more of them, and something turns in circles."""
_SWEEP_EVERY = 5_000

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class NothingToDoError(TenutoError):
    """Everybody waits for something that will never come, at {seconds} s."""


class EndlessError(TenutoError):
    """{steps} steps, and no end: something turns in circles at {seconds} s."""


class ViolationError(AssertionError):
    """Something that must hold does not. It ends the run from wherever it is raised, also where nobody waits."""


class Process:
    """Who runs, as the loop sees it: `alive` and not `frozen`, or not at all. `held` is what ran against the ice."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.frozen = False
        self.held: list[asyncio.Handle] = []
        self.context = contextvars.copy_context()
        self.context.run(PROCESS.set, self)


PROCESS: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class VirtualTask(asyncio.Task[Any]):
    """Hashes by number: a set of tasks is iterated in the same order in every run."""

    def __init__(self, number: int, coroutine: Any, **settings: Any) -> None:
        self.number = number
        super().__init__(coroutine, **settings)

    def __hash__(self) -> int:
        return self.number


class VirtualFuture(asyncio.Future[Any]):
    """As above."""

    def __init__(self, number: int, **settings: Any) -> None:
        self.number = number
        super().__init__(**settings)

    def __hash__(self) -> int:
        return self.number


class VirtualLoop(asyncio.AbstractEventLoop):
    """`faults` are exceptions that nobody caught. Without `shuffled` callbacks run in their order, as in asyncio."""

    def __init__(self, random: Random, *, shuffled: bool = True) -> None:
        self.microseconds = 0
        self.steps = 0
        self.faults: list[str] = []
        self.broken: BaseException | None = None  # What ends the run, wherever it was raised.
        self._chance = random.random
        self._shuffled = shuffled
        self._ready: list[asyncio.Handle] = []
        self._timers: list[tuple[int, int, asyncio.TimerHandle]] = []
        self._numbers = count()
        self._tasks: list[VirtualTask] = []  # Held, so that no garbage collection ends one in the middle.
        self._closed = False

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Until `main` ends; then nothing that is left over runs again."""
        asyncio._set_running_loop(self)
        try:
            task = self.create_task(main)
            while not task.done():
                self._step()
                if self.broken is not None:
                    raise self.broken
            result: T = task.result()
            return result
        finally:
            self._dispose()
            asyncio._set_running_loop(None)

    def thaw(self, process: Process) -> None:
        process.frozen = False
        self._ready += process.held
        process.held = []

    # What asyncio asks of a loop ---------------------------------------------------

    def time(self) -> float:
        return self.microseconds / 1e6

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        if not self._closed:
            self._ready.append(handle)
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        at = self.microseconds + max(0, ceil(delay * 1e6))
        handle = asyncio.TimerHandle(at / 1e6, callback, args, self, context)
        if not self._closed:
            heapq.heappush(self._timers, (at, next(self._numbers), handle))
        return handle

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_later(when - self.time(), callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It stays where it is, and is passed over."""

    def create_future(self) -> VirtualFuture:
        return VirtualFuture(next(self._numbers), loop=self)

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: object = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[T]:
        number = next(self._numbers)
        task = VirtualTask(number, coro, loop=self, name=f"task-{number}", context=context)
        self._tasks.append(task)
        if len(self._tasks) % _SWEEP_EVERY == 0:
            self._tasks = [one for one in self._tasks if not one.done()]
        return task

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return not self._closed

    def is_closed(self) -> bool:
        return self._closed

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, ViolationError):
            self.broken = error
        self.faults.append(f"{context.get('message')}: {context.get('exception')!r}")

    # Running -------------------------------------------------------------------------

    def _step(self) -> None:
        ready = self._ready
        if not ready:
            self._pass_time()
            return
        if self._shuffled:
            number = int(self._chance() * len(ready))
            handle, ready[number] = ready[number], ready[-1]
            ready.pop()
        else:
            handle = ready.pop(0)
        if handle.cancelled():
            return
        process = handle._context.get(PROCESS)  # type: ignore[attr-defined]  # asyncio has no other name for it
        if process is not None:
            if not process.alive:
                return
            if process.frozen:
                process.held.append(handle)
                return
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise EndlessError(steps=self.steps, seconds=self.time())
        handle._run()

    def _pass_time(self) -> None:
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        if not timers:
            raise NothingToDoError(seconds=self.time())
        self.microseconds = max(self.microseconds, timers[0][0])
        while timers and timers[0][0] <= self.microseconds:
            handle = heapq.heappop(timers)[2]
            if not handle.cancelled():
                self._ready.append(handle)

    def _dispose(self) -> None:
        """Ends every coroutine where it stands, in a loop that schedules nothing any more."""
        self._closed = True
        for task in self._tasks:
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined]  # it is no accident
                _close(task.get_coro())
        self._tasks.clear()
        self._ready.clear()
        self._timers.clear()


def _close(coroutine: Any) -> None:
    try:
        coroutine.close()
    except RuntimeError:
        """It awaits something in a `finally`: there is nobody left to wait for."""


class VirtualClock:
    """Implements `engine.ports.Clock` on a node: virtual time, seen through a clock that may be wrong.

    `offset` in microseconds, `rate` in seconds of this clock per second.
    """

    def __init__(self, loop: VirtualLoop, random: Random, *, offset: int = 0, rate: float = 1.0) -> None:
        self.offset = offset
        self._rate = rate
        self._loop = loop
        self._random = random
        self._set_at = self._passed = loop.microseconds

    def set_right(self, offset: int) -> None:
        """It is measured anew: off by no more than `offset` from now on, and it runs as fast as time."""
        self._passed, self._set_at = self._microseconds(), self._loop.microseconds
        self.offset, self._rate = self._set_at - self._passed + offset, 1.0

    def now(self) -> datetime:
        return START + timedelta(microseconds=self._microseconds() + self.offset)

    def monotonic(self) -> float:
        return self._microseconds() / 1e6

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self._rate)

    async def wait(self, wanted: asyncio.Future[Any], seconds: float) -> None:
        await by_sleeping(self, wanted, seconds)

    def entropy(self) -> float:
        return self._random.random()

    def _microseconds(self) -> int:
        return self._passed + round((self._loop.microseconds - self._set_at) * self._rate)

    def new_id(self) -> str:
        """A UUIDv7 in all but its two version bits."""
        milliseconds = (self.now() - START) // timedelta(milliseconds=1) + 1_767_225_600_000
        return f"{max(milliseconds, 0):012x}7{self._random.getrandbits(76):019x}"


def result_of(coroutine: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    raise AssertionError("it waited")
