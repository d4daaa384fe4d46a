"""When an attempt or a step fails: first match wins (semantics, *When a step fails*)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from domain import rollback
from domain.calls import StepError
from domain.definition.rules import FailureRules
from domain.errors import TenutoError
from domain.events import AlertRaised, StepFailed, TimeoutKind, WaitStarted
from domain.limits import MAX_DURATION_MS
from domain.paths import index_of, scope_of
from domain.state import Attempted, Stuck
from domain.steps.task import Task

if TYPE_CHECKING:
    from domain.steps.step import Step
    from domain.turn import Turn

MAX_LOSSES = 5
"""Leases an execution may lose; the last one fails the step: whatever it does to workers, it will do again."""


def attempt_failed(
    turn: Turn,
    execution: str,
    open: Attempted,
    error: StepError,
    *,
    timeout: TimeoutKind | None = None,
    retry_after_ms: int | None = None,
) -> None:
    """One attempt failed: another one is scheduled, or the execution has failed for good."""
    step = turn.program.steps[open.work.step]
    assert isinstance(step, Task)
    retry_at = _retry_at(turn, step.rules, open, error, timeout, retry_after_ms)
    failed = StepFailed(
        execution=execution, attempt=open.attempt, error=error, timeout=timeout, retry_at=retry_at
    )
    if step.rules.policy.jitter and not turn.events:
        failed.entropy = turn.command.entropy
    turn.emit(failed)
    if retry_at is not None:
        schedule_again(turn, step, execution, open, retry_at)
    elif open.work.undoes is not None:
        rollback.undo_failed(turn, execution, open.work.undoes, error, retry_count=open.work.failures)
    else:
        used_up = step.rules.may_retry(error) or timeout == "leaseLost"
        failed_for_good(turn, step, execution, error, exhausted=used_up, retry_count=open.work.failures)
    if open.work.undoes is not None:
        rollback.advance(turn)


def schedule_again(
    turn: Turn, step: Task, execution: str, open: Attempted, due_at: datetime, *, other_data: bool = False
) -> None:
    """Schedules the attempt after `open`; its limits are worked out anew, the one to close stays as it was.

    One that an operator tries again, or that has `other_data`, also gets its input from the data as it is now.
    """
    undoes, made_anew = open.work.undoes, other_data or isinstance(open, Stuck)
    scope = turn.view(execution, **({} if undoes is None else rollback.as_seen(turn, undoes)))
    try:
        event = step.attempt(
            turn,
            execution,
            open.attempt + 1,
            scope,
            undoes=undoes,
            due_at=due_at,
            close_at=None if isinstance(open, Stuck) else open.timeouts.schedule_to_close_at,
        )
        if made_anew and (input := step.input(scope)) != open.work.input:
            event.input = input
    except TenutoError as problem:
        error = StepError(type=type(problem).__name__, message=str(problem), retryable=False)
        turn.emit(StepFailed(execution=execution, attempt=open.attempt, error=error))
        turn.attempts_over(step, execution, error, undoes=undoes)
        return
    turn.emit(event)
    step.scheduled(turn, execution)


def _retry_at(
    turn: Turn,
    rules: FailureRules,
    open: Attempted,
    error: StepError,
    timeout: TimeoutKind | None,
    retry_after_ms: int | None,
) -> datetime | None:
    if timeout == "leaseLost":
        return turn.at if open.work.losses + 1 < MAX_LOSSES else None
    failures = open.work.counted + 1
    if timeout == "scheduleToClose" or not rules.may_retry(error) or failures >= rules.policy.max_attempts:
        return None
    asked = min(retry_after_ms or 0, MAX_DURATION_MS)
    interval = max(rules.policy.interval_ms(failures, turn.command.entropy), asked)
    retry_at = turn.at + timedelta(milliseconds=interval)
    closes_at = None if isinstance(open, Stuck) else open.timeouts.schedule_to_close_at
    return None if closes_at is not None and retry_at >= closes_at else retry_at


def failed_for_good(
    turn: Turn,
    step: Step,
    execution: str,
    error: StepError,
    *,
    exhausted: bool,
    retry_count: int = 0,
) -> None:
    """No further attempt: fallback, handler, what to do when attempts are used up, then the definition's rule."""
    rules = step.rules
    turn.cause = f"{step.id} failed: {error.message}"
    if rules.fallback is not None:
        turn.enter_beside(execution, rules.fallback)
        return
    handler = rules.handler_for(error)
    if handler is not None and handler.next is not None:
        turn.jump(execution, handler.next)
        return
    do = handler.do if handler is not None else None
    if do is None and exhausted:
        do = rules.on_exhausted
        _alert_exhausted(
            turn, step, execution, error, retry_count, do or _what_follows(turn, step, execution)
        )
    if do == "pause" and _can_be_tried_again(turn, step):
        turn.emit(WaitStarted(execution=execution, step=step.id))
        if not exhausted:
            _alert_exhausted(turn, step, execution, error, retry_count, do)
    elif do == "fail":
        turn.end("failed", "failed", error.message, error=error)
    elif do is None:
        given_up(turn, step, execution, error)
    elif do == "compensate" or rules.on_failure == "compensate":
        fail_instance(turn, error)
    else:
        turn.end("failed", "failed", error.message, error=error)


def _what_follows(turn: Turn, step: Step, execution: str) -> str:
    """Of a failure that nothing is said for: `none` when a scope around it can do without this block."""
    inside = execution
    while scope := scope_of(inside):
        if turn.scope_step(scope).can_spare_one(turn.scope(scope)):
            return "none"
        inside = scope
    return "compensate" if step.rules.on_failure == "compensate" and rollback.everything(turn) else "fail"


def given_up(turn: Turn, step: Step, execution: str, error: StepError) -> None:
    """Nothing is said for this step (any more): its block has failed, or, outside scopes, the definition's rule."""
    if scope := scope_of(execution):
        turn.scope_step(scope).block_failed(turn, scope, index_of(execution) or step.block, error)
    elif step.rules.on_failure == "compensate":
        fail_instance(turn, error)
    else:
        turn.end("failed", "failed", error.message, error=error)


def _can_be_tried_again(turn: Turn, step: Step) -> bool:
    """An operator can only resolve a task whose own attempt failed, not a scope, a wait or a decision."""
    failing = turn.state.failing
    return failing is not None and failing.work.step == step.id


def fail_instance(turn: Turn, error: StepError) -> None:
    """Undoes what there is to undo; with nothing to undo, the instance has failed."""
    to_undo = rollback.everything(turn)
    if to_undo:
        rollback.begin(turn, "failure", error.message, to_undo, final=True, error=error)
    else:
        turn.end("failed", "failed", error.message, error=error)


def _alert_exhausted(
    turn: Turn, step: Step, execution: str, error: StepError, retry_count: int, action: str
) -> None:
    turn.emit(
        AlertRaised(
            alert_id=f"{execution}/failed",
            severity="high",
            step=step.id,
            error=error,
            retry_count=retry_count,
            action=action,
            message=f"{step.id} failed for good: {error.message}; manual intervention may be required",
        )
    )


def alert_standing(turn: Turn, reason: str, standing: list[str]) -> None:
    """The instance ends as failed while effects stand: somebody should know."""
    turn.emit(
        AlertRaised(
            alert_id="@instance/standing",
            severity="high",
            step=turn.state.undo[standing[-1]].step,
            action="none",
            message=f"{reason}; not undone: {', '.join(standing)}; manual intervention may be required",
        )
    )
