"""Time that runs out: business deadlines, timeouts of attempts, waits and instances (S163–S187)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from domain import failure, rollback
from domain.calls import StepError
from domain.events import (
    AlertRaised,
    DeadlineEscalated,
    DeadlineMet,
    DeadlineMissed,
    DeadlineSet,
    Escalation,
    StatusChanged,
    TimeoutKind,
)
from domain.owed import DEADLINE, INSTANCE
from domain.paths import SLOW
from domain.state import Queued, Running, Waiting
from domain.steps.wait import Wait
from domain.steps.workflow import begin_child
from domain.times import MILLISECOND, rfc3339

if TYPE_CHECKING:
    from domain.commands import FireTimer
    from domain.turn import Turn


def begin(turn: Turn, reason: str) -> None:
    """From pending to the entry step."""
    turn.emit(StatusChanged(from_status="pending", to="running", reason=reason))
    turn.say_business_status("running")
    set_deadlines(turn, "start")
    turn.enter(turn.program.entry)


def set_deadlines(turn: Turn, anchor: str) -> None:
    """Sets those that count from `anchor`: `start`, or a step that has just completed."""
    for name, deadline in turn.program.deadlines.items():
        counts_from = "start" if deadline.after == "start" else deadline.after.step
        if counts_from == anchor and name not in turn.state.deadlines:
            part = timedelta(milliseconds=deadline.within)
            turn.emit(
                DeadlineSet(
                    name=name,
                    due_at=turn.at + part,
                    escalations=[Escalation(n, turn.at + part * n / 100) for n in sorted(deadline.escalate)],
                )
            )


def step_completed(turn: Turn, step: str) -> None:
    """A step's completion, of whatever kind it is, is an anchor for some deadlines and the goal of others."""
    for name, deadline in turn.program.deadlines.items():
        running = turn.state.deadlines.get(name)
        if deadline.reach.step == step and running is not None and not running.over:
            turn.emit(DeadlineMet(name=name))
    set_deadlines(turn, step)


def fire_timer(turn: Turn, command: FireTimer) -> None:
    """Does what is due under the key; nothing, when what the timer was for is over or not due yet."""
    if command.key == INSTANCE:
        _instance_due(turn)
    elif command.key.startswith(DEADLINE):
        _deadline_due(turn, command.key.removeprefix(DEADLINE))
    else:
        _execution_due(turn, command)


def _instance_due(turn: Turn) -> None:
    state = turn.state
    if state.status == "pending" and state.start_at is not None and state.start_at <= turn.at:
        begin(turn, "its time to start has come")
    elif state.status in ("running", "waiting") and _past(state.timeout_at, turn.at):
        reason = "Workflow timeout exceeded"
        error = StepError(type="TimeoutError", message=reason, code="workflowTimeout", retryable=False)
        if turn.program.on_timeout == "compensate" and rollback.everything(turn):
            rollback.begin(turn, "timeout", reason, rollback.everything(turn), final=True, error=error)
        else:
            turn.end("failed", "timed_out", reason, error=error)


def _deadline_due(turn: Turn, name: str) -> None:
    deadline = turn.state.deadlines.get(name)
    if deadline is None or deadline.over or turn.state.ended:
        return
    goal = turn.program.deadlines[name].reach.step
    for escalation in [step for step in deadline.escalations if step.at <= turn.at]:
        turn.emit(DeadlineEscalated(name=name, percent=escalation.percent))
        _alert(
            turn,
            f"{DEADLINE}{name}/{escalation.percent}",
            goal,
            f"{escalation.percent} % of the time of deadline {name!r} has gone; it ends at {rfc3339(deadline.due_at)}",
            severity="high" if escalation.percent >= 80 else "medium",
        )
    if deadline.due_at <= turn.at:
        turn.emit(DeadlineMissed(name=name))
        _alert(turn, f"{DEADLINE}{name}/missed", goal, f"deadline {name!r} was missed", severity="high")


def _execution_due(turn: Turn, command: FireTimer) -> None:
    execution = turn.state.open.get(command.key)
    match execution:
        case Waiting() if _past(execution.until, turn.at):
            step = turn.program.steps[execution.step]
            assert isinstance(step, Wait)
            turn.cause = "the time of a wait is over"
            step.time_over(turn, command.key)
        case Queued() if execution.work.order is not None:
            begin_child(turn, command.key)
        case Queued() | Running():
            expired = _expired(execution, turn.at, command.alive_at)
            if expired is not None:
                error = StepError(
                    type="TimeoutError",
                    message=_WHAT_EXPIRED[expired].format(step=execution.work.step),
                    code=expired,
                )
                failure.attempt_failed(turn, command.key, execution, error, timeout=expired)
            elif isinstance(execution, Running) and _past(execution.slow_at, turn.at):
                _slow(turn, command.key, execution)


_WHAT_EXPIRED: dict[TimeoutKind, str] = {
    "scheduleToClose": "{step} did not finish within its schedule-to-close time, queue time included",
    "scheduleToStart": "{step} waited in its queue for too long: no worker took it",
    "startToClose": "{step} did not finish in time",
    "heartbeat": "{step} sent no heartbeat in time",
}


def _expired(execution: Queued | Running, at: datetime, alive_at: datetime | None) -> TimeoutKind | None:
    if _past(execution.timeouts.schedule_to_close_at, at):
        return "scheduleToClose"
    if isinstance(execution, Queued):
        return "scheduleToStart" if _past(execution.timeouts.schedule_to_start_at, at) else None
    if _past(execution.closes_at, at):
        return "startToClose"
    silent_at = execution.silent_at
    if silent_at is not None and alive_at is not None and alive_at > execution.beat_at:
        silent_at += alive_at - execution.beat_at
    return "heartbeat" if _past(silent_at, at) else None


def _slow(turn: Turn, key: str, running: Running) -> None:
    elapsed_ms = (turn.at - running.started_at) // MILLISECOND
    _alert(turn, key + SLOW, running.work.step, f"{running.work.step} has been running for {elapsed_ms} ms")


def _alert(turn: Turn, alert_id: str, step: str, message: str, *, severity: str = "medium") -> None:
    turn.emit(AlertRaised(alert_id=alert_id, severity=severity, step=step, action="none", message=message))  # type: ignore[arg-type]


def _past(limit: datetime | None, at: datetime) -> bool:
    return limit is not None and limit <= at
