"""What must hold after every commit, told again without the code that is under test.

`Watch` hears of each transaction at its instant, folds every instance once more, and raises `ViolationError` for the
first thing that must not be, under the name of the invariant (I1 to I16) that it breaks. Attempts are told in
`attempts.py`, undoing in `undoing.py`, parents and children in `kinship.py`, what an instance's definition says of it
in `conduct.py`, and what can only be told at the end in `aftermath.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from domain import events as e
from domain import kept_signals
from domain.codec import decode
from domain.definition.program import Program
from domain.errors import CorruptHistoryError
from domain.evolve import evolve
from domain.kept_signals import KeptSignals
from domain.other_events import SignalForwarded
from domain.state import Waiting
from engine.ports import OwedRow, Recorded
from engine.rows import rows_of
from engine.store.memory import MemoryStore
from simulation import attempts, undoing
from simulation.conduct import Conduct
from simulation.instance import CALM, Instance
from simulation.kinship import Kinship
from simulation.virtual_time import ViolationError

FOLLOWS = {
    "pending": ("running", "failed"),
    "running": ("waiting", "completed", "failed", "compensating"),
    "waiting": ("running", "failed", "compensating"),
    "compensating": ("completed", "failed"),
}
"""Which status may follow which, once more (S104 to S109)."""


Programs = Mapping[str, Mapping[str, Program]]
"""By definition and version."""
KEPT = "signals/"
OTHERS = ("definition/", KEPT)
"""How the names of streams begin that are no instances."""


class Watch:
    """`instances` by id, and `kept` signals by stream, as far as the log goes."""

    def __init__(
        self,
        memory: MemoryStore,
        programs: Programs,
        handed: Counter[tuple[str, int]],
    ) -> None:
        self.instances: dict[str, Instance] = {}
        self.kept: dict[str, KeptSignals] = {}
        self.healed_at: datetime | None = None
        self.starts: dict[str, str] = {}  # Idempotency key → instance.
        self._memory = memory
        self._programs = programs
        self._handed = handed
        self._position = 0
        self._kinship = Kinship(self.instances)

    def version_of(self, instance: str) -> int:
        """As the log has it at this instant."""
        known = self.instances.get(instance)
        return 0 if known is None else known.state.version

    def committed(self, events: list[Recorded]) -> None:
        """One transaction."""
        touched: dict[str, Instance] = {}
        for recorded in events:
            if recorded.position <= self._position:
                raise ViolationError(f"I2: position {recorded.position} came after {self._position}")
            self._position = recorded.position
            if recorded.stream.startswith(KEPT):
                self._kept(recorded)
            elif not recorded.stream.startswith(OTHERS):
                instance = self.instances.get(recorded.stream)
                if instance is None:
                    instance = self.instances[recorded.stream] = Instance(recorded.stream, self._handed)
                touched[recorded.stream] = instance
                self._happened(instance, recorded)
        for instance in touched.values():
            self.check_owed(instance)
            if instance.conduct is not None:
                instance.conduct.settled()
            self._kinship.settled(instance)

    def _kept(self, recorded: Recorded) -> None:
        """I9: one that is forwarded belongs to nobody else, and its row says what the log says."""
        state = self.kept.setdefault(recorded.stream, KeptSignals())
        event = decode(recorded.topic, recorded.payload)
        if isinstance(event, SignalForwarded) and state.waiting[event.signal_id].target is not None:
            raise ViolationError(f"I9: {event.signal_id} of {recorded.stream} belongs to two instances")
        kept_signals.evolve(state, event)
        rows = {key: row.token for (id, key), row in self._memory._owed.items() if id == recorded.stream}
        if recorded.version == len(self._memory._streams[recorded.stream]):
            expected = {id: kept.target for id, kept in state.waiting.items()}
            if rows != expected:
                raise ViolationError(f"I3: the table has {rows} of {recorded.stream}, the log {expected}")

    def _happened(self, instance: Instance, recorded: Recorded) -> None:
        if recorded.version != instance.state.version + 1:
            instance.fail("I2", f"version {recorded.version} follows")
        event = decode(recorded.topic, recorded.payload)
        if event.at is not None:
            if instance.at is not None and event.at < instance.at:
                instance.fail("I8", f"{recorded.topic} is dated before what happened before it")
            instance.at = event.at
        if self.healed_at is not None:
            instance.calm_from = self.healed_at + CALM
        check = CHECKS.get(type(event))
        if check is not None:
            check(instance, event)
        if isinstance(event, e.InstanceStarted):
            self._started(instance, event)
        self._kinship.happens(instance, event)
        if instance.conduct is not None:
            instance.conduct.happens(event)
        try:
            evolve(instance.state, event)
        except CorruptHistoryError as error:
            instance.fail("I3", str(error))
        instance.events.append(event)

    def _started(self, instance: Instance, event: e.InstanceStarted) -> None:
        key = event.idempotency_key
        if key is not None and self.starts.setdefault(key, instance.state.id) != instance.state.id:
            instance.fail("I11", f"it was started under key {key!r}, as {self.starts[key]} was")
        instance.conduct = Conduct(instance, self._programs[event.definition])

    def check_owed(self, instance: Instance) -> None:
        rows = {key: row for (id, key), row in self._memory._owed.items() if id == instance.state.id}
        expected = rows_of(instance.state)
        if rows != expected:
            instance.fail("I3", f"the table has {_brief(rows)}, the log implies {_brief(expected)}")


def _brief(rows: dict[str, OwedRow]) -> list[str]:
    return [f"{key}: {row.kind} {row.attempt} {row.timer_at}" for key, row in sorted(rows.items())]


# Waits, signals, deadlines ---------------------------------------------------------


def _received(instance: Instance, event: e.SignalReceived) -> None:
    if event.signal_id in instance.signals:
        instance.fail("I9", f"signal {event.signal_id} was taken twice")
    instance.signals[event.signal_id] = ""


def _wait_ended(instance: Instance, event: e.WaitEnded) -> None:
    open = instance.state.open.get(event.execution)
    if not isinstance(open, Waiting):
        instance.fail("I8", f"{event.execution} ended and did not wait")
    elif event.by == "timer" and (open.until is None or open.until > instance.now):
        instance.fail("I8", f"the time of {event.execution} was over before {open.until}")
    elif event.by == "timer":
        instance.in_time(open.until, f"the end of {event.execution}")
    if event.signal_id is not None:
        _consumed(instance, event.signal_id, event.execution)


def _handled(instance: Instance, event: e.SignalHandled) -> None:
    _consumed(instance, event.signal_id, event.do)


def _consumed(instance: Instance, signal_id: str, by: str) -> None:
    if instance.signals.get(signal_id) != "":
        instance.fail("I9", f"{by} consumed signal {signal_id}, which {instance.signals.get(signal_id)} had")
    instance.signals[signal_id] = by


def _escalated(instance: Instance, event: e.DeadlineEscalated) -> None:
    deadline = instance.state.deadlines[event.name]
    if not any(one.percent == event.percent and one.at <= instance.now for one in deadline.escalations):
        instance.fail("I8", f"deadline {event.name} escalated to {event.percent} % too early or twice")


def _missed(instance: Instance, event: e.DeadlineMissed) -> None:
    deadline = instance.state.deadlines[event.name]
    if deadline.over or deadline.due_at > instance.now:
        instance.fail("I8", f"deadline {event.name} was missed too early or twice")
    instance.in_time(deadline.due_at, f"deadline {event.name}")


# The instance ----------------------------------------------------------------------


def _status(instance: Instance, event: e.StatusChanged) -> None:
    stored = instance.state.status
    if event.to not in FOLLOWS.get(stored, ()):
        instance.fail("I2", f"it was {stored}, and is {event.to}")
    if event.from_status != stored:
        instance.fail("I2", f"it is {stored}, not {event.from_status}")
    if stored == "pending" and event.to == "running":
        start_at = instance.state.start_at
        if start_at is not None and start_at > instance.now:
            instance.fail("I8", "it began before its time")
        instance.in_time(start_at, "its start")
    instance.terminal += event.to not in FOLLOWS
    if instance.terminal > 1:
        instance.fail("I2", "it ends twice")


CHECKS: dict[type[e.Event], Callable[[Instance, Any], None]] = {
    **attempts.CHECKS,
    **undoing.CHECKS,
    e.SignalReceived: _received,
    e.SignalHandled: _handled,
    e.WaitEnded: _wait_ended,
    e.DeadlineEscalated: _escalated,
    e.DeadlineMissed: _missed,
    e.StatusChanged: _status,
}
