"""Side effects that would stand: tasks that nothing undoes, before something that makes the instance roll back.

A task that calls a service has a side effect unless it says `readOnly: true`. What makes an instance roll back or
fail: a task without `fallback` whose failure no handler catches, a `fail` step, a wait whose time runs out without
`onTimeout`, a decision without default, and a `compensate` step that undoes everything.
"""

from __future__ import annotations

from domain.definition.verification.graph import Graph, may_fail, reach
from domain.definition.verification.outline import Outline, Place
from domain.definition.verification.report import Report
from domain.steps.compensate import CompensateModel
from domain.steps.scope import ScopeModel
from domain.steps.task import TaskModel
from domain.steps.workflow import CallModel


def check_effects(outline: Outline, graph: Graph, report: Report) -> None:
    places = outline.by_id.values()
    failing = [place for place in places if place.step.id in graph.reached and _ends_badly(place, outline)]
    leads_to = reach(
        [place.step.id for place in failing],
        lambda node: (edge.source for edge in graph.before.get(node, ())),
    )
    beside = _by_block(failing)
    for place in places:
        step = place.step
        if not isinstance(step, TaskModel) or step.id not in graph.reached:
            continue
        if step.read_only or step.compensate_with is not None:
            continue
        then = [edge.target for edge in graph.after.get(step.id, ()) if edge.completes]
        later = next((leads_to[node] for node in then if node in leads_to), None)
        culprit = later or _beside(place, outline, beside)
        if culprit is not None:
            report.add(
                "effect-without-undo",
                _message(step, outline.by_id[culprit], is_later=bool(later)),
                place.path,
            )


def _message(task: TaskModel, culprit: Place, *, is_later: bool) -> str:
    if culprit.step.id == task.id:
        when = "when it is reached again" if is_later else "for another item"
        return f"what {task.id!r} has done would stand if it fails {when}: nothing undoes it"
    order = "after" if is_later else "beside"
    kind = "rolls back" if isinstance(culprit.step, CompensateModel) else "may fail"
    return f"nothing undoes {task.id!r}, and {culprit.step.id!r} {order} it {kind}"


def _ends_badly(place: Place, outline: Outline) -> bool:
    step = place.step
    if isinstance(step, CompensateModel):
        return step.next is None and step.steps is None and step.to is None
    if isinstance(step, ScopeModel) or not may_fail(place):
        return False  # What fails in a parallel step or a map is a step in it.
    if isinstance(step, CallModel) and step.fallback is not None:
        return False
    handlers = list(outline.handlers_of(step))
    last = handlers[-1] if handlers else None
    if last is not None and "*" in last.errors:
        return any(handler.do == "compensate" for handler in handlers)
    rolls_back = isinstance(step, CallModel) and step.on_max_retries_exceeded == "compensate"
    return outline.model.on_failure == "compensate" or rolls_back


def _by_block(failing: list[Place]) -> dict[str, dict[str, str]]:
    """Parallel or map → block → a step in it that may fail."""
    found: dict[str, dict[str, str]] = {}
    for place in failing:
        for scope, block in place.blocks:
            found.setdefault(scope, {}).setdefault(block, place.step.id)
    return found


def _beside(place: Place, outline: Outline, failing: dict[str, dict[str, str]]) -> str | None:
    """A step that may fail while this one runs: in another branch, or in a map for another item."""
    for scope, block in place.blocks:
        for other, step in failing.get(scope, {}).items():
            if other != block or not block:
                return step
    return None
