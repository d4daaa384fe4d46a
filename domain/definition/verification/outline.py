"""Which steps a definition has, in which blocks they stand, and where each of them may lead by its own fields."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from domain.definition.document import Path
from domain.definition.fields import DEFAULT_RETRY_POLICY, RetryPolicy, Transition
from domain.definition.model import DefinitionModel, ErrorHandlerModel
from domain.steps.compensate import CompensateModel
from domain.steps.decision import DecisionModel
from domain.steps.map import MapModel
from domain.steps.parallel import ParallelModel
from domain.steps.scope import ScopeModel
from domain.steps.step import StepModel
from domain.steps.task import TaskModel
from domain.steps.wait import WaitModel
from domain.steps.workflow import CallModel, WorkflowModel

Blocks = tuple[tuple[str, str], ...]
"""(scope, block) of every block that a step stands in, outermost first. The block of a map has no name."""


class Way(NamedTuple):
    """A step that a step may lead to. `after` says when; `path` is where its name stands."""

    target: str
    path: Path
    after: Literal["done", "failed", "timed-out"]


class Place(NamedTuple):
    """A step and where it stands."""

    step: StepModel
    path: Path
    blocks: Blocks

    @property
    def next(self) -> str | Sequence[Transition] | None:
        match self.step:
            case TaskModel() | WorkflowModel() | DecisionModel() | ScopeModel() | WaitModel():
                return self.step.next
            case CompensateModel():
                return self.step.next
            case _:
                return None

    @property
    def maps(self) -> list[str]:
        """The maps that it stands in, outermost first."""
        return [scope for scope, block in self.blocks if not block]

    @property
    def transitions(self) -> Sequence[Transition]:
        """Its ways on, if it chooses among them."""
        return () if self.next is None or isinstance(self.next, str) else self.next

    def ways_on(self) -> Iterator[Way]:
        """Where it goes when it has ended well."""
        if isinstance(self.next, str):
            yield Way(self.next, (*self.path, "next"), "done")
        for number, way in enumerate(self.transitions):
            yield Way(way.next, (*self.path, "next", number, "next"), "done")

    def ways(self) -> Iterator[Way]:
        """All steps that its own fields lead to."""
        yield from self.ways_on()
        if isinstance(self.step, CallModel) and self.step.fallback is not None:
            yield Way(self.step.fallback, (*self.path, "fallback"), "failed")
        if isinstance(self.step, WaitModel) and self.step.on_timeout is not None:
            yield Way(self.step.on_timeout, (*self.path, "onTimeout"), "timed-out")

    def is_beside(self, other: Place) -> bool:
        """Whether the two stand in different branches of one parallel step, or in one map, and so may run at once."""
        mine = dict(self.blocks)
        return any(scope in mine and (not block or mine[scope] != block) for scope, block in other.blocks)


@dataclass(frozen=True, slots=True)
class Outline:
    """`places` holds every step, in the order of the document; `by_id` the first of each id."""

    model: DefinitionModel
    places: list[Place]
    by_id: dict[str, Place]
    undoes: dict[str, list[str]]  # Undo step → the steps that it undoes.
    savepoints: dict[str, list[str]]  # Savepoint → the steps that set it.
    inside: dict[str, list[Place]]  # Parallel or map → the steps in its blocks, at any depth.

    @property
    def entry(self) -> str:
        return self.model.steps[0].id

    def tasks(self) -> Iterator[tuple[Place, TaskModel]]:
        for place in self.places:
            if isinstance(place.step, TaskModel):
                yield place, place.step

    def children(self) -> Iterator[tuple[Place, WorkflowModel]]:
        for place in self.places:
            if isinstance(place.step, WorkflowModel):
                yield place, place.step

    def waits(self) -> Iterator[tuple[Place, WaitModel]]:
        for place in self.places:
            if isinstance(place.step, WaitModel):
                yield place, place.step

    def scopes(self) -> Iterator[tuple[Place, ParallelModel | MapModel]]:
        for place in self.places:
            if isinstance(place.step, ParallelModel | MapModel):
                yield place, place.step

    def policy_of(self, task: TaskModel) -> RetryPolicy:
        by_service = self.model.retry_policies.get(task.service_type or "")
        return task.retry_policy or by_service or DEFAULT_RETRY_POLICY

    def handlers_of(self, step: StepModel) -> Iterator[ErrorHandlerModel]:
        """The error handlers that a failure of the step may come to, up to the first that takes any error."""
        if isinstance(step, CallModel) and step.fallback is not None:
            return
        for handler in self.model.error_handlers:
            if handler.steps is None or step.id in handler.steps:
                yield handler
                if "*" in handler.errors:
                    return


def outline_of(model: DefinitionModel) -> Outline:
    places = list(_placed(model.steps, ("steps",), ()))
    by_id: dict[str, Place] = {}
    undoes: dict[str, list[str]] = {}
    savepoints: dict[str, list[str]] = {}
    inside: dict[str, list[Place]] = {}
    for place in places:
        by_id.setdefault(place.step.id, place)
        for scope, _ in place.blocks:
            inside.setdefault(scope, []).append(place)
        if isinstance(place.step, TaskModel) and place.step.compensate_with is not None:
            undoes.setdefault(place.step.compensate_with, []).append(place.step.id)
        if isinstance(place.step, CallModel) and place.step.savepoint is not None:
            savepoints.setdefault(place.step.savepoint, []).append(place.step.id)
    return Outline(model, places, by_id, undoes, savepoints, inside)


def block_in_words(blocks: Blocks) -> str:
    """The innermost block, for a message."""
    scope, block = blocks[-1]
    return f"branch {block!r} of {scope!r}" if block else f"map {scope!r}"


def _placed(steps: Sequence[StepModel], path: Path, blocks: Blocks) -> Iterator[Place]:
    for number, step in enumerate(steps):
        place = (*path, number)
        yield Place(step, place, blocks)
        if isinstance(step, ScopeModel):
            for block, inner in step.blocks():
                written = ("branches", block) if block else ("steps",)
                yield from _placed(inner, (*place, *written), (*blocks, (step.id, block)))
