"""How control flows: steps, the joins of scopes and the two ends as nodes, and what leads from one to another.

Knows nothing of data and of time. Edges are those a definition writes down; that an operator or a signal may end an
instance at any moment is no edge.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from domain.definition.verification.choices import has_gap
from domain.definition.verification.outline import Outline, Place
from domain.steps.compensate import CompensateModel
from domain.steps.ending import FailModel, SucceedModel
from domain.steps.map import MapModel
from domain.steps.parallel import ParallelModel
from domain.steps.scope import ScopeModel, needed
from domain.steps.task import TaskModel
from domain.steps.wait import WaitModel
from domain.steps.workflow import CallModel, WorkflowModel

# Step ids hold no slash.
SUCCEEDED: Final = "/succeeded"
ENDED: Final = "/ended"


class Edge(NamedTuple):
    """`completes`: the source ended well, so its output is there. `fails`: it failed for good.

    `block` is set on the edge that ends a block well: it is the block's name, and the target is a join. (A map leads to
    its join without one, too: there may be no items.)
    """

    source: str
    target: str
    completes: bool = True
    fails: bool = False
    block: str | None = None


@dataclass(frozen=True, slots=True)
class Graph:
    """`reached` holds what the entry leads to; `after` and `before` hold edges by source and by target."""

    after: dict[str, list[Edge]]
    before: dict[str, list[Edge]]
    reached: frozenset[str]
    ending: frozenset[str]  # Nodes from which a way leads to an end.


def join_of(scope: str) -> str:
    return f"{scope}/join"


def needed_by(scope: ParallelModel | MapModel) -> int:
    """How many of its blocks, as they are written, must end well."""
    return 1 if isinstance(scope, MapModel) else needed(scope.join, len(scope.branches))


def build_graph(outline: Outline) -> Graph:
    after: dict[str, list[Edge]] = {}
    before: dict[str, list[Edge]] = {}
    for place in outline.by_id.values():
        for edge in _edges_of(place, outline):
            after.setdefault(edge.source, []).append(edge)
            before.setdefault(edge.target, []).append(edge)
    return Graph(
        after,
        before,
        reached=frozenset(reach([outline.entry], lambda node: (edge.target for edge in after.get(node, ())))),
        ending=frozenset(
            reach([SUCCEEDED, ENDED], lambda node: (edge.source for edge in before.get(node, ())))
        ),
    )


def reach(begin: Iterable[str], steps: Callable[[str], Iterable[str]]) -> dict[str, str]:
    """Return every node that `begin` leads to, nearest first, each with the one of `begin` that it was reached from."""
    found = {node: node for node in begin}
    pending = deque(found)
    while pending:
        node = pending.popleft()
        for target in steps(node):
            if target not in found:
                found[target] = found[node]
                pending.append(target)
    return found


def circles(nodes: Sequence[str], after: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Return the strongly connected components that hold a circle (Tarjan 1972, without recursion)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    found: list[list[str]] = []
    for root in nodes:
        work: list[tuple[str, Iterator[str]]] = [] if root in index else [(root, iter(after.get(root, ())))]
        while work:
            node, targets = work[-1]
            if node not in index:
                index[node] = low[node] = len(index)
                stack.append(node)
                on_stack.add(node)
            deeper = next((target for target in targets if _is_new(node, target, index, low, on_stack)), None)
            if deeper is not None:
                work.append((deeper, iter(after.get(deeper, ()))))
                continue
            work.pop()
            if work:
                low[work[-1][0]] = min(low[work[-1][0]], low[node])
            if low[node] == index[node]:
                component = _popped(stack, node)
                on_stack.difference_update(component)
                if len(component) > 1 or node in after.get(node, ()):
                    found.append(component)
    return found


def _popped(stack: list[str], last: str) -> list[str]:
    popped = [stack.pop()]
    while popped[-1] != last:
        popped.append(stack.pop())
    return popped


def _is_new(node: str, target: str, index: dict[str, int], low: dict[str, int], on_stack: set[str]) -> bool:
    if target not in index:
        return True
    if target in on_stack:
        low[node] = min(low[node], index[target])
    return False


def _edges_of(place: Place, outline: Outline) -> Iterator[Edge]:
    step = place.step
    match step:
        case ScopeModel():
            for _, steps in step.blocks():
                yield Edge(step.id, steps[0].id)
            if isinstance(step, MapModel):
                yield Edge(step.id, join_of(step.id))
            yield from _onwards(place, join_of(step.id))
        case FailModel():
            yield Edge(step.id, ENDED, completes=False)
        case CompensateModel(next=None):
            yield Edge(step.id, ENDED)
        case SucceedModel():
            yield _end_of_block(place, step.id)
        case _:
            yield from _onwards(place, step.id)
    for way in place.ways():
        if way.after != "done":
            yield Edge(step.id, way.target, completes=False, fails=way.after == "failed")
    if may_fail(place):
        for handler in outline.handlers_of(step):
            if handler.next is not None and _may_take(step, handler.errors):
                yield Edge(step.id, handler.next, completes=False, fails=isinstance(step, CallModel))


def _onwards(place: Place, source: str) -> Iterator[Edge]:
    ways = list(place.ways_on())
    for way in ways:
        yield Edge(source, way.target)
    if not ways:
        yield _end_of_block(place, source)


def _end_of_block(place: Place, source: str) -> Edge:
    if not place.blocks:
        return Edge(source, SUCCEEDED)
    scope, block = place.blocks[-1]
    return Edge(source, join_of(scope), block=block)


def may_fail(place: Place) -> bool:
    """Whether the step may fail for good by what it is; expressions that lack their data do not count."""
    match place.step:
        case TaskModel() | WorkflowModel() | FailModel() | ScopeModel():
            return True
        case WaitModel(signal=str(), on_timeout=None) if place.step.for_ is not None:
            return True
        case CompensateModel() | SucceedModel():
            return False
        case _:
            return has_gap(place)


def _may_take(step: object, errors: Sequence[str]) -> bool:
    """Whether the errors of a handler hold one that the step can fail with; only a `fail` step says which."""
    if (
        isinstance(step, FailModel)
        and isinstance(step.error.type, str)
        and not step.error.type.startswith("$")
    ):
        return "*" in errors or step.error.type in errors
    return True
