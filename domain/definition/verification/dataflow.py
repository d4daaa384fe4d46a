"""What data is there at each step: on every way to it (`surely`), and on some way (`perhaps`).

Sets of names are bits of one integer, so that a definition of thousands of steps is judged in milliseconds. Both are
fixed points over the graph: sure is what all ways bring, possible what any way brings. A step that an operator skips
sets nothing; that is the operator's affair. What a step inside a map sets is another name than the same word outside:
it is for the steps of its own item.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from domain.definition.verification.graph import Edge, Graph, join_of, needed_by
from domain.definition.verification.outline import Outline, Place
from domain.steps.map import MapModel
from domain.steps.parallel import ParallelModel
from domain.steps.scope import ScopeModel
from domain.steps.step import StepModel
from domain.steps.task import TaskModel
from domain.steps.wait import WaitModel
from domain.steps.workflow import WorkflowModel

LAST_ERROR: Final = "lastError"


def deadline_name(deadline: str) -> str:
    return f"deadlines.{deadline}"


def written_by(step: StepModel) -> list[str]:
    """The names in `$` that the step sets when it has ended well."""
    match step:
        case TaskModel() | WorkflowModel() | MapModel():
            return [step.id] if step.output is None else list(step.output)
        case WaitModel(signal=str()):
            return [step.id] if step.output is None else list(step.output)
        case _:
            return []


@dataclass(slots=True)
class DataFlow:
    """`surely` and `perhaps`: bits by node, on entering it. `wrote`: what completing a node adds."""

    outline: Outline
    graph: Graph
    bits: dict[str, int] = field(default_factory=dict)  # By name; of what a map's steps set, by map/name.
    local: dict[str, int] = field(default_factory=dict)  # By map: what its steps set.
    wrote: dict[str, int] = field(default_factory=dict)
    at_start: int = 0
    anytime: int = 0  # What signals may set at any moment.
    surely: dict[str, int] = field(default_factory=dict)
    perhaps: dict[str, int] = field(default_factory=dict)
    in_block: dict[str, dict[str, int]] = field(default_factory=dict)  # By parallel or map, and block.

    @property
    def everything(self) -> int:
        return (1 << len(self.bits)) - 1

    def bit(self, name: str, place: Place | None = None) -> int:
        """Return the bits of a name as it is seen at `place` (None: outside all maps); 0 for one that nothing sets."""
        found = self.bits.get(name, 0)
        for scope in () if place is None else place.maps:
            found |= self.bits.get(_in_map(scope, name), 0)
        return found

    def sure_for_undo(self, step: str) -> int:
        """What is surely there when `step` undoes: whatever was, when what it undoes had completed."""
        sure = self.surely.get(step, self.everything)
        for undone in self.outline.undoes.get(step, ()):
            if undone in self.surely:
                sure &= self.surely[undone] | self.wrote.get(undone, 0)
        return sure

    def from_beside(self, place: Place) -> int:
        """What branches that run at the same time may have set."""
        found = 0
        for scope, block in place.blocks:
            for other, bits in self.in_block.get(scope, {}).items():
                if other != block:
                    found |= bits
        return found


def _in_map(scope: str, name: str) -> str:
    return f"{scope}/{name}"


def flow_of_data(outline: Outline, graph: Graph) -> DataFlow:
    flow = DataFlow(outline, graph)
    _names(flow)
    begin = flow.at_start
    error = flow.bit(LAST_ERROR)

    def brought(values: dict[str, int], edge: Edge, default: int) -> int:
        bits = values.get(edge.source, default) | (flow.wrote.get(edge.source, 0) if edge.completes else 0)
        bits &= ~flow.local.get(edge.source, 0)  # Of an earlier visit.
        return bits | error if edge.fails else bits

    def all_ways(node: str, edges: list[Edge]) -> int:
        parallel = _parallel_of(node, outline)
        if parallel is not None:
            return _joined(parallel, edges, lambda edge: brought(flow.surely, edge, flow.everything), flow)
        sure = begin if node == outline.entry else flow.everything
        for edge in edges:
            sure &= brought(flow.surely, edge, flow.everything)
        return sure

    def any_way(node: str, edges: list[Edge]) -> int:
        possible = flow.anytime | error | (begin if node == outline.entry else 0)
        for edge in edges:
            possible |= brought(flow.perhaps, edge, 0)
        return possible

    _settle(flow.surely, graph, outline.entry, all_ways)
    _settle(flow.perhaps, graph, outline.entry, any_way)
    return flow


def _names(flow: DataFlow) -> None:
    outline = flow.outline

    def new(name: str) -> int:
        return flow.bits.setdefault(name, 1 << len(flow.bits))

    new(LAST_ERROR)
    for place in outline.by_id.values():
        for name in written_by(place.step):
            if place.maps:
                bit = new(_in_map(place.maps[-1], name))
                flow.local[place.maps[-1]] = flow.local.get(place.maps[-1], 0) | bit
            else:
                bit = new(name)
            _add(flow, place, bit)
    for signal in outline.model.signals.values():
        for name in signal.set or ():
            flow.anytime |= new(name)
    for name, deadline in outline.model.deadlines.items():
        bit = new(deadline_name(name))
        if deadline.after == "start":
            flow.at_start |= bit
        else:
            _add(flow, outline.by_id[deadline.after.step], bit)


def _add(flow: DataFlow, place: Place, bit: int) -> None:
    node = join_of(place.step.id) if isinstance(place.step, ScopeModel) else place.step.id
    flow.wrote[node] = flow.wrote.get(node, 0) | bit
    for scope, block in place.blocks:
        blocks = flow.in_block.setdefault(scope, {})
        blocks[block] = blocks.get(block, 0) | bit


def _settle(
    values: dict[str, int], graph: Graph, entry: str, merged: Callable[[str, list[Edge]], int]
) -> None:
    """Work out `values` for every node that is reached, again and again until nothing changes."""
    pending = deque([entry])
    waiting = {entry}
    while pending:
        node = pending.popleft()
        waiting.discard(node)
        edges = [edge for edge in graph.before.get(node, ()) if edge.source in graph.reached]
        value = merged(node, edges)
        if values.get(node) == value:
            continue
        values[node] = value
        for edge in graph.after.get(node, ()):
            if edge.target not in waiting:
                waiting.add(edge.target)
                pending.append(edge.target)


def _parallel_of(node: str, outline: Outline) -> ParallelModel | None:
    if not node.endswith("/join"):
        return None
    step = outline.by_id[node.removesuffix("/join")].step
    return step if isinstance(step, ParallelModel) else None


def _joined(
    parallel: ParallelModel, edges: Iterable[Edge], brought: Callable[[Edge], int], flow: DataFlow
) -> int:
    """What is sure when `needed` of the branches have ended: what so many bring that one of them is among those."""
    by_block: dict[str | None, int] = {}
    for edge in edges:
        by_block[edge.block] = by_block.get(edge.block, flow.everything) & brought(edge)
    needed = needed_by(parallel)
    brings = list(by_block.values())
    if needed >= len(brings):
        return _any_of(brings)
    if needed == 1:
        return _all_of(brings, flow.everything)
    sure = 0
    for bit in flow.bits.values():
        if sum(1 for bits in brings if bits & bit) > len(brings) - needed:
            sure |= bit
    return sure


def _any_of(sets: Iterable[int]) -> int:
    found = 0
    for bits in sets:
        found |= bits
    return found


def _all_of(sets: Iterable[int], everything: int) -> int:
    for bits in sets:
        everything &= bits
    return everything
