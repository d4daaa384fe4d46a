"""Moving an instance to another version of its definition (docs/decisions/0010-migration.md).

    plan(state, source, target, steps) -> Plan        where it would stand, or every obstacle, by name

An execution keeps its name: only the step that it is a visit of may have another id. What runs keeps its lease; an
attempt that nobody has taken yet is scheduled anew where the new version would have it done elsewhere. Limits of time
that are set stay set. The dry run is this plan, and so is the decision.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from msgspec import Struct, field

from domain.errors import MigrationRefusedError, TenutoError
from domain.failure import schedule_again
from domain.moves import Migrated
from domain.paths import scope_of
from domain.state import Attempted, Execution, Queued, Scope, State, Waiting, step_of
from domain.steps.map import Map
from domain.steps.parallel import Parallel
from domain.steps.scope import ScopeStep
from domain.steps.task import Task
from domain.steps.wait import Wait
from domain.steps.workflow import Workflow

if TYPE_CHECKING:
    from domain.commands import MigrateInstance
    from domain.definition.program import Program
    from domain.steps.step import Step
    from domain.turn import Turn

SHOWN = 5
"""Obstacles that a refusal's message spells out; all of them are in its details."""


class Obstacle(Struct, frozen=True, kw_only=True, rename="camel"):
    """What stands in the way. `code` is stable and for programs; `execution` or `step` say where."""

    code: str
    message: str
    execution: str | None = None
    step: str | None = None


class Plan(Struct, frozen=True, kw_only=True):
    """Where everything would stand (see `Migrated`), or why not."""

    positions: dict[str, str] = field(default_factory=dict)
    undos: dict[str, str] = field(default_factory=dict)
    obstacles: list[Obstacle] = field(default_factory=list)


def migrate_instance(turn: Turn, command: MigrateInstance) -> None:
    state, source, target = turn.state, turn.program, command.target
    assert target is not None
    if (state.definition_version, state.definition_hash) == (target.version, target.hash):
        return
    found = plan(state, source, target, command.steps, from_version=command.from_version)
    if found.obstacles:
        said = "; ".join(one.message for one in found.obstacles[:SHOWN])
        more = len(found.obstacles) - SHOWN
        raise MigrationRefusedError(
            instance_id=state.id,
            from_version=state.definition_version,
            to_version=target.version,
            summary=said if more <= 0 else f"{said}; and {more} more",
            obstacles=found.obstacles,
        )
    queued = [(name, open) for name, open in state.open.items() if isinstance(open, Queued)]
    turn.emit(
        Migrated(
            from_version=state.definition_version,
            to_version=target.version,
            to_hash=target.hash,
            positions=found.positions,
            undos=found.undos,
            steps=command.steps,
        )
    )
    turn.program = target
    turn.cause = f"it goes on in version {target.version}"
    for execution, attempt in queued:
        _schedule_elsewhere(turn, execution, attempt)
    for execution, open in list(state.open.items()):
        if isinstance(open, Scope) and execution in state.open:
            turn.scope_step(execution).go_on(turn, execution, open)  # There may be room for more items.


def _schedule_elsewhere(turn: Turn, execution: str, attempt: Queued) -> None:
    """Nobody has taken it: the next attempt takes its place, when it is to be done by somebody else."""
    step = turn.program.steps[attempt.work.step]
    assert isinstance(step, Task)
    if turn.state.open.get(execution) is attempt and step.action != attempt.work.action:
        schedule_again(turn, step, execution, attempt, max(attempt.due_at, turn.at))


# The plan ------------------------------------------------------------------------


def plan(
    state: State,
    source: Program,
    target: Program,
    steps: Mapping[str, str],
    *,
    from_version: str | None = None,
) -> Plan:
    """`steps` maps ids of `source` to ids of `target`; others stay as they are."""
    obstacles = [*_of_mapping(source, target, steps), *_of_instance(state, source, target, from_version)]
    if state.ended:
        return Plan(obstacles=obstacles)
    positions = {name: steps.get(step_of(open), step_of(open)) for name, open in state.open.items()}
    for name, open in state.open.items():
        obstacles += _of_execution(name, open, source, target, positions)
    obstacles += _of_blocks(state, positions, target)
    undos: dict[str, str] = {}
    for name, step, before, child in _undoable(state):
        after = _undo_step(steps.get(step, step), before, target, steps, child=child)
        if after != before and after is not None:
            undos[name] = after
        if before is not None and after is None:
            obstacles.append(_undo_vanished(name, step, before, target))
        if (now := steps.get(step, step)) != step:
            positions[name] = now
    return Plan(positions=positions, undos=undos, obstacles=obstacles)


def _of_mapping(source: Program, target: Program, steps: Mapping[str, str]) -> Iterator[Obstacle]:
    for before, after in steps.items():
        if before not in source.steps:
            message = f"version {source.version} has no step {before!r} to map"
            yield Obstacle(code="unknown-step", step=before, message=message)
        if after not in target.steps:
            message = f"version {target.version} has no step {after!r} to map {before!r} to"
            yield Obstacle(code="unknown-step", step=after, message=message)


