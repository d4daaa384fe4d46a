"""What lies between the processes of a simulated world: messages are late, lost, doubled and out of order.

A call is a request to a process and an answer from it. Who gets no answer does not know whether the request was
carried out. What runs for a request belongs to the process that it reached: it dies and stands still with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, TypeVar

from domain.errors import TenutoError
from simulation.faults import Faults
from simulation.virtual_time import PROCESS, Process, VirtualLoop

LEAST, MOST = 0.0002, 0.005
"""Seconds that a message takes."""
LATE = 3.0
RESET = 0.01
"""How long it takes to hear that the other side is gone, where one hears of it at all."""

T = TypeVar("T")


class NoAnswerError(TenutoError):
    """{to} did not answer; the request may have been carried out."""


class Line:
    """One call under way; `task` is what runs for it on the other side."""

    __slots__ = ("answer", "caller", "held", "task")

    def __init__(self, answer: asyncio.Future[Any], caller: Process, *, held: bool) -> None:
        self.answer = answer
        self.caller = caller
        self.held = held
        self.task: asyncio.Task[tuple[Any, Exception | None]] | None = None


class Network:
    def __init__(self, loop: VirtualLoop, random: Random, faults: Faults) -> None:
        self._loop = loop
        self._random = random
        self._faults = faults
        self._lines: dict[Process, dict[Line, None]] = {}
        self._cut: dict[Process, None] = {}

    async def call(
        self,
        to: Process,
        make: Callable[[], Coroutine[Any, Any, T]],
        *,
        within: float,
        held: bool = False,
        doubled: Callable[[], None] | None = None,
    ) -> T:
        """What `make` returns on `to`, or raises there. `held`: the server ends it when the caller gives up.

        `doubled` is told when the request arrives twice; without it, it does not. Raises NoAnswerError after so many
        seconds, or when the line breaks.
        """
        caller = PROCESS.get()
        assert caller is not None
        line = Line(self._loop.create_future(), caller, held=held)
        give_up = self._loop.call_later(within, self._break, line, to)
        lines = self._lines.setdefault(to, {})
        lines[line] = None
        try:
            self._request(to, line, make, doubled)
            result: T = await line.answer
            return result
        finally:
            give_up.cancel()
            lines.pop(line, None)
            self._hang_up(line, to)

    def gone(self, process: Process) -> None:
        """Its connections break; half of those at the other ends hear of that at once."""
        for line in self._lines.pop(process, ()):
            if self._random.random() < 0.5:
                self._loop.call_later(RESET, self._break, line, process, context=line.caller.context)
        for to, lines in self._lines.items():
            for line in [line for line in lines if line.caller is process]:
                del lines[line]
                self._hang_up(line, to)

    def cut_off(self, process: Process) -> None:
        """Nothing reaches it, and nothing comes from it."""
        self._cut[process] = None

    def join(self, process: Process) -> None:
        self._cut.pop(process, None)

    def _request(
        self,
        to: Process,
        line: Line,
        make: Callable[[], Coroutine[Any, Any, Any]],
        doubled: Callable[[], None] | None,
    ) -> None:
        if not to.alive:
            self._loop.call_later(RESET, self._break, line, to, context=line.caller.context)
            return
        if self._apart(line.caller, to) or self._faults.strikes("request lost"):
            return
        self._loop.call_later(self._delay(), self._arrive, to, line, make, context=to.context)
        if doubled is not None and self._faults.strikes("message doubled"):
            doubled()
            self._loop.call_later(self._delay(), self._arrive, to, line, make, context=to.context)

    def _arrive(self, to: Process, line: Line, make: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        task = self._loop.create_task(_outcome(make), context=to.context.copy())
        line.task = task
        task.add_done_callback(lambda done: self._answer(to, line, done))

    def _hang_up(self, line: Line, to: Process) -> None:
        """A server may notice that nobody waits any more for a request that it holds."""
        if line.held and line.task is not None and not line.task.done() and self._random.random() < 0.5:
            self._loop.call_later(self._delay(), line.task.cancel, context=to.context)

    def _answer(self, to: Process, line: Line, done: asyncio.Task[tuple[Any, Exception | None]]) -> None:
        if done.cancelled():
            return
        if self._apart(line.caller, to) or self._faults.strikes("answer lost"):
            return
        self._loop.call_later(self._delay(), _deliver, line, done, context=line.caller.context)

    def _break(self, line: Line, to: Process) -> None:
        if not line.answer.done():
            line.answer.set_exception(NoAnswerError(to=to.name))

    def _apart(self, one: Process, other: Process) -> bool:
        return one in self._cut or other in self._cut

    def _delay(self) -> float:
        if self._faults.strikes("message late"):
            return self._random.uniform(MOST, LATE)
        return self._random.uniform(LEAST, MOST)


async def _outcome(make: Callable[[], Coroutine[Any, Any, Any]]) -> tuple[Any, Exception | None]:
    """What comes of it is the caller's to hear, if anybody's."""
    try:
        return await make(), None
    except Exception as error:  # noqa: BLE001 - it is raised where the answer arrives
        return None, error


def _deliver(line: Line, done: asyncio.Task[tuple[Any, Exception | None]]) -> None:
    if line.answer.done():
        return
    result, error = done.result()
    if error is None:
        line.answer.set_result(result)
    else:
        line.answer.set_exception(error)
