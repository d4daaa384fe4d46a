"""What a rollback would do now: `decide` is asked on a copy, and every undo answers well. Nothing is told twice.

    undo_plan(state, program, history, at) -> UndoPlan

So cancelling does exactly what the plan says (a property test), whatever the rules of undoing come to be.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal

from msgspec import Struct, field

from domain.calls import StepError
from domain.commands import CancelInstance, ClaimStep, CompleteStep
from domain.definition.program import Program
from domain.events import Json
from domain.executions import StepExecution
from domain.instance import advance
from domain.state import Attempted, Queued, Running, State, Stuck
from domain.steps.task import Task

REASON = "undo plan"
"""What `$.undo.reason` is in the inputs of a plan, unless somebody says another."""


class PlannedUndo(Struct, frozen=True, kw_only=True, rename="camel"):
    """One execution that would be undone. `input` and `output` are its own, `undo_input` is what its undo would get.

    `problem`: its undo has failed for good, or could not even be asked, and waits for a person.
    """

    execution: str
    step: str
    undo_step: str
    undo: str
    version: int
    input: Json = None
    output: Json = None
    undo_input: Json = None
    problem: StepError | None = None


class Standing(Struct, frozen=True, kw_only=True, rename="camel"):
    """A completed execution with an effect that no rollback takes back: its step has no `compensateWith`."""

    execution: str
    step: str


class MayJoin(Struct, frozen=True, kw_only=True, rename="camel"):
    """May still succeed, and is undone then: it is `running`, or was given up and has stayed `unreported`."""

    execution: str
    step: str
    undo_step: str
    why: Literal["running", "unreported"]


class UndoPlan(Struct, frozen=True, kw_only=True, rename="camel"):
    """`steps` in the order in which they would be undone."""

    version: int
    steps: list[PlannedUndo] = field(default_factory=list)
    standing: list[Standing] = field(default_factory=list)
    may_join: list[MayJoin] = field(default_factory=list)


def undo_plan(
    state: State,
    program: Program,
    executions: Iterable[StepExecution],
    at: datetime,
    reason: str = REASON,
) -> UndoPlan:
    """If it failed or were cancelled now. `executions` are all that its history tells of; `state` is not touched."""
    steps = _played(copy.deepcopy(state), program, at, reason)
    undone = {step.execution for step in steps}
    return UndoPlan(
        version=state.version,
        steps=steps,
        standing=[
            Standing(execution=one.execution, step=one.step_id)
            for one in executions
            if one.status == "completed" and one.execution not in undone and _has_effect(program, one)
        ],
        may_join=_may_join(state),
    )


def _played(state: State, program: Program, at: datetime, reason: str) -> list[PlannedUndo]:
    """Cancels the copy, and serves one undo after the other until there is none left to serve."""
    state.paused = False
    at = at if state.now is None else max(at, state.now)
    if not state.ended:
        advance(CancelInstance(at=at, command_id="plan", reason=reason), state, program)
    planned: dict[str, PlannedUndo] = {}
    while True:
        undos = {
            name: open
            for name, open in state.open.items()
            if isinstance(open, Attempted) and open.work.undoes is not None
        }
        for name, open in undos.items():
            planned.setdefault(name, _planned(state, name, open))
        going = next((name for name, open in undos.items() if not isinstance(open, Stuck)), None)
        if going is None:
            return list(planned.values())
        at = max(at, _serve(state, program, going, at))


def _planned(state: State, undo: str, open: Attempted) -> PlannedUndo:
    assert open.work.undoes is not None
    entry = state.undo[open.work.undoes]
    return PlannedUndo(
        execution=entry.execution,
        step=entry.step,
        undo_step=entry.undo_step,
        undo=undo,
        version=entry.version,
        input=entry.input,
        output=entry.output,
        undo_input=open.work.input,
        problem=open.error if isinstance(open, Stuck) else None,
    )


def _serve(state: State, program: Program, undo: str, at: datetime) -> datetime:
    """The undo's attempt is taken, when it is due, and succeeds. → when."""
    open = state.open[undo]
    assert isinstance(open, Queued | Running)
    lease: dict[str, Any] = {"command_id": "plan", "execution": undo, "attempt": open.attempt}
    if isinstance(open, Queued):
        at = max(at, open.due_at)
        advance(ClaimStep(**lease, at=at, token="plan", worker="plan"), state, program)  # noqa: S106 - no secret
    held = state.open[undo]
    assert isinstance(held, Running)
    advance(CompleteStep(**lease, at=at, token=held.token), state, program)
    return at


def _has_effect(program: Program, execution: StepExecution) -> bool:
    if execution.kind not in ("task", "workflow"):
        return False
    step = program.steps.get(execution.step_id)
    return not (isinstance(step, Task) and (step.read_only or step.compensate_with is not None))


def _may_join(state: State) -> list[MayJoin]:
    running = [
        MayJoin(execution=name, step=open.work.step, undo_step=open.work.compensate_with or "", why="running")
        for name, open in state.open.items()
        if isinstance(open, Running) and open.work.compensate_with is not None
    ]
    unreported = [
        MayJoin(
            execution=name,
            step=over.work.step,
            undo_step=over.work.compensate_with or "",
            why="unreported",
        )
        for name, over in state.closed.items()
        if over.work is not None
    ]
    return running + unreported
