"""Whether every step can be reached, every way comes to an end, and every join and wait can be over."""

from __future__ import annotations

from domain.definition.verification.graph import (
    Graph,
    circles,
    join_of,
    needed_by,
    reach,
)
from domain.definition.verification.outline import Outline, Place
from domain.definition.verification.report import Report, listed
from domain.steps.compensate import CompensateModel
from domain.steps.decision import DecisionModel
from domain.steps.map import MapModel
from domain.steps.parallel import ParallelModel
from domain.steps.scope import ScopeModel
from domain.steps.task import TaskModel
from domain.steps.wait import WaitModel
from domain.steps.workflow import WorkflowModel


def check_waits(outline: Outline, report: Report) -> None:
    awaited = set()
    for place, wait in outline.waits():
        awaited.add(wait.signal)
        if wait.signal is None or wait.for_ is not None:
            continue
        if wait.on_timeout is not None:
            report.add(
                "on-timeout-without-for",
                f"{wait.id!r} has `onTimeout`, but no `for`: its time never runs out",
                (*place.path, "onTimeout"),
            )
        else:
            report.add(
                "wait-without-timeout",
                f"{wait.id!r} waits for ever if signal {wait.signal!r} never comes",
                (*place.path, "signal"),
            )
    for name, signal in outline.model.signals.items():
        if signal.do == "buffer" and signal.set is None and name not in awaited:
            report.add(
                "unused-signal",
                f"signal {name!r} is kept, but no step waits for it and it sets nothing",
                ("signals", name),
                key=True,
            )


def check_flow(outline: Outline, graph: Graph, report: Report) -> None:
    _unreachable(outline, graph, report)
    looping = _circles(outline, graph, report)
    _joins(outline, graph, looping, report)
    _undo_steps(outline, graph, report)
    _savepoints(outline, graph, report)


def live_undo_steps(outline: Outline, graph: Graph) -> set[str]:
    """The steps that undo one which can be reached."""
    return {undo for undo, undone in outline.undoes.items() if not graph.reached.isdisjoint(undone)}


def _unreachable(outline: Outline, graph: Graph, report: Report) -> None:
    """One finding for each beginning of what cannot be reached; what only follows from it is not repeated."""
    known = set(graph.reached | outline.undoes.keys())  # An undo step follows from the one that it undoes.

    def unknown_after(node: str) -> list[str]:
        return [edge.target for edge in graph.after.get(node, ()) if edge.target not in known]

    lost = [name for name in outline.by_id if name not in known]
    first = [name for name in lost if all(edge.source in known for edge in graph.before.get(name, ()))]
    for name in [*first, *lost]:
        if name in known:
            continue
        behind = reach([name], unknown_after)
        more = [step for step in behind if step in outline.by_id and step != name]
        message = f"no way leads to {name!r}"
        if more:
            message += f", nor to {listed(more)}, which {'follow' if len(more) > 1 else 'follows'} it"
        report.add("unreachable-step", message, (*outline.by_id[name].path, "id"))
        known |= behind.keys()


def _circles(outline: Outline, graph: Graph, report: Report) -> set[str]:
    """Report circles that nothing leaves or that never wait. Returns the steps of the former."""
    order = [*outline.by_id, *(join_of(place.step.id) for place, _ in outline.scopes())]
    after = {node: [edge.target for edge in graph.after.get(node, ())] for node in order}
    stuck = [node for node in order if node in graph.reached and node not in graph.ending]
    hasty = [node for node in order if node in graph.reached and not _waits(node, outline)]
    seen: set[str] = set()
    for code, nodes in (("endless-loop", hasty), ("no-end", stuck)):
        inside = set(nodes)
        within = {node: [target for target in after[node] if target in inside] for node in nodes}
        for circle in circles(nodes, within):
            members = set(circle)
            if seen & members or (code == "no-end" and any(set(after[node]) - members for node in circle)):
                continue
            steps = [step for step in outline.by_id if step in members]
            about = (
                f"{steps[0]!r} leads back to itself"
                if len(steps) == 1
                else f"{listed(steps)} lead to each other"
            )
            why = "without anything to wait for" if code == "endless-loop" else "and to no end"
            report.add(code, f"{about} {why}", (*outline.by_id[steps[0]].path, "id"))
            seen |= members
    return set(stuck) | seen


