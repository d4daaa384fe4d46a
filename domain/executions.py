"""Step executions as users read them: one per visit of a step, folded from the events of its instance.

`advance` folds one event: `domain/history.py` folds a whole history with it, `projections/step_executions.py`
goes on from a stored row. Refuses to know the definition: names and kinds stand in the events.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal

from msgspec import Struct

from domain import events as e
from domain.calls import StepError
from domain.errors import CorruptHistoryError
from domain.happened import Happened
from domain.paths import UNDO, path_of, undo_of
from domain.times import milliseconds_between, rfc3339

Kind = Literal["task", "workflow", "undo", "decision", "wait", "scope", "compensate"]
ExecutionStatus = Literal[
    "scheduled",
    "started",
    "retrying",  # Failed, and another attempt is queued.
    "waiting",
    "completed",
    "failed",
    "cancelled",
    "skipped",
    "compensated",  # Completed, and undone since.
]
WaitingFor = Literal["signal", "timer", "child", "manual_resolution"]
MANUAL: WaitingFor = "manual_resolution"

CHILD = "workflow:"
"""Begins the action of a step that is a workflow itself."""


class ExecutionError(Struct, rename="camel", frozen=True, kw_only=True):
    """Why an attempt failed (S097, S145). `retry_count` is the number of failed attempts so far."""

    type: str
    message: str
    code: str
    retry_count: int


class Attempt(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """One try. `next_retry`: when the one after it may begin; `ignored`: why a late result did not count;
    `child_id`: the instance that runs as this attempt, or that an undo calls back."""

    attempt: int
    scheduled_at: str
    due_at: str | None = None
    worker: str | None = None
    started_at: str | None = None
    ended_at: str | None = None
    child_id: str | None = None
    progress: e.Json = None
    error: ExecutionError | None = None
    timeout: e.TimeoutKind | None = None
    next_retry: str | None = None
    ignored: e.IgnoredBecause | None = None


class StepExecution(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """One visit of one step, from its first scheduling to its end. Times are RFC 3339.

    `attempt` is the number of the latest attempt, 0 for what has none. A step that failed for good and waits
    for an operator is `failed`, with `waiting_for` `manual_resolution`. `child_id` is the latest attempt's.
    """

    execution: str
    step_id: str
    step_name: str
    kind: Kind
    status: ExecutionStatus
    version: int  # Of the event that opened it: executions stand in this order.
    scheduled_at: str
    attempts: list[Attempt]
    attempt: int = 0
    retry_count: int = 0
    started_at: str | None = None
    completed_at: str | None = None
    duration_ms: int | None = None
    worker: str | None = None
    input: e.Json = None
    output: e.Json = None
    error: ExecutionError | None = None
    next_retry: str | None = None
    waiting_for: WaitingFor | None = None
    waiting_since: str | None = None
    signal: str | None = None
    until: str | None = None
    ended_by: str | None = None
    next: str | None = None
    undoes: str | None = None
    compensated_by: str | None = None
    child_id: str | None = None


Executions = dict[str, StepExecution]


def advance(executions: Executions, now: Happened) -> None:
    """Folds one event into the executions of its instance. Raises CorruptHistoryError when one is missing."""
    applier = APPLIERS.get(type(now.event))
    if applier is None:
        return
    try:
        applier(executions, now, now.event)
    except KeyError as missing:
        problem = f"{type(now.event).__name__} of {missing}, which was never opened"
        raise CorruptHistoryError(instance_id="?", version=now.version, problem=problem) from missing


def touched(event: e.Event) -> tuple[str, ...]:
    """The executions that `advance` reads or changes; for CompensationEnded, any open `compensate` too."""
    if type(event) not in APPLIERS:
        return ()
    if isinstance(event, e.CompensationStarted):
        return (event.trigger,) if "#" in event.trigger else ()
    execution: str | None = getattr(event, "execution", None)
    if execution is None:
        return ()
    return (execution, execution.removesuffix(UNDO)) if execution.endswith(UNDO) else (execution,)


def waiting_for(signal: str | None, until: datetime | None) -> WaitingFor:
    """What a wait is for; one without signal and time is for a person."""
    if signal is not None:
        return "signal"
    return MANUAL if until is None else "timer"


def _scheduled(executions: Executions, now: Happened, event: e.StepScheduled) -> None:
    at = rfc3339(now.at)
    found = executions.get(event.execution)
    if found is None:
        kind: Kind = "undo" if event.undoes else "workflow" if event.action.startswith(CHILD) else "task"
        found = _opened(executions, now, event.execution, event.step, kind)
        found.status, found.started_at = "scheduled", None
        found.step_name, found.input, found.undoes = event.name, event.input, event.undoes
    else:
        found.status = "retrying"
        found.completed_at = found.duration_ms = found.waiting_for = found.waiting_since = None
    found.attempt = event.attempt
    found.next_retry = rfc3339(event.due_at) if event.due_at and event.attempt > 1 else None
    due_at = rfc3339(event.due_at) if event.due_at else None
    found.attempts.append(Attempt(attempt=event.attempt, scheduled_at=at, due_at=due_at))


def _started(executions: Executions, now: Happened, event: e.StepStarted) -> None:
    found = executions[event.execution]
    attempt = _attempt(found, event.attempt)
    found.status, found.worker, found.next_retry = "started", event.worker, None
    attempt.worker, attempt.started_at = event.worker, rfc3339(now.at)
    if _is_child(executions, found):
        found.child_id = attempt.child_id = event.token
    found.started_at = found.started_at or attempt.started_at


def _progressed(executions: Executions, now: Happened, event: e.StepProgressed) -> None:
    _attempt(executions[event.execution], event.attempt).progress = event.progress


def _completed(executions: Executions, now: Happened, event: e.StepCompleted) -> None:
    found = executions[event.execution]
    found.output, found.error = event.output, None
    _attempt(found, event.attempt).ended_at = _ended(found, now, "completed")


def _failed(executions: Executions, now: Happened, event: e.StepFailed) -> None:
    found = executions[event.execution]
    found.retry_count += event.timeout != "leaseLost"
    attempt = _attempt(found, event.attempt)
    attempt.error, attempt.timeout = _error(event.error, found.retry_count), event.timeout
    if event.retry_at is None:
        attempt.ended_at = _ended(found, now, "failed")
    else:
        found.status, attempt.ended_at = "retrying", rfc3339(now.at)
        found.next_retry = attempt.next_retry = rfc3339(event.retry_at)
    found.error = attempt.error


def _cancelled(executions: Executions, now: Happened, event: e.StepCancelled) -> None:
    found = executions[event.execution]
    gave_up = found.waiting_for == "manual_resolution"
    ended_at = _ended(found, now, "failed" if gave_up else "cancelled")
    if found.attempts and found.attempts[-1].ended_at is None:
        found.attempts[-1].ended_at = ended_at


def _ignored(executions: Executions, now: Happened, event: e.ResultIgnored) -> None:
    _attempt(executions[event.execution], event.attempt).ignored = event.why


def _decided(executions: Executions, now: Happened, event: e.DecisionMade) -> None:
    found = executions.get(event.execution)
    if found is None:  # Else a task or a wait, which has ended, chose among its own transitions.
        found = _opened(executions, now, event.execution, event.step, "decision")
        _ended(found, now, "completed")
    found.next = event.next


def _wait_started(executions: Executions, now: Happened, event: e.WaitStarted) -> None:
    found = executions.get(event.execution)
    if found is None:
        found = _opened(executions, now, event.execution, event.step, "wait")
        found.status = "waiting"
        found.signal, found.until = event.signal, rfc3339(event.until) if event.until else None
    found.completed_at = found.duration_ms = None
    found.waiting_for, found.waiting_since = waiting_for(event.signal, event.until), rfc3339(now.at)


def _wait_ended(executions: Executions, now: Happened, event: e.WaitEnded) -> None:
    found = executions[event.execution]
    found.output, found.ended_by = event.data, event.by
    _ended(found, now, "completed")


def _scope_opened(executions: Executions, now: Happened, event: e.ScopeOpened) -> None:
    _opened(executions, now, event.execution, event.step, "scope")


def _block_failed(executions: Executions, now: Happened, event: e.BlockFailed) -> None:
    executions[event.execution].error = _error(event.error, 0)  # It stays, even if the join can do without.


def _scope_closed(executions: Executions, now: Happened, event: e.ScopeClosed) -> None:
    found = executions[event.execution]
    found.output = event.data
    _ended(found, now, "completed")


def _compensation_started(executions: Executions, now: Happened, event: e.CompensationStarted) -> None:
    if "#" in event.trigger:  # The execution of a compensate step; else nobody's: a failure, a cancel, …
        step = path_of(event.trigger).rpartition(".")[2]
        _opened(executions, now, event.trigger, step, "compensate")


def _compensation_ended(executions: Executions, now: Happened, event: e.CompensationEnded) -> None:
    for found in executions.values():
        if found.kind == "compensate" and found.completed_at is None:
            _ended(found, now, "failed" if event.failed else "completed")


def _compensated(executions: Executions, now: Happened, event: e.Compensated) -> None:
    found = executions[event.execution]
    found.output, found.error = event.output, None
    _attempt(found, event.attempt).ended_at = _ended(found, now, "completed")
    _undone(executions, event.undoes)


def _for_a_person(executions: Executions, now: Happened, event: e.CompensationFailed) -> None:
    found = executions[event.execution]
    found.status, found.waiting_for, found.waiting_since = "failed", "manual_resolution", rfc3339(now.at)
    found.completed_at = found.duration_ms = None


def _given_up(executions: Executions, now: Happened, event: e.CompensationGivenUp | e.StepGivenUp) -> None:
    _ended(executions[event.execution], now, "failed")


def _skipped(executions: Executions, now: Happened, event: e.StepSkipped) -> None:
    _ended(executions[event.execution], now, "skipped")


def _resolved(executions: Executions, now: Happened, event: e.StepResolved) -> None:
    found = executions[event.execution]
    found.output, found.error, found.ended_by = event.output, None, now.actor
    _ended(found, now, "completed")
    if found.undoes is not None:
        _undone(executions, found.undoes)


def _opened(executions: Executions, now: Happened, execution: str, step: str, kind: Kind) -> StepExecution:
    at = rfc3339(now.at)
    found = StepExecution(
        execution=execution,
        step_id=step,
        step_name=step,
        kind=kind,
        status="started",
        version=now.version,
        scheduled_at=at,
        attempts=[],
        started_at=at,
    )
    executions[execution] = found
    return found


def _ended(found: StepExecution, now: Happened, status: ExecutionStatus) -> str:
    found.status, found.waiting_for, found.waiting_since, found.next_retry = status, None, None, None
    found.completed_at = at = rfc3339(now.at)
    if found.started_at is not None:
        found.duration_ms = milliseconds_between(found.started_at, at)
    return at


def _attempt(found: StepExecution, number: int) -> Attempt:
    """The latest one of this number. (A projected row knows none: it is then made, and thrown away.)"""
    for attempt in reversed(found.attempts):
        if attempt.attempt == number:
            return attempt
    attempt = Attempt(attempt=number, scheduled_at=found.scheduled_at)
    found.attempts.append(attempt)
    return attempt


def _is_child(executions: Executions, found: StepExecution) -> bool:
    """Whether a workflow runs as this execution, or is undone by it."""
    undone = found if found.undoes is None else executions[found.undoes]
    return undone.kind == "workflow"


def _undone(executions: Executions, execution: str) -> None:
    original = executions[execution]
    original.status, original.compensated_by = "compensated", undo_of(execution)


def _error(error: StepError, retry_count: int) -> ExecutionError:
    code = error.code or error.type
    return ExecutionError(type=error.type, message=error.message, code=code, retry_count=retry_count)


APPLIERS: dict[type[e.Event], Callable[[Executions, Happened, Any], None]] = {
    e.StepScheduled: _scheduled,
    e.StepStarted: _started,
    e.StepProgressed: _progressed,
    e.StepCompleted: _completed,
    e.StepFailed: _failed,
    e.StepCancelled: _cancelled,
    e.ResultIgnored: _ignored,
    e.DecisionMade: _decided,
    e.WaitStarted: _wait_started,
    e.WaitEnded: _wait_ended,
    e.ScopeOpened: _scope_opened,
    e.BlockFailed: _block_failed,
    e.ScopeClosed: _scope_closed,
    e.CompensationStarted: _compensation_started,
    e.CompensationEnded: _compensation_ended,
    e.Compensated: _compensated,
    e.CompensationFailed: _for_a_person,
    e.CompensationGivenUp: _given_up,
    e.StepSkipped: _skipped,
    e.StepGivenUp: _given_up,
    e.StepResolved: _resolved,
}
