"""A recorded history, as the rerun asks for it: its commands in order, what services answered, and where it went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from domain import events as e
from domain.codec import topic_of
from domain.definition.program import Program
from domain.errors import CorruptHistoryError
from domain.moves import Migrated
from domain.whatif.route import Fact, Placed, Thread, fact_of, thread_of

Attempt = tuple[str, int]
"""Execution and number."""

Reported = e.StepCompleted | e.Compensated | e.StepFailed | e.ResultIgnored


class Told(NamedTuple):
    """One recorded command by what came of it: `events`, the first of which is its stimulus."""

    version: int
    at: datetime
    events: list[e.Event]


class Answer(NamedTuple):
    """What came of an attempt, and after how long. `reported` is None while its worker said nothing."""

    reported: Reported | None
    took: timedelta


class Record:
    """`claims`: at which command an attempt was taken; `answers`: what came of it; `actions`: what was asked.

    `program` is the one that it began on; `moved_to` has, by version, those that it has migrated to.
    """

    def __init__(
        self, events: Sequence[e.Event], program: Program, moved_to: Mapping[str, Program] | None = None
    ) -> None:
        self._program = program
        self._moved_to = moved_to or {}
        self._moves: list[tuple[int, str]] = []
        self._threads: dict[str, Thread] = {}
        self.told: list[Told] = []
        self.actions: dict[str, str] = {}
        self.inputs: dict[str, list[e.Json]] = {}  # One, or one for each rollback that undoes it.
        self.claims: dict[Attempt, int] = {}
        self.answers: dict[Attempt, Answer] = {}
        self.route: list[Placed] = []
        self.end: e.StatusChanged | None = None
        for version, event in enumerate(events, start=1):
            self._group(version, event)
            self._read(version, event)

    def _group(self, version: int, event: e.Event) -> None:
        if event.at is not None:
            self.told.append(Told(version, event.at, [event]))
        elif not self.told:
            problem = f"it begins with {topic_of(event)}, which is a consequence"
            raise CorruptHistoryError(instance_id="?", version=version, problem=problem)
        else:
            self.told[-1].events.append(event)

    def _read(self, version: int, event: e.Event) -> None:
        told = self.told[-1]
        match event:
            case e.StepScheduled():
                self.actions[event.execution] = event.action
                if event.attempt == 1:
                    self.inputs.setdefault(event.execution, []).append(event.input)
            case e.StepStarted():
                self.claims[event.execution, event.attempt] = len(self.told) - 1
                self.answers[event.execution, event.attempt] = Answer(None, timedelta())
            case e.StepCompleted() | e.Compensated() | e.StepFailed() | e.ResultIgnored():
                self._answered(told, event)
            case e.StatusChanged(to="completed" | "failed"):
                self.end = event
            case Migrated():
                self._moves.append((version, event.to_version))
        fact = fact_of(event)
        if fact is not None:
            self.route.append(Placed(version, self._thread_of(fact, version), fact))

    def moved_to(self, version: int) -> str | None:
        """The version of the definition that it had migrated to by then."""
        return next((name for number, name in reversed(self._moves) if number <= version), None)

    def program_at(self, version: int) -> Program:
        """Which was pinned by then."""
        moved_to = self.moved_to(version)
        return self._program if moved_to is None else self._moved_to[moved_to]

    def _thread_of(self, fact: Fact, version: int) -> Thread:
        """An execution stays in its thread, whatever a migration calls its step."""
        thread = thread_of(fact, self.program_at(version))
        if fact.execution == "@instance":
            return thread
        return self._threads.setdefault(fact.execution, thread)

    def _answered(self, told: Told, event: Reported) -> None:
        """A report that did not count tells all the same what the service did, unless another one did count."""
        attempt = event.execution, event.attempt
        claimed, known = self.claims.get(attempt), self.answers.get(attempt)
        if claimed is None or known is None or event.at is None:
            return
        if isinstance(known.reported, e.StepCompleted | e.Compensated):
            return
        if isinstance(event, e.StepFailed) and event.timeout is not None and event.timeout != "leaseLost":
            return
        if isinstance(event, e.ResultIgnored) and event.why in ("stale", "duplicate"):
            return
        self.answers[attempt] = Answer(event, told.at - self.told[claimed].at)
