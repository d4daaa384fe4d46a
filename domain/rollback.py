"""Undoing what was done, in reverse order of completion, one after the other (semantics, *Undo*)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain.calls import StepError
from domain.events import (
    AlertRaised,
    CompensationEnded,
    CompensationFailed,
    CompensationStarted,
    Json,
    Outcome,
    Status,
)
from domain.paths import path_of, undo_of
from domain.state import Attempted, Queued, Rollback, Running, Undoable
from domain.steps.compensate import Compensate
from domain.steps.task import Task

if TYPE_CHECKING:
    from domain.definition.program import Program
    from domain.turn import Turn

ENDS: dict[str, tuple[Status, Outcome]] = {
    "failure": ("completed", "compensated"),
    "operator": ("completed", "compensated"),
    "cancel": ("completed", "cancelled"),
    "timeout": ("failed", "timed_out"),
}
"""How an instance ends whose final rollback, begun for this reason, undid everything."""

BY_PARENT = "parent"
"""The trigger of a rollback after the end, of a child whose parent is rolled back: nothing follows it."""

AFTER_THE_END = "it succeeded after the instance had ended"
"""Why the effect of a late success is undone when there is no rollback any more."""


def begin(
    turn: Turn,
    trigger: str,
    reason: str,
    executions: list[str],
    *,
    final: bool,
    error: StepError | None = None,
) -> None:
    """A final rollback stops everything else; a partial one leaves it running."""
    if final:
        executions = [*(late for late in _to_join(turn) if late not in executions), *executions]
    turn.emit(CompensationStarted(trigger=trigger, reason=reason, executions=executions, error=error))
    if final:
        turn.cancel_everything(reason)
        turn.settle()
    advance(turn)


def everything(turn: Turn) -> list[str]:
    """All that a final rollback has to undo, newest first."""
    return [*_to_join(turn), *reversed(turn.state.undo)]


def _to_join(turn: Turn) -> list[str]:
    """Open executions that join the list when they are cancelled: children, and those of which an earlier attempt has
    succeeded."""
    return [
        name
        for name, open in reversed(turn.state.open.items())
        if isinstance(open, Attempted) and open.work.joins_when_over
    ]


def advance(turn: Turn) -> None:
    """Undoes the next one; with none left to undo or to wait for, the rollback is over."""
    while (rollback := turn.state.rollback) is not None:
        if _is_under_way(turn, rollback):
            return
        open = turn.state.open
        untouched = next((one for one in rollback.pending if undo_of(one) not in open), None)
        if untouched is not None:
            schedule_undo(turn, turn.state.undo[untouched])
        elif not rollback.pending:
            _finish(turn, rollback)
        else:
            return  # Those left have failed, and wait for an operator.


def _is_under_way(turn: Turn, rollback: Rollback) -> bool:
    """Few are open while much may be pending, and what is under way stands near its head."""
    return any(
        isinstance(open, Queued | Running)
        and open.work.undoes is not None
        and open.work.undoes in rollback.pending
        for open in turn.state.open.values()
    )


def schedule_undo(turn: Turn, entry: Undoable, reason: str = AFTER_THE_END) -> None:
    step = turn.program.steps[entry.undo_step]
    assert isinstance(step, Task)
    step.schedule(turn, undo_of(entry.execution), entry.tried + 1, **as_seen(turn, entry.execution, reason))


def as_seen(turn: Turn, execution: str, reason: str = AFTER_THE_END) -> dict[str, Json]:
    """What the undo of an execution sees besides the instance's data: `$.undo`, and the item that it was done for.

    `reason` is why there is an undo without a rollback.
    """
    entry, rollback = turn.state.undo[execution], turn.state.rollback
    undo = {
        "step": entry.step,
        "execution": entry.execution,
        "input": entry.input,
        "output": entry.output,
        "reason": reason if rollback is None else rollback.reason,
    }
    return {"undo": undo} if entry.index is None else {"undo": undo, "item": entry.item, "index": entry.index}


def undo_failed(turn: Turn, execution: str, undoes: str, error: StepError, *, retry_count: int) -> None:
    """It stays visible and waits for an operator; the others go on."""
    step = turn.state.undo[undoes].step
    turn.emit(CompensationFailed(execution=execution, undoes=undoes, error=error))
    turn.emit(
        AlertRaised(
            alert_id=f"{execution}/failed",
            severity="high",
            step=step,
            error=error,
            retry_count=retry_count,
            action="pause",
            message=f"{step} could not be undone: {error.message}; manual intervention may be required",
        )
    )


def is_final(program: Program, trigger: str) -> bool:
    """Only an end follows it; a compensate step with `next` is partial."""
    return "#" not in trigger or program.steps[_step_of(trigger)].next is None


def _finish(turn: Turn, rollback: Rollback) -> None:
    turn.emit(CompensationEnded(undone=rollback.undone, failed=rollback.failed))
    if turn.state.ended:
        return
    if not is_final(turn.program, rollback.trigger):
        turn.proceed(turn.program.steps[_step_of(rollback.trigger)], rollback.trigger)
    elif rollback.failed:
        turn.end("failed", "compensation_failed", rollback.reason, error=rollback.error)
    else:
        status, outcome = _end_of(turn.program, rollback.trigger)
        turn.end(status, outcome, rollback.reason, error=rollback.error)


def _end_of(program: Program, trigger: str) -> tuple[Status, Outcome]:
    if trigger in ENDS:
        return ENDS[trigger]
    step = program.steps[_step_of(trigger)]
    assert isinstance(step, Compensate)
    return "completed", step.outcome


def _step_of(execution: str) -> str:
    return path_of(execution).rpartition(".")[2]