def _of_instance(
    state: State, source: Program, target: Program, from_version: str | None
) -> Iterator[Obstacle]:
    if from_version not in (None, source.version):
        message = f"it is at version {source.version}, and the mapping is made for {from_version}"
        yield Obstacle(code="other-version", message=message)
    if state.ended:
        yield Obstacle(code="ended", message=f"it has ended as {state.status}")
        return
    if state.rollback is not None or state.status == "compensating":
        yield Obstacle(code="compensating", message="it is undoing what it did")
    if state.status == "pending" and target.check_input is not None:
        try:
            target.check_input(state.data["input"], "its input")
        except TenutoError as problem:
            yield Obstacle(code="input", message=str(problem))
    for name, deadline in state.deadlines.items():
        if not deadline.over and name not in target.deadlines:
            message = f"its deadline {name!r} runs, and version {target.version} has none of that name"
            yield Obstacle(code="deadline-vanished", message=message)


def _of_execution(
    name: str,
    open: Execution,
    source: Program,
    target: Program,
    positions: Mapping[str, str],
) -> Iterator[Obstacle]:
    before, id = source.steps[step_of(open)], positions[name]
    after = target.steps.get(id)
    if after is None:
        message = f"{name} is open, and version {target.version} has no step {id!r}"
        yield Obstacle(code="step-vanished", execution=name, step=id, message=message)
        return
    if after.kind != before.kind:
        message = f"{name} is a {before.kind}, and {id!r} is a {after.kind} in version {target.version}"
        yield Obstacle(code="other-type", execution=name, step=id, message=message)
        return
    around = scope_of(name)
    expected = positions.get(around, "") if around else ""
    if after.scope != expected or after.block != before.block:
        where = f"in {_place(expected, before.block)}, and {id!r} is in {_place(after.scope, after.block)}"
        yield Obstacle(code="other-place", execution=name, step=id, message=f"{name} is {where}")
    yield from _of_kind(name, open, before, after)


def _place(scope: str, block: str) -> str:
    """A block, as people call it."""
    if not scope:
        return "no scope"
    return f"{block!r} of {scope!r}" if block else f"the items of {scope!r}"


def _of_kind(name: str, open: Execution, before: Step, after: Step) -> Iterator[Obstacle]:
    """What is the same step, and yet another."""
    if isinstance(open, Waiting) and isinstance(after, Wait) and open.signal != after.signal:
        message = (
            f"{name} waits for {_awaited(open.signal)}, and {after.id!r} would for {_awaited(after.signal)}"
        )
        yield Obstacle(code="other-signal", execution=name, step=after.id, message=message)
    if not isinstance(before, ScopeStep) or not isinstance(after, ScopeStep):
        return
    if isinstance(open, Scope) and isinstance(after, Parallel) and set(open.blocks) != set(after.entries):
        message = f"{name} has branches {sorted(open.blocks)}, and {after.id!r} has {sorted(after.entries)}"
        yield Obstacle(code="other-branches", execution=name, step=after.id, message=message)
    if before.join != after.join:
        message = f"{name} joins {before.join}, and {after.id!r} joins {after.join}"
        yield Obstacle(code="other-join", execution=name, step=after.id, message=message)


def _awaited(signal: str | None) -> str:
    return "the time" if signal is None else f"signal {signal!r}"


def _of_blocks(state: State, positions: Mapping[str, str], target: Program) -> Iterator[Obstacle]:
    """A mapping may lead two steps to one, which two branches or none could then be at."""
    taken: dict[tuple[str, str], str] = {}
    for name, id in positions.items():
        step = target.steps.get(id)
        if step is None or isinstance(target.steps.get(step.scope), Map):
            continue
        block = (scope_of(name), step.block if step.scope else "")
        first = taken.setdefault(block, name)
        if first != name:
            message = f"{first} and {name} would both stand in {_place(step.scope, step.block)}"
            yield Obstacle(code="same-place", execution=name, step=id, message=message)


def _undoable(state: State) -> Iterator[tuple[str, str, str | None, bool]]:
    """(execution, step, its undo, whether a child ran as it) of all that is or may yet have to be undone."""
    for name, open in state.open.items():
        if isinstance(open, Attempted):
            yield name, open.work.step, open.work.compensate_with, open.work.order is not None
    for name, over in state.closed.items():
        if over.work is not None:
            yield name, over.work.step, over.work.compensate_with, over.work.order is not None
    for name, done in state.undo.items():
        yield name, done.step, done.undo_step, done.order is not None


def _undo_step(
    step: str, before: str | None, target: Program, steps: Mapping[str, str], *, child: bool
) -> str | None:
    """As mapped; else what the step has there; else the same step, if it is still there. None: none.

    What a child has done only a workflow step can undo, and nothing else can be undone by one.
    """
    there = target.steps.get(step)
    for id in (
        steps.get(before or ""),
        there.compensate_with if isinstance(there, Task) else None,
        before,
    ):
        undo = None if id is None else target.steps.get(id)
        if isinstance(undo, Task) and isinstance(undo, Workflow) == child:
            return id
    return None


def _undo_vanished(name: str, step: str, undo: str, target: Program) -> Obstacle:
    nor = f"has neither that nor another undo of {step!r}"
    message = f"{name} is undone by {undo!r}, and version {target.version} {nor}"
    return Obstacle(code="undo-vanished", execution=name, step=undo, message=message)
