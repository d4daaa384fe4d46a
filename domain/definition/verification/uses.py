"""Every place of a definition where an expression reads data, and what it reads there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from domain.definition.document import Path
from domain.definition.verification.outline import Outline, Place
from domain.expressions import Reference, paths_of_condition, paths_of_value
from domain.expressions.values import function_of
from domain.steps.ending import FailModel, SucceedModel
from domain.steps.map import MapModel
from domain.steps.task import TaskModel
from domain.steps.wait import WaitModel
from domain.steps.workflow import WorkflowModel

Moment = Literal["labels", "signal", "reason", "result", "step", "next", "wait-output", "map-output"]
"""When an expression is evaluated. `step`: when the step is entered; `next`: when it has ended well."""


class Use(NamedTuple):
    """One path read: the names and indices after `$`. It stands `offset` characters into the text at `path`.

    `optional`: its absence is expected. `tested`: a condition asks for nothing but its existence.
    """

    keys: tuple[str | int, ...]
    path: Path
    offset: int
    optional: bool
    tested: bool

    @property
    def text(self) -> str:
        return path_text(self.keys)


def path_text(keys: Sequence[str | int]) -> str:
    """Write a path as a person would."""
    return "$" + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)


class Site(NamedTuple):
    """A use, and the circumstances in which it is evaluated."""

    use: Use
    moment: Moment
    place: Place | None = None
    outcome: str | None = None


def sites_of(outline: Outline) -> Iterator[Site]:
    model = outline.model
    for use in _in_object(model.labels, ("labels",)):
        yield Site(use, "labels")
    for name, signal in model.signals.items():
        for use in _in_object(signal.set or {}, ("signals", name, "set")):
            yield Site(use, "signal")
        for use in uses_in_value(signal.reason, ("signals", name, "reason")):
            yield Site(use, "reason")
    for outcome, value in model.results.items():
        for use in uses_in_value(value, ("results", outcome)):
            yield Site(use, "result", outcome=outcome)
    for place in outline.by_id.values():
        yield from _of_step(place)


def _of_step(place: Place) -> Iterator[Site]:
    for fields, value in _values_of(place):
        for use in uses_in_value(value, (*place.path, *fields)):
            yield Site(use, "step", place)
    if isinstance(place.step, WaitModel):
        for use in _in_object(place.step.output or {}, (*place.path, "output")):
            yield Site(use, "wait-output", place)
    if isinstance(place.step, MapModel):
        for use in _in_object(place.step.output or {}, (*place.path, "output")):
            yield Site(use, "map-output", place)
    for number, way in enumerate(place.transitions):
        if way.condition is not None:
            for use in uses_in_condition(way.condition, (*place.path, "next", number, "condition")):
                yield Site(use, "next", place)


def _values_of(place: Place) -> Iterator[tuple[Path, Any]]:
    match place.step:
        case TaskModel() as task:
            yield ("input",), task.input
            yield ("timeout",), task.timeout
            yield ("scheduleToStart",), task.schedule_to_start
            yield ("scheduleToClose",), task.schedule_to_close
            yield ("priority",), task.priority
        case WorkflowModel() as child:
            yield ("input",), child.input
            yield ("correlationId",), child.correlation_id
            yield ("labels",), child.labels
            yield ("timeout",), child.timeout
            yield ("priority",), child.priority
        case WaitModel() as wait:
            yield ("for",), wait.for_
            yield ("correlationKey",), wait.correlation_key
        case MapModel() as over:
            yield ("items",), over.items
        case SucceedModel() as succeed:
            yield ("result",), succeed.result
        case FailModel() as fail:
            yield ("error", "type"), fail.error.type
            yield ("error", "message"), fail.error.message
            yield ("result",), fail.result
        case _:
            pass


def _in_object(values: Mapping[str, Any], path: Path) -> Iterator[Use]:
    for name, value in values.items():
        yield from uses_in_value(value, (*path, name))


def uses_in_value(template: Any, path: Path, *, optional: bool = False) -> Iterator[Use]:
    """Yield what a value template reads, each with its own place. Expects one that compiles."""
    name = function_of(template)
    if name == "$literal":
        return
    if name == "$if":
        condition, *branches = template[name]
        for use in uses_in_condition(condition, (*path, name, 0)):
            yield use._replace(optional=optional or use.optional)
        for number, branch in enumerate(branches, start=1):
            yield from uses_in_value(branch, (*path, name, number), optional=optional)
    elif isinstance(template, dict):
        for key, value in template.items():
            yield from uses_in_value(value, (*path, key), optional=optional or name == "$coalesce")
    elif isinstance(template, list):
        for number, value in enumerate(template):
            yield from uses_in_value(value, (*path, number), optional=optional)
    else:
        for reference in paths_of_value(template):
            yield Use(reference.path, path, 0, optional, tested=False)


def uses_in_condition(text: str, path: Path) -> Iterator[Use]:
    """Yield what a condition reads; what it also asks the existence of is expected to be absent at times."""
    references = paths_of_condition(text)
    guards = {reference.path for reference in references if reference.tested}
    uses = (
        Use(
            reference.path,
            path,
            _offset(text, reference),
            reference.optional or any(reference.path[: len(guard)] == guard for guard in guards),
            reference.tested,
        )
        for reference in references
    )
    yield from sorted(uses, key=lambda use: (use.offset, use.text, use.tested))


def _offset(text: str, reference: Reference) -> int:
    """Where the path stands in the condition: its first place, if it is spelt in one of the usual ways."""
    names = (
        rf"\[{key}\]" if isinstance(key, int) else rf"""(?:\.{re.escape(key)}|\[['"]{re.escape(key)}['"]\])"""
        for key in reference.path
    )
    found = re.search(rf"\$\s*{''.join(names)}(?![\w-])", text)
    return found.start() if found else 0
