"""One command being decided: events are emitted and folded as they come, so each step sees what the last one did.

This is the flow of control that all kinds of step share: entering a step, going on from one, failing, ending. What
follows from a failure stands in `failure.py`, undoing in `rollback.py`; what a kind of step does, in `steps/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from domain import deadlines, failure, rollback
from domain.agenda import Agenda, Entry
from domain.bounds import Bounds
from domain.calls import StepError
from domain.errors import TenutoError
from domain.events import (
    BusinessStatusChanged,
    CompensationEnded,
    DecisionMade,
    Event,
    Json,
    Outcome,
    ScopeClosed,
    Status,
    StatusChanged,
    StepCancelled,
)
from domain.evolve import evolve
from domain.executing import scope_in, visits_in
from domain.paths import UNDO, child_path, index_of, scope_of, undo_of
from domain.seen import reserved_names, seen_by
from domain.state import Attempted, Running, Scope, State, Stuck, Waiting
from domain.status import check_transition
from domain.steps.scope import ScopeStep
from domain.steps.workflow import begin_child

if TYPE_CHECKING:
    from domain.commands import Command
    from domain.definition.program import Program
    from domain.steps.step import Step


class Ending(NamedTuple):
    status: Status
    outcome: Outcome
    reason: str
    error: StepError | None = None
    result: Json = None


class OwnResult(NamedTuple):
    """What a `fail` step gives as the result of an instance that it brings to its end."""

    value: Json


class Turn:
    """`state` is folded in place; `events` is what the command yields."""

    __slots__ = (
        "_bounds",
        "_reserved",
        "agenda",
        "at",
        "begun",
        "cause",
        "command",
        "ending",
        "events",
        "failed_with",
        "program",
        "state",
    )

    def __init__(self, state: State, program: Program, command: Command) -> None:
        self.state = state
        self.program = program
        self.command = command
        self.at = command.at
        self.events: list[Event] = []
        self.agenda = Agenda()
        self.begun: dict[
            str, int
        ] = {}  # By map, where this command began some: its blocks, entered or about to be.
        self.ending: Ending | None = None
        self.failed_with: OwnResult | None = None
        self.cause = "there is work to do"
        self._bounds = Bounds()
        self._reserved: dict[str, Json] | None = None

    def emit(self, event: Event) -> None:
        """The first event is the stimulus: it carries the command's envelope."""
        if not self.events:
            command = self.command
            event.at = command.at
            event.command_id = command.command_id or None
            event.actor = command.actor
            event.request_id = command.request_id
            if event.reason is None:
                event.reason = command.reason
        self.events.append(event)
        self._bounds.writes(event)
        evolve(self.state, event)
        self._reserved = None  # `lastError`, `deadlines` and `compensation` may be others now.

    def view(self, execution: str = "", **local: Json) -> Mapping[str, Json]:
        """What `$` is for the expressions of an execution (`domain/seen.py`)."""
        if self._reserved is None:
            self._reserved = reserved_names(self.state, self.program.uses, self.at)
        return seen_by(self.state, execution, self._reserved, local)

    # Going on ------------------------------------------------------------------

    def enter(self, step: str, scope: str = "", index: str | None = None) -> None:
        """Enters `step` in its turn, after what is already on the agenda."""
        self.agenda.add(Entry(step, scope, index))

    def enter_beside(self, execution: str, step: str) -> None:
        """Enters `step` in the same block as the execution."""
        self.enter(step, scope_of(execution), index_of(execution))

    def run(self) -> None:
        """Enters what is on the agenda, until there is nothing left or the instance has come to its end."""
        while self.ending is None and (entry := self.agenda.take()) is not None:
            step = self.program.steps[entry.step]
            problem = self._bounds.enters(entry, step, self.state.data)
            if problem is not None:
                self._give_up(entry.step, problem)
                return
            path = child_path(entry.scope, entry.step, entry.item)
            if step.business_status is not None and step.business_status != self.state.business_status:
                self.emit(BusinessStatusChanged(to=step.business_status))
            step.enter(self, f"{path}#{visits_in(self.state, entry.scope).get(path, 0) + 1}")
        self.agenda.clear()

    def proceed(self, step: Step, execution: str) -> None:
        """The execution ended well: its `next`, or the end of its block."""
        deadlines.step_completed(self, step.id)
        if isinstance(step.next, tuple):
            self._choose(step, execution)
        elif step.next is not None:
            self.enter_beside(execution, step.next)
        elif scope := scope_of(execution):
            self.scope_step(scope).block_done(self, scope)
        else:
            self.succeed("all steps are done")

    def _choose(self, step: Step, execution: str) -> None:
        assert isinstance(step.next, tuple)
        view = self.view(execution)
        for number, branch in enumerate(step.next):
            if branch.holds is None or branch.holds(view):
                taken = None if branch.holds is None else number
                self.emit(DecisionMade(execution=execution, step=step.id, next=branch.next, transition=taken))
                self.enter_beside(execution, branch.next)
                return
        message = f"no condition of {step.id!r} holds and it has no default"
        self.fail(step, execution, StepError(type="NoTransitionError", message=message, retryable=False))

    def jump(self, execution: str, target: str) -> None:
        """Goes on with a step that may stand outside the scopes that the execution is in: those are given up."""
        goal = self.program.steps[target].scope
        scope = scope_of(execution)
        while scope and self.scope_step(scope).id != goal:
            self.leave_scope(scope, f"going on with {target}")
            execution, scope = scope, scope_of(scope)
        self.enter(target, scope, index_of(execution))

    # Ending badly ----------------------------------------------------------------

    def fail(self, step: Step, execution: str, error: StepError | TenutoError) -> None:
        """The execution failed for good, not for want of attempts."""
        if isinstance(error, TenutoError):
            error = StepError(type=type(error).__name__, message=str(error), retryable=False)
        failure.failed_for_good(self, step, execution, error, exhausted=False)

    def fail_with(self, result: Json) -> None:
        """What the instance gives as its result if this command ends it as failed."""
        self.failed_with = OwnResult(result)

    def attempts_over(self, step: Step, execution: str, error: StepError, *, undoes: str | None) -> None:
        """The execution, of a step or of an undo, could not even be tried."""
        if undoes is None:
            failure.failed_for_good(self, step, execution, error, exhausted=False)
        else:
            rollback.undo_failed(self, execution, undoes, error, retry_count=1)

    def roll_back(self, trigger: str, reason: str, executions: list[str], *, final: bool) -> None:
        rollback.begin(self, trigger, reason, executions, final=final)

    def leave_scope(self, scope: str, reason: str) -> None:
        self.cancel_inside(scope, reason)
        self.emit(ScopeClosed(execution=scope))

    def cancel_inside(self, scope: str, reason: str) -> None:
        """Cancels what is open inside a scope's execution, innermost first."""
        self.agenda.drop(scope)
        for execution in list(self.scope(scope).open):
            if isinstance(self.state.open[execution], Scope):
                self.cancel_inside(execution, reason)
            self.cancel(execution, reason)

    def cancel(self, execution: str, reason: str) -> None:
        """A child that runs hears of it at once, and its undo is over when it has come to rest."""
        open = self.state.open[execution]
        self.emit(StepCancelled(execution=execution, reason=reason))
        if isinstance(open, Attempted) and open.work.is_awaited_child and execution in self.state.undo:
            rollback.schedule_undo(self, self.state.undo[execution], reason)
            begin_child(self, undo_of(execution), at_once=True)

    def cancel_everything(self, reason: str) -> None:
        """Cancels what is open, but undos, innermost first."""
        self.agenda.clear()
        for execution in sorted(self.open_but_undos(), key=lambda name: -name.count(".")):
            self.cancel(execution, reason)

    def open_but_undos(self) -> list[str]:
        """Everything open, less the undos under way: those are never cancelled by what they undo for."""
        return [name for name in self.state.open if not name.endswith(UNDO)]

    # The end ---------------------------------------------------------------------

    def succeed(self, reason: str, result: Json = None) -> None:
        self.end("completed", "succeeded", reason, result=result)

    def end(
        self,
        status: Status,
        outcome: Outcome,
        reason: str,
        *,
        error: StepError | None = None,
        result: Json = None,
    ) -> None:
        """The instance comes to its end; whatever is still open is cancelled, but what children have been told. A
        step's own `result` goes first."""
        if result is None and outcome == "failed" and self.failed_with is not None:
            result = self.failed_with.value
        for execution in sorted(self.state.open, key=lambda name: -name.count(".")):
            if not self._outlives(execution):
                self.cancel(execution, reason)
        if (given_up := self.state.rollback) is not None:
            left = [*given_up.failed, *given_up.pending]
            self.emit(CompensationEnded(undone=given_up.undone, failed=left))
        if result is None and outcome in self.program.results:
            try:
                view = self.view(end={"reason": reason, "outcome": outcome})
                result = self.program.results[outcome](view)
            except TenutoError as problem:
                error = error or StepError(type=type(problem).__name__, message=str(problem), retryable=False)
        self.ending = Ending(status, outcome, reason, error, result)

    def _outlives(self, execution: str) -> bool:
        """Whether it is the undo of a child that has been told already."""
        open = self.state.open[execution]
        return isinstance(open, Running) and open.work.order is not None and open.work.undoes is not None

    def settle(self) -> None:
        """Appends the change from the stored status to the one that the state implies, if they differ."""
        status = self._status()
        stored = self.state.status
        if status == stored:
            return
        reason = self._reason(status)
        if stored == "waiting" and status == "completed":
            self.emit(StatusChanged(from_status=stored, to="running", reason=self.cause))
            stored = "running"
        check_transition(stored, status, reason)
        self.say_business_status(status)
        change = StatusChanged(from_status=stored, to=status, reason=reason)
        if self.ending is not None:
            change.outcome, change.result, change.error = (
                self.ending.outcome,
                self.ending.result,
                self.ending.error,
            )
            standing = [name for name in self.state.undo if undo_of(name) not in self.state.open]
            if status == "failed" and standing:
                change.standing = standing
                failure.alert_standing(self, reason, standing)
        self.emit(change)

    def say_business_status(self, status: Status) -> None:
        """What the definition calls this status, or this outcome."""
        says = self.program.business_status
        outcome = None if self.ending is None else self.ending.outcome
        business_status = says.get(outcome or "", says.get(status))
        if business_status is not None and business_status != self.state.business_status:
            self.emit(BusinessStatusChanged(to=business_status))

    def _status(self) -> Status:
        """What the state implies. The table of transitions has the last word."""
        state = self.state
        if self.ending is not None:
            return self.ending.status
        if state.ended or state.status == "pending":
            return state.status
        if state.rollback is not None and rollback.is_final(self.program, state.rollback.trigger):
            return "compensating"
        return "running" if state.active else "waiting"

    def _reason(self, status: Status) -> str:
        """Why it has come to this status. (An error may have come without a message.)"""
        if self.ending is not None:
            return self.ending.reason or self.cause
        if status == "compensating" and self.state.rollback is not None:
            return self.state.rollback.reason or self.cause
        if status == "waiting":
            waits = dict.fromkeys(map(_what_it_waits_for, self.state.open.values()))
            return f"waiting for {', '.join(filter(None, waits))}"
        return self.cause

    # Scopes ----------------------------------------------------------------------

    def scope(self, execution: str) -> Scope:
        return scope_in(self.state, execution)

    def scope_step(self, scope: str) -> ScopeStep:
        step = self.program.steps[self.scope(scope).step]
        assert isinstance(step, ScopeStep)
        return step

    def under_way(self, scope: str) -> int:
        """How many blocks of the scope are at a step, or about to be."""
        return len(self.scope(scope).open) + len(self.agenda.inside(scope))

    # Limits ----------------------------------------------------------------------

    def _give_up(self, step: str, problem: TenutoError) -> None:
        error = StepError(type=type(problem).__name__, message=str(problem), retryable=False)
        self.agenda.clear()
        if self.program.steps[step].rules.on_failure == "compensate":
            failure.fail_instance(self, error)
        else:
            self.end("failed", "failed", error.message, error=error)


def _what_it_waits_for(execution: object) -> str | None:
    match execution:
        case Waiting(signal=str(signal)):
            return f"signal {signal}"
        case Waiting():
            return "a timer"
        case Stuck():
            return "an operator"
        case Running(work=work) if work.order is not None:
            return f"child {work.order.definition}"
        case _:
            return None
