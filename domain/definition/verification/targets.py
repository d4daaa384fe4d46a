"""Whether every name that a definition refers to is there, and may be referred to from where it is."""

from __future__ import annotations

from typing import Final, get_args

from domain.definition.document import Path
from domain.definition.verification.outline import Outline, Place, block_in_words
from domain.definition.verification.report import Report, did_you_mean, listed
from domain.events import Outcome, Status
from domain.steps.compensate import CompensateModel
from domain.steps.task import TaskModel
from domain.steps.workflow import CallModel, WorkflowModel

OUTCOMES: Final[tuple[str, ...]] = get_args(Outcome)
STATUSES: Final[tuple[str, ...]] = get_args(Status)

BLOCKING: Final = ("duplicate-step", "unknown-step", "leaves-block", "enters-block")
"""With one of these, what is reachable is not what the author meant: the flow is better not judged."""


def check_targets(outline: Outline, report: Report) -> None:
    _ids(outline, report)
    for place in outline.places:
        for way in place.ways():
            if _exists(way.target, way.path, outline, report):
                _same_block(place, outline.by_id[way.target], way.path, report)
        if isinstance(place.step, TaskModel):
            _undo_of(place, place.step, outline, report)
        elif isinstance(place.step, CompensateModel):
            _extent_of(place, place.step, outline, report)
    _handlers(outline, report)
    for name, deadline in outline.model.deadlines.items():
        if deadline.after != "start":
            _exists(deadline.after.step, ("deadlines", name, "after", "step"), outline, report)
        _exists(deadline.reach.step, ("deadlines", name, "reach", "step"), outline, report)
    _outcomes(outline, report)
    _service_types(outline, report)


def _ids(outline: Outline, report: Report) -> None:
    for place in outline.places:
        first = outline.by_id[place.step.id]
        if first is not place:
            line = report.document.position((*first.path, "id")).line
            report.add(
                "duplicate-step",
                f"there is a step {place.step.id!r} already, on line {line}",
                (*place.path, "id"),
            )


def _exists(target: str, path: Path, outline: Outline, report: Report) -> bool:
    if target in outline.by_id:
        return True
    report.add("unknown-step", f"there is no step {target!r}", path, fix=did_you_mean(target, outline.by_id))
    return False


def _same_block(place: Place, target: Place, path: Path, report: Report) -> None:
    if target.blocks == place.blocks:
        return
    if place.blocks[: len(target.blocks)] == target.blocks:
        where = block_in_words(place.blocks)
        message = f"{target.step.id!r} stands outside {where}, which {place.step.id!r} is in"
        report.add("leaves-block", message, path)
    else:
        message = f"{target.step.id!r} stands inside {block_in_words(target.blocks)}"
        report.add("enters-block", message, path)


def _undo_of(place: Place, step: TaskModel, outline: Outline, report: Report) -> None:
    path = (*place.path, "compensateWith")
    undo = step.compensate_with
    if undo is None or not _exists(undo, path, outline, report):
        return
    if undo == step.id:
        report.add("undoes-itself", f"{step.id!r} is named as its own undo", path)
    elif not isinstance(outline.by_id[undo].step, TaskModel):
        report.add("undo-not-a-task", f"{undo!r} undoes {step.id!r}, but is no task", path)


def _extent_of(place: Place, step: CompensateModel, outline: Outline, report: Report) -> None:
    if step.to is not None and step.to not in outline.savepoints:
        report.add(
            "unknown-savepoint",
            f"no step sets a savepoint {step.to!r}",
            (*place.path, "to"),
            fix=did_you_mean(step.to, outline.savepoints),
        )
    for number, target in enumerate(step.steps or ()):
        path = (*place.path, "steps", number)
        if _exists(target, path, outline, report):
            named = outline.by_id[target].step
            if isinstance(named, WorkflowModel) and named.on_parent_close != "abandon":
                continue
            if not (isinstance(named, TaskModel) and named.compensate_with):
                report.add(
                    "nothing-to-undo", f"{target!r} has no `compensateWith`, so nothing of it is undone", path
                )


def _handlers(outline: Outline, report: Report) -> None:
    for number, handler in enumerate(outline.model.error_handlers):
        path = ("errorHandlers", number)
        for index, name in enumerate(handler.steps or ()):
            _exists(name, (*path, "steps", index), outline, report)
        if handler.next is not None and _exists(handler.next, (*path, "next"), outline, report):
            target = outline.by_id[handler.next]
            sources = [outline.by_id[name].blocks for name in handler.steps or () if name in outline.by_id]
            if handler.steps is None:
                sources = [()]
            if any(blocks[: len(target.blocks)] != target.blocks for blocks in sources):
                report.add(
                    "enters-block",
                    f"{target.step.id!r} stands inside {block_in_words(target.blocks)}, "
                    "and not every step of this handler does",
                    (*path, "next"),
                )
        why = _shadowed(number, outline)
        if why is not None:
            report.add("shadowed-handler", f"this handler is never used: {why}", path)


def _shadowed(number: int, outline: Outline) -> str | None:
    handler = outline.model.error_handlers[number]
    named = [outline.by_id[name].step for name in handler.steps or () if name in outline.by_id]
    if named and all(isinstance(step, CallModel) and step.fallback is not None for step in named):
        return "each of its steps has a `fallback`, which comes first"
    by: set[int] = set()
    for error in handler.errors:
        for step in handler.steps or (None,):
            matching = (
                index
                for index, earlier in enumerate(outline.model.error_handlers[:number])
                if (error in earlier.errors or "*" in earlier.errors)
                and (earlier.steps is None or step in earlier.steps)
            )
            first = next(matching, None)
            if first is None:
                return None
            by.add(first + 1)
    numbers = " and ".join(map(str, sorted(by)))
    who = f"handlers {numbers} before it take" if len(by) > 1 else f"handler {numbers} before it takes"
    return f"{who} all that it could"


def _outcomes(outline: Outline, report: Report) -> None:
    for outcome in outline.model.results:
        if outcome not in OUTCOMES:
            report.add(
                "unknown-outcome",
                f"there is no outcome {outcome!r}",
                ("results", outcome),
                fix=did_you_mean(outcome, OUTCOMES),
                key=True,
            )
    for name in outline.model.business_status:
        if name not in OUTCOMES and name not in STATUSES:
            report.add(
                "unknown-status",
                f"{name!r} is neither a status nor an outcome",
                ("businessStatus", name),
                fix=did_you_mean(name, {*OUTCOMES, *STATUSES}),
                key=True,
            )


def _service_types(outline: Outline, report: Report) -> None:
    policies = outline.model.retry_policies
    for place, task in outline.tasks():
        if task.service_type is None or task.retry_policy is not None or task.service_type in policies:
            continue
        known = f"; there are {listed(policies)}" if policies else ""
        report.add(
            "unknown-service-type",
            f"no retry policy is given for service type {task.service_type!r}{known}",
            (*place.path, "serviceType"),
            fix=did_you_mean(task.service_type, policies),
        )
