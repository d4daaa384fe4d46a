"""Which way a run goes: the facts that count, and where two runs part.

What runs at once has no order of its own, so facts are compared thread by thread: a thread is what comes one after the
other, such as the steps outside all scopes, one branch, the block of one item, or the undos.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from domain import events as e
from domain.definition.program import Program
from domain.paths import UNDO, index_of, path_of, scope_of

Thread = tuple[str, str]
"""Scope and block; the second is `/undo` for undos, `@signals` for signals."""


class Fact(NamedTuple):
    """`kind` of thing that happened to `execution` (`@instance`: to all of it); `detail` is what must be the same."""

    kind: str
    execution: str
    detail: str


class Placed(NamedTuple):
    """A recorded fact: the version of its event, and its thread."""

    version: int
    thread: Thread
    fact: Fact


class Difference(NamedTuple):
    """Where the ways part. One side is None where that run does not go on there."""

    recorded: Placed | None
    now: Fact | None


def fact_of(event: e.Event) -> Fact | None:
    """What the event means for the way that a run goes; None: nothing."""
    match event:
        case e.StepScheduled():
            kind = "attempt" if event.attempt > 1 else "step"
            return Fact(kind, event.execution, f"{event.action} {event.attempt}")
        case e.DecisionMade():
            return Fact("decision", event.execution, event.next)
        case e.WaitStarted():
            return Fact("wait", event.execution, event.signal or ("time" if event.until else "a person"))
        case e.WaitEnded():
            return Fact("waited", event.execution, event.by)
        case e.ScopeOpened():
            return Fact("scope", event.execution, str(len(event.blocks)))
        case e.SignalReceived():
            return Fact("signal", "@instance", f"{event.name} {event.signal_id}")
        case e.CompensationStarted():
            return Fact("rollback", "@instance", ", ".join(event.executions))
        case e.StatusChanged(to="completed" | "failed"):
            return Fact("end", "@instance", f"{event.to} {event.outcome}")
        case _:
            return None


def step_of(execution: str) -> str:
    return path_of(execution.removesuffix(UNDO)).rpartition(".")[2]


def thread_of(fact: Fact, program: Program) -> Thread:
    if fact.kind == "signal":
        return "", "@signals"
    if fact.execution == "@instance":
        return "", ""
    if fact.execution.endswith(UNDO):
        return "", UNDO
    step = program.steps.get(step_of(fact.execution))
    return scope_of(fact.execution), index_of(fact.execution) or (step.block if step is not None else "")


class Comparison:
    """Sees the facts of the new run as they come; `first` is where it leaves the recorded way."""

    def __init__(self, recorded: Iterable[Placed]) -> None:
        self.first: Difference | None = None
        self._threads: dict[Thread, list[Placed]] = {}
        self._seen: dict[Thread, int] = {}
        for placed in recorded:
            self._threads.setdefault(placed.thread, []).append(placed)

    def see(self, fact: Fact, program: Program) -> None:
        if self.first is not None:
            return
        thread = thread_of(fact, program)
        number = self._seen.get(thread, 0)
        self._seen[thread] = number + 1
        recorded = self._threads.get(thread, [])
        here = recorded[number] if number < len(recorded) else None
        if here is None or here.fact != fact:
            self.first = Difference(here, fact)

    def close(self) -> None:
        """The new run is over, or goes no further: what it has not come to is different, too."""
        if self.first is None:
            left = [
                placed
                for thread, recorded in self._threads.items()
                for placed in recorded[self._seen.get(thread, 0) :][:1]
            ]
            if left:
                self.first = Difference(min(left), None)
