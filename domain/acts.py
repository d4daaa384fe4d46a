"""What a person may do to an instance: each act is an event with actor and reason; nothing is overwritten."""

from __future__ import annotations

from domain import rollback, signals
from domain.commands import (
    AcknowledgeAlert,
    CancelInstance,
    ChangeData,
    FailStuckStep,
    PauseInstance,
    ResolveStep,
    ResumeInstance,
    RetryStep,
    SkipStep,
    TerminateInstance,
    UndoInstance,
)
from domain.definition.fields import RESERVED
from domain.errors import (
    InstanceEndedError,
    InvalidTransitionError,
    SchemaMismatchError,
    UnknownExecutionError,
)
from domain.events import (
    AlertAcknowledged,
    CancelRequested,
    CompensationGivenUp,
    DataChanged,
    Paused,
    Resumed,
    StepGivenUp,
    StepResolved,
    StepRetried,
    StepSkipped,
    TerminateRequested,
)
from domain.failure import given_up, schedule_again
from domain.paths import undo_of
from domain.results import went_well
from domain.state import Stuck
from domain.steps.task import Task
from domain.turn import Turn


def cancel_instance(turn: Turn, command: CancelInstance) -> None:
    state = turn.state
    if state.outcome == "cancelled" or state.status == "compensating":
        return
    if state.ended:
        raise InvalidTransitionError(from_status=state.status, to_status="compensating", reason="cancel")
    turn.emit(CancelRequested())
    signals.cancel(turn, command.reason or "Workflow cancelled")


def undo_instance(turn: Turn, command: UndoInstance) -> None:
    state = turn.state
    if state.ended and command.by_parent:
        _undo_after_the_end(turn, command.reason or "undone by its parent")
        return
    if state.status == "compensating" or state.outcome == "compensated":
        return
    if state.ended or state.status == "pending":
        raise InvalidTransitionError(from_status=state.status, to_status="compensating", reason="compensate")
    rollback.begin(
        turn,
        "operator",
        command.reason or "compensated by an operator",
        rollback.everything(turn),
        final=True,
    )


def _undo_after_the_end(turn: Turn, reason: str) -> None:
    """What it did as a child is undone; its status, outcome and result stay."""
    left = [name for name in reversed(turn.state.undo) if undo_of(name) not in turn.state.open]
    if left and turn.state.rollback is None:
        rollback.begin(turn, rollback.BY_PARENT, reason, left, final=False)


def terminate_instance(turn: Turn, command: TerminateInstance) -> None:
    state = turn.state
    if state.outcome == "terminated":
        return
    if state.ended:
        raise InvalidTransitionError(from_status=state.status, to_status="failed", reason="terminate")
    turn.emit(TerminateRequested())
    turn.end("failed", "terminated", command.reason or "terminated")


def pause_instance(turn: Turn, command: PauseInstance) -> None:
    _still_going(turn, "be paused")
    if not turn.state.paused:
        turn.emit(Paused())


def resume_instance(turn: Turn, command: ResumeInstance) -> None:
    _still_going(turn, "be resumed")
    if turn.state.paused:
        turn.emit(Resumed())


def retry_step(turn: Turn, command: RetryStep) -> None:
    stuck, step = _stuck(turn, command.execution)
    if stuck.left_effects:
        raise UnknownExecutionError(
            instance_id=turn.state.id,
            execution=command.execution,
            reason="its child has left effects standing, which another child would not know of; skip it, resolve it "
            "or let it fail, and they are undone with the rest",
        )
    turn.emit(StepRetried(execution=command.execution))
    turn.cause = f"{step.id} is tried again"
    schedule_again(turn, step, command.execution, stuck, turn.at)


def skip_step(turn: Turn, command: SkipStep) -> None:
    stuck, step = _stuck(turn, command.execution)
    if stuck.work.undoes is not None:
        turn.emit(CompensationGivenUp(execution=command.execution))
        rollback.advance(turn)
        return
    turn.emit(StepSkipped(execution=command.execution))
    turn.cause = f"{step.id} was skipped"
    went_well(turn, step, command.execution)


def fail_stuck_step(turn: Turn, command: FailStuckStep) -> None:
    stuck, step = _stuck(turn, command.execution)
    if stuck.work.undoes is not None:
        raise UnknownExecutionError(
            instance_id=turn.state.id,
            execution=command.execution,
            reason="it is an undo, which can be given up",
        )
    turn.emit(StepGivenUp(execution=command.execution))
    turn.cause = f"{step.id} failed: {stuck.error.message}"
    given_up(turn, step, command.execution, stuck.error)


def resolve_step(turn: Turn, command: ResolveStep) -> None:
    stuck, step = _stuck(turn, command.execution)
    turn.cause = f"{step.id} was resolved"
    if stuck.work.undoes is not None:
        turn.emit(StepResolved(execution=command.execution, output=command.output))
        rollback.advance(turn)
        return
    patch = step.patch(command.output)
    turn.emit(StepResolved(execution=command.execution, output=command.output, data=patch or None))
    went_well(turn, step, command.execution)


def change_data(turn: Turn, command: ChangeData) -> None:
    _still_going(turn, "change its data")
    for name in command.data:
        if name in RESERVED:
            raise SchemaMismatchError(
                subject="the change of data",
                definition=turn.program.name,
                path=f"$.{name}",
                problem="the name is reserved",
            )
    if any(
        name not in turn.state.data or turn.state.data[name] != value for name, value in command.data.items()
    ):
        turn.emit(DataChanged(data=command.data))


def acknowledge_alert(turn: Turn, command: AcknowledgeAlert) -> None:
    if command.alert_id in turn.state.alerts:
        turn.emit(AlertAcknowledged(alert_id=command.alert_id))


def _still_going(turn: Turn, act: str) -> None:
    state = turn.state
    if state.ended:
        raise InstanceEndedError(instance_id=state.id, status=state.status, act=act)


def _stuck(turn: Turn, execution: str) -> tuple[Stuck, Task]:
    """The execution, when it waits for an operator."""
    open = turn.state.open.get(execution)
    if not isinstance(open, Stuck):
        raise UnknownExecutionError(
            instance_id=turn.state.id, execution=execution, reason="it does not wait for an operator"
        )
    step = turn.program.steps[open.work.step]
    assert isinstance(step, Task)
    return open, step