def _waits(node: str, outline: Outline) -> bool:
    """Whether a step surely takes time. A parallel step does where its join needs a branch that does; a map that is
    given no items does not, but whoever goes round with one has some."""
    place = outline.by_id.get(node.removesuffix("/join"))
    match place and place.step:
        case TaskModel() | WorkflowModel() | WaitModel():
            return True
        case DecisionModel() | CompensateModel():
            return False
        case (ParallelModel() | MapModel()) as scope:
            return _hasty_blocks(scope, outline) < needed_by(scope)
        case _:
            return False


def _hasty_blocks(scope: ParallelModel | MapModel, outline: Outline) -> int:
    busy = {
        dict(place.blocks)[scope.id]
        for place in outline.inside.get(scope.id, ())
        if isinstance(place.step, TaskModel | WorkflowModel | WaitModel)
    }
    return sum(1 for block, _ in scope.blocks() if block not in busy)


def _joins(outline: Outline, graph: Graph, looping: set[str], report: Report) -> None:
    for place, scope in outline.scopes():
        if scope.id not in graph.reached:
            continue
        exits = {
            edge.block for edge in graph.before.get(join_of(scope.id), ()) if edge.source in graph.reached
        }
        blocks = [block for block, _ in scope.blocks()]
        never = [block for block in blocks if block not in exits]
        if len(blocks) - len(never) >= needed_by(scope) or _loops(scope, outline, looping):
            continue
        message = f"{scope.id!r} waits for its items, but its steps cannot end well"
        if isinstance(scope, ParallelModel):
            message = (
                f"{scope.id!r} waits for {needed_by(scope)} of its {len(blocks)} branches, "
                f"but {listed(never)} cannot end well"
            )
        report.add("join-never-fires", message, (*place.path, "join"))


def _loops(scope: ScopeModel, outline: Outline, looping: set[str]) -> bool:
    return any(place.step.id in looping for place in outline.inside.get(scope.id, ()))


def _undo_steps(outline: Outline, graph: Graph, report: Report) -> None:
    for undo, undone in outline.undoes.items():
        place = outline.by_id[undo]
        if undo in undone or not isinstance(place.step, TaskModel):
            continue
        if undo in graph.reached:
            report.add(
                "undo-step-reached",
                f"{undo!r} undoes {listed(undone)}, but the normal flow comes here too",
                (*place.path, "id"),
            )
            continue
        for field, value in _without_effect(place.step).items():
            if value is not None:
                report.add(
                    "undo-step-goes-on",
                    f"{undo!r} undoes {listed(undone)}; while undoing, `{field}` has no effect",
                    (*place.path, field),
                    key=True,
                )


def _without_effect(undo: TaskModel) -> dict[str, object]:
    return {
        "next": undo.next,
        "fallback": undo.fallback,
        "compensateWith": undo.compensate_with,
        "onMaxRetriesExceeded": undo.on_max_retries_exceeded,
        "savepoint": undo.savepoint,
    }


def _savepoints(outline: Outline, graph: Graph, report: Report) -> None:
    for place in outline.places:
        step = place.step
        if not isinstance(step, CompensateModel) or step.to not in outline.savepoints:
            continue
        setters = outline.savepoints[step.to]
        leads = reach(
            [edge.target for setter in setters for edge in graph.after.get(setter, ()) if edge.completes],
            lambda node: (edge.target for edge in graph.after.get(node, ())),
        )
        if step.id in graph.reached and step.id not in leads and not _beside(place, setters, outline):
            report.add(
                "savepoint-not-reached",
                f"{listed(setters)} sets savepoint {step.to!r}, but cannot come before {step.id!r}: "
                "everything would be undone",
                (*place.path, "to"),
            )


def _beside(place: Place, others: list[str], outline: Outline) -> bool:
    return any(place.is_beside(outline.by_id[other]) for other in others)
