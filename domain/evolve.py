"""evolve(state, event) -> state: what is now true. One applier per event, and one table of them.

No definition, no clock, no id: whatever a decision computed stands in its events. The state is changed in place;
whoever folds owns it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from domain import acted, moved
from domain import events as e
from domain.digest import digest
from domain.errors import CorruptHistoryError
from domain.executing import (
    attempted,
    begun,
    block_begun,
    closed,
    completed,
    cut_off,
    given_up,
    is_active,
    opened,
    put_out,
    reopened,
    scope_in,
    undone,
    visited,
    work_opened,
)
from domain.moves import Forked, Migrated
from domain.other_events import OF_OTHER_STREAMS
from domain.paths import SLOW
from domain.state import (
    Attempted,
    BufferedSignal,
    Closed,
    Deadline,
    LastError,
    LateSuccess,
    Queued,
    Rollback,
    Running,
    Scope,
    State,
    Stuck,
    Waiting,
)

NO_TIMEOUTS = e.Timeouts()


def evolve(state: State, event: e.Event) -> State:
    """Folds one event into the state, in place. Raises CorruptHistoryError when the event cannot have happened."""
    state.version += 1
    if event.at is not None:
        state.now = event.at
        state.failing = None
    try:
        APPLIERS[type(event)](state, event)
    except (KeyError, AttributeError, AssertionError) as error:
        raise CorruptHistoryError(
            instance_id=state.id, version=state.version, problem=f"{type(event).__name__}: {error!r}"
        ) from error
    return state


# The instance ----------------------------------------------------------------


def _instance_started(state: State, event: e.InstanceStarted) -> None:
    state.namespace = event.namespace
    state.definition = event.definition
    state.definition_version = event.version
    state.definition_hash = event.definition_hash
    state.correlation_id = event.correlation_id
    state.labels = event.labels or {}
    if event.priority not in (None, state.priority):  # The default is never written, wherever it came from.
        state.priority = event.priority
    state.parent = event.parent
    state.created_at = event.at
    state.start_at = event.start_at
    state.timeout_at = event.timeout_at
    state.data = {"input": event.input}


def _status_changed(state: State, event: e.StatusChanged) -> None:
    state.status = event.to
    if event.to == "running" and state.started_at is None:
        state.started_at = state.now
    if state.ended:
        state.ended_at = state.now
        state.outcome, state.result, state.error = event.outcome, event.result, event.error
        state.standing = event.standing or []
        state.rollback = None  # A terminated one does not go on.


def _business_status_changed(state: State, event: e.BusinessStatusChanged) -> None:
    state.business_status = event.to


# Steps -----------------------------------------------------------------------


def _step_scheduled(state: State, event: e.StepScheduled) -> None:
    before = state.open.get(event.execution)
    if before is None:
        work = work_opened(state, event)
    else:
        work = attempted(before).work
        if event.input is not None:
            work.input = event.input  # An operator has changed the data it is made of.
        work.order = event.child
        work.action, work.queue = event.action, event.queue  # Others, once it has been migrated.
    if not is_active(before):
        state.active += 1
    assert state.now is not None
    state.open[event.execution] = Queued(
        work=work,
        attempt=event.attempt,
        scheduled_at=state.now,
        due_at=event.due_at or state.now,
        timeouts=event.timeouts or NO_TIMEOUTS,
    )


def _step_progressed(state: State, event: e.StepProgressed) -> None:
    running = state.open[event.execution]
    assert isinstance(running, Running)
    assert state.now is not None
    running.beat_at = state.now
    running.work.progress = event.progress


def _step_completed(state: State, event: e.StepCompleted) -> None:
    work = closed(state, event.execution, accepted=event.attempt)
    completed(state, event.execution, work, event.output)
    put_out(state, event.execution, event.output, event.data)


def _step_failed(state: State, event: e.StepFailed) -> None:
    work = attempted(state.open[event.execution]).work
    assert state.now is not None
    state.last_error = LastError(
        step=work.step,
        message=event.error.message,
        code=event.error.code or event.error.type,
        timestamp=state.now,
    )
    if event.timeout == "leaseLost":
        work.losses += 1
    else:
        work.failures += 1
    if event.timeout is None:
        work.reported.append(event.attempt)
    if not (event.error.details or {}).get("standing"):
        work.child = None  # It has left nothing behind.
    if event.retry_at is None:
        state.failing = Stuck(work=work, attempt=event.attempt, error=event.error)
        closed(state, event.execution)


def _step_cancelled(state: State, event: e.StepCancelled) -> None:
    cut_off(state, event.execution)


def _result_ignored(state: State, event: e.ResultIgnored) -> None:
    execution = state.open.get(event.execution)
    if isinstance(execution, Attempted):
        execution.work.reported.append(event.attempt)
        if event.error is None:
            execution.work.late_success = LateSuccess(event.output)
        return
    over = state.closed.setdefault(event.execution, Closed(accepted=1))
    over.reported.append(event.attempt)
    if event.error is None and over.work is not None:
        # It happened after all: whatever was thought of it, its effect has to be undone some day.
        completed(state, event.execution, over.work, event.output)
        over.work = None
        if state.rollback is not None and (state.status == "compensating" or state.ended):
            state.rollback.pending.insert(0, event.execution)  # A partial one undoes what it named, no more.


def _decision_made(state: State, event: e.DecisionMade) -> None:
    visited(state, event.execution)


# Waits and signals -----------------------------------------------------------


def _wait_started(state: State, event: e.WaitStarted) -> None:
    opened(state, event.execution)
    if state.failing is not None and event.signal is None and event.until is None:
        reopened(state, event.execution)  # It waits for a person.
        return
    state.open[event.execution] = Waiting(
        step=event.step, signal=event.signal, correlation_key=event.correlation_key, until=event.until
    )


def _wait_ended(state: State, event: e.WaitEnded) -> None:
    closed(state, event.execution)
    put_out(state, event.execution, event.data, event.data)
    if event.signal_id is not None:
        _consume(state, event.signal_id)


def _signal_received(state: State, event: e.SignalReceived) -> None:
    state.signals[event.signal_id] = digest(event.payload)
    state.buffer.append(BufferedSignal(event.signal_id, event.name, event.payload))


def _signal_handled(state: State, event: e.SignalHandled) -> None:
    state.data.update(event.data or {})
    _consume(state, event.signal_id)


def _consume(state: State, signal_id: str) -> None:
    state.buffer = [signal for signal in state.buffer if signal.signal_id != signal_id]


# Scopes and savepoints -------------------------------------------------------


def _scope_opened(state: State, event: e.ScopeOpened) -> None:
    opened(state, event.execution)
    state.open[event.execution] = Scope(step=event.step, blocks=event.blocks)


def _block_ended(state: State, event: e.BlockEnded) -> None:
    scope = scope_in(state, event.execution)
    block_begun(scope, event.block)
    scope.outputs[event.block] = event.output


def _block_failed(state: State, event: e.BlockFailed) -> None:
    scope = scope_in(state, event.execution)
    block_begun(scope, event.block)
    scope.failed[event.block] = event.error


def _scope_closed(state: State, event: e.ScopeClosed) -> None:
    closed(state, event.execution)
    put_out(state, event.execution, event.data, event.data)


def _savepoint_reached(state: State, event: e.SavepointReached) -> None:
    state.savepoints[event.name] = state.version


# Compensation ----------------------------------------------------------------


def _compensation_started(state: State, event: e.CompensationStarted) -> None:
    if "#" in event.trigger:
        visited(state, event.trigger)
    state.rollback = Rollback(
        trigger=event.trigger,
        reason=event.reason or "",
        pending=list(event.executions),
        error=event.error,
    )


def _compensation_ended(state: State, event: e.CompensationEnded) -> None:
    state.rollback = None


def _compensated(state: State, event: e.Compensated) -> None:
    closed(state, event.execution, accepted=event.attempt)
    undone(state, event.undoes)


def _compensation_failed(state: State, event: e.CompensationFailed) -> None:
    """The undo is not over: it stays open, for an operator to retry, resolve or give up."""
    reopened(state, event.execution)


def _compensation_given_up(state: State, event: e.CompensationGivenUp) -> None:
    given_up(state, event.execution)


# Deadlines and alerts --------------------------------------------------------


def _deadline_set(state: State, event: e.DeadlineSet) -> None:
    state.deadlines[event.name] = Deadline(due_at=event.due_at, escalations=list(event.escalations))


def _deadline_escalated(state: State, event: e.DeadlineEscalated) -> None:
    deadline = state.deadlines[event.name]
    deadline.escalations = [step for step in deadline.escalations if step.percent != event.percent]


def _deadline_over(state: State, event: e.DeadlineMet | e.DeadlineMissed) -> None:
    state.deadlines[event.name].over = True


def _alert_raised(state: State, event: e.AlertRaised) -> None:
    state.alerts[event.alert_id] = event.step
    slow = state.open.get(event.alert_id.removesuffix(SLOW))
    if isinstance(slow, Running) and event.alert_id.endswith(SLOW):
        slow.alerted = True


def _alert_acknowledged(state: State, event: e.AlertAcknowledged) -> None:
    state.alerts.pop(event.alert_id)


def _nothing(state: State, event: e.Event) -> None:
    """It is on record; what follows from it stands in the events after it."""


APPLIERS: dict[type[e.Event], Callable[[State, Any], None]] = {
    e.InstanceStarted: _instance_started,
    e.StatusChanged: _status_changed,
    e.BusinessStatusChanged: _business_status_changed,
    e.StepScheduled: _step_scheduled,
    e.StepStarted: begun,
    e.StepProgressed: _step_progressed,
    e.StepCompleted: _step_completed,
    e.StepFailed: _step_failed,
    e.StepCancelled: _step_cancelled,
    e.ResultIgnored: _result_ignored,
    e.DecisionMade: _decision_made,
    e.WaitStarted: _wait_started,
    e.WaitEnded: _wait_ended,
    e.SignalReceived: _signal_received,
    e.SignalHandled: _signal_handled,
    e.ScopeOpened: _scope_opened,
    e.BlockEnded: _block_ended,
    e.BlockFailed: _block_failed,
    e.ScopeClosed: _scope_closed,
    e.SavepointReached: _savepoint_reached,
    e.CompensationStarted: _compensation_started,
    e.CompensationEnded: _compensation_ended,
    e.Compensated: _compensated,
    e.CompensationFailed: _compensation_failed,
    e.CompensationGivenUp: _compensation_given_up,
    e.DeadlineSet: _deadline_set,
    e.DeadlineEscalated: _deadline_escalated,
    e.DeadlineMet: _deadline_over,
    e.DeadlineMissed: _deadline_over,
    e.AlertRaised: _alert_raised,
    e.AlertAcknowledged: _alert_acknowledged,
    e.CancelRequested: _nothing,
    e.TerminateRequested: _nothing,
    e.Paused: acted.paused,
    e.Resumed: acted.resumed,
    e.StepRetried: acted.step_retried,
    e.StepSkipped: acted.step_skipped,
    e.StepGivenUp: acted.step_given_up,
    e.StepResolved: acted.step_resolved,
    e.DataChanged: acted.data_changed,
    Migrated: moved.migrated,
    Forked: moved.forked,
    e.DefinitionDeployed: _nothing,
    **dict.fromkeys(OF_OTHER_STREAMS, _nothing),
}
"""Every event there is; a test holds it complete."""
