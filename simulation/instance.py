"""One instance of a simulated world as the log tells it, and what the checks remember of it."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

from domain import events as e
from domain.state import State
from simulation.conduct import Conduct
from simulation.virtual_time import ViolationError

CALM = timedelta(seconds=15)
"""So long after the last fault, what it left behind has been found: from then on timers are punctual."""
LOST = timedelta(seconds=12)
"""So long after it, the leases of those who died have been found: from then on, what a worker has in hand it keeps."""
PUNCTUAL = timedelta(seconds=2)


class Instance:
    """One instance as the log tells it."""

    def __init__(self, id: str, handed: Counter[tuple[str, int]]) -> None:
        self.handed = handed  # What has reached a worker, by key and attempt.
        self.state = State(id=id)
        self.events: list[e.Event] = []
        self.at: datetime | None = None
        self.started: dict[tuple[str, int], str] = {}  # Who was handed an attempt, by token.
        self.results: dict[tuple[str, int], str] = {}  # What was reported of it, if it counted.
        self.scheduled: dict[str, e.StepScheduled] = {}  # The first attempt of each execution.
        self.succeeded: dict[str, None] = {}  # Executions whose success is on record, late or not.
        self.undone: dict[str, str] = {}  # Executions whose undo is on record, and what says so.
        self.signals: dict[str, str] = {}  # Received → consumed by which event, "" so far.
        self.terminal = 0
        self.expected: list[str] = []  # What a rollback will undo next, in order.
        self.partial = False  # Whether the last rollback was a step of the definition.
        self.ignored: set[tuple[str, int]] = set()  # Attempts whose result is on record as ignored.
        self.given_up_after_the_end: set[str] = set()  # Executions whose undo a person gave up then.
        self.orders: dict[
            tuple[str, int], e.StepScheduled
        ] = {}  # Attempts that children run as, or are called back by.
        self.begun: dict[tuple[str, int], datetime] = {}  # When these began.
        self.to_tell: set[str] = set()  # Children that were given up in this transaction,
        self.told: set[str] = set()  # and the undos by which they hear of it.
        self.late: set[str] = (
            set()
        )  # Executions that succeeded too late to count, or failed and left something.
        self.conduct: Conduct | None = None
        self.calm_from: datetime | None = None  # Once nothing goes wrong any more.

    def fail(self, invariant: str, problem: str) -> None:
        raise ViolationError(f"{invariant}: {self.state.id} at version {self.state.version}: {problem}")

    def in_time(self, due_at: datetime | None, what: str) -> None:
        """A timer that fires late, though nothing has gone wrong for a while, was forgotten."""
        if self.calm_from is not None and due_at is not None:
            last = max(due_at, self.calm_from) + PUNCTUAL
            if self.now > last:
                self.fail("I8", f"{what} was due at {due_at} and came at {self.now}")

    @property
    def now(self) -> datetime:
        """When what is being told happened."""
        assert self.at is not None
        return self.at
