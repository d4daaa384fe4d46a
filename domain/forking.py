"""Forking: a new instance from a point of an old one's history, which stays as it is (docs/decisions/0011-fork.md).

    point_at(events, version=7)        the last point at or before version 7
    point_of(events, "ship#1")         right after ship#1 was scheduled, or began to wait, for the first time
    failing_execution(events)          where an instance went wrong, for a retry of an ended one

A point is where a command's events end: in between, the state is one that nothing was ever decided on. The new
stream is copies of the events up to there, then `Forked`, and from there on a history of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec import UNSET

from domain.definition.fields import RESERVED
from domain.errors import ForkRefusedError, LimitExceededError, SchemaMismatchError, UnknownExecutionError
from domain.events import (
    Compensated,
    Event,
    StepFailed,
    StepGivenUp,
    StepResolved,
    StepScheduled,
    WaitStarted,
)
from domain.evolve import evolve
from domain.failure import schedule_again
from domain.moves import Forked
from domain.paths import UNDO
from domain.state import Queued, Running, State
from domain.steps.task import Task
from domain.times import MILLISECOND

if TYPE_CHECKING:
    from domain.commands import ForkInstance
    from domain.turn import Turn

MAX_COPIED = 20_000
"""Events that one fork copies: they are all appended in one transaction."""


def fork_instance(turn: Turn, command: ForkInstance) -> None:
    """Decided on the folded copies: what ran there is scheduled anew, under the key that it had."""
    state, other = turn.state, command.input is not UNSET or bool(command.data)
    if state.origin == command.origin:
        return
    _check_data(turn, command)
    assert state.now is not None
    turn.emit(
        Forked(
            origin=command.origin,
            delay_ms=(turn.at - state.now) // MILLISECOND,
            input=command.input,
            data=command.data or None,
        )
    )
    turn.cause = f"it goes on from {command.origin.instance_id}"
    for execution, open in list(state.open.items()):
        if isinstance(open, Running) or (other and isinstance(open, Queued)):
            step = turn.program.steps[open.work.step]
            assert isinstance(step, Task)
            schedule_again(turn, step, execution, open, turn.at, other_data=other)


def _check_data(turn: Turn, command: ForkInstance) -> None:
    for name in command.data or {}:
        if name in RESERVED:
            raise SchemaMismatchError(
                subject="the fork's data",
                definition=turn.program.name,
                path=f"$.{name}",
                problem="the name is reserved",
            )
    if command.input is not UNSET and turn.program.check_input is not None:
        turn.program.check_input(command.input, "the fork's input")


# Where to fork ---------------------------------------------------------------------


def point_at(events: Sequence[Event], version: int) -> int:
    """The last point that is not after `version`."""
    upto = min(version, len(events))
    while 0 < upto < len(events) and events[upto].at is None:
        upto -= 1
    return upto


def point_of(events: Sequence[Event], execution: str, instance_id: str) -> int:
    """Right after the command that scheduled the execution, or let it wait, for the first time.

    Raises UnknownExecutionError.
    """
    for version, event in enumerate(events, start=1):
        if isinstance(event, StepScheduled | WaitStarted) and event.execution == execution:
            rest = events[version:]
            return version + next((n for n, event in enumerate(rest) if event.at is not None), len(rest))
    raise UnknownExecutionError(
        instance_id=instance_id, execution=execution, reason="it has never been scheduled, nor has it waited"
    )


def failing_execution(events: Sequence[Event], instance_id: str) -> str:
    """The step that failed for good last. Raises ForkRefusedError when none did."""
    for event in reversed(events):
        over = isinstance(event, StepGivenUp) or (isinstance(event, StepFailed) and event.retry_at is None)
        if over and not event.execution.endswith(UNDO):  # type: ignore[attr-defined]  # both have one
            return str(event.execution)  # type: ignore[attr-defined]
    problem = "no step of it has failed for good, so say from where: `fromVersion` or `fromExecution`"
    raise ForkRefusedError(instance_id=instance_id, version=len(events), problem=problem)


def copied(events: Sequence[Event], version: int, instance_id: str, new_id: str) -> State:
    """The state that the copies of the first `version` events give the new instance.

    Raises ForkRefusedError where nothing could go on, or what it would go on from has been undone meanwhile, and
    LimitExceededError.
    """
    if version > MAX_COPIED:
        raise LimitExceededError(
            subject="the number of events to copy", actual=version, limit=MAX_COPIED, unit="events"
        )
    state = State(id=new_id)
    for event in events[:version]:
        evolve(state, event)
    problem = _why_not(state, events, version)
    if problem is not None:
        raise ForkRefusedError(instance_id=instance_id, version=version, problem=problem)
    return state


def _why_not(state: State, events: Sequence[Event], version: int) -> str | None:
    if state.version == 0:
        return "nothing had happened yet"
    if state.ended:
        return f"it had ended as {state.status} by then; choose an earlier point"
    if state.rollback is not None:
        return "it was undoing what it had done; choose a point before that"
    undone = [one for one in _undone_after(events, version) if one in state.undo]
    if undone:
        earliest = min(_scheduled_at(events, one) for one in undone)
        before = point_at(events, earliest - 1)
        named = ", ".join(sorted(undone))
        hint = f"version {before} is before them all" if before else "start a new instance instead"
        return f"{named} had been done by then and has been undone since; {hint}"
    return None


def _undone_after(events: Sequence[Event], version: int) -> set[str]:
    undone = set()
    for event in events[version:]:
        if isinstance(event, Compensated):
            undone.add(event.undoes)
        elif isinstance(event, StepResolved) and event.execution.endswith(UNDO):
            undone.add(event.execution.removesuffix(UNDO))
    return undone


def _scheduled_at(events: Sequence[Event], execution: str) -> int:
    """The version of its first attempt."""
    return next(
        version
        for version, event in enumerate(events, start=1)
        if isinstance(event, StepScheduled) and event.execution == execution
    )
