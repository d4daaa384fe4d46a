"""The command that an event answered: a command's first event, its stimulus, is enough to ask for it again.

    command_of(event, state) -> Command

So the stimuli of a log, decided again on the pinned definition, yield the whole log. What-if, fork and the
simulator rest on this. `state` is what was true just before: tokens stand there. Where a command carried more than
its stimulus tells (`retryAfter`, the time of a bare heartbeat), the one given here leads to the same events.
A MigrateInstance comes without the program that it leads to: who decides it again adds it (`domain/again.py`).
Refuses to know the definition. How a law holds it: `tests/domain/test_laws.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from domain import commands as c
from domain import events as e
from domain import rollback
from domain.errors import CorruptHistoryError
from domain.limits import MAX_DURATION_MS
from domain.moves import Forked, Migrated
from domain.owed import DEADLINE, INSTANCE
from domain.paths import SLOW
from domain.state import Queued, Running, State
from domain.times import MILLISECOND


def command_of(event: e.Event, state: State) -> c.Command:
    """The command whose first event this is; raises CorruptHistoryError for an event that never is one."""
    envelope: dict[str, Any] = {
        "at": event.at,
        "command_id": event.command_id or "",
        "actor": event.actor,
        "reason": event.reason,
        "request_id": event.request_id,
        "entropy": event.entropy or 0.0,
    }
    stimulus = STIMULI.get(type(event))
    if stimulus is None or event.at is None:
        problem = f"{type(event).__name__} is a consequence, not what a command begins with"
        raise CorruptHistoryError(instance_id=state.id, version=state.version + 1, problem=problem)
    kind, fields = stimulus(event, state)
    return kind(**envelope, **fields)


Asked = tuple[type[c.Command], dict[str, Any]]


def _attempt(event: Any, state: State) -> dict[str, Any]:
    """Execution, attempt and the token that holds it."""
    open = state.open.get(event.execution)
    token = open.token if isinstance(open, Running) else ""
    return {"execution": event.execution, "attempt": event.attempt, "token": token}


def _instance_started(event: e.InstanceStarted, state: State) -> Asked:
    return c.StartInstance, {
        "namespace": event.namespace,
        "input": event.input,
        "correlation_id": event.correlation_id,
        "labels": event.labels,
        "priority": event.priority,
        "start_at": event.start_at,
        "parent": event.parent,
        "timeout_at": event.timeout_at,
        "idempotency_key": event.idempotency_key,
    }


def _step_started(event: e.StepStarted, state: State) -> Asked:
    queued = state.open.get(event.execution)
    if isinstance(queued, Queued) and queued.work.order is not None:
        return c.FireTimer, {"key": event.execution}  # A child whose time has come.
    return c.ClaimStep, {
        "execution": event.execution,
        "attempt": event.attempt,
        "worker": event.worker,
        "token": event.token,
    }


def _step_failed(event: e.StepFailed, state: State) -> Asked:
    if event.timeout == "leaseLost":
        return c.LoseLease, _attempt(event, state)
    if event.timeout is not None:
        return c.FireTimer, {"key": event.execution}
    assert event.at is not None
    retry_after_ms = MAX_DURATION_MS  # No retry: at most because the service asked to wait for too long.
    if event.retry_at is not None:
        retry_after_ms = (event.retry_at - event.at) // MILLISECOND
    return c.FailStep, {**_attempt(event, state), "error": event.error, "retry_after_ms": retry_after_ms}


def _result_ignored(event: e.ResultIgnored, state: State) -> Asked:
    """Its token was not the one that holds the execution now, which is all that counts."""
    late = {"execution": event.execution, "attempt": event.attempt, "token": ""}
    if event.error is not None:
        return c.FailStep, {**late, "error": event.error}
    return c.CompleteStep, {**late, "output": event.output}


def _compensation_started(event: e.CompensationStarted, state: State) -> Asked:
    if event.trigger == "timeout":
        return c.FireTimer, {"key": INSTANCE}
    return c.UndoInstance, {"by_parent": event.trigger == rollback.BY_PARENT}


def _alert_raised(event: e.AlertRaised, state: State) -> Asked:
    """A slow step's: it is not silent, so its last beat is as good as now."""
    return c.FireTimer, {"key": event.alert_id.removesuffix(SLOW), "alive_at": event.at}


def _migrated(event: Migrated, state: State) -> Asked:
    return c.MigrateInstance, {"target": None, "steps": event.steps, "from_version": event.from_version}


def _timer(key: Callable[[Any], str]) -> Callable[[Any, State], Asked]:
    return lambda event, state: (c.FireTimer, {"key": key(event)})


def _act(kind: type[c.Command], *fields: str) -> Callable[[Any, State], Asked]:
    return lambda event, state: (kind, {name: getattr(event, name) for name in fields})


STIMULI: dict[type[e.Event], Callable[[Any, State], Asked]] = {
    e.InstanceStarted: _instance_started,
    e.StatusChanged: _timer(lambda event: INSTANCE),  # `startAt` has come.
    e.StepStarted: _step_started,
    e.StepProgressed: lambda event, state: (
        c.Beat,
        {**_attempt(event, state), "progress": event.progress},
    ),
    e.StepCompleted: lambda event, state: (
        c.CompleteStep,
        {**_attempt(event, state), "output": event.output},
    ),
    e.Compensated: lambda event, state: (
        c.CompleteStep,
        {**_attempt(event, state), "output": event.output},
    ),
    e.StepFailed: _step_failed,
    e.StepCancelled: _timer(lambda event: INSTANCE),  # The workflow's timeout, with nothing to undo.
    e.ResultIgnored: _result_ignored,
    e.WaitEnded: _timer(lambda event: str(event.execution)),
    e.SignalReceived: _act(c.SendSignal, "signal_id", "name", "payload"),
    e.CompensationStarted: _compensation_started,
    e.CompensationEnded: _timer(lambda event: INSTANCE),  # The workflow's timeout, in a partial rollback.
    e.DeadlineEscalated: _timer(lambda event: DEADLINE + str(event.name)),
    e.DeadlineMissed: _timer(lambda event: DEADLINE + str(event.name)),
    e.AlertRaised: _alert_raised,
    e.AlertAcknowledged: _act(c.AcknowledgeAlert, "alert_id"),
    e.CancelRequested: _act(c.CancelInstance),
    e.TerminateRequested: _act(c.TerminateInstance),
    e.Paused: _act(c.PauseInstance),
    e.Resumed: _act(c.ResumeInstance),
    e.StepRetried: _act(c.RetryStep, "execution"),
    e.StepSkipped: _act(c.SkipStep, "execution"),
    e.StepGivenUp: _act(c.FailStuckStep, "execution"),
    e.CompensationGivenUp: _act(c.SkipStep, "execution"),
    e.StepResolved: _act(c.ResolveStep, "execution", "output"),
    e.DataChanged: _act(c.ChangeData, "data"),
    Migrated: _migrated,
    Forked: _act(c.ForkInstance, "origin", "input", "data"),
}
"""The events that a command can begin with, and what that command is and says."""
