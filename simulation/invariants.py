"""What must hold after every commit, told again without the code that is under test.

`Watch` hears of each transaction at its instant, folds every instance once more, and raises `ViolationError` for the
first thing that must not be, under the name of the invariant (I1 to I16) that it breaks. What can only be told at the
end stands in `aftermath.py`, what an instance's definition says of it in `conduct.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace

from domain import events as e
from domain import kept_signals
from domain.codec import decode
from domain.definition.program import Program
from domain.errors import CorruptHistoryError
from domain.evolve import evolve
from domain.kept_signals import KeptSignals
from domain.moves import Migrated
from domain.other_events import SignalForwarded
from domain.paths import UNDO
from domain.state import Queued, Running, Waiting
from engine.ports import OwedRow, Recorded
from engine.rows import rows_of
from engine.store.memory import MemoryStore
from simulation.conduct import Conduct
from simulation.instance import CALM, LOST, Instance
from simulation.virtual_time import ViolationError

GRACE = timedelta(milliseconds=1)
"""A claim may come so much before an attempt is due (domain/results.py)."""
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


# Steps ---------------------------------------------------------------------------


def _scheduled(instance: Instance, event: e.StepScheduled) -> None:
    first = event.execution not in instance.state.open
    instance.scheduled.setdefault(event.execution, event)
    if event.undoes is None or not first:
        return
    if event.undoes not in instance.succeeded:
        instance.fail("I10", f"{event.undoes} is undone and never succeeded")
    if instance.undone.get(event.undoes) == "given up":
        del instance.undone[event.undoes]  # A later rollback tries once more what a person gave up.
    if event.undoes in instance.undone:
        instance.fail("I10", f"{event.undoes} is undone twice")
    if event.undoes in instance.expected:
        if instance.expected[0] != event.undoes:
            instance.fail("I10", f"{event.undoes} is undone before {instance.expected[0]}")
        instance.expected.pop(0)
    elif instance.state.rollback is not None:
        instance.fail("I10", f"{event.undoes} is undone, and nobody asked for it")
    if (rollback := instance.state.rollback) is not None:
        for execution, open in instance.state.open.items():
            if isinstance(open, Queued | Running) and open.work.undoes in rollback.pending:
                instance.fail("I10", f"{event.undoes} is undone while {execution} is under way")


def _step_started(instance: Instance, event: e.StepStarted) -> None:
    open = instance.state.open.get(event.execution)
    if not isinstance(open, Queued) or open.attempt != event.attempt:
        instance.fail("I6", f"{event.execution} attempt {event.attempt} was handed out and was not queued")
    elif open.due_at > instance.now + GRACE:
        instance.fail("I8", f"{event.execution} was handed out before it was due")
    if instance.state.paused and not instance.state.ended:
        instance.fail("I6", f"{event.execution} was handed out while the instance was paused")
    if instance.started.setdefault((event.execution, event.attempt), event.token) != event.token:
        instance.fail("I4", f"{event.execution} attempt {event.attempt} was handed out twice")


def _step_completed(instance: Instance, event: e.StepCompleted) -> None:
    _accepted(instance, event.execution, event.attempt, "completed")
    _succeeded(instance, event.execution)


def _compensated(instance: Instance, event: e.Compensated) -> None:
    _accepted(instance, event.execution, event.attempt, "compensated")
    if instance.undone.setdefault(event.undoes, "compensated") != "compensated":
        instance.fail("I10", f"{event.undoes} was undone and had been given up")


def _left(instance: Instance, event: e.StepCancelled | e.StepSkipped | e.StepGivenUp) -> None:
    _over(instance, event.execution)


def _step_failed(instance: Instance, event: e.StepFailed) -> None:
    if event.retry_at is None:
        _over(instance, event.execution)
    if event.at is None:
        return  # It could not even be asked: nobody has reported anything.
    open = instance.state.open.get(event.execution)
    if event.timeout is None:
        _accepted(instance, event.execution, event.attempt, "failed")
    elif event.timeout == "leaseLost":
        handed = instance.handed[f"{instance.state.id}/{event.execution}", event.attempt]
        if handed and instance.calm_from is not None and event.at > instance.calm_from - CALM + LOST:
            instance.fail("I6", f"{event.execution} was taken from a worker that lives")
    else:
        limit = _limit(open, event.timeout)
        if limit is None or limit > event.at:
            instance.fail("I8", f"{event.execution} timed out ({event.timeout}) before {limit}")
        if event.timeout != "heartbeat":  # A bare beat moves its time, and is on no record.
            instance.in_time(limit, f"{event.timeout} of {event.execution}")


def _limit(open: object, timeout: e.TimeoutKind) -> datetime | None:
    if not isinstance(open, Queued | Running):
        return None
    match timeout:
        case "scheduleToClose":
            return open.timeouts.schedule_to_close_at
        case "scheduleToStart":
            return open.timeouts.schedule_to_start_at
        case "startToClose":
            return open.closes_at if isinstance(open, Running) else None
        case _:
            return open.silent_at if isinstance(open, Running) else None


def _accepted(instance: Instance, execution: str, attempt: int, what: str) -> None:
    """A result that counts: of the attempt that runs, and the first of that attempt."""
    open = instance.state.open.get(execution)
    if not isinstance(open, Running) or open.attempt != attempt:
        instance.fail("I6", f"{execution} attempt {attempt} {what}, and it was not running")
    if (execution, attempt) in instance.results:
        instance.fail(
            "I5", f"{execution} attempt {attempt} {what} after it {instance.results[execution, attempt]}"
        )
    instance.results[execution, attempt] = what


def _succeeded(instance: Instance, execution: str) -> None:
    instance.succeeded.pop(execution, None)  # What succeeded late before counts from now on.
    if instance.scheduled[execution].compensate_with is not None:
        instance.succeeded[execution] = None


def _ignored(instance: Instance, event: e.ResultIgnored) -> None:
    """A late success joins the list unless it is there; the final rollback undoes it next, a partial one does not."""
    execution, number = event.execution, (event.execution, event.attempt)
    if number in instance.ignored or number in instance.results:
        instance.fail("I5", f"a result of {number} was put on record before")
    instance.ignored.add(number)
    known = execution in instance.succeeded
    if known or event.error is not None or execution.endswith(UNDO) or execution not in instance.scheduled:
        return
    _succeeded(instance, execution)
    rolling_back = instance.state.rollback is not None and instance.state.status == "compensating"
    if rolling_back and execution not in instance.state.open and execution in instance.succeeded:
        instance.expected.insert(0, execution)


def _resolved(instance: Instance, event: e.StepResolved) -> None:
    undoes = instance.scheduled[event.execution].undoes
    if undoes is None:
        _succeeded(instance, event.execution)
    else:
        instance.undone[undoes] = "resolved"


def _given_up(instance: Instance, event: e.CompensationGivenUp) -> None:
    undoes = instance.scheduled[event.execution].undoes
    assert undoes is not None
    instance.undone[undoes] = "given up"


def _over(instance: Instance, execution: str) -> None:
    """An execution that is over without success, though one came late, joins the list only now."""
    if execution in instance.succeeded:
        del instance.succeeded[execution]
        instance.succeeded[execution] = None


def _rollback(instance: Instance, event: e.CompensationStarted) -> None:
    """S154: the reverse of the order of completion; what is still being tried, and has succeeded late, is newest."""
    standing = [one for one in instance.succeeded if instance.undone.get(one, "given up") == "given up"]
    tried = [one for one in standing if one in instance.state.open]
    done = [one for one in reversed(standing) if one not in tried]
    first = event.executions[: len(event.executions) - sum(one in done for one in event.executions)]
    rest = event.executions[len(first) :]
    if set(first) - set(tried) or rest != [one for one in done if one in rest]:
        instance.fail("I10", f"{event.executions} is not the reverse of {standing}")
    if "#" not in event.trigger and len(event.executions) != len(standing):
        instance.fail("I10", f"{event.executions} leaves something of {standing} standing")
    under_way = [one for one in event.executions if one + UNDO in instance.state.open]
    instance.expected = [one for one in event.executions if one not in under_way]
    instance.partial = "#" in event.trigger


def _migrated(instance: Instance, event: Migrated) -> None:
    """What is still to succeed may have an undo now that it had not."""
    for execution, undo in event.undos.items():
        scheduled = instance.scheduled[execution]
        instance.scheduled[execution] = replace(scheduled, compensate_with=undo)


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
    e.StepScheduled: _scheduled,
    e.StepStarted: _step_started,
    e.StepCompleted: _step_completed,
    e.StepFailed: _step_failed,
    e.StepCancelled: _left,
    e.StepSkipped: _left,
    e.StepGivenUp: _left,
    e.StepResolved: _resolved,
    e.ResultIgnored: _ignored,
    e.Compensated: _compensated,
    e.CompensationGivenUp: _given_up,
    e.CompensationStarted: _rollback,
    Migrated: _migrated,
    e.SignalReceived: _received,
    e.SignalHandled: _handled,
    e.WaitEnded: _wait_ended,
    e.DeadlineEscalated: _escalated,
    e.DeadlineMissed: _missed,
    e.StatusChanged: _status,
}
