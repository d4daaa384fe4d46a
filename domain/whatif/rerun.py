"""A recorded history run again on another definition, command by command, in recorded time.

Three things can come next, and the earliest does: the next recorded command, an answer that the new run takes out of
the record because it asks at another time than the recorded one did, and a timer that only the new run has. What the
new run cannot be told, because it was never recorded, stays open: `missing`.
"""

from __future__ import annotations

import heapq
from collections import Counter
from datetime import datetime
from typing import Any, NamedTuple

from domain import commands as c
from domain import events as e
from domain.calls import StepError
from domain.definition.program import Program
from domain.errors import CorruptHistoryError, TenutoError
from domain.evolve import evolve
from domain.instance import advance
from domain.moves import Migrated
from domain.owed import DEADLINE, INSTANCE, Effect, owed, touched
from domain.results import CLOCK_GRACE
from domain.state import Attempted, Queued, Running, State
from domain.steps.task import Task
from domain.stimulus import command_of
from domain.times import MILLISECOND
from domain.whatif.record import Answer, Attempt, Record, Told
from domain.whatif.route import Comparison, Difference, fact_of

ID = "0-what-if"
MAX_OWN = 10_000
"""Commands that are not recorded ones: a new definition may loop on a timer until today."""

AboutAttempt = e.StepStarted | e.StepProgressed | e.StepCompleted | e.Compensated | e.ResultIgnored


class Due(NamedTuple):
    """An answer taken out of the record: of the claim when `claim`, else of the worker."""

    at: datetime
    number: int
    attempt: Attempt
    claim: bool


class Met(NamedTuple):
    """The command with which the ways part: which it is, of the commands asked, and what it says."""

    number: int
    command: c.Command
    told: Told | None
    refusal: TenutoError | None = None


