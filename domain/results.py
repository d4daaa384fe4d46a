"""What workers and dispatchers report of an attempt: claimed, alive, done, failed, lost; and reports that come late."""

from __future__ import annotations

from datetime import timedelta

from domain import rollback
from domain.calls import StepError
from domain.commands import Beat, ClaimStep, CompleteStep, FailStep, LoseLease
from domain.errors import StaleTokenError, TenutoError, UnknownExecutionError
from domain.events import (
    AlertRaised,
    Compensated,
    ResultIgnored,
    SavepointReached,
    StepCompleted,
    StepProgressed,
    StepStarted,
)
from domain.executing import visits_in
from domain.failure import attempt_failed
from domain.paths import UNDO, scope_of
from domain.state import Attempted, Closed, Queued, Running
from domain.steps.task import Task
from domain.turn import Turn

CLOCK_GRACE = timedelta(milliseconds=1)
"""A claim may come this much before `dueAt`: timers and claims read clocks at slightly different moments."""


def claim_step(turn: Turn, command: ClaimStep) -> None:
    open = turn.state.open.get(command.execution)
    if isinstance(open, Running) and open.token == command.token:
        return
    refusal = _why_not_claimable(turn, command, open)
    if refusal is not None:
        raise StaleTokenError(execution=command.execution, attempt=command.attempt, reason=refusal)
    turn.emit(
        StepStarted(
            execution=command.execution,
            attempt=command.attempt,
            worker=command.worker,
            token=command.token,
        )
    )


def _why_not_claimable(turn: Turn, command: ClaimStep, open: object) -> str | None:
    if not isinstance(open, Queued) or open.attempt != command.attempt:
        return "it is not waiting to be claimed"
    if open.work.order is not None:
        return "it is a child workflow, which no worker takes"
    if turn.state.paused and not turn.state.ended:
        return "the instance is paused"
    if open.due_at > command.at + CLOCK_GRACE:
        return "it is not due yet"
    return None


def beat(turn: Turn, command: Beat) -> None:
    running = _held(turn, command)
    if running is None:
        raise StaleTokenError(
            execution=command.execution, attempt=command.attempt, reason="another attempt or none holds it"
        )
    if running.work.progress != command.progress:
        turn.emit(
            StepProgressed(execution=command.execution, attempt=command.attempt, progress=command.progress)
        )


def complete_step(turn: Turn, command: CompleteStep) -> None:
    running = _held(turn, command)
    if running is None:
        _late(turn, command, output=command.output)
    elif running.work.undoes is not None:
        turn.emit(
            Compensated(
                execution=command.execution,
                attempt=command.attempt,
                undoes=running.work.undoes,
                output=command.output,
            )
        )
        rollback.advance(turn)
    else:
        _completed(turn, command, running)


def _completed(turn: Turn, command: CompleteStep, running: Running) -> None:
    step = turn.program.steps[running.work.step]
    assert isinstance(step, Task)
    event = StepCompleted(execution=command.execution, attempt=command.attempt, output=command.output)
    try:
        event.data = step.patch(command.output) or None
    except TenutoError as error:
        # The effect happened, so it stays in the list to undo; what came back cannot be used.
        turn.emit(event)
        turn.fail(step, command.execution, error)
        return
    turn.emit(event)
    went_well(turn, step, command.execution)


def went_well(turn: Turn, step: Task, execution: str) -> None:
    """The execution has its result, or a person goes on without one: savepoint, and on to the next step."""
    if step.savepoint is not None:
        turn.emit(SavepointReached(name=step.savepoint, execution=execution))
    turn.proceed(step, execution)


def fail_step(turn: Turn, command: FailStep) -> None:
    running = _held(turn, command)
    if running is None:
        _late(turn, command, error=command.error)
    else:
        attempt_failed(turn, command.execution, running, command.error, retry_after_ms=command.retry_after_ms)


def lose_lease(turn: Turn, command: LoseLease) -> None:
    running = _held(turn, command)
    if running is not None and running.work.order is None:  # A child is nobody's lease.
        error = StepError(
            type="LeaseLostError",
            message=f"worker {running.worker!r} has not been heard of",
            code="leaseLost",
        )
        attempt_failed(turn, command.execution, running, error, timeout="leaseLost")


def _held(turn: Turn, command: Beat | CompleteStep | FailStep | LoseLease) -> Running | None:
    """The running attempt, when the command's token is the one that holds it."""
    open = turn.state.open.get(command.execution)
    if isinstance(open, Running) and open.attempt == command.attempt and open.token == command.token:
        return open
    return None


def _late(
    turn: Turn, command: CompleteStep | FailStep, *, output: object = None, error: StepError | None = None
) -> None:
    """A result of an attempt that nobody waits for: recorded once, and undone if it turns out that it worked."""
    state, execution, attempt = turn.state, command.execution, command.attempt
    open = state.open.get(execution)
    if isinstance(open, Attempted):
        if attempt > open.attempt or (isinstance(open, Queued) and attempt == open.attempt):
            raise StaleTokenError(
                execution=execution, attempt=attempt, reason="that attempt was never handed out"
            )
        if attempt not in open.work.reported:
            why = "stale" if attempt == open.attempt else "late"
            turn.emit(
                ResultIgnored(execution=execution, attempt=attempt, why=why, output=output, error=error)  # type: ignore[arg-type]
            )
        return
    closed = _closed(turn, execution)
    if attempt == closed.accepted or attempt in closed.reported:
        return
    was_undoable = execution in state.undo
    why = "ended" if state.ended else "late"
    turn.emit(ResultIgnored(execution=execution, attempt=attempt, why=why, output=output, error=error))  # type: ignore[arg-type]
    if execution in state.undo and not was_undoable:
        _undo_late_success(turn, execution)


def _closed(turn: Turn, execution: str) -> Closed:
    """What is known of an execution that is over; by default its first attempt succeeded."""
    closed = turn.state.closed.get(execution)
    if closed is not None:
        return closed
    if not _was_visited(turn, execution.removesuffix(UNDO)):
        raise UnknownExecutionError(
            instance_id=turn.state.id, execution=execution, reason="it has never been scheduled"
        )
    return Closed(accepted=1)


def _was_visited(turn: Turn, execution: str) -> bool:
    """Of what ran inside a scope that is over, only the visit of the scope is still known."""
    path, _, visit = execution.rpartition("#")
    scope = scope_of(execution)
    if scope and scope not in turn.state.open:
        return _was_visited(turn, scope)
    return visit.isdecimal() and 0 < int(visit) <= visits_in(turn.state, scope).get(path, 0)


def _undo_late_success(turn: Turn, execution: str) -> None:
    """In the final rollback it is undone with the rest; after the end, on its own, and somebody hears of it."""
    state = turn.state
    if state.rollback is not None:
        rollback.advance(turn)
        return
    if not state.ended:
        return  # It joins the list like any completed step.
    entry = state.undo[execution]
    terminated = state.outcome == "terminated"
    turn.emit(
        AlertRaised(
            alert_id=f"{execution}/late",
            severity="high",
            step=entry.step,
            action="none" if terminated else "compensate",
            message=f"{entry.step} succeeded after the instance had ended; "
            + ("it was terminated, so nothing is undone" if terminated else "it is being undone"),
        )
    )
    if not terminated:
        rollback.schedule_undo(turn, entry)