class Rerun:
    """`was` is the recorded state, `state` that of the new run. `until`: only so many commands, to look at one."""

    def __init__(self, record: Record, program: Program, at: datetime, until: int | None = None) -> None:
        self.record = record
        self.program = program
        self.at = at
        self.was = State(id=ID)
        self.state = State(id=ID)
        self.comparison = Comparison(record.route)
        self.met: Met | None = None
        self.unanswered: set[str] = set()
        self.changed_inputs: dict[str, None] = {}
        self.end: e.StatusChanged | None = None
        self.cut = False
        self._until = until
        self._asked = 0
        self._own = 0
        self._told = 0
        self._due: list[Due] = []
        self._numbers = 0
        self._taken: set[Attempt] = set()
        self._tokens: dict[Attempt, str] = {}
        self._begun: Counter[str] = Counter()
        self._fired: set[tuple[str, datetime]] = set()
        self._touched: set[str] | None = None
        self._timers: dict[str, datetime] = {}  # Of the new run alone.
        self._alarms: list[tuple[datetime, str]] = []

    def run(self) -> None:
        while self._asked != self._until and not self.cut:
            self._look()
            if not self._next():
                break
        self.comparison.close()

    def _look(self) -> None:
        """At what the last events can have changed, and at nothing else: there may be thousands of items."""
        keys, self._touched = self._touched, set()
        if keys is None:
            names = self.state.deadlines.keys() | self.was.deadlines.keys()
            keys = {*self.state.open, *self.was.open, INSTANCE, *(DEADLINE + name for name in names)}
        mine, recorded = owed(self.state, keys), owed(self.was, keys)
        for key in sorted(keys):
            self._compare_timers(key, mine.get(key), recorded.get(key))
            open = self.state.open.get(key)
            if isinstance(open, Queued) and open.work.order is None:
                self._look_for_answer(key, open)
            elif isinstance(open, Running) and open.work.order is not None:
                self._look_for_child(key, open)

    def _compare_timers(self, key: str, mine: Effect | None, recorded: Effect | None) -> None:
        due = None if mine is None else mine.timer_at
        same = recorded is not None and recorded.timer_at == due
        if due is None or same or (key, due) in self._fired:
            self._timers.pop(key, None)
        elif self._timers.get(key) != due:
            self._timers[key] = due
            heapq.heappush(self._alarms, (due, key))

    def _touch(self, event: e.Event) -> None:
        keys = touched(event)
        if keys is None or self._touched is None:
            self._touched = None
        else:
            self._touched |= keys

    def _next(self) -> bool:
        """Whatever is earliest; False when there is nothing left that could happen."""
        told = self.record.told[self._told] if self._told < len(self.record.told) else None
        due = self._due[0] if self._due else None
        timer = self._own_timer()
        recorded_at = None if told is None else told.at
        own = [at for at in (None if due is None else due.at, None if timer is None else timer[0]) if at]
        if told is not None and (not own or told.at <= min(own)):
            self._tell(told)
        elif not own or (recorded_at is None and min(own) > self.at):
            return False
        elif due is not None and due.at == min(own):
            self._answer(heapq.heappop(self._due))
        elif timer is not None:
            at, key = timer
            self._fired.add((key, at))
            self._timers.pop(key, None)
            self._ask_own(c.FireTimer(at=self._now(at), command_id="what-if", key=key, alive_at=at))
        return True

    # What is recorded --------------------------------------------------------------

    def _tell(self, told: Told) -> None:
        """The recorded command, if it has a meaning here; the recorded state goes on with it in any case."""
        self._told += 1
        command = self._command(told.events[0])
        for event in told.events:
            evolve(self.was, event)
            self._touch(event)
        if command is not None:
            self._ask(command, told)

    def _command(self, event: e.Event) -> c.Command | None:
        if isinstance(event, Migrated):
            return None  # It is on the new definition from the start.
        if isinstance(event, e.StepFailed):
            return self._failed(event)
        if isinstance(event, AboutAttempt) and not self._concerns(event.execution, event.attempt):
            return None
        command = command_of(event, self.state)
        if isinstance(event, e.ResultIgnored) and event.why in ("late", "ended"):
            return self._late(event, command)
        return command

    def _concerns(self, execution: str, attempt: int) -> bool:
        """Whether a report of this recorded attempt is one of an attempt of the new run."""
        if (execution, attempt) in self._taken:
            return False
        open = self.state.open.get(execution)
        if not isinstance(open, Attempted):
            return execution in self.state.closed
        return open.work.action == self.record.actions.get(execution) and open.attempt >= attempt

    def _failed(self, event: e.StepFailed) -> c.Command | None:
        open = self.state.open.get(event.execution)
        if not isinstance(open, Queued | Running) or open.attempt != event.attempt:
            return None
        if (event.execution, event.attempt) in self._taken:
            return None
        if open.work.action != self.record.actions.get(event.execution):
            return None
        command = command_of(event, self.state)
        if not isinstance(command, c.FailStep):
            return command
        return self._fail_step(event, open, command.at)

    def _fail_step(self, event: e.StepFailed, open: Attempted, at: datetime) -> c.FailStep:
        """With what the service asked to wait for: as far as the retry that came of it does not come of the policy."""
        return c.FailStep(
            at=at,
            command_id=event.command_id or "what-if",
            entropy=event.entropy or 0.0,
            execution=event.execution,
            attempt=open.attempt,
            token=open.token if isinstance(open, Running) else "",
            error=event.error,
            retry_after_ms=self._asked_to_wait(event),
        )

    def _asked_to_wait(self, event: e.StepFailed) -> int | None:
        was = self.was.open.get(event.execution)
        if not isinstance(was, Attempted) or event.at is None:
            return None
        step = self.record.program_at(self.was.version).steps[was.work.step]
        if not isinstance(step, Task):
            return None
        failures = was.work.counted + 1
        interval = step.rules.policy.interval_ms(failures, event.entropy or 0.0)
        if event.retry_at is not None:
            waited = (event.retry_at - event.at) // MILLISECOND
            return waited if waited > interval else None
        closes_at = was.timeouts.schedule_to_close_at if isinstance(was, Queued | Running) else None
        if closes_at is None or not step.rules.may_retry(event.error):
            return None
        if failures >= step.rules.policy.max_attempts:
            return None
        return (closes_at - event.at) // MILLISECOND + 1

    def _late(self, event: e.ResultIgnored, command: c.Command) -> c.Command:
        """What came too late in the recorded run may be in time here."""
        open = self.state.open.get(event.execution)
        if not isinstance(open, Running) or open.attempt != event.attempt:
            return command
        if event.error is not None:
            return c.FailStep(
                at=command.at,
                command_id=command.command_id,
                execution=event.execution,
                attempt=event.attempt,
                token=open.token,
                error=event.error,
            )
        return c.CompleteStep(
            at=command.at,
            command_id=command.command_id,
            execution=event.execution,
            attempt=event.attempt,
            token=open.token,
            output=event.output,
        )

    # What the new run asks by itself -----------------------------------------------

    def _look_for_answer(self, execution: str, open: Queued) -> None:
        """Nobody will claim it as recorded? Then its answer comes out of the record, if it is there."""
        attempt = execution, open.attempt
        paused = self.state.paused and not self.state.ended
        if paused or attempt in self._taken or self._comes_as_recorded(execution, open):
            return
        self._taken.add(attempt)
        known = self._recorded_answer(execution, open)
        if known is None:
            self.unanswered.add(execution)
            return
        begins = self._now(open.due_at)
        self._push(begins, attempt, claim=True)
        if known.reported is not None:
            self._push(begins + known.took, attempt, claim=False)

    def _look_for_child(self, execution: str, open: Running) -> None:
        """A child began by itself. Unless it will end as recorded, its end comes out of the record, after as long."""
        attempt = execution, open.attempt
        if attempt in self._taken or self._ends_as_recorded(execution, open):
            return
        self._taken.add(attempt)
        known = self._recorded_answer(execution, open)
        if known is None:
            self.unanswered.add(execution)
        elif known.reported is not None:
            self._push(open.started_at + known.took, attempt, claim=False)

    def _ends_as_recorded(self, execution: str, open: Running) -> bool:
        if self.record.actions.get(execution) != open.work.action:
            return False
        began = self.record.claims.get((execution, open.attempt))
        if began is None or began >= self._told:
            return began is not None
        was = self.was.open.get(execution)
        return isinstance(was, Running) and was.attempt == open.attempt

    def _comes_as_recorded(self, execution: str, open: Queued) -> bool:
        if self.record.actions.get(execution) != open.work.action:
            return False
        claimed = self.record.claims.get((execution, open.attempt))
        if claimed is not None and claimed >= self._told:
            return self.record.told[claimed].at >= open.due_at - CLOCK_GRACE
        was = self.was.open.get(execution)
        return claimed is None and isinstance(was, Queued) and was.attempt == open.attempt

    def _recorded_answer(self, execution: str, open: Queued | Running) -> Answer | None:
        if self.record.actions.get(execution) != open.work.action:
            return None
        return self.record.answers.get((execution, open.attempt))

    def _push(self, at: datetime, attempt: Attempt, *, claim: bool) -> None:
        self._numbers += 1
        heapq.heappush(self._due, Due(at, self._numbers, attempt, claim))

    def _answer(self, due: Due) -> None:
        """A worker of the new run takes the attempt, or says what the recorded one said."""
        execution, attempt = due.attempt
        open = self.state.open.get(execution)
        if not isinstance(open, Attempted) or open.attempt != attempt:
            return
        at = self._now(due.at)
        token = open.token if isinstance(open, Running) else f"{execution}/{attempt}"
        fields: dict[str, Any] = {
            "at": at,
            "command_id": "what-if",
            "execution": execution,
            "attempt": attempt,
            "token": token,
        }
        if due.claim:
            self._ask_own(c.ClaimStep(**fields, worker="what-if"))
            return
        match self.record.answers[due.attempt].reported:
            case e.StepFailed(timeout="leaseLost"):
                self._ask_own(c.LoseLease(**fields))
            case e.StepFailed(error=error) | e.ResultIgnored(error=StepError() as error):
                self._ask_own(c.FailStep(**fields, error=error))
            case (
                e.StepCompleted(output=output) | e.Compensated(output=output) | e.ResultIgnored(output=output)
            ):
                self._ask_own(c.CompleteStep(**fields, output=output))

    def _own_timer(self) -> tuple[datetime, str] | None:
        """The first timer that the recorded run does not have, or has for another time."""
        while self._alarms:
            due, key = self._alarms[0]
            if self._timers.get(key) == due:
                return due, key
            heapq.heappop(self._alarms)
        return None

    def _now(self, at: datetime) -> datetime:
        return at if self.state.now is None else max(at, self.state.now)

    # Asking ------------------------------------------------------------------------

    def _ask_own(self, command: c.Command) -> None:
        self._own += 1
        self.cut = self._own > MAX_OWN
        self._ask(command, None)

    def _ask(self, command: c.Command, told: Told | None) -> None:
        number, self._asked = self._asked, self._asked + 1
        try:
            events = advance(command, self.state, self.program)
        except CorruptHistoryError:
            raise
        except TenutoError as refusal:
            self._refused(command, told, number, refusal)
            return
        for event in events:
            self._see(event)
        if self.comparison.first is not None and self.met is None:
            self.met = Met(number, command, told)

    def _refused(self, command: c.Command, told: Told | None, number: int, refusal: TenutoError) -> None:
        """What a worker says may have no meaning here; a start, a signal or an act that led somewhere is missed."""
        if told is None or isinstance(
            command, c.ClaimStep | c.Beat | c.CompleteStep | c.FailStep | c.LoseLease
        ):
            return
        last = told.version + len(told.events)
        missed = next((one for one in self.record.route if told.version <= one.version < last), None)
        if missed is not None and self.comparison.first is None:
            self.comparison.first = Difference(missed, None)
            self.met = Met(number, command, told, refusal)

    def _see(self, event: e.Event) -> None:
        self._touch(event)
        fact = fact_of(event)
        if fact is not None:
            self.comparison.see(fact, self.program)
        if isinstance(event, e.StatusChanged) and event.to in ("completed", "failed"):
            self.end = event
        elif isinstance(event, e.StepScheduled) and event.attempt == 1:
            number = self._begun[event.execution]
            self._begun[event.execution] += 1
            recorded = self.record.inputs.get(event.execution, [])
            if number < len(recorded) and recorded[number] != event.input:
                self.changed_inputs[event.execution] = None
